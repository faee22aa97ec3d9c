"""What leaves: blocks, protection failures, refused sends."""

from __future__ import annotations

import pytest

from callmeter.media import Tone
from callmeter.media import transmit as transmit_module
from callmeter.srtp import SrtpContext

LOOPBACK = "127.0.0.1"


def test_streams_of_all_kinds_leave_in_one_tick(lab, rtp_fields):
    kinds = [
        {},
        {"codec": "PCMA", "payload_type": 8},
        {"ptime_ms": 40},
        {"srtp_send": SrtpContext(lab.line(), "send")},
        {"ptime_ms": 60, "srtp_send": SrtpContext(lab.line(), "send")},
    ]
    peers = [lab.socket() for _ in kinds]
    for kind, peer in zip(kinds, peers, strict=True):
        lab.open().start(lab.parameters(peer, **kind))
    lab.run(1.21)
    packets = [lab.fetch(peer) for peer in peers]
    assert [len(each) for each in packets] == [60, 60, 30, 60, 20]
    assert [len(each[0]) for each in packets] == [172, 172, 332, 182, 502]
    assert [rtp_fields(each[1])[0] for each in packets] == [0, 8, 0, 0, 0]


def test_more_streams_than_slots_all_get_their_packet(make_lab, monkeypatch):
    monkeypatch.setattr(transmit_module, "SLOTS", 16)
    lab = make_lab()
    peer = lab.socket()
    streams = [lab.open() for _ in range(50)]
    for stream in streams:
        stream.start(lab.parameters(peer))
    lab.run(0.1)
    assert {stream.statistics().send.packets_sent for stream in streams} == {5}
    assert len({packet[8:12] for packet in lab.fetch(peer)}) == 50


def test_what_cannot_be_protected_never_leaves(lab, monkeypatch):
    peer = lab.socket()
    streams = [lab.open() for _ in range(4)]
    for stream in streams:
        stream.start(lab.parameters(peer, srtp_send=SrtpContext(lab.line(), "send")))
    lab.run(0.2)
    lab.fetch(peer)
    real = transmit_module.libsrtp.protect
    failing = lab.engine.lanes.send_handles[streams[1]._row]

    class Library:
        @staticmethod
        def protect(handle, packet, length):
            return 1 if handle is failing else real(handle, packet, length)

    monkeypatch.setattr(transmit_module, "libsrtp", Library)
    before = [stream.statistics().send.packets_sent for stream in streams]
    lab.run(0.2)
    sent = [stream.statistics().send.packets_sent for stream in streams]
    assert sent[1] == before[1]
    assert sent[0] == before[0] + 10
    packets = lab.fetch(peer)
    assert {len(packet) for packet in packets} == {182}
    assert streams[1].ssrc.to_bytes(4, "big") not in {packet[8:12] for packet in packets}
    assert lab.engine._transmit.protect_failures == 10


def test_a_send_the_kernel_refuses_is_not_counted_as_sent(lab):
    good, bad = lab.open(), lab.open()
    peer = lab.socket()
    good.start(lab.parameters(peer))
    # Broadcast is refused unless a socket asked for it, and these only did by way of the fixture.
    bad.start(lab.parameters(9, remote=("255.255.255.255", 9)))
    bad._rtp.setsockopt(1, 6, 0)
    lab.run(0.5)
    assert bad.statistics().send.packets_sent == 0
    assert bad.statistics().send.bytes_sent == 0
    assert good.statistics().send.packets_sent >= 24
    assert lab.engine.backend.send_errors.total >= 24
    assert set(lab.engine.backend.send_errors.by_name) == {"EACCES"}


def test_a_refused_packet_among_unprotected_ones_is_not_counted_either(lab, monkeypatch):
    streams = [lab.open() for _ in range(2)]
    for stream in streams:
        stream.start(
            lab.parameters(
                9,
                remote=("255.255.255.255", 9),
                srtp_send=SrtpContext(lab.line(), "send"),
            )
        )
        stream._rtp.setsockopt(1, 6, 0)
    failing = lab.engine.lanes.send_handles[streams[0]._row]
    real = transmit_module.libsrtp.protect

    class Library:
        @staticmethod
        def protect(handle, packet, length):
            return 1 if handle is failing else real(handle, packet, length)

    monkeypatch.setattr(transmit_module, "libsrtp", Library)
    lab.run(0.2)
    assert [stream.statistics().send.packets_sent for stream in streams] == [0, 0]
    assert lab.engine.datagrams_sent == 0


def test_the_first_packet_has_the_marker_and_a_tone_goes_on_without_a_break(lab, rtp_fields):
    peer = lab.socket()
    stream = lab.open()
    tone = Tone(440)
    stream.play(tone)
    stream.start(lab.parameters(peer))
    lab.run(1.0)
    packets = lab.fetch(peer)
    assert [rtp_fields(packet)[0] >> 7 for packet in packets] == [1] + [0] * (len(packets) - 1)
    audio = b"".join(packet[12:] for packet in packets)
    table = b"".join(tone.frames("PCMU", 160).payloads)
    assert audio == (table * 100)[: len(audio)]


@pytest.mark.parametrize("frequencies", [(440, 440, 440), (440, 440, 445)])
def test_streams_that_play_the_same_frames_are_each_at_their_own_place(lab, frequencies):
    tones = {frequency: Tone(frequency) for frequency in frequencies}
    ends = []
    for number, frequency in enumerate(frequencies):
        stream, peer = lab.open(), lab.socket()
        stream.start(lab.parameters(peer))
        ends.append((peer, frequency, b""))
        lab.run(0.1 * number)
        lab.fetch(peer)
        stream.play(tones[frequency])
    assert len(lab.engine.lanes.frames) == len(set(frequencies))
    for _ in range(3):
        lab.run(0.5)
        ends = [
            (peer, frequency, heard + b"".join(packet[12:] for packet in lab.fetch(peer)))
            for peer, frequency, heard in ends
        ]
    for _, frequency, heard in ends:
        frames = tones[frequency].frames("PCMU", 160).payloads
        assert len(heard) >= 75 * 160
        start = frames.index(heard[:160])
        table = b"".join(frames[start:] + frames[:start])
        assert heard == (table * 100)[: len(heard)]
