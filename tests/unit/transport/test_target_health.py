"""Which targets come first, which are left alone, and for how long."""

from __future__ import annotations

import pytest

from callmeter.config import Transport
from callmeter.sip.server_location import Target
from callmeter.transport.target_health import REMEMBERED, TargetHealth

ONE, TWO, THREE = (
    Target(Transport.UDP, f"h{last}", f"192.0.2.{last}", 5060, "example.com") for last in (1, 2, 3)
)
ALL = (ONE, TWO, THREE)


@pytest.fixture
def health():
    return TargetHealth()


def test_without_bad_news_the_order_stays(health):
    assert health.usable(iter(ALL), 0.0) == ALL


def test_a_failed_target_stands_last_for_thirty_seconds(health):
    health.failed(ONE.destination, 100.0)
    assert health.usable(ALL, 129.9) == (TWO, THREE, ONE)
    assert health.usable(ALL, 130.0) == ALL


def test_failed_targets_keep_their_order_among_themselves(health):
    health.failed(TWO.destination, 0.0)
    health.failed(ONE.destination, 1.0)
    assert health.usable(ALL, 2.0) == (THREE, ONE, TWO)


@pytest.mark.parametrize(
    ("retry_after", "seconds"), [(None, 60.0), (5.0, 5.0), (3600.0, 3600.0), (90_000.0, 3600.0)]
)
def test_a_target_that_said_503_is_left_alone_for_its_time(health, retry_after, seconds):
    health.unavailable(ONE.destination, 10.0, retry_after)
    assert health.usable(ALL, 10.0 + seconds - 0.1) == (TWO, THREE)
    assert health.usable(ALL, 10.0 + seconds) == ALL


@pytest.mark.parametrize("retry_after", [0.0, -5.0])
def test_a_retry_after_of_nothing_leaves_the_target_in_its_place(health, retry_after):
    health.unavailable(ONE.destination, 10.0, retry_after)
    assert health.usable(ALL, 10.0) == ALL


def test_when_all_said_503_the_first_to_be_free_again_is_left(health):
    for target, retry_after in zip(ALL, (30.0, 10.0, 20.0), strict=True):
        health.unavailable(target.destination, 0.0, retry_after)
    assert health.usable(ALL, 1.0) == (TWO,)


def test_a_target_that_answers_again_has_nothing_held_against_it(health):
    health.unavailable(ONE.destination, 0.0)
    health.failed(ONE.destination, 0.0)
    health.good(ONE.destination)
    health.good(TWO.destination)
    assert health.usable(ALL, 1.0) == ALL


def test_another_port_or_transport_of_the_address_is_another_target(health):
    health.failed(("TCP", ONE.address, ONE.port), 0.0)
    health.failed(("UDP", ONE.address, 5061), 0.0)
    assert health.usable(ALL, 1.0) == ALL


def test_no_target_no_answer(health):
    health.failed(ONE.destination, 0.0)
    assert health.usable((), 1.0) == ()


def test_what_is_remembered_is_bounded_and_the_oldest_goes_first(health):
    health.failed(ONE.destination, 0.0)
    health.failed(TWO.destination, 0.0)
    for port in range(REMEMBERED - 2):
        health.failed(("UDP", "192.0.2.9", port), 0.0)
    health.failed(ONE.destination, 0.0)
    health.failed(("UDP", "192.0.2.9", 65_000), 0.0)
    assert health.usable(ALL, 1.0) == (TWO, THREE, ONE)
