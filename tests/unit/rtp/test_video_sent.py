from __future__ import annotations

import pytest

from callmeter.metrics import catalogue
from callmeter.rtp.video_sent import VideoSent


def test_frames_are_counted_with_their_key_frames():
    sent = VideoSent()
    for number in range(31):
        key_frame = number in {0, 20}
        sent.on_frame(number / 10, key_frame=key_frame, size=(640, 480) if key_frame else None)
    told = sent.statistics(3.0)
    assert (told.frames_sent, told.keyframes_sent) == (31, 2)
    assert told.keyframe_interval_ms == pytest.approx(2000)
    assert told.frame_rate_fps == 10
    assert told.size == (640, 480)
    assert told.resolution_megapixels == pytest.approx(0.3072)


def test_its_metrics_are_keys_of_the_catalogue():
    sent = VideoSent()
    sent.on_frame(0.0, key_frame=True, size=(640, 480))
    metrics = sent.metrics(0.0)
    assert metrics.keys() <= catalogue.CATALOGUE.keys()
    assert metrics["frames_sent"] == metrics["keyframes_sent"] == 1


def test_a_packet_that_is_asked_for_is_the_one_that_left():
    sent = VideoSent()
    packet = bytearray(b"protected")
    sent.on_packet(7, packet)
    packet[:] = b"used anew"
    assert sent.again(1.0, 7) == b"protected"
    assert sent.again(1.0, 8) is None
    assert sent.statistics(1.0).packets_retransmitted == 1


def test_who_asks_at_once_again_gets_nothing():
    sent = VideoSent()
    sent.on_packet(7, b"p")
    assert [sent.again(1 + number / 200, 7) for number in range(4)] == [b"p", None, b"p", None]


def test_a_packet_is_sent_again_four_times_at_most():
    sent = VideoSent()
    sent.on_packet(7, b"p")
    assert [sent.again(float(number), 7) for number in range(6)] == [b"p"] * 4 + [None] * 2


def test_the_oldest_packets_make_room_for_new_ones():
    sent = VideoSent(packets=3)
    for sequence in (65_534, 65_535, 0, 1):
        sent.on_packet(sequence, bytes([sequence & 0xFF]))
    assert [sent.again(1.0, sequence) for sequence in (65_534, 65_535, 0, 1)] == [
        None,
        b"\xff",
        b"\0",
        b"\1",
    ]


def test_the_octets_kept_are_bounded_too():
    sent = VideoSent(octets=250)
    for sequence in range(4):
        sent.on_packet(sequence, bytes(100))
    assert [sent.again(1.0, sequence) is not None for sequence in range(4)] == [
        False,
        False,
        True,
        True,
    ]


def test_a_number_that_is_used_again_stands_for_its_new_packet():
    sent = VideoSent(octets=25)
    for text in (b"first", b"second", b"third"):
        sent.on_packet(7, text)
    sent.on_packet(8, bytes(20))
    assert sent.again(1.0, 7) == b"third"


def test_nothing_is_sent_again_that_was_forgotten():
    sent = VideoSent(octets=10)
    sent.on_packet(1, b"old key")
    sent.forget()
    assert sent.again(1.0, 1) is None
    sent.on_packet(2, b"new key!")
    assert sent.again(1.0, 2) == b"new key!"
