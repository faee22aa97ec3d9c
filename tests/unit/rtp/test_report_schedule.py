from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeter.rtp.report_schedule import MAX_MEMBERS, ReportSchedule, round_trip_time
from callmeter.rtp.report_table import ReportTable
from callmeter.rtp.rtcp import (
    Goodbye,
    ReceiverReport,
    ReportBlock,
    SenderReport,
    SourceDescription,
    ntp_timestamp,
)
from callmeter.rtp.xr import (
    DelaySinceReference,
    DelaySinceReferences,
    ExtendedReport,
    ReferenceTime,
    VoipMetrics,
)

OWN, PEER = 1, 2
WALL = 1_700_000_000.0
COMPENSATION = 2.718281828 - 1.5


def middle_chance(octets):
    return b"\x80" + bytes(octets - 1)


def lowest_chance(octets):
    return bytes(octets)


def highest_chance(octets):
    return b"\xff" * octets


def schedule(entropy=middle_chance, **settings):
    return ReportSchedule(OWN, 0.0, entropy, **settings)


def send_due(timer, now):
    assert timer.on_deadline(now)
    timer.on_sent(100)


def test_the_first_report_comes_after_half_the_minimum():
    assert schedule().next_deadline() == pytest.approx(2.5 / COMPENSATION)


def test_between_two_parties_the_first_report_may_come_sooner():
    timer = schedule(initial_minimum=0.75)
    assert timer.next_deadline() == pytest.approx(0.75 / COMPENSATION)
    send_due(timer, timer.next_deadline())
    assert timer.next_deadline() == pytest.approx(5.75 / COMPENSATION)


def test_later_reports_come_after_the_whole_minimum():
    timer = schedule()
    first = timer.next_deadline()
    send_due(timer, first)
    assert timer.next_deadline() - first == pytest.approx(5.0 / COMPENSATION)


@given(st.binary(min_size=4, max_size=4))
def test_the_interval_is_spread_from_half_to_one_and_a_half(chance):
    timer = schedule(lambda _: chance)
    assert 1.25 / COMPENSATION <= timer.next_deadline() <= 3.75 / COMPENSATION


def test_the_reduced_minimum_follows_the_session_bandwidth():
    timer = schedule(bandwidth=720_000.0, reduced_minimum=True)
    assert timer.next_deadline() == pytest.approx(0.25 / COMPENSATION)
    narrow = schedule(bandwidth=16_000.0, reduced_minimum=True)
    assert narrow.next_deadline() == pytest.approx(2.5 / COMPENSATION)


def test_nothing_is_sent_before_the_deadline_or_after_the_end():
    timer = schedule()
    assert not timer.on_deadline(0.5)
    timer.stop()
    assert timer.next_deadline() is None
    assert not timer.on_deadline(1e9)


def test_a_timer_that_drew_a_longer_interval_is_reconsidered():
    draws = iter([bytes(4), b"\xff" * 4, bytes(4), bytes(4)])
    timer = schedule(lambda _: next(draws))
    first = timer.next_deadline()
    assert not timer.on_deadline(first)
    assert timer.next_deadline() == pytest.approx(3.75 / COMPENSATION)
    assert timer.on_deadline(timer.next_deadline())


def test_many_members_share_the_bandwidth():
    timer = schedule(bandwidth=8000.0)
    report = [ReceiverReport(ssrc) for ssrc in range(2, 30)]
    timer.on_received(report, 400, 0.0, 0)
    timer.on_deadline(timer.next_deadline())
    listener = timer.next_deadline()
    timer.we_sent = True
    timer.on_deadline(listener)
    # 28 listeners share three quarters of 50 octets/s; one sender has a quarter for itself.
    assert listener > 28 * 128 / 37.5 / COMPENSATION
    assert timer.next_deadline() - listener < 20.0


def test_members_beyond_the_limit_are_counted_and_ignored():
    timer = schedule()
    timer.on_received([SenderReport(s, 1 << 32, 0, 0, 0) for s in range(2, 50)], 400, 0.0, 0)
    assert timer.members == MAX_MEMBERS + 1
    assert timer.refused == 48 - MAX_MEMBERS
    assert timer.last_sr(49, 1.0) == (0, 0)


def test_silent_members_are_forgotten_and_speaking_ones_kept():
    timer = schedule()
    timer.on_received([SenderReport(PEER, 1 << 32, 0, 0, 0)], 80, 0.0, 0)
    timer.on_received([ReceiverReport(3)], 80, 90.0, 0)
    timer.on_deadline(100.0)
    assert timer.members == 2
    assert timer.last_sr(PEER, 100.0) == (0, 0)


def test_a_goodbye_removes_its_sources_and_brings_the_next_report_nearer():
    timer = schedule()
    timer.on_received([ReceiverReport(s) for s in (2, 3, 4)], 80, 0.0, 0)
    send_due(timer, timer.next_deadline())
    now = 3.0
    before = timer.next_deadline() - now
    timer.on_received([ReceiverReport(2), Goodbye((3, 4, 99))], 80, now, 0)
    assert timer.members == 2
    assert timer.next_deadline() - now == pytest.approx(before / 2)


def test_a_goodbye_of_a_stranger_or_after_the_end_moves_nothing():
    timer = schedule()
    deadline = timer.next_deadline()
    timer.on_received([Goodbye((77,))], 80, 0.1, 0)
    assert timer.next_deadline() == deadline
    timer.on_received([ReceiverReport(PEER)], 80, 0.1, 0)
    timer.on_deadline(deadline)
    timer.stop()
    timer.on_received([Goodbye((PEER,))], 80, 0.1, 0)
    assert (timer.members, timer.next_deadline()) == (1, None)


