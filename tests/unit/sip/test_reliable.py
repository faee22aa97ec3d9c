"""Which reliable provisional response waits, and which was received: RFC 3262."""

from __future__ import annotations

import pytest

from callmeter.sip.extension_headers import RAck
from callmeter.sip.message import Request, Response
from callmeter.sip.reliable import (
    MAX_QUEUE,
    ReliableReceiver,
    ReliableSender,
    is_reliable,
    rack_of,
)


def response(status=180, rseq=None, cseq=1, tag="t", require="100rel"):
    lines = [("CSeq", f"{cseq} INVITE"), ("To", "<sip:a@b>" + (f";tag={tag}" if tag else ""))]
    if require:
        lines.append(("Require", require))
    if rseq is not None:
        lines.append(("RSeq", str(rseq)))
    return Response(status, headers=lines)


@pytest.mark.parametrize(
    ("how", "reliable"),
    [
        ({"rseq": 1}, True),
        ({"rseq": 1, "require": "timer, 100REL"}, True),
        ({"rseq": 1, "status": 100}, False),
        ({"rseq": 1, "status": 200}, False),
        ({"rseq": 1, "require": ""}, False),
        ({"rseq": 1, "tag": ""}, False),
        ({}, False),
        ({"rseq": "x"}, False),
    ],
)
def test_a_reliable_response_says_so_and_has_a_number(how, reliable):
    assert is_reliable(response(**how)) is reliable


@pytest.mark.parametrize(
    ("value", "rack"), [("1 2 INVITE", RAck(1, 2, "INVITE")), ("1 2", None), (None, None)]
)
def test_a_prack_without_a_readable_rack_has_none(value, rack):
    lines = [] if value is None else [("RAck", value)]
    assert rack_of(Request("PRACK", "sip:a@b", lines)) == rack


def test_responses_go_one_by_one_with_rising_numbers():
    sender = ReliableSender(41)
    assert sender.idle
    assert sender.next() is None
    for _ in range(2):
        sender.add(response(require=""))
    first = sender.next()
    assert (first.headers.get("RSeq"), first.headers.get("Require")) == ("42", "100rel")
    assert sender.next() is None
    assert not sender.idle
    for wrong in (RAck(41, 1, "INVITE"), RAck(42, 2, "INVITE"), RAck(42, 1, "UPDATE")):
        assert not sender.on_prack(wrong)
    assert sender.on_prack(RAck(42, 1, "INVITE"))
    assert not sender.on_prack(RAck(42, 1, "INVITE"))
    assert sender.next().headers.get("RSeq") == "43"


def test_after_the_final_response_only_the_last_prack_counts():
    sender = ReliableSender(0)
    sender.add(response(require=""))
    sender.add(response(require=""))
    sender.next()
    sender.stop()
    assert sender.idle
    assert sender.next() is None
    assert sender.on_prack(RAck(1, 1, "INVITE"))


def test_not_many_responses_may_wait():
    sender = ReliableSender(0)
    for _ in range(MAX_QUEUE):
        assert not sender.full
        sender.add(response(require=""))
    assert sender.full


def test_responses_are_acknowledged_in_order_and_once():
    receiver = ReliableReceiver()
    assert receiver.on_response(response(rseq=7)) == RAck(7, 1, "INVITE")
    assert receiver.on_response(response(rseq=7)) is None
    assert receiver.on_response(response(rseq=9)) is None
    assert receiver.on_response(response(rseq=8)) == RAck(8, 1, "INVITE")
    # Another INVITE counts anew.
    assert receiver.on_response(response(rseq=3, cseq=2)) == RAck(3, 2, "INVITE")
