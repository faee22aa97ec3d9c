from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeter.metrics import catalogue
from callmeter.rtp import h264, video_reception, vp8
from callmeter.rtp.video_reception import WINDOW, VideoReception

STEP = 3000
FRAME_S = 1 / 30
KEY = bytes.fromhex("b05c009d012a4001f000") + b"intra" * 12
INTER = bytes.fromhex("b10c00") + b"inter" * 12


def frames(keys="K.........", *, limit=30, sequence=65_500, timestamp=0xFFFF_0000):
    """The packets of frames in VP8, three each: (time, sequence, timestamp, marker, payload)."""
    packets = []
    for number, key in enumerate(keys):
        payloads = vp8.packetize(KEY if key == "K" else INTER, limit)
        for payload in payloads:
            marker = payload is payloads[-1]
            at = timestamp + number * STEP & 0xFFFF_FFFF
            packets.append((number * FRAME_S, sequence & 0xFFFF, at, marker, payload))
            sequence += 1
    return packets


def taken(packets, *, without=(), **settings):
    """A reception that took packets in, but those of some places."""
    reception = VideoReception(vp8.describe, **settings)
    for place, packet in enumerate(packets):
        if place not in without:
            reception.receive(*packet)
    return reception


def test_frames_are_counted_when_all_their_packets_are_there():
    told = taken(frames("K....K....")).statistics(1.1)
    assert (told.frames_received, told.keyframes_received, told.frames_lost) == (10, 2, 0)
    assert told.size == (320, 240)
    assert told.resolution_megapixels == pytest.approx(0.0768)
    assert told.keyframe_interval_ms == pytest.approx(5000 / 30)
    assert (told.packets_late, told.packets_malformed, told.keyframes_requested) == (0, 0, 0)


def test_the_rate_is_that_of_the_last_second():
    reception = taken(frames("K" + "." * 59))
    assert reception.statistics(59 * FRAME_S + 0.01).frame_rate_fps == 30
    assert taken(frames("K")).statistics(0.5).frame_rate_fps is None


def test_its_metrics_are_keys_of_the_catalogue():
    metrics = taken(frames()).metrics(1.0)
    assert metrics.keys() <= catalogue.CATALOGUE.keys()
    assert metrics["frames_received"] == 10
    assert metrics["resolution_megapixels"] == pytest.approx(0.0768)


def test_a_stream_without_packets_has_nothing_to_tell():
    reception = VideoReception(vp8.describe, nack=True)
    told = reception.statistics(5.0)
    assert told.frames_received == 0
    assert told.frame_rate_fps is told.size is told.keyframe_interval_ms is None
    assert reception.missing(5.0) == []
    assert not reception.needs_key_frame(5.0)
    assert reception.whole_frames() == []


@pytest.mark.parametrize("nack", [True, False])
def test_packets_that_overtake_each_other_do_no_harm(nack):
    packets = frames("K" + "." * 29)
    order = random.Random(4)
    reception = VideoReception(vp8.describe, nack=nack)
    for place in sorted(range(len(packets)), key=lambda place: place + order.uniform(0, 6)):
        reception.receive(*packets[place])
    told = reception.statistics(1.0)
    assert (told.frames_received, told.frames_lost, told.packets_late) == (30, 0, 0)


def test_packets_that_come_twice_count_as_late():
    packets = frames("K.")
    reception = taken([*packets, packets[1], packets[5]])
    assert reception.statistics(1.0).packets_late == 2
    waiting = taken([packets[0], packets[2], packets[2]])
    assert waiting.statistics(1.0).packets_late == 1


@pytest.mark.parametrize("place", [6, 7, 8])
def test_a_frame_without_one_of_its_packets_is_lost(place):
    reception = taken(frames(), without={place})
    told = reception.statistics(1.0)
    assert (told.frames_received, told.frames_lost) == (9, 1)


def test_a_frame_that_left_no_packet_is_lost():
    told = taken(frames(), without={6, 7, 8}).statistics(1.0)
    assert (told.frames_received, told.frames_lost) == (9, 1)