def test_the_last_sender_report_is_quoted_with_its_age():
    timer = schedule()
    ntp = ntp_timestamp(WALL)
    timer.on_received([SenderReport(PEER, ntp, 0, 0, 0)], 80, 10.0, ntp)
    assert timer.last_sr(PEER, 12.5) == ((ntp >> 16) & 0xFFFFFFFF, 163_840)
    assert timer.last_sr(PEER, 9.0)[1] == 0
    assert timer.last_sr(PEER, 1e9)[1] == 0xFFFFFFFF


def test_a_report_about_the_own_stream_gives_the_round_trip_time():
    timer = schedule()
    sent = (ntp_timestamp(WALL) >> 16) & 0xFFFFFFFF
    block = ReportBlock(OWN, 5, last_sr=sent, delay_since_last_sr=32_768)
    other = ReportBlock(9, 200, last_sr=sent)
    timer.on_received(
        [ReceiverReport(PEER, (other, block)), SourceDescription()],
        80,
        1.0,
        ntp_timestamp(WALL + 0.75),
    )
    assert timer.rtt == pytest.approx(0.25, abs=1e-4)
    assert timer.remote_block == block


def test_a_report_before_any_sender_report_leaves_the_round_trip_time_unknown():
    timer = schedule()
    timer.on_received([ReceiverReport(PEER, (ReportBlock(OWN),))], 80, 1.0, 1 << 40)
    assert timer.rtt is None
    assert timer.remote_block == ReportBlock(OWN)


def test_a_round_trip_time_below_zero_is_zero():
    block = ReportBlock(OWN, last_sr=100, delay_since_last_sr=10)
    assert round_trip_time(block, 109 << 16) == 0.0
    assert round_trip_time(block, 111 << 16) == 1 / 65_536


def test_the_round_trip_time_survives_the_wrap_of_ntp_seconds():
    block = ReportBlock(OWN, last_sr=0xFFFF_8000)
    assert round_trip_time(block, 0x8000 << 16) == 1.0


def test_the_interval_of_received_reports_is_measured():
    timer = schedule()
    timer.on_received([ReceiverReport(PEER)], 80, 1.0, 0)
    assert timer.report_interval is None
    timer.on_received([SenderReport(PEER, 1, 0, 0, 0)], 80, 5.5, 0)
    assert timer.report_interval == 4.5


def test_large_packets_lengthen_the_interval():
    narrow = {"bandwidth": 800.0}
    small, large = schedule(**narrow), schedule(**narrow)
    for _ in range(50):
        small.on_sent(60)
        large.on_sent(1200)
    for timer in (small, large):
        timer.on_deadline(100.0)
        timer.on_deadline(timer.next_deadline() + 1000)
    assert large.next_deadline() > small.next_deadline() + 10


@pytest.mark.parametrize("entropy", [lowest_chance, middle_chance, highest_chance])
def test_in_the_long_run_reports_come_about_every_five_seconds(entropy):
    timer = schedule(entropy)
    sent = 0
    while (deadline := timer.next_deadline()) < 600.0:
        sent += timer.on_deadline(deadline)
    assert 600 / 7.6 < sent < 600 / 2.0


def test_feedback_has_the_interval_that_the_bandwidth_allows():
    # Two members, 128 octets a packet, five percent of 80 kbit/s; no five seconds at least.
    timer = schedule()
    timer.on_received([ReceiverReport(PEER)], 100, 0.0, 0)
    assert timer.feedback_interval == pytest.approx(2 * 128 / (500 * 0.75))


def reference(ssrc, ntp):
    return ExtendedReport(ssrc, (VoipMetrics(ssrc=OWN), ReferenceTime(ntp)))


def test_the_last_reference_time_of_each_member_is_answered_once():
    timer = schedule()
    packets = [ReceiverReport(PEER), reference(PEER, 1 << 16), reference(PEER, 2 << 16)]
    timer.on_received(packets, 100, 10.0, 0)
    answer = timer.take_references(10.5)
    assert answer == ExtendedReport(
        OWN, (DelaySinceReferences((DelaySinceReference(PEER, 2, 32_768),)),)
    )
    assert timer.take_references(11.0) is None


def test_reference_times_of_strangers_and_of_those_who_left_are_not_answered():
    timer = schedule()
    timer.on_received([reference(9, 1 << 16)], 100, 10.0, 0)
    assert timer.take_references(10.5) is None
    timer.on_received([ReceiverReport(PEER), reference(PEER, 1 << 16)], 100, 11.0, 0)
    timer.on_received([Goodbye((PEER,))], 100, 12.0, 0)
    assert timer.take_references(12.5) is None


def test_the_member_that_stays_is_the_first_one_when_that_has_gone():
    table = ReportTable(1, 1)
    table.allocate()
    timer = ReportSchedule(OWN, 0.0, middle_chance, table=table)
    for source, at in ((PEER, 1.0), (9, 40.0)):
        report = SenderReport(source, ntp_timestamp(WALL + at), 0, 0, 0)
        timer.on_received([report], 100, at, ntp_timestamp(WALL + at))
    assert table.crowded[0]
    middle = timer.last_sr(9, 41.0)
    timer.on_deadline(41.0)
    assert (timer.members, int(table.peer[0]), bool(table.crowded[0])) == (2, 9, False)
    assert timer.last_sr(9, 41.0) == middle
    assert timer.last_sr(PEER, 41.0) == (0, 0)


def test_a_report_that_was_overtaken_tells_no_interval():
    timer = schedule()
    for at in (1.0, 6.0, 4.0, 7.0):
        timer.on_received([ReceiverReport(PEER)], 100, at, ntp_timestamp(WALL))
    assert timer.report_interval == 1.0
