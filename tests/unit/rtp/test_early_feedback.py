from __future__ import annotations

from callmeter.rtp.early_feedback import EarlyFeedback

HALF = b"\x80\0\0\0"


def rule():
    return EarlyFeedback(lambda octets: HALF[:octets])


def due(early, now, **changes):
    return early.due_at(now, **{"interval": 1.0, "members": 2, "next_report": 99.0} | changes)


def test_between_two_parties_feedback_leaves_at_once():
    assert due(rule(), 10.0) == 10.0


def test_in_a_group_it_waits_for_a_random_part_of_half_an_interval():
    assert due(rule(), 10.0, members=3, interval=2.0) == 10.5


def test_after_an_early_packet_there_is_none_for_two_intervals():
    early = rule()
    early.on_early(10.0, 1.0)
    assert due(early, 11.9) is None
    assert due(early, 12.0) == 12.0


def test_a_regular_report_allows_the_next_early_packet():
    early = rule()
    early.on_early(10.0, 1.0)
    early.on_regular()
    assert due(early, 10.1) == 10.1


def test_feedback_waits_for_a_regular_report_that_comes_sooner():
    assert due(rule(), 10.0, next_report=10.0) is None
    assert due(rule(), 10.0, members=9, next_report=10.2) is None
