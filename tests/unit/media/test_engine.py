"""The tick: schedule, phases, limits, and what is left when all streams are gone."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os

import pytest

from callmeter.errors import ConfigurationError, LocalProtocolError, TransportError
from callmeter.media import MediaEngine, Silent, StreamParameters, Tone
from callmeter.media import engine as engine_module
from callmeter.media.datagrams import new_backend


def fixed_clock():
    return 1_700_000_000.0


def test_an_engine_without_streams_has_no_timer(lab):
    assert lab.loop.timers == []
    stream = lab.open()
    assert len(lab.loop.timers) == 1
    stream.stop()
    assert lab.loop.timers == []


def test_a_packet_leaves_every_20_ms_on_an_absolute_schedule(lab):
    peer = lab.socket()
    stream = lab.open()
    stream.start(lab.parameters(peer))
    lab.run(1.0)
    assert 49 <= len(lab.fetch(peer)) <= 51
    lab.loop.hold_up(0.013)
    lab.run(0.987)
    assert 49 <= len(lab.fetch(peer)) <= 51


@pytest.mark.parametrize("ptime", [10, 20, 30, 40, 60])
def test_every_packet_time_keeps_its_own_pace(lab, rtp_fields, ptime):
    peer = lab.socket()
    stream = lab.open()
    stream.start(lab.parameters(peer, ptime_ms=ptime))
    lab.run(2.4)
    packets = lab.fetch(peer)
    assert abs(len(packets) - 2400 // ptime) <= 1
    timestamps = [rtp_fields(packet)[2] for packet in packets]
    steps = {(b - a) & 0xFFFF_FFFF for a, b in itertools.pairwise(timestamps)}
    assert steps == {8 * ptime}
    assert {len(packet) for packet in packets} == {12 + 8 * ptime}


def test_a_short_delay_is_caught_up_and_a_long_one_is_skipped(lab, rtp_fields):
    peer = lab.socket()
    stream = lab.open()
    stream.start(lab.parameters(peer))
    lab.run(0.5)
    lab.fetch(peer)
    lab.loop.hold_up(0.1)
    lab.run(0.1)
    assert 9 <= len(lab.fetch(peer)) <= 11
    assert lab.engine.skipped_phases == 0
    lab.loop.hold_up(3.0)
    lab.run(0.2)
    packets = lab.fetch(peer)
    assert len(packets) < 25
    assert lab.engine.skipped_phases >= 500
    assert lab.engine.late_ticks >= 2
    # The sequence goes on without a hole, the media clock does not lose the three seconds.
    assert rtp_fields(packets[-1])[1] - rtp_fields(packets[0])[1] == len(packets) - 1
    statistics = stream.statistics()
    elapsed = lab.engine.send_table.timestamp[0] - lab.engine.send_table.last_timestamp[0]
    assert elapsed == 160
    assert statistics.send.packets_sent < 60


def test_many_streams_are_spread_over_phases_and_few_are_gathered_again(make_lab, monkeypatch):
    monkeypatch.setattr(engine_module, "SPREAD", ((0, 4), (100, 2), (200, 1)))
    lab = make_lab()
    peer = lab.socket()

    def phases_and_ticks():
        before = lab.engine.tick_lateness.count
        lab.run(1.0)
        due = lab.engine.lanes.due[: len(streams)] % 4
        return [int((due == phase).sum()) for phase in range(4)], (
            lab.engine.tick_lateness.count - before
        )

    streams = []
    for count, busiest, ticks in ((90, 90, 50), (150, 80, 100), (210, 60, 200)):
        while len(streams) < count:
            streams.append(lab.open())
            streams[-1].start(lab.parameters(peer))
        lab.run(0.1)
        phases, ticked = phases_and_ticks()
        assert sum(phases) == count
        assert max(phases) <= busiest
        assert ticks - 2 <= ticked <= ticks + 2
    for stream in streams[60:]:
        stream.stop()
    started = lab.engine.tick_lateness.count
    before = streams[0].statistics().send.packets_sent
    lab.run(1.0)
    assert 49 <= lab.engine.tick_lateness.count - started <= 54
    assert 49 <= streams[0].statistics().send.packets_sent - before <= 51


def test_hundreds_of_streams_share_a_phase_and_are_laid_in_order(make_lab, monkeypatch):
    monkeypatch.setattr(engine_module, "MANY", 20)
    lab = make_lab()
    streams = [stream for _ in range(10) for stream in lab.pair(secure=True)]
    lab.run(2.0)
    ticks = lab.engine.tick_lateness.count
    lab.run(1.0)
    assert 49 <= lab.engine.tick_lateness.count - ticks <= 51
    assert lab.engine.lanes.arranged
    assert lab.engine._receive.deferring
    # With a few less they still count as many.
    streams[0].stop()
    assert lab.engine._receive.deferring
    for stream in streams[1:8]:
        stream.stop()
    assert not lab.engine._receive.deferring


def test_a_full_engine_refuses_by_name_and_counts(make_lab):
    lab = make_lab(max_streams=2)
    first = lab.open()
    lab.open()
    with pytest.raises(TransportError, match="2 streams, its limit"):
        lab.open()
    assert lab.engine.refused_streams == 1
    first.stop()
    lab.open()


def test_a_stream_without_a_port_gives_its_row_back(lab):
    blocker = lab.open()
    for _ in range(100):
        with pytest.raises(TransportError):
            lab.engine.open_stream("127.0.0.1", rtcp_mux=True, ports=(blocker.port, blocker.port))
    assert len(lab.engine.lanes) == len(lab.engine.reception) == len(lab.engine.send_table) == 1


def test_rows_of_the_three_tables_stay_in_step_through_growth_and_reuse(lab):
    streams = [lab.open() for _ in range(100)]
    for stream in streams[::3]:
        stream.stop()
    more = [lab.open() for _ in range(40)]
    ssrcs = {int(lab.engine.send_table.ssrc[stream._row]): stream.ssrc for stream in more}
    assert all(kept == told for kept, told in ssrcs.items())
    assert len(lab.engine.lanes) == len(lab.engine.reception) == len(lab.engine.send_table)


def test_silence_is_reported_once_per_gap(lab):
    peer = lab.socket()
    stream = lab.open()
    stream.start(lab.parameters(peer))
    lab.run(5.5)
    assert len(lab.events(stream, Silent)) == 0
    lab.run(5.0)
    (silent,) = lab.events(stream, Silent)
    assert 5 <= silent.seconds < 7.1
    for sequence in range(60):
        peer.sendto(lab.rtp(sequence), ("127.0.0.1", stream.port))
        lab.run(0.02)
    lab.run(8.0)
    assert len(lab.events(stream, Silent)) == 2


def test_a_pause_with_comfort_noise_is_no_silence_for_half_a_minute(lab):
    peer = lab.socket()
    stream = lab.open()
    stream.start(lab.parameters(peer))
    for sequence in range(60):
        peer.sendto(lab.rtp(sequence), ("127.0.0.1", stream.port))
        lab.run(0.02)
    peer.sendto(lab.rtp(60, payload_type=13, payload=b"\x41"), ("127.0.0.1", stream.port))
    lab.run(20.0)
    assert lab.events(stream, Silent) == []
    lab.run(15.0)
    assert len(lab.events(stream, Silent)) == 1
    assert stream.statistics().receive.packets_lost == 0


def test_a_stream_that_only_sends_expects_nothing(lab):
    stream = lab.open()
    stream.start(lab.parameters(lab.socket(), receive=False))
    lab.run(8.0)
    assert lab.events(stream, Silent) == []


def test_counters_add_up_over_streams_that_are_gone(lab):
    peer = lab.socket()
    stream = lab.open()
    stream.start(lab.parameters(peer))
    peer.sendto(b"\xff" * 40, ("127.0.0.1", stream.port))
    lab.run(0.1)
    assert lab.engine.dropped == {"unrecognised": 1}
    stream.stop()
    assert lab.engine.dropped == {"unrecognised": 1}
    assert lab.engine.datagrams_received == 1
    assert lab.engine.datagrams_sent > 3
    assert lab.engine.socket_overflows == 0


def test_an_engine_is_used_inside_its_context_only():
    engine = MediaEngine(entropy=os.urandom, wall_clock=fixed_clock)
    with pytest.raises(LocalProtocolError):
        engine.open_stream("127.0.0.1", rtcp_mux=True)
    with pytest.raises(LocalProtocolError):
        engine.now()
    assert engine.clock_offset == 0.0
    engine.backend.close()


async def test_leaving_the_context_stops_all_streams():
    loop = asyncio.get_running_loop()
    async with MediaEngine(entropy=os.urandom, wall_clock=fixed_clock) as engine:
        streams = [engine.open_stream("127.0.0.1", rtcp_mux=False) for _ in range(3)]
        for stream in streams:
            stream.start(StreamParameters(codec="PCMU", payload_type=0, remote=("127.0.0.1", 9)))
        playing = streams[0].play(Tone())
        assert engine.clock_offset == pytest.approx(loop.time() - fixed_clock(), abs=1)
    assert engine.streams == []
    assert playing.done()


def test_an_unknown_back_end_is_a_configuration_error():
    with pytest.raises(ConfigurationError):
        MediaEngine(entropy=os.urandom, wall_clock=fixed_clock, backend="carrier pigeon")


def test_late_ticks_are_told_as_our_own_and_not_as_the_jitter_of_the_peer(make_lab):
    told = []
    lab = make_lab(on_overload=told.append)
    stream, peer = lab.open(), lab.socket()
    stream.start(lab.parameters(peer))
    while not told:
        lab.loop.hold_up(0.15)
        lab.run(0.02)
    assert told == [True]
    assert lab.engine.late_ticks >= 15
    assert stream.statistics().late_ticks == lab.engine.late_ticks
    assert lab.open().statistics().late_ticks == 0
    stream.stop()
    assert told == [True]
    lab.close()
    assert told == [True, False]


def test_many_streams_that_stay_have_their_keys_laid_side_by_side(make_lab, monkeypatch):
    monkeypatch.setattr(engine_module, "MANY", 2)
    lab = make_lab()
    a, b = lab.pair(secure=True)
    handles = lab.engine.lanes.send_handles
    own = handles[a._row]
    lab.run(0.9)
    assert handles[a._row] is own
    lab.run(2.2)
    assert handles[a._row] is not own
    assert handles[a._row] == own
    compact = handles[a._row]
    lab.run(2.0)
    assert handles[a._row] is compact
    assert a.statistics().receive.packets_received >= 250
    b.stop()
    lab.run(3.0)
    assert a.statistics().srtp_decrypt_failures == 0


def test_an_engine_that_gets_no_other_way_to_move_datagrams_keeps_the_one_it_has(lab, monkeypatch):
    def exhausted(*_, **__):
        raise OSError("too many open files")

    lab.engine._choosing = True
    monkeypatch.setattr(engine_module, "new_backend", exhausted)
    before = lab.engine.backend
    alone = lab.open(shared=True)
    assert lab.engine.backend is before
    alone.stop()
    a, b = lab.pair()
    lab.run(0.5)
    assert a.statistics().receive.packets_received
    assert b.statistics().receive.packets_received


def test_figures_outlast_the_change_to_another_way_to_move_datagrams(lab):
    lab.engine._choosing = True
    backend = lab.engine.backend
    backend.overflows.note(-1, 7)
    backend.send_errors.note(errno.ENETUNREACH)
    for _ in range(2):
        lab.open(shared=True).stop()
        assert lab.engine.backend.name == "mmsg"
        assert lab.engine.socket_overflows == 7
        assert lab.engine.backend.send_errors.total == 1


def test_who_does_not_want_io_uring_gets_the_socket_module(lab):
    best = new_backend()
    wanted, unwanted = (
        MediaEngine(entropy=lab.engine.entropy, wall_clock=lab.engine.wall, io_uring=io_uring)
        for io_uring in (True, False)
    )
    assert (wanted.backend.name, unwanted.backend.name) == (best.name, "portable")
    for backend in (best, wanted.backend, unwanted.backend):
        backend.close()


def test_the_way_that_suits_shared_ports_is_chosen_once(lab):
    lab.engine._choosing = True
    lab.open(shared=True).stop()
    chosen = lab.engine.backend
    lab.open(shared=True).stop()
    assert lab.engine.backend is chosen
