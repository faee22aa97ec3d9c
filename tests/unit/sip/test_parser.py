from __future__ import annotations

import pytest

from callmeter.errors import SipSyntaxError
from callmeter.sip import Request, Response, parse_message
from callmeter.sip.parser import (
    DEFAULT_LIMITS,
    ParserLimits,
    _any_message,
    is_keepalive,
    parse_header_lines,
    usual_message,
)

LINES = {
    "Via": "SIP/2.0/UDP a.example;branch=z9hG4bK1",
    "From": "<sip:a@a.example>;tag=1",
    "To": "<sip:b@b.example>",
    "Call-ID": "c",
    "CSeq": "1 INVITE",
    "Max-Forwards": "70",
    "Content-Length": "0",
}


def octets(start="INVITE sip:b@b.example SIP/2.0", *extra, body=b"", **changes):
    """A message; a keyword with `_` for `-` changes a header, None leaves it out."""
    lines = LINES | {name.replace("_", "-"): value for name, value in changes.items()}
    head = [start, *(f"{n}: {v}" for n, v in lines.items() if v is not None), *extra, "", ""]
    return "\r\n".join(head).encode("utf-8", "surrogateescape") + body


def refused(data, limits=DEFAULT_LIMITS):
    with pytest.raises(SipSyntaxError) as caught:
        parse_message(data, limits)
    return caught.value


@pytest.mark.parametrize("parse", [parse_message, lambda data: _any_message(data, DEFAULT_LIMITS)])
def test_a_request_is_read(parse):
    message = parse(octets(body=b"v=0\r\n", Content_Length=5))
    assert isinstance(message, Request)
    assert (message.method, str(message.uri)) == ("INVITE", "sip:b@b.example")
    assert message.body == b"v=0\r\n"
    assert [name for name, _ in message.headers] == list(LINES)


@pytest.mark.parametrize("parse", [parse_message, lambda data: _any_message(data, DEFAULT_LIMITS)])
def test_a_response_is_read(parse):
    message = parse(octets("SIP/2.0 183 Session Progress"))
    assert isinstance(message, Response)
    assert (message.status, message.reason) == (183, "Session Progress")


@pytest.mark.parametrize(
    "data",
    [
        octets(body=b"abc", Content_Length=2),
        octets(body=b"abc", Content_Length=None),
        octets(Via=None),
        octets(CSeq="1 BYE"),
        octets(Content_Length="5"),
        octets("NEW sip:b@b.example SIP/2.0"),
        octets("INVITE sip:[::1] SIP/2.0"),
        octets("INVITE sip:b@b.example SIP/2.0", "To: <sip:c>"),
        octets("INVITE sip:b@b.example SIP/2.0", "Expires: 5", "Expires: 6"),
        octets("INVITE sip:b@b.example SIP/2.0", "X : y"),
        octets("INVITE sip:b@b.example SIP/2.0", "m: <sip:a>"),
        octets("INVITE sip:b@b.example SIP/2.0", "CONTACT: x"),
        octets("INVITE sip:b@b.example SIP/2.0", *["X: y"] * 60),
        octets(Via="SIP/2.0/UDP a.example:70000"),
        octets(Via="SIP/2.0/UDP a..example"),
        octets(CSeq="4294967296 INVITE"),
    ],
)
def test_what_is_not_usual_is_left_to_the_grammar(data):
    assert usual_message(data, DEFAULT_LIMITS) is None


@pytest.mark.parametrize(
    "limits",
    [
        ParserLimits(message=100),
        ParserLimits(start_line=100),
        ParserLimits(header_line=100),
        ParserLimits(head=100),
        ParserLimits(header_lines=63),
        ParserLimits(vias=63),
        ParserLimits(routes=63),
        ParserLimits(body=4),
    ],
)
def test_what_could_be_over_a_limit_is_left_to_the_grammar(limits):
    data = octets(body=b"v=0\r\n", Content_Length=5)
    assert usual_message(data, DEFAULT_LIMITS) is not None
    assert usual_message(data, limits) is None