def test_a_gap_from_one_frame_into_the_next_costs_both():
    told = taken(frames(), without={8, 9}).statistics(1.0)
    assert (told.frames_received, told.frames_lost) == (8, 2)


def test_the_gap_is_waited_for_and_then_given_up():
    packets = frames("K..")
    reception = taken(packets[:4] + packets[5:])
    assert reception.statistics(0.1).frames_received == 1
    assert reception.missing(packets[5][0] + 0.09) == []
    assert reception.statistics(0.1).frames_lost == 0
    reception.missing(packets[5][0] + 0.11)
    told = reception.statistics(0.1)
    assert (told.frames_received, told.frames_lost) == (2, 1)
    reception.receive(0.3, *packets[4][1:])
    assert reception.statistics(0.3).packets_late == 1


def test_a_frame_without_marker_ends_where_the_next_begins():
    packets = [(now, number, at, False, payload) for now, number, at, _, payload in frames("K...")]
    told = taken(packets).statistics(1.0)
    assert (told.frames_received, told.frames_lost) == (3, 0)


def test_a_lost_packet_is_asked_for_and_heals_its_frame():
    packets = frames("K..")
    reception = taken(packets[:4] + packets[5:], nack=True, rtt_s=0.05)
    assert reception.rtt_s == 0.05
    assert reception.missing(0.08) == [packets[4][1]]
    assert reception.missing(0.09) == []
    reception.rtt_s = 0.03
    assert reception.missing(0.111) == [packets[4][1]]
    reception.receive(0.12, *packets[4][1:])
    told = reception.statistics(0.12)
    assert (told.frames_received, told.frames_lost, told.packets_recovered) == (3, 0, 1)
    assert reception.missing(0.5) == []
    assert not reception.needs_key_frame(0.5)


def test_a_lost_packet_that_does_not_come_makes_a_key_frame_needed():
    packets = frames("K..")
    reception = taken(packets[:4] + packets[5:], nack=True, rtt_s=0.02)
    asked = [now / 1000 for now in range(80, 400, 5) if reception.missing(now / 1000)]
    assert len(asked) == 4
    assert reception.needs_key_frame(0.4)
    assert reception.statistics(0.4).frames_lost == 1


def test_a_key_frame_is_asked_for_twice_a_second_until_it_comes():
    packets = frames("K...K.")
    reception = taken(packets[:4] + packets[5:9])
    asked = [now / 100 for now in range(300) if reception.needs_key_frame(now / 100)]
    assert asked == pytest.approx([0.14, 0.64, 1.14, 1.64, 2.14, 2.64], abs=0.02)
    for packet in packets[9:15]:
        reception.receive(3.0, *packet[1:])
    assert not reception.needs_key_frame(9.0)
    assert reception.statistics(9.0).keyframes_requested == 6


def test_on_a_long_path_a_key_frame_is_given_two_round_trips():
    reception = taken(frames("."), rtt_s=1.0)
    assert reception.needs_key_frame(0.1)
    assert not reception.needs_key_frame(2.0)
    assert reception.needs_key_frame(2.1)


def test_another_lost_frame_does_not_hasten_the_next_request():
    packets = frames("K........")
    reception = taken(packets[:9], without={4})
    assert reception.needs_key_frame(0.2)
    for packet in packets[9:12] + packets[13:]:
        reception.receive(0.21, *packet[1:])
    assert not reception.needs_key_frame(0.69)
    assert reception.needs_key_frame(0.71)


def test_a_stream_that_begins_with_no_key_frame_needs_one_at_once():
    reception = taken(frames("."))
    assert not reception.needs_key_frame(0.0)  # a packet may have been overtaken
    assert reception.needs_key_frame(0.02)


def test_a_stream_whose_first_key_frame_does_not_come_whole_needs_one_soon():
    reception = taken(frames("K")[:2])
    assert not reception.needs_key_frame(0.29)
    assert reception.needs_key_frame(0.31)


