from __future__ import annotations

import pytest

from callmeter.errors import SipSyntaxError
from callmeter.sip.uri import OtherUri, SipUri, TelUri, parse_uri

# RFC 3261 section 19.1.1
EXAMPLES = [
    "sip:alice@atlanta.com",
    "sip:alice:secretword@atlanta.com;transport=tcp",
    "sips:alice@atlanta.com?subject=project%20x&priority=urgent",
    "sip:+1-212-555-1212:1234@gateway.com;user=phone",
    "sips:1212@gateway.com",
    "sip:alice@192.0.2.4",
    "sip:atlanta.com;method=REGISTER?to=alice%40atlanta.com",
    "sip:alice;day=tuesday@atlanta.com",
    "sip:alice@[2001:db8::1]:5061;lr",
    "sip:a@b;maddr=[::1];x=?h=",
    "tel:+1-201-555-0123;phone-context=example.com",
    "tel:7042;ext",
    "soap.beep://192.0.2.103:3002",
    "urn:service:sos",
]


@pytest.mark.parametrize("text", EXAMPLES)
def test_a_uri_is_written_as_it_was_read(text):
    assert str(parse_uri(text)) == str(parse_uri(text.encode())) == text


def test_the_parts_of_a_sip_uri():
    uri = parse_uri(
        "SIP:alice;x:pw@Host.example:5070;Transport=TCP;lr;maddr=[::1];method=BYE?A=%20b"
    )
    assert uri == SipUri(
        scheme="sip",
        host="Host.example",
        port=5070,
        user="alice;x",
        password="pw",
        params=(("Transport", "TCP"), ("lr", None), ("maddr", "[::1]"), ("method", "BYE")),
        headers=(("A", "%20b"),),
    )
    assert (uri.transport, uri.lr, uri.maddr, uri.method) == ("tcp", True, "::1", "BYE")
    assert (uri.header("a"), uri.header("b")) == (" b", None)
    assert str(uri.aor()) == "sip:alice;x@Host.example:5070"


def test_absent_parts_are_none():
    uri = parse_uri("sip:h")
    assert (uri.user, uri.user_bytes, uri.user_text) == (None, b"", "")
    assert (uri.transport, uri.lr, uri.maddr, uri.method) == (None, False, None, None)
    assert (uri.param("x"), uri.has_param("x")) == (None, False)


def test_escapes_are_undone_once_and_nul_cuts_nothing():
    uri = parse_uri("sip:a%00%2541@h;%6C%72;n%61me=v%61lue%25%34%31")
    assert uri.user_bytes == b"a\0%41"
    assert uri.user_text == "a\0%41"
    assert uri.lr
    assert uri.param("NAME") == "value%41"


def test_a_user_that_is_no_utf8_is_readable_text():
    assert parse_uri("sip:%ff@h").user_text == "\ufffd"


def test_a_password_is_not_shown():
    uri = parse_uri("sip:alice:secretword@h")
    assert "secretword" not in repr(uri)
    assert repr(parse_uri("sip:alice@h")) == "SipUri('sip:alice@h')"


def test_parameters_are_set_and_removed_without_case():
    uri = parse_uri("sip:h;Transport=udp;x=1")
    assert str(uri.with_params(transport="tcp", lr=None)) == "sip:h;x=1;transport=tcp;lr"
    assert str(uri.without_params("TRANSPORT", "y")) == "sip:h;x=1"


def test_dialled_codes_may_stand_unescaped():
    assert parse_uri("sip:*31#0123@h").user == "*31#0123"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "alice",
        ":a",
        "1sip:a",
        "sip:",
        "sip:@h",
        "sip:a@",
        "sip:a@b@c",
        "sip:a b@h",
        "sip:h;",
        "sip:h;;a",
        "sip:h;a=\xe4",
        "sip:h?",
        "sip:h?a",
        "sip:h?a=b&",
        "sip:h:70000",
        "sip:h:",
        "sip:a%4@h",
        "sip:2001:db8::10",
        "<sip:h>",
        "sip:h>",
        "sip:h\r\n",
        "tel:",
        "tel:+1 2",
        "tel:1;;a",
        "x:",
        "x:a b",
        "x:<a>",
        b"sip:\xff@h",
    ],
)
def test_what_is_no_uri_is_refused(text):
    with pytest.raises(SipSyntaxError) as caught:
        parse_uri(text)
    assert caught.value.status == 400
    assert "section" in caught.value.rfc


# RFC 3261 section 19.1.4
EQUIVALENT = [
    ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
    ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
    ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on"),
    (
        "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
        "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
    ),
    (
        "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
        "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
    ),
    ("sip:a@[2001:db8::1]", "sip:a@[2001:0DB8:0::1]"),
    ("sip:a%3bb@h", "sip:a%3Bb@h"),
    ("sip:a:b@h", "sip:a:%62@h"),
    ("tel:+1-201-555-0123", "tel:+12015550123"),
    ("tel:1;a=b;c", "tel:1;C;A=B"),
    ("X:a", "x:a"),
]
DIFFERENT = [
    ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
    ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
    ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
    ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
    ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
    ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
    ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
    ("sip:a@h", "sips:a@h"),
    ("sip:a@h", "sip:h"),
    ("sip:a@h", "sip:a:b@h"),
    ("sip:a@h;ttl=1", "sip:a@h"),
    ("sip:a@h;user=phone", "sip:a@h"),
    ("sip:a@h;maddr=1.2.3.4", "sip:a@h"),
    ("sip:a%3Bb@h", "sip:a;b@h"),
    ("sip:1@h", "tel:1"),
    ("tel:1", "sip:1@h"),
    ("tel:1", "tel:+1"),
    ("tel:1;a=b", "tel:1"),
    ("x:a", "x:A"),
]


@pytest.mark.parametrize(("one", "other"), EQUIVALENT)
def test_equivalent_uris_are_so_both_ways(one, other):
    assert parse_uri(one).equivalent(parse_uri(other))
    assert parse_uri(other).equivalent(parse_uri(one))


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different_uris_are_so_both_ways(one, other):
    assert not parse_uri(one).equivalent(parse_uri(other))
    assert not parse_uri(other).equivalent(parse_uri(one))


def test_a_telephone_number_and_its_parameters():
    uri = parse_uri("tel:+1-(201)-555.0123;Phone-Context=example.com;ext=%31;isub")
    assert isinstance(uri, TelUri)
    assert uri.number == "+12015550123"
    assert uri.param("phone-context") == "example.com"
    assert (uri.param("ext"), uri.param("isub"), uri.param("x")) == ("1", "", None)


def test_an_opaque_uri_keeps_what_follows_its_scheme():
    assert parse_uri("HTTP://www.Example.com") == OtherUri("http", "//www.Example.com")
    assert str(OtherUri("", "no scheme")) == "no scheme"