def test_compact_folded_and_odd_lines_are_one_message():
    message = parse_message(
        b"\r\n\r\nOPTIONS sip:h sip/2.0\r\n"
        b"v:SIP / 2.0 / UDP a ;\r\n branch\t=\r\n\t z9 , SIP/2.0/UDP b\r\n"
        b"FROM:sip:a@b\r\nt :sip:c\r\ni:x\r\ncseq:1\t OPTIONS\r\nX-Empty:\r\nL: 0 \r\n\r\n"
    )
    assert [via.host for via in message.vias] == ["a", "b"]
    assert message.via.branch == "z9"
    assert message.headers.get("Content-Length") == "0"
    assert message.headers.get("x-empty") == ""
    assert [name for name, _ in message.headers] == ["v", "FROM", "t", "i", "cseq", "X-Empty", "L"]


@pytest.mark.parametrize("name", ["Via", "From", "To", "Call-ID", "CSeq"])
@pytest.mark.parametrize("start", ["INVITE sip:b@b.example SIP/2.0", "SIP/2.0 200 OK"])
def test_a_mandatory_header_has_to_be_there(start, name):
    error = refused(octets(start, **{name: None}))
    assert f"no {name} header" in str(error)
    assert (error.status, error.partial.is_request) == (400, not start.startswith("SIP"))


@pytest.mark.parametrize("name", ["From", "t", "CALL-ID", "cseq", "Max-Forwards", "Expires"])
def test_a_single_header_may_not_be_repeated(name):
    long_name = {"t": "To", "CALL-ID": "Call-ID", "cseq": "CSeq"}.get(name, name)
    value = LINES.get(long_name, "1")
    data = octets("INVITE sip:b@b.example SIP/2.0", f"{name}: {value}", Expires="1")
    assert "more than one" in str(refused(data))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Via", ""),
        ("Via", "SIP/2.0/UDP a,"),
        ("From", "x"),
        ("To", '"x <sip:a>'),
        ("Call-ID", ""),
        ("Call-ID", "a b"),
        ("Call-ID", "a\x01"),
        ("CSeq", "2147483648 INVITE"),
        ("CSeq", "1 BYE"),
        ("Max-Forwards", "x"),
        ("Max-Forwards", ""),
        ("Max-Forwards", "-1"),
        ("Contact", "sip:a?b=c"),
        ("Contact", "*, *"),
        ("Route", "<sip:a>,"),
        ("Record-Route", "<>"),
    ],
)
def test_a_malformed_header_that_is_needed_is_a_400(name, value):
    error = refused(octets(**{name.replace("-", "_"): value}))
    assert (error.status, error.partial.method) == (400, "INVITE")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Expires", "soon"),
        ("Date", "now"),
        ("Content-Type", "x"),
        ("Max-Forwards", "300"),
        ("Warning", ""),
        ("Accept", ";;"),
        ("Contact", "*"),
        ("Retry-After", "x"),
    ],
)
def test_a_malformed_header_that_is_not_needed_is_kept(name, value):
    message = parse_message(octets(**{name.replace("-", "_"): value}))
    assert message.headers.get(name) == value


def test_a_content_type_is_needed_when_there_is_a_body():
    data = octets(body=b"x", Content_Length=1, Content_Type="x")
    assert "Content-Type" in str(refused(data))


def test_an_unknown_method_may_disagree_with_its_cseq():
    assert parse_message(octets("NEW sip:b SIP/2.0")).cseq.method == "INVITE"
    assert parse_message(octets("SIP/2.0 200 OK", CSeq="1 BYE")).cseq.method == "BYE"


@pytest.mark.parametrize(
    ("start", "status"),
    [
        ("INVITE sip:b SIP/7.0", 505),
        ("SIP/3.0 200 OK", 505),
        ("INVITE sip:b HTTP/1.1", 400),
        ("INVITE sip:b", 400),
        ("INVITE", 400),
        ("", 400),
        ("INV(TE sip:b SIP/2.0", 400),
        ("INVITE sip:b?a=b SIP/2.0", 400),
        ("INVITE <sip:b> SIP/2.0", 400),
        ("INVITE  sip:b SIP/2.0", 400),
        ("INVITE sip:b SIP/2.0 ", 400),
        ("INVITE sip:a b SIP/2.0", 400),
        ("SIP/2.0 4294967301 x", 400),
        ("SIP/2.0 099 x", 400),
        ("SIP/2.0 700 x", 400),
        ("SIP/2.0 20\u0660 x", 400),
        ("SIP/2.0", 400),
        ("SIP/2.0 200 a\x01", 400),
    ],
)
def test_a_malformed_start_line_is_refused(start, status):
    assert refused(octets(start)).status == status


