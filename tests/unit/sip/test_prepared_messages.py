from __future__ import annotations

import pytest

from callmeter.errors import LocalProtocolError
from callmeter.sip.parser import parse_message
from callmeter.sip.prepared_messages import (
    PreparedRequest,
    RequestTemplate,
    ResponseTemplate,
    WrittenRequest,
)

INVITE = (
    b"INVITE sip:b@b.example SIP/2.0\r\nVia: SIP/2.0/UDP a:5070;branch=z9hG4bK1\r\n"
    b"From: A <sip:a@a.example>;tag=1\r\nTo: <sip:b@b.example>\r\n"
    b"Call-ID: c\r\nCSeq: 2 INVITE\r\nContent-Length: 0\r\n\r\n"
)
RECORD_ROUTE = INVITE.replace(b"Call-ID", b"Record-Route: <sip:p;lr>\r\nCall-ID")
TWO_VIAS = INVITE.replace(b"From", b"Via: SIP/2.0/UDP x;branch=z9hG4bK0\r\nFrom")
ODD = INVITE.replace(b"Call-ID", b"i")


def template():
    return ResponseTemplate(200, [("Contact", "<sip:me>")], b"v=0\r\n")


@pytest.mark.parametrize("octets", [INVITE, RECORD_ROUTE, TWO_VIAS, ODD])
def test_a_filled_response_is_what_a_composed_one_is(octets):
    request = parse_message(octets)
    filled = parse_message(template().fill(request, "t").to_bytes())
    lines = [("Record-Route", "<sip:p;lr>")] if octets is RECORD_ROUTE else []
    composed = request.create_response(
        200, to_tag="t", headers=[*lines, ("Contact", "<sip:me>")], body=b"v=0\r\n"
    )
    assert filled.headers == parse_message(composed.to_bytes()).headers
    assert (filled.status, filled.reason, filled.body) == (200, "OK", b"v=0\r\n")


def test_a_tag_that_is_there_stays():
    request = parse_message(INVITE.replace(b"b.example>\r\n", b"b.example>;tag=9\r\n"))
    assert template().fill(request, "t").to_tag == "9"


def test_a_prepared_response_can_be_looked_into():
    response = template().fill(parse_message(INVITE), "t")
    assert (response.status, response.to_tag, response.reason) == (200, "t", "OK")
    assert response.headers.get("Contact") == "<sip:me>"
    assert response.body == b"v=0\r\n"
    with pytest.raises(AttributeError):
        _ = response.no_such_thing


INVITES = RequestTemplate("INVITE", [("Contact", "<sip:me>")], b"v=0\r\n")
VALUES = ("<sip:a@a>;tag=1", "<sip:b@b.example>", "c", 7)


def invite():
    return INVITES.fill("sip:b@b.example", *VALUES)


def test_a_prepared_request_takes_one_via_and_is_whole():
    sent = (
        invite().with_via("SIP/2.0/UDP a;branch=z9hG4bK1").with_via("SIP/2.0/UDP b;branch=z9hG4bK2")
    )
    message = parse_message(sent.to_bytes())
    assert [via.host for via in message.vias] == ["b"]
    assert (message.method, str(message.uri)) == ("INVITE", "sip:b@b.example")
    assert (message.call_id, str(message.cseq), message.body) == ("c", "7 INVITE", b"v=0\r\n")
    assert message.headers.get("Max-Forwards") == "70"
    assert message.headers == sent.headers


def test_a_prepared_request_can_be_looked_into_before_it_has_a_via():
    request = invite()
    assert (request.from_tag, request.body) == ("1", b"v=0\r\n")
    assert "Via" not in request.headers
    with pytest.raises(AttributeError):
        _ = request.no_such_thing
    assert isinstance(request, PreparedRequest)


def test_a_request_is_the_same_however_it_is_written():
    octets = INVITES.write_whole("sip:b@b.example", "a:5070;branch=z9hG4bK1", *VALUES)
    via = "SIP/2.0/UDP a:5070;branch=z9hG4bK1;rport"
    assert octets == invite().with_via(via).to_bytes()
    written = WrittenRequest("INVITE", "sip:b@b.example", octets)
    assert written.to_bytes() == octets
    assert (str(written.uri), written.via.branch) == ("sip:b@b.example", "z9hG4bK1")
    assert (written.from_tag, written.body) == ("1", b"v=0\r\n")
    assert written.headers == parse_message(octets).headers
    with pytest.raises(AttributeError):
        _ = written.no_such_thing


def test_what_would_break_the_lines_is_refused():
    with pytest.raises(LocalProtocolError):
        ResponseTemplate(200, [("Contact", "a\r\nb")])
    with pytest.raises(LocalProtocolError):
        RequestTemplate("IN VITE")
