"""The values of RAck, RSeq, Session-Expires, Replaces, Event and Subscription-State."""

from __future__ import annotations

import pytest

from callmeter.errors import SipSyntaxError
from callmeter.sip.extension_headers import (
    EventType,
    RAck,
    Replaces,
    SessionExpires,
    SubscriptionState,
    parse_rseq,
    parse_sipfrag_status,
)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("988789", 988789),
        (" 0001 ", 1),
        ("4294967295", 4294967295),
        ("0", None),
        ("4294967296", None),
        ("99999999999", None),
        ("x", None),
        ("", None),
        ("1 2", None),
        ("-1", None),
    ],
)
def test_an_rseq_is_a_positive_number_of_32_bits(text, number):
    assert parse_rseq(text) == number


def test_a_rack_names_a_response_by_three_fields():
    rack = RAck.parse("776656  1\tINVITE")
    assert rack == RAck(776656, 1, "INVITE")
    assert str(rack) == "776656 1 INVITE"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1 2",
        "1 2 INVITE x",
        "a 1 INVITE",
        "4294967296 1 INVITE",
        "1 2147483648 INVITE",
        "1 1 " + "A" * 65,
        "1 1 <",
    ],
)
def test_what_is_no_rack_is_named(text):
    with pytest.raises(SipSyntaxError, match="malformed RAck"):
        RAck.parse(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1800", SessionExpires(1800)),
        ("1800;refresher=UAS", SessionExpires(1800, "uas")),
        ("90 ; Refresher = uac;x=y", SessionExpires(90, "uac", (("x", "y"),))),
        ("90;refresher=me", SessionExpires(90)),
    ],
)
def test_a_session_interval_says_who_refreshes(text, value):
    assert SessionExpires.parse(text) == value
    assert SessionExpires.parse(str(value)) == value


@pytest.mark.parametrize("text", ["", "x", "-1", "9 9", "1800,90", "1800;;"])
def test_what_is_no_session_interval_is_named(text):
    with pytest.raises(SipSyntaxError, match=r"malformed (Session-Expires|parameter)"):
        SessionExpires.parse(text)


def test_a_replaces_names_a_dialog_by_three_fields():
    value = Replaces.parse("98732@sip.example.com ;from-tag=r33th4x0r ;to-tag=ff87ff;early-only")
    assert value == Replaces("98732@sip.example.com", "ff87ff", "r33th4x0r", early_only=True)
    assert Replaces.parse(str(value)) == value
    plain = Replaces("a", "b", "c")
    assert str(plain) == "a;to-tag=b;from-tag=c"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "a;to-tag=b",
        "a;from-tag=b",
        "a;to-tag;from-tag=c",
        "a;to-tag=b;from-tag=c;to-tag=d",
        "a b;to-tag=b;from-tag=c",
        "a,b;to-tag=b;from-tag=c",
    ],
)
def test_what_is_no_replaces_is_named(text):
    with pytest.raises(SipSyntaxError, match="malformed Replaces"):
        Replaces.parse(text)


def test_an_event_is_a_package_and_perhaps_an_id():
    assert EventType.parse("refer ; id=93809824") == EventType("refer", "93809824")
    assert str(EventType("refer", "9")) == "refer;id=9"
    assert EventType.parse("message-summary") == EventType("message-summary")
    assert str(EventType("presence.winfo")) == "presence.winfo"


@pytest.mark.parametrize("text", ["", ";id=1", "a b", "a,b"])
def test_what_is_no_event_is_named(text):
    with pytest.raises(SipSyntaxError, match="malformed Event"):
        EventType.parse(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("active;expires=3600", SubscriptionState("active", None, 3600)),
        ("Pending", SubscriptionState("pending")),
        (
            "terminated;reason=Probation;retry-after=5",
            SubscriptionState("terminated", "probation", None, 5),
        ),
        ("active;expires=x", SubscriptionState("active")),
    ],
)
def test_a_subscription_state_says_how_long_or_why(text, value):
    assert SubscriptionState.parse(text) == value
    assert SubscriptionState.parse(str(value)) == value


def test_what_is_no_subscription_state_is_named():
    with pytest.raises(SipSyntaxError, match="malformed Subscription-State"):
        SubscriptionState.parse("<active>")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"SIP/2.0 100 Trying\r\n", (100, "Trying")),
        (b"SIP/2.0 200 OK", (200, "OK")),
        (b"sip/2.0 486 \r\n", (486, "")),
        (b"SIP/2.0 700 No\r\n", None),
        (b"INVITE sip:a@b SIP/2.0\r\n", None),
        (b"", None),
    ],
)
def test_a_sipfrag_tells_a_status(body, status):
    assert parse_sipfrag_status(body) == status