def test_a_reason_phrase_may_be_missing_or_no_utf8():
    assert parse_message(octets("SIP/2.0 200")).reason == ""
    message = parse_message(octets("SIP/2.0 200 \udcff"))
    assert message.to_bytes().startswith(b"SIP/2.0 200 \xff\r\n")


@pytest.mark.parametrize(
    "value",
    ["", "-1", "+1", "1 0", "1_0", "0x1", "00000000001", "99999999999", "\u0661", "1.0", "1,1"],
)
def test_a_content_length_is_one_to_ten_ascii_digits(value):
    error = refused(octets(Content_Length=value))
    assert "Content-Length" in str(error)
    assert (error.status, error.partial.call_id) == (400, "c")


def test_two_content_lengths_have_to_agree():
    start = "INVITE sip:b@b.example SIP/2.0"
    assert parse_message(octets(start, "l: 3", body=b"abc", Content_Length="003")).body == b"abc"
    assert refused(octets(start, "l: 2", body=b"abc", Content_Length="3")).status == 400
    assert refused(octets(start, "l: x", body=b"abc", Content_Length="x")).status == 400


def test_the_body_ends_where_the_content_length_or_the_datagram_does():
    assert parse_message(octets(body=b"abc", Content_Length="2")).body == b"ab"
    assert parse_message(octets(body=b"abc", Content_Length=None)).body == b"abc"
    assert refused(octets(body=b"abc", Content_Length="4")).status == 400


@pytest.mark.parametrize(
    ("data", "limits", "status"),
    [
        (octets("INVITE sip:" + "b" * 8200 + " SIP/2.0"), {}, 414),
        (octets(Subject="x" * 8200), {}, 400),
        (octets(**{f"X{n}": "x" * 8000 for n in range(5)}), {}, 513),
        (octets("INVITE sip:b SIP/2.0", *["Z: y"] * 250), {}, 400),
        (octets(Via=", ".join(["SIP/2.0/UDP a"] * 65)), {}, 400),
        (octets(Route=", ".join(["<sip:a>"] * 65)), {}, 400),
        (octets(Record_Route=", ".join(["<sip:a>"] * 65)), {}, 400),
        (octets(Content_Length="65537"), {}, 413),
        (octets(Content_Length="9999999999"), {}, 413),
        (octets(Content_Length=None, body=b"x" * 11), {"body": 10}, 413),
        (octets(Content_Length="11", body=b"x" * 11), {"body": 10}, 413),
        (octets(Content_Length="11", body=b"x" * 11), {"message": 200}, 513),
    ],
)
def test_what_is_over_a_limit_is_refused_with_its_status(data, limits, status):
    error = refused(data, ParserLimits(**limits))
    assert error.status == status
    assert error.partial.via.host == "a.example" if status != 400 else error.partial


def test_what_is_at_a_limit_is_taken():
    limits = ParserLimits(message=65_536 + 400)
    data = octets(Content_Length="65536", body=b"x" * 65_536)
    assert len(parse_message(data, limits).body) == 65_536
    message = parse_message(octets("INVITE sip:b SIP/2.0", *["Z: y"] * 249))
    assert len(message.headers) == 256