def test_the_picture_stands_still_from_a_lost_frame_to_the_next_key_frame():
    reception = taken(frames("K" + "." * 29 + "K" + "." * 9), without={61})
    told = reception.statistics(2.0)
    assert told.freeze_count == 1
    assert told.freeze_duration_ms == pytest.approx(11 * FRAME_S * 1000)
    assert told.frames_received == 39
    assert reception.metrics(2.0)["freeze_duration_ms"] == told.freeze_duration_ms


def test_a_picture_that_never_moves_again_is_told_by_how_long_it_stands():
    reception = taken(frames("K" + "." * 9))
    assert reception.statistics(9 * FRAME_S + 5).still_ms == pytest.approx(5000)
    assert reception.statistics(9 * FRAME_S + 5).freeze_count == 0
    reception.pause()
    assert reception.statistics(9.0).still_ms is None


def test_the_picture_of_a_peer_that_is_held_does_not_freeze():
    packets = frames("K" + "." * 29)
    for pause, freezes in ((True, 0), (False, 1)):
        reception = taken(packets[:60])
        if pause:
            reception.pause()
        for packet in packets[60:]:
            reception.receive(packet[0] + 60, *packet[1:])
        assert reception.statistics(70.0).freeze_count == freezes


def test_malformed_payloads_damage_their_frame_and_no_other():
    packets = frames("K..")
    packets[4] = (*packets[4][:4], b"\x80")
    told = taken(packets).statistics(1.0)
    assert (told.frames_received, told.frames_lost, told.packets_malformed) == (2, 1, 1)
    packets[3] = (*packets[3][:4], b"\x80")
    told = taken(packets).statistics(1.0)
    assert (told.frames_received, told.frames_lost, told.packets_malformed) == (2, 1, 2)


def test_packets_without_payload_only_take_their_number():
    packets = frames("K..", sequence=0)
    for place, packet in enumerate(packets):
        packets[place] = (packet[0], packet[1] + (place >= 3) + (place >= 6), *packet[2:])
    padding = [(0.0, 3, packets[2][2], False, b""), (0.04, 7, packets[5][2], False, b"")]
    stream = sorted([*packets, *padding], key=lambda packet: packet[1])
    told = taken(stream).statistics(1.0)
    assert (told.frames_received, told.frames_lost, told.packets_malformed) == (3, 0, 0)
    lost = taken(stream, without={3}).statistics(1.0)
    assert lost.frames_received == 1  # the others wait behind the gap
    lost = taken([*stream, (1.0, 11, 0, False, b"")], without={3}).statistics(1.0)
    assert (lost.frames_received, lost.frames_lost) == (3, 1)


def test_parameter_sets_alone_are_no_frame():
    reception = VideoReception(h264.describe)
    reception.receive(0.0, 1, 0, True, b"\x68\xce\x3c\x80")  # noqa: FBT003
    reception.receive(0.0, 2, 0, True, b"\x65\x88")  # noqa: FBT003
    reception.missing(0.02)
    told = reception.statistics(0.02)
    assert (told.frames_received, told.keyframes_received, told.frames_lost) == (1, 1, 0)


def test_a_frame_is_a_key_frame_if_any_of_its_packets_says_so():
    reception = VideoReception(h264.describe, keep_frames=True)
    units = [b"\x09\x10", b"\x06\x05\x02ab\x80", b"\x65\x88intra", b"\x41\x20half"]
    for number, unit in enumerate(units):
        reception.receive(0.0, number, 0, unit is units[-1], unit)
    reception.missing(0.02)
    assert [frame.key_frame for frame in reception.whole_frames()] == [True]


def test_a_sequence_that_begins_anew_is_followed():
    packets = frames("K..") + frames("K.....", sequence=20_000, timestamp=77)
    told = taken(packets).statistics(1.0)
    # Its first packet could have been a stray one.
    assert (told.frames_received, told.frames_lost, told.packets_late) == (8, 1, 1)


def test_what_was_waited_for_is_given_up_when_a_sequence_begins_anew():
    packets = frames("K..")
    reception = taken([*packets[:4], *packets[5:], *frames("KK..", sequence=900)], nack=True)
    told = reception.statistics(1.0)
    assert (told.frames_received, told.frames_lost) == (5, 2)
    assert reception.missing(5.0) == []


