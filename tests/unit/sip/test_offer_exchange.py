"""Whose offer waits for an answer: RFC 3264 section 4."""

from __future__ import annotations

import pytest

from callmeter.sip.message import Request
from callmeter.sip.offer_exchange import OfferExchange, Pending, describes_session


def test_an_answer_of_ours_ends_what_their_offer_began():
    exchange = OfferExchange()
    assert exchange.idle
    exchange.on_received()
    assert (exchange.pending, exchange.idle, exchange.complete) == (Pending.REMOTE, False, False)
    exchange.on_sent()
    assert (exchange.pending, exchange.complete) == (Pending.NONE, True)


def test_an_answer_of_theirs_ends_what_our_offer_began():
    exchange = OfferExchange(Pending.LOCAL)
    assert repr(exchange) == "<OfferExchange local>"
    exchange.on_received()
    assert (exchange.idle, exchange.complete) == (True, True)


def test_a_refused_offer_leaves_nothing():
    exchange = OfferExchange()
    exchange.on_sent()
    exchange.withdraw()
    assert (exchange.idle, exchange.complete) == (True, False)


@pytest.mark.parametrize(
    ("content_type", "body", "described"),
    [
        ("application/sdp", b"v=0", True),
        ("Application/SDP; charset=x", b"v=0", True),
        ("multipart/mixed;boundary=b", b"--b--", True),
        ("application/sdp", b"", False),
        ("text/plain", b"hello", False),
        ("nonsense", b"v=0", False),
        (None, b"v=0", False),
    ],
)
def test_only_a_session_description_is_an_offer_or_answer(content_type, body, described):
    lines = [] if content_type is None else [("Content-Type", content_type)]
    assert describes_session(Request("UPDATE", "sip:a@b", lines, body)) is described
