"""Bursts and gaps of a stream that runs."""

from __future__ import annotations

import pytest

from callmeter.media.losses import LATE_S, MAX_GAPS, LossRecord
from callmeter.metrics.burst_gap import burst_gap, burst_ratio
from callmeter.rtp.reception import reception_statistics
from callmeter.rtp.stream_table import StreamTable

PTIME = 0.02


class Stream:
    """Packets of one stream, and what is told of its gaps, as the engine does it."""

    def __init__(self, first=65_500):
        self.table = StreamTable(rows=2)
        self.row = self.table.allocate(7, probation=0)
        self.losses = LossRecord(self.row, self.table)
        self.losses.ptime_ms = 20.0
        self.first = first
        self.now = 0.0

    def packet(self, place):
        number = (self.first + place) & 0xFFFF
        self.table.update_one(self.row, number, place * 160, self.now, 160)
        for _, first, count in self.table.gaps:
            self.losses.on_gap(first, count, self.now)
        self.table.gaps.clear()

    def packets(self, count, lost=()):
        for place in range(count):
            self.now = place * PTIME
            if place not in lost:
                self.packet(place)
            self.losses.on_deadline(self.now)
        self.losses.settle()

    def expected(self):
        return reception_statistics(self.table, self.row, self.now).packets_expected

    def found(self):
        packets = self.expected()
        return self.losses.burst_gap(packets), self.losses.burst_ratio(packets)


@pytest.mark.parametrize(
    "lost",
    [
        (),
        (50,),
        (50, 53, 60, 90, 300, 302, 303),
        tuple(range(100, 140)),
        tuple(range(10, 480, 3)),
    ],
    ids=str,
)
def test_the_figures_are_those_of_the_whole_pattern_across_a_wrap(lost):
    stream = Stream()
    stream.packets(500, lost)
    assert stream.expected() == 500
    assert stream.found() == (
        burst_gap(lost, 500, ptime_ms=20),
        pytest.approx(burst_ratio(lost, 500)),
    )


def test_a_packet_that_is_only_late_is_not_lost():
    stream = Stream()
    for place in (0, 1, 2, 5, 3, 6, 7):
        stream.now += PTIME
        stream.packet(place)
    assert stream.losses.due == pytest.approx(4 * PTIME + LATE_S)
    stream.losses.on_deadline(stream.now)
    stream.losses.on_deadline(stream.losses.due)
    assert stream.losses.due is None
    assert stream.found()[0] == burst_gap([4], 8, ptime_ms=20)


def test_many_gaps_at_once_are_judged_before_there_are_too_many():
    stream = Stream(first=0)
    lost = range(1, 4 * MAX_GAPS, 2)
    for place in range(4 * MAX_GAPS):
        if place not in lost:
            stream.packet(place)
    stream.losses.settle()
    assert stream.found()[0] == burst_gap(list(lost)[:-1], 4 * MAX_GAPS - 1, ptime_ms=20)


def test_gaps_that_left_the_window_of_duplicates_are_lost():
    stream = Stream()
    for place in range(400):
        if place not in {5, 6}:
            stream.packet(place)
    stream.losses.settle()
    assert stream.found()[0] == burst_gap([5, 6], 400, ptime_ms=20)


def test_gaps_of_a_source_that_was_followed_by_another_are_forgotten():
    stream = Stream()
    for place in (0, 1, 4):
        stream.packet(place)
    stream.table.switch_ssrc(stream.row, 8)
    stream.packet(90)
    stream.losses.settle()
    assert stream.found()[0].burst_lost == stream.found()[0].gap_lost == 0


def test_a_running_stream_tells_its_bursts_at_its_end_too(lab):
    peer = lab.socket()
    stream = lab.open()
    stream.start(lab.parameters(peer, send=False))
    for place in range(100):
        if place not in {40, 42, 97, 98}:
            peer.sendto(lab.rtp(1000 + place), ("127.0.0.1", stream.port))
        lab.run(0.02)
    running = stream.statistics().bursts
    assert (running.bursts, running.burst_lost) == (1, 2)
    stream.stop()
    ended = stream.statistics().bursts
    assert (ended.bursts, ended.burst_lost, ended.burst_packets) == (2, 4, 5)
