from __future__ import annotations

import pytest

from callmeter.errors import SipSyntaxError
from callmeter.sip.headers import (
    AuthParams,
    ContentType,
    CSeq,
    NameAddr,
    Via,
    parse_challenges,
    parse_delta_seconds,
)
from callmeter.sip.uri import SipUri


def test_a_via_and_its_parameters():
    via = Via.parse(
        "SIP/2.0/UDP [2001:db8::1]:5070;rport=5071;received=[::2];branch=z9;maddr=[::3]"
    )
    assert (via.transport, via.host, via.port) == ("UDP", "2001:db8::1", 5070)
    assert (via.rport, via.received, via.branch, via.maddr) == (5071, "::2", "z9", "::3")
    assert via.sent_by == "[2001:db8::1]:5070"
    assert via.param("RPORT") == "5071"
    assert str(via).startswith("SIP/2.0/UDP [2001:db8::1]:5070;rport=5071;received=[::2]")


def test_absent_via_parameters_are_none():
    via = Via.parse(b"SIP / 2.0 / TLS a.example")
    assert (via.rport, via.received, via.branch, via.maddr) == (None, None, None, None)
    assert str(via) == "SIP/2.0/TLS a.example"


@pytest.mark.parametrize("value", [None, "x", "123456", "\u0661"])
def test_an_rport_without_a_usable_number_counts_as_asked_for(value):
    assert Via("UDP", "a", params=(("rport", value),)).rport == ""


def test_via_parameters_are_set_in_place_added_and_removed():
    via = Via.parse("SIP/2.0/UDP a;rport;branch=z9;RPORT=1")
    assert str(via.with_param("rport", 5060)) == "SIP/2.0/UDP a;rport=5060;branch=z9"
    assert str(via.with_param("received", "192.0.2.1")).endswith(";RPORT=1;received=192.0.2.1")
    assert str(via.without_param("rport")) == "SIP/2.0/UDP a;branch=z9"


@pytest.mark.parametrize(
    "text", ["", "SIP/2.0/UDP", "SIP/2.0 a", "SIP/2.0/UDP a b", "SIP/2.0/UDP a;;", "SIP/2.0/UDP ;a"]
)
def test_a_malformed_via_is_refused(text):
    with pytest.raises(SipSyntaxError):
        Via.parse(text)


@pytest.mark.parametrize(
    ("text", "display", "uri", "params"),
    [
        ("sip:a@b;tag=1", None, "sip:a@b", (("tag", "1"),)),
        ("<sip:a@b;x>;tag=1", None, "sip:a@b;x", (("tag", "1"),)),
        (' "A \\"B\\"" <sip:a@b> ; tag = 1 ', 'A "B"', "sip:a@b", (("tag", "1"),)),
        ("A B<sip:a@b>", "A B", "sip:a@b", ()),
        ("M\xfcller <sip:a@b>", "M\xfcller", "sip:a@b", ()),
        ('"" <tel:1>', "", "tel:1", ()),
        ("isbn:2983792873", None, "isbn:2983792873", ()),
        ("<sip:a@b?Route=%3Csip:c%3E>", None, "sip:a@b?Route=%3Csip:c%3E", ()),
    ],
)
def test_an_address_is_read(text, display, uri, params):
    value = NameAddr.parse(text)
    assert (value.display, str(value.uri), value.params) == (display, uri, params)
    assert NameAddr.parse(str(value)) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<",
        "<>",
        "<sip:a@b",
        "sip:a@b>",
        '"A <sip:a@b>',
        "A, B <sip:a@b>",
        "< sip:a@b >",
        "<sip:a@b>x",
        "<sip:a@b>;",
        "sip:a@b?x=y",
        "sip:a,b@c",
        "sip:a;b@c",
        "sip:user;par=x@host",
        '"A" "B" <sip:a@b>',
    ],
)
def test_a_malformed_address_is_refused(text):
    with pytest.raises(SipSyntaxError):
        NameAddr.parse(text)


def test_address_parameters_are_set_and_removed():
    value = NameAddr(SipUri("sip", "h"), "A")
    tagged = value.with_param("tag", "x")
    assert (value.tag, tagged.tag) == (None, "x")
    assert str(tagged) == '"A" <sip:h>;tag=x'
    assert tagged.without_param("Tag") == value
    assert tagged.with_param("expires", 60).param("Expires") == "60"


@pytest.mark.parametrize(
    ("text", "number", "method"),
    [
        ("1 INVITE", 1, "INVITE"),
        (" 0009\t ACK ", 9, "ACK"),
        ("2147483647 A", 2**31 - 1, "A"),
        ("0 X", 0, "X"),
        ("00000000000000001 X", 1, "X"),
    ],
)
def test_a_cseq_is_read(text, number, method):
    assert CSeq.parse(text) == CSeq(number, method)
    assert str(CSeq(number, method)) == f"{number} {method}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "INVITE",
        "1INVITE",
        "2147483648 A",
        "-1 A",
        "+1 A",
        "1_0 A",
        "\u0661 A",
        "1 A B",
        "36893488147419103232 A",
        "1 " + "A" * 65,
    ],
)
def test_a_malformed_cseq_is_refused(text):
    with pytest.raises(SipSyntaxError):
        CSeq.parse(text)


def test_a_content_type_is_compared_in_lower_case():
    value = ContentType.parse('Multipart / Mixed ; Boundary="a b"')
    assert value.media_type == "multipart/mixed"
    assert value.param("boundary") == "a b"
    assert str(value) == 'multipart/mixed;Boundary="a b"'
    with pytest.raises(SipSyntaxError):
        ContentType.parse("text")


def test_a_challenge_is_read_and_written():
    text = 'Digest realm="a, b", nonce="x\\"y", qop="auth,auth-int", stale=FALSE'
    value = AuthParams.parse(text)
    assert value.scheme == "Digest"
    assert [value.get(name) for name in ("Realm", "nonce", "qop", "STALE", "opaque")] == [
        "a, b",
        'x"y',
        "auth,auth-int",
        "FALSE",
        None,
    ]
    assert str(value) == text
    assert str(AuthParams("Negotiate")) == "Negotiate"


def test_several_challenges_may_share_a_line():
    found = parse_challenges(['Digest realm="a", nonce=n, Basic realm="b"', "Negotiate", "X y=z,"])
    assert [value.scheme for value in found] == ["Digest", "Basic", "Negotiate", "X"]
    assert [value.get("realm") for value in found] == ["a", "b", None, None]


@pytest.mark.parametrize(
    "text", ["", "a=b", ",", '"', 'Digest realm="a', "Digest a b", 'Digest a="x"y', "A x=1, B y=2"]
)
def test_malformed_credentials_are_refused_and_not_shown(text):
    with pytest.raises(SipSyntaxError) as caught:
        AuthParams.parse(text)
    assert caught.value.excerpt == b""


def test_credentials_show_scheme_and_realm_alone():
    value = AuthParams.parse('Digest username="u", realm="r", response="c0ffee"')
    assert repr(value) == "AuthParams(scheme='Digest', realm='r')"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3600", 3600),
        (" 0120 (I'm in a meeting);duration=3600", 120),
        ("0", 0),
        ("4294967296", 2**32 - 1),
        ("9" * 5000, 2**32 - 1),
        ("", None),
        ("-1", None),
        ("\u0661", None),
    ],
)
def test_delta_seconds_are_clamped_and_never_raise(text, seconds):
    assert parse_delta_seconds(text) == seconds
