"""Where a redirected call may go: RFC 3261 section 8.1.3.4."""

from __future__ import annotations

import pytest

from callmeter.sip.message import Response
from callmeter.sip.redirection import MAX_TARGETS, TargetSet
from callmeter.sip.uri import SipUri, parse_uri

FIRST = SipUri("sip", "example.com", user="bob")


def moved(*contacts):
    return Response(302, headers=[("Contact", contact) for contact in contacts])


def drained(targets):
    return [str(uri) for uri in iter(targets.next, None)]


def test_targets_are_tried_by_their_q():
    targets = TargetSet(FIRST, 5)
    targets.add(
        moved(
            *("<sip:low@x>;q=0.2", "<sip:high@x>;q=0.9", "<sip:none@x>", "<sip:odd@x>;q=x"),
            "<sip:nan@x>;q=nan",
        )
    )
    assert drained(targets) == ["sip:none@x", "sip:odd@x", "sip:nan@x", "sip:high@x", "sip:low@x"]


def test_what_was_tried_or_is_no_sip_uri_is_left_out():
    targets = TargetSet(FIRST, 5)
    targets.add(moved("<sip:bob@EXAMPLE.com>", "<tel:+15550100>", "<sip:a@x>", "<sip:a@x>"))
    assert drained(targets) == ["sip:a@x"]
    targets.add(moved("<sip:a@x>"))
    assert drained(targets) == []


def test_targets_of_a_later_redirection_go_first():
    targets = TargetSet(FIRST, 5)
    targets.add(moved("<sip:a@x>", "<sip:b@x>"))
    assert str(targets.next()) == "sip:a@x"
    targets.add(moved("<sip:c@x>"))
    assert drained(targets) == ["sip:c@x", "sip:b@x"]


@pytest.mark.parametrize("limit", [0, 2])
def test_no_more_than_the_limit_are_tried(limit):
    targets = TargetSet(FIRST, limit)
    targets.add(moved(*(f"<sip:u{n}@x>" for n in range(9))))
    assert len(drained(targets)) == limit


def test_a_secure_call_stays_secure():
    targets = TargetSet(parse_uri("sips:bob@example.com"), 5)
    targets.add(moved("<sip:a@x>", "<sips:b@x>"))
    assert drained(targets) == ["sips:b@x"]


def test_a_long_list_is_cut_and_a_star_is_nobody():
    targets = TargetSet(FIRST, 100)
    targets.add(moved("*"))
    targets.add(moved(*(f"<sip:u{n}@x>" for n in range(99))))
    assert len(drained(targets)) == MAX_TARGETS - 1
