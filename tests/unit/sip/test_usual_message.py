from __future__ import annotations

import pytest

from callmeter.sip.parser import DEFAULT_LIMITS, _any_message, parse_message
from callmeter.sip.usual_message import UsualLines, match_request, match_response

LINES = (
    "Via: SIP/2.0/UDP a.example:5070;branch=z9hG4bK1;rport",
    'From: "A" <sip:a@a.example:61000;transport=udp>;tag=1;x',
    "To: B <sip:b@b.example>;tag=2",
    "Call-ID: c@a",
    "CSeq: 7 INVITE",
    "Contact: sip:a@a.example:5070",
    "Max-Forwards: 70",
    "Subject: any text",
    "Content-Length:   0",
)
INVITE = "INVITE sip:b@b.example:59999 SIP/2.0"


def text(start, *lines):
    return "\r\n".join((start, *lines, "", ""))


def found(*lines, start=INVITE):
    match = match_request(text(start, *lines))
    return None if match is None else UsualLines._make(match.groups())


def test_what_identifies_a_request_is_found():
    usual = found(*LINES)
    assert (usual.first, usual.second) == ("INVITE", "sip:b@b.example:59999")
    assert usual.via == "UDP a.example:5070;branch=z9hG4bK1;rport"
    assert (usual.transport, usual.host, usual.port) == ("UDP", "a.example", "5070")
    assert (usual.before, usual.branch, usual.after) == ("", "z9hG4bK1", ";rport")
    assert (usual.from_tag, usual.to_tag, usual.call_id) == ("1", "2", "c@a")
    assert (usual.number, usual.method, usual.length) == ("7", "INVITE", "0")
    assert (usual.more_vias, usual.special) == (None, None)


def test_what_identifies_a_response_is_found():
    match = match_response(text("SIP/2.0 180 Ringing", *LINES))
    usual = UsualLines._make(match.groups())
    assert (usual.first, usual.second, usual.branch) == ("180", "Ringing", "z9hG4bK1")


def test_the_first_of_many_vias_counts():
    usual = found("Via: SIP/2.0/UDP p;rport=5;branch=z9hG4bK2;received=1.2.3.4", *LINES)
    assert (usual.host, usual.port, usual.branch) == ("p", None, "z9hG4bK2")
    assert (usual.before, usual.after) == (";rport=5", ";received=1.2.3.4")
    assert usual.more_vias is not None


def test_groups_are_in_the_order_of_their_names():
    groups = match_request(text(INVITE, *LINES)).re.groupindex
    assert [*groups] == [*UsualLines._fields]
    assert [*groups.values()] == [*range(1, len(groups) + 1)]


@pytest.mark.parametrize(
    "line",
    ["Require: 100rel", "Record-Route: <sip:p;lr>", "Replaces: x", "Expires: 5", "Timestamp: 1"],
)
def test_a_line_that_may_ask_for_more_than_a_plain_answer_is_noted(line):
    assert found(*LINES, line).special is not None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("tag=2", "x;tag=2"),
        ("tag=2", "tag=2;tag=3"),
        ("tag=2", "tag"),
        ("tag=2", "TAG=2"),
        ("branch=z9hG4bK1", "branch="),
        ("branch=z9hG4bK1", "x"),
        (";rport", ";branch=z"),
        (";rport", ";Branch"),
        ("a.example:5070;b", "a.example:65536;b"),
        ("CSeq: 7", "CSeq: x"),
        ("Content-Length:   0", "Content-Length: x"),
        ("To: B", "To: B, <sip:c>, "),
        ("Subject: any text", "require: 100rel"),
    ],
)
def test_what_identifies_a_message_in_another_way_is_left_to_the_grammar(old, new):
    assert found(*(line.replace(old, new) for line in LINES)) is None


def test_text_of_any_script_survives():
    data = text(INVITE, *LINES, "X-Name: Zoë ☎").encode()
    message = parse_message(data)
    assert message.usual is not None
    assert message.headers == _any_message(data, DEFAULT_LIMITS).headers
    assert message.to_bytes() == data.replace(b":   0", b": 0")