@pytest.mark.parametrize(
    "data",
    [
        octets().replace(b"\r\nTo", b"\nTo"),
        octets().replace(b"\r\nTo", b"\rTo"),
        octets().replace(b"SIP/2.0\r\nVia", b"SIP/2.0\nVia"),
        octets(Subject="a\nX: y"),
        octets(Subject="a\rX: y"),
        octets().replace(b"Via", b" Via"),
        octets("INVITE sip:b SIP/2.0", "no colon"),
        octets("INVITE sip:b SIP/2.0", "two words: x"),
        octets("INVITE sip:b SIP/2.0", ": x"),
        octets("INVITE sip:b SIP/2.0", "\u00c4: x"),
    ],
)
def test_a_line_that_is_no_header_line_is_a_400(data):
    error = refused(data)
    assert error.status == 400
    if error.partial is not None:
        answer = error.partial.create_response(400).to_bytes()
        assert answer.count(b"\n") == answer.count(b"\r") == answer.count(b"\r\n")


def test_headers_that_do_not_end_are_a_400_with_what_was_read():
    error = refused(octets()[:-2])
    assert (error.status, error.partial.cseq.method) == (400, "INVITE")
    assert refused(b"INVITE sip:b SIP/2.0").partial.method == "INVITE"
    assert refused(b"").partial is None


def test_what_has_no_start_line_cannot_be_answered():
    assert refused(b"\x16\x03\x01\x02\x00\r\n\r\n").partial is None
    assert refused(b"a@b c d\r\n\r\n").partial is None
    assert refused(octets("SIP/2.0 999 x")).partial is None


def test_a_partial_request_is_written_as_it_came():
    assert refused(octets("INVITE <b> SIP/2.0")).partial.start_line == "INVITE <b> SIP/2.0"
    assert refused(octets("INVITE x")).partial.start_line == "INVITE x SIP/2.0"


def test_any_buffer_will_do():
    for kind in (bytes, bytearray, memoryview):
        assert parse_message(kind(octets())).call_id == "c"


def test_header_lines_alone():
    assert list(parse_header_lines(b"A: b\r\n c\r\nD: e")) == [("A", "b c"), ("D", "e")]
    assert len(parse_header_lines(b"")) == 0
    with pytest.raises(SipSyntaxError) as caught:
        parse_header_lines(b"A")
    assert caught.value.partial is None


@pytest.mark.parametrize(
    ("data", "verdict"),
    [(b"", True), (b"\r\n\r\n", True), (b"\0\0\0\0", True), (b"\r\n ", False), (b"x", False)],
)
def test_keepalives_hold_line_breaks_and_nuls_alone(data, verdict):
    assert is_keepalive(data) is verdict


REPLACED = "Replaces=c%3Bto-tag%3Dt%3Bfrom-tag%3Df"


@pytest.mark.parametrize("replaced", [REPLACED, "Replaces=c?to-tag?t?from-tag?f"])
@pytest.mark.parametrize("method", ["INVITE", "ACK", "CANCEL"])
def test_a_replaces_in_the_uri_of_an_invite_is_taken_from_there(method, replaced):
    start = f"{method} sip:b@b.example?{replaced} SIP/2.0"
    request = parse_message(octets(start, CSeq=f"1 {method}"))
    assert str(request.uri) == "sip:b@b.example"
    wanted = ["c;to-tag=t;from-tag=f"] if method == "INVITE" else []
    assert request.headers.values("Replaces") == wanted


@pytest.mark.parametrize(
    ("start", "extra"),
    [
        (f"OPTIONS sip:b@b.example?{REPLACED} SIP/2.0", ()),
        (f"INVITE sip:b@b.example?{REPLACED}&Subject=x SIP/2.0", ()),
        (f"INVITE sip:b@b.example?{REPLACED}&{REPLACED} SIP/2.0", ()),
        ("INVITE sip:b@b.example?Route=%3Csip:a.example%3E SIP/2.0", ()),
        ("INVITE sip:b@b.example?Replaces=c%0D%0AVia:%20x SIP/2.0", ()),
        ("INVITE sip:b@b.example?Replaces=c SIP/2.0", ()),
        (f"INVITE sip:b@b.example?{REPLACED} SIP/2.0", ("Replaces: d;to-tag=1;from-tag=2",)),
    ],
)
def test_other_headers_in_a_request_uri_are_refused(start, extra):
    method = start.partition(" ")[0]
    assert refused(octets(start, *extra, CSeq=f"1 {method}")).status == 400