def test_a_stray_packet_from_far_away_changes_nothing():
    packets = frames("K..")
    stray = (0.0, 20_000, 7, True, packets[0][4])
    told = taken([*packets[:4], stray, *packets[4:], stray]).statistics(1.0)
    assert (told.frames_received, told.frames_lost, told.packets_late) == (3, 0, 2)


def test_no_more_packets_wait_than_the_window_has():
    packets = frames("K" + "." * 400)
    reception = VideoReception(vp8.describe, nack=True)
    reception.receive(*packets[0])
    for packet in packets[2 : WINDOW + 1]:
        reception.receive(0.0, *packet[1:])
    assert reception.statistics(0.0).frames_received == 0
    assert reception.missing(0.02) == [packets[1][1]]
    reception.receive(0.0, *packets[WINDOW + 1][1:])
    assert reception.statistics(0.0).frames_received > 160
    assert reception.missing(0.03) == []


def test_every_second_packet_lost_leaves_nothing_behind():
    packets = frames("K" + "." * 2000)
    reception = VideoReception(vp8.describe, nack=True)
    for packet in packets[::2]:
        reception.receive(*packet)
        assert len(reception._waiting) <= WINDOW // 2
        assert len(reception.missing(packet[0])) <= 128


def test_whole_frames_are_handed_out_in_order_and_once():
    packets = frames("K...")
    reception = taken([packets[0], packets[2], packets[1], *packets[3:]], keep_frames=True)
    got = reception.whole_frames()
    assert [frame.key_frame for frame in got] == [True, False, False, False]
    assert [vp8.frame_of(frame.payloads) for frame in got] == [KEY, INTER, INTER, INTER]
    assert [frame.timestamp for frame in got] == [0xFFFF_0000 + STEP * n for n in range(4)]
    assert reception.whole_frames() == []


def test_timestamps_go_on_over_32_bits_and_back_for_pictures_shown_later():
    packets = frames("K..", timestamp=0xFFFF_FFFF)
    swapped = [
        (*packet[:2], at, *packet[3:])
        for packet, at in zip(
            packets, [0xFFFF_FFFF] * 3 + [2 * STEP - 1] * 3 + [STEP - 1] * 3, strict=True
        )
    ]
    got = taken(swapped, keep_frames=True).whole_frames()
    assert [frame.timestamp - 0xFFFF_FFFF for frame in got] == [0, 2 * STEP, STEP]


def test_frames_that_nobody_takes_away_are_dropped_from_the_oldest_on(monkeypatch):
    reception = taken(frames("K" + "." * 199), keep_frames=True)
    assert reception.statistics(9.0).frames_dropped == 72
    assert len(reception.whole_frames()) == 128
    monkeypatch.setattr(video_reception, "MOST_KEPT_OCTETS", 1000)
    reception = taken(frames("K" + "." * 199), keep_frames=True)
    kept = reception.whole_frames()
    assert sum(len(payload) for frame in kept for payload in frame.payloads) <= 1000
    assert reception.statistics(9.0).frames_dropped == 200 - len(kept)


def test_a_frame_larger_than_any_is_lost(monkeypatch):
    monkeypatch.setattr(video_reception, "MOST_HELD_OCTETS", 100)
    big = vp8.packetize(KEY + bytes(100), 30)
    reception = VideoReception(vp8.describe, keep_frames=True)
    for number, payload in enumerate(big):
        reception.receive(0.0, number, 0, payload is big[-1], payload)
    told = reception.statistics(0.0)
    assert (told.frames_received, told.frames_lost) == (0, 1)
    assert reception.whole_frames() == []


def test_a_frame_of_more_packets_than_any_is_lost(monkeypatch):
    monkeypatch.setattr(video_reception, "MOST_FRAME_PACKETS", 10)
    small = vp8.packetize(KEY, 2)
    reception = VideoReception(vp8.describe, keep_frames=True)
    for number, payload in enumerate(small):
        reception.receive(number / 1000, number, 0, payload is small[-1], payload)
        assert reception._frame is None or len(reception._frame.payloads) <= 10
    told = reception.statistics(1.0)
    assert (told.frames_received, told.frames_lost) == (0, 1)


