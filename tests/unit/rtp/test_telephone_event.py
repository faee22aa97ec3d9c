from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeter.errors import ConfigurationError
from callmeter.rtp.telephone_event import DIGITS, DigitReceived, EventReceiver, EventSender


def sent_packets(sender, start=1000, step=160):
    """What is sent at each packet time until the sender is finished."""
    packets, clock = [], start
    while not sender.finished:
        packets.append((clock, sender.tick(clock)))
        clock += step
    return packets


def events(packets):
    return [packet for _, packet in packets if packet is not None]


def test_a_digit_starts_with_the_marker_grows_and_ends_three_times():
    packets = events(sent_packets(EventSender("5", volume=10)))
    assert [packet.marker for packet in packets] == [True] + [False] * 6
    assert {packet.timestamp for packet in packets} == {1000}
    assert [packet.payload.hex() for packet in packets] == [
        "050a00a0",
        "050a0140",
        "050a01e0",
        "050a0280",
        "058a0320",
        "058a0320",
        "058a0320",
    ]


def test_digits_are_kept_apart_by_a_gap_and_have_their_own_timestamps():
    packets = sent_packets(EventSender("12", gap_ms=60))
    silent = [clock for clock, packet in packets if packet is None]
    assert silent[:3] == [1000 + 160 * n for n in (7, 8, 9)]
    assert {packet.timestamp for packet in events(packets)} == {1000, 1000 + 160 * 10}


def test_digits_without_a_gap_follow_at_once():
    packets = sent_packets(EventSender("12", gap_ms=0))
    assert [packet is None for _, packet in packets] == [False] * 14 + [True]


def test_lengths_are_rounded_up_to_whole_packets():
    packets = events(sent_packets(EventSender("1", duration_ms=101)))
    assert packets[-1].payload.hex()[4:] == f"{6 * 160:04x}"


def test_a_sender_without_digits_is_finished():
    sender = EventSender("")
    assert sender.finished
    assert sender.tick(0) is None


def test_each_digit_counts_as_sent_with_its_last_end_packet():
    sender = EventSender("1")
    counts = []
    for number in range(7):
        sender.tick(number * 160)
        counts.append(sender.sent)
    assert counts == [0] * 6 + [1]


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"digits": "12x"}, "not a DTMF digit"),
        ({"digits": "٣"}, "not a DTMF digit"),
        ({"digits": "1", "duration_ms": 99}, "100 ms or more"),
        ({"digits": "1", "duration_ms": 9000}, "one segment"),
        ({"digits": "1", "volume": 64}, "0 to 63"),
    ],
)
def test_what_cannot_be_sent_is_refused(settings, reason):
    with pytest.raises(ConfigurationError, match=reason):
        EventSender(**settings)


@given(
    digits=st.text(DIGITS, min_size=1, max_size=4),
    duration=st.integers(100, 400),
    gap=st.integers(60, 200),
    data=st.data(),
)
def test_every_digit_arrives_once_whatever_is_lost_of_it(digits, duration, gap, data):
    """All but one packet of each digit may be lost, and any may come twice."""
    receiver = EventReceiver()
    received = []
    packets = sent_packets(EventSender(digits, duration_ms=duration, gap_ms=gap))
    by_digit = {}
    for clock, packet in packets:
        if packet is not None:
            by_digit.setdefault(packet.timestamp, []).append((clock, packet))
    for group in by_digit.values():
        copies = data.draw(
            st.lists(st.integers(0, 2), min_size=len(group), max_size=len(group)).filter(any)
        )
        for (clock, packet), count in zip(group, copies, strict=True):
            for _ in range(count):
                received += receiver.on_packet(packet.payload, packet.timestamp, clock / 8000)
    received += receiver.on_deadline(1e6)
    assert "".join(event.digit for event in received) == digits
    longest = -(-duration // 20) * 20
    assert all(event.duration_ms == longest for event in received if event.end_seen)
    assert all(0 < event.duration_ms < longest for event in received if not event.end_seen)


def test_small_letters_are_digits_too():
    sender = EventSender("a")
    assert sender.tick(0).payload[0] == 12


def test_a_digit_whose_end_is_lost_ends_with_silence():
    receiver = EventReceiver()
    assert receiver.next_deadline() is None
    assert receiver.on_packet(b"\x01\x0a\x01\x40", 500, 3.0) == []
    assert receiver.next_deadline() == pytest.approx(3.2)
    assert receiver.on_deadline(3.1) == []
    assert receiver.on_deadline(3.2) == [DigitReceived("1", 40.0, 10, end_seen=False)]
    assert receiver.on_deadline(9.0) == []


def test_a_late_packet_of_a_finished_digit_is_no_new_digit():
    receiver = EventReceiver()
    assert len(receiver.on_packet(b"\x01\x8a\x03\x20", 500, 3.0)) == 1
    assert receiver.on_packet(b"\x01\x0a\x01\x40", 500, 3.1) == []
    assert len(receiver.on_packet(b"\x01\x8a\x03\x20", 2500, 3.4)) == 1
    assert receiver.on_packet(b"\x01\x8a\x03\x20", 500, 3.5) == []


def test_a_lost_end_and_a_whole_next_digit_give_two_digits_at_once():
    receiver = EventReceiver()
    receiver.on_packet(b"\x01\x0a\x01\x40", 500, 3.0)
    both = receiver.on_packet(b"\x02\x8a\x03\x20", 2500, 3.4)
    assert [(event.digit, event.end_seen) for event in both] == [("1", False), ("2", True)]


def test_packets_out_of_order_never_shorten_a_digit():
    receiver = EventReceiver()
    receiver.on_packet(b"\x01\x0a\x02\x80", 500, 3.0)
    receiver.on_packet(b"\x01\x0a\x01\x40", 500, 3.0)
    assert receiver.on_deadline(4.0)[0].duration_ms == 80.0


def test_the_segments_of_a_long_digit_are_one_digit():
    receiver = EventReceiver()
    receiver.on_packet(b"\x01\x0a\xff\xff", 500, 3.0)
    receiver.on_packet(b"\x01\x0a\x00\xa0", 500 + 0xFFFF, 11.2)
    (event,) = receiver.on_packet(b"\x01\x8a\x01\x40", 500 + 0xFFFF, 11.3)
    assert event.duration_ms == pytest.approx((0xFFFF + 0x140) / 8)


@pytest.mark.parametrize("payload", [b"", b"\x01\x0a\x01", b"\x10\x0a\x01\x40"])
def test_what_is_no_digit_is_counted_and_ignored(payload):
    receiver = EventReceiver()
    assert receiver.on_packet(payload, 1, 0.0) == []
    assert (receiver.ignored, receiver.next_deadline()) == (1, None)


def test_the_duration_follows_the_clock_rate():
    receiver = EventReceiver(48_000)
    (event,) = receiver.on_packet(b"\x0b\x85\x12\xc0", 1, 0.0)
    assert event == DigitReceived("#", 100.0, 5, end_seen=True)