def test_payloads_that_wait_are_bounded_in_octets(monkeypatch):
    monkeypatch.setattr(video_reception, "MOST_HELD_OCTETS", 300)
    packets = frames("K" + "." * 9)
    reception = taken(packets[:1] + packets[2:12], keep_frames=True, nack=True)
    assert reception.statistics(0.0).frames_received == 0
    for packet in packets[12:16]:
        reception.receive(0.0, *packet[1:])
    assert reception.statistics(0.0).frames_received == 4
    assert reception._held == 0


@given(st.sets(st.integers(3, 59)), st.randoms(use_true_random=False), st.booleans())
def test_frames_received_are_those_of_which_no_packet_was_lost(lost, chance, nack):
    packets = frames("K" + "." * 19)
    places = [place for place in range(60) if place not in lost]
    order = sorted(places, key=lambda place: place + chance.uniform(0, 3) * (place > 0))
    reception = VideoReception(vp8.describe, nack=nack, keep_frames=True)
    for place in order:
        reception.receive(*packets[place])
    for now in range(100, 300):
        reception.missing(now / 100)
    whole = [number for number in range(20) if lost.isdisjoint(range(3 * number, 3 * number + 3))]
    got = reception.whole_frames()
    assert [(frame.timestamp - 0xFFFF_0000) // STEP for frame in got] == whole
    told = reception.statistics(3.0)
    assert told.frames_received == len(whole)
    assert told.frames_lost <= 20 - len(whole)
    assert bool(told.frames_lost) == any(place in lost for place in range(max(places)))
    assert reception._held == 0
    assert not reception._waiting


def h264_key_frame(*units):
    """Packets of one H.264 access unit, a unit each."""
    units = units or (b"\x67\x42\xc0\x0d\xda\x05\x07\xe8\x40", b"\x68\xce\x3c\x80", b"\x65\x88")
    return [(0.001 * n, n, 0, unit is units[-1], unit) for n, unit in enumerate(units)]


def test_a_marker_on_each_parameter_set_makes_no_frame_of_it():
    reception = VideoReception(h264.describe, keep_frames=True)
    packets = [(*packet[:3], True, packet[4]) for packet in h264_key_frame()]
    for packet in packets:
        reception.receive(*packet)
    told = reception.statistics(0.03)
    assert (told.frames_received, told.keyframes_received, told.frames_lost) == (1, 1, 0)
    [frame] = reception.whole_frames()
    assert frame.payloads == tuple(packet[4] for packet in packets)


def test_a_parameter_set_with_a_time_of_its_own_is_no_key_frame():
    reception = VideoReception(h264.describe)
    sequence_set, _, picture = h264_key_frame()
    reception.receive(*sequence_set)
    reception.receive(0.1, 1, 3000, picture[3], b"\x41\x9a")
    told = reception.statistics(0.1)
    assert (told.frames_received, told.keyframes_received) == (1, 0)
    assert told.undecodable_ms == pytest.approx(100)
    assert reception.needs_key_frame(0.5)


@pytest.mark.parametrize("order", [(1, 0, 2), (2, 1, 0), (1, 2, 0)])
def test_the_first_packet_may_have_overtaken_others(order):
    packets = h264_key_frame()
    reception = VideoReception(h264.describe, keep_frames=True)
    for place in order:
        reception.receive(*packets[place])
    reception.missing(0.03)
    told = reception.statistics(0.03)
    assert (told.frames_received, told.frames_lost, told.packets_late) == (1, 0, 0)
    [frame] = reception.whole_frames()
    assert frame.payloads == tuple(packet[4] for packet in packets)


def test_a_gap_among_the_first_packets_is_a_gap():
    packets = frames("K..", sequence=0)
    reception = taken([packets[2], packets[1], *packets[4:]], nack=True)
    reception.missing(0.02)
    assert reception.missing(0.1) == [3]
    reception.receive(0.11, *packets[3][1:])
    told = reception.statistics(0.11)
    assert (told.frames_received, told.frames_lost) == (2, 1)


def test_a_gap_before_what_came_first_is_asked_for():
    packets = frames("...", sequence=0)
    reception = VideoReception(vp8.describe, nack=True)
    for place in (5, 3):
        reception.receive(0.0, *packets[place][1:])
    assert reception.missing(0.02) == []
    assert reception.missing(0.04) == [4]


def test_packets_are_asked_for_from_the_moment_the_peer_agrees_to_it():
    packets = frames("K..", sequence=0)
    reception = VideoReception(vp8.describe)
    for place in (0, 2):
        reception.receive(0.0, *packets[place][1:])
    assert (reception.nack, reception.missing(0.02)) == (False, [])
    reception.nack = True
    assert (reception.nack, reception.missing(0.03)) == (True, [1])


def test_what_was_asked_for_before_the_stream_began_is_not_asked_for_again_at_once():
    packets = frames("...", sequence=0)
    reception = VideoReception(vp8.describe, nack=True)
    for place in (0, 2):
        reception.receive(0.0, *packets[place][1:])
    assert reception.missing(0.012) == [1]
    assert reception.missing(0.04) == []
    reception.receive(0.05, *packets[1][1:])
    assert reception.statistics(0.05).packets_recovered == 1


def test_a_stream_that_begins_with_a_jump_is_not_waited_for():
    packets = frames("." * 400, sequence=0)
    reception = VideoReception(vp8.describe, nack=True)
    for place in (600, 300, 900):
        reception.receive(0.0, *packets[place][1:])
    assert len(reception._lost._lost) <= WINDOW
    assert len(reception._waiting) <= 2


def test_what_came_first_may_have_been_a_stray_packet():
    stray = (0.0, 30_000, 5, True, INTER)
    packets = frames("K....", sequence=0)
    told = taken([stray, *packets]).statistics(1.0)
    assert told.frames_received == 4


def test_frames_are_kept_from_the_moment_somebody_wants_them():
    reception = VideoReception(vp8.describe)
    packets = frames("K...")
    for packet in packets[:4]:
        reception.receive(*packet)
    reception.keep_frames = True
    for packet in packets[4:]:
        reception.receive(*packet)
    # The second one was half there, and is whole all the same.
    kept = reception.whole_frames()
    assert [vp8.frame_of(frame.payloads) for frame in kept] == [INTER] * 3


@pytest.mark.parametrize("keys", ["..........", "K........."])
def test_how_long_nothing_can_be_decoded_is_told_until_a_key_frame_comes(keys):
    packets = frames(keys)
    without = {4} if keys[0] == "K" else set()
    told = taken(packets, without=without).statistics(9.0)
    # Nobody sends after the last packet: that is not held against it.
    lost_at = 0.0 if keys[0] != "K" else 4 * FRAME_S
    assert told.undecodable_ms == pytest.approx((9 * FRAME_S - lost_at) * 1000, abs=40)
    assert told.span_ms == pytest.approx(9 * FRAME_S * 1000)


def test_what_is_shown_can_be_decoded():
    assert taken(frames()).statistics(9.0).undecodable_ms is None
    again = taken(frames("K.....K..."), without={4}).statistics(9.0)
    assert again.undecodable_ms is None


def test_a_loss_that_is_found_after_the_last_packet_has_lasted_no_time():
    reception = taken(frames("K.."), without={5})
    assert reception.statistics(9.0).undecodable_ms is None
    reception.missing(5.0)
    assert reception.statistics(9.0).undecodable_ms == 0


def test_requests_go_unanswered_until_a_key_frame_comes():
    reception = taken(frames("...."))
    for now in (1.0, 2.0, 3.0):
        assert reception.needs_key_frame(now)
    assert reception.statistics(3.0).requests_unanswered == 3
    for packet in frames("K", sequence=65_512, timestamp=0xFFFF_F000):
        reception.receive(3.5, *packet[1:])
    told = reception.statistics(4.0)
    assert (told.requests_unanswered, told.keyframes_requested) == (0, 3)
