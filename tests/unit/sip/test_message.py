from __future__ import annotations

import pytest

from callmeter.errors import LocalProtocolError, SipSyntaxError
from callmeter.sip import Headers, Request, Response, parse_message, parse_uri
from callmeter.sip.headers import CSeq, NameAddr
from callmeter.sip.message import Message


@pytest.fixture
def request_():
    return Request(
        "INVITE",
        "sip:bob@b.example",
        [
            ("Via", "SIP/2.0/UDP a.example;branch=z9hG4bK1, SIP/2.0/TCP b.example"),
            ("Via", "SIP/2.0/TLS c.example"),
            ("Max-Forwards", 70),
            ("From", '"Alice" <sip:alice@a.example>;tag=1'),
            ("To", "<sip:bob@b.example>"),
            ("Call-ID", "xyz"),
            ("CSeq", CSeq(1, "INVITE")),
            ("Contact", "<sip:a@a.example>, <sip:b@a.example>;q=0.1"),
            ("Route", "<sip:p.example;lr>"),
            ("Record-Route", "<sip:r1.example;lr>, <sip:r2.example;lr>"),
            ("Require", "100Rel, foo"),
            ("Supported", "Replaces, TIMER"),
            ("Allow", "INVITE, ACK"),
            ("Expires", "3600"),
            ("Content-Type", "application/sdp"),
            ("Timestamp", "54"),
        ],
        b"v=0\r\n",
    )


def test_typed_access(request_):
    assert [via.transport for via in request_.vias] == ["UDP", "TCP", "TLS"]
    assert request_.via.branch == "z9hG4bK1"
    assert (request_.from_.tag, request_.to.tag) == ("1", None)
    assert (request_.call_id, request_.cseq) == ("xyz", CSeq(1, "INVITE"))
    assert [str(contact.uri) for contact in request_.contacts] == [
        "sip:a@a.example",
        "sip:b@a.example",
    ]
    assert request_.routes[0].uri.lr
    assert [route.uri.host for route in request_.record_routes] == ["r1.example", "r2.example"]
    assert (request_.max_forwards, request_.expires) == (70, 3600)
    assert request_.content_type.media_type == "application/sdp"
    assert request_.require == ("100Rel", "foo")
    assert request_.supported == {"replaces", "timer"}
    assert request_.allow == {"INVITE", "ACK"}


def test_a_typed_value_follows_its_header(request_):
    assert request_.via is request_.via
    request_.headers.remove_first("Via")
    assert request_.via.transport == "TLS"
    request_.headers.set("CSeq", "2 ACK")
    assert request_.cseq == CSeq(2, "ACK")


def test_a_list_that_was_given_out_is_the_callers(request_):
    request_.vias.clear()
    request_.contacts.clear()
    request_.routes.clear()
    request_.record_routes.clear()
    assert [len(x) for x in (request_.vias, request_.contacts, request_.routes)] == [3, 2, 1]


def test_what_is_absent():
    message = Response(200)
    for name in ("via", "from_", "to", "call_id", "cseq"):
        with pytest.raises(SipSyntaxError, match=r"no .* header"):
            getattr(message, name)
    assert (message.vias, message.contacts, message.routes, message.record_routes) == ([],) * 4
    assert (message.max_forwards, message.expires, message.content_type) == (None, None, None)
    assert (message.require, message.supported, message.allow) == ((), frozenset(), frozenset())


def test_a_star_contact_stands_alone():
    assert Request("REGISTER", "sip:h", [("m", "*")]).contacts == "*"
    with pytest.raises(SipSyntaxError):
        Request("REGISTER", "sip:h", [("m", "*, <sip:a>")]).contacts  # noqa: B018


def test_a_malformed_typed_value_raises_when_asked_for():
    message = Request("INVITE", "not a uri", [("From", "<"), ("Content-Type", "x")])
    for name in ("uri", "from_", "content_type"):
        with pytest.raises(SipSyntaxError):
            getattr(message, name)


def test_a_request_is_written_with_its_length(request_):
    octets = request_.to_bytes()
    assert octets.startswith(b"INVITE sip:bob@b.example SIP/2.0\r\nVia: SIP/2.0/UDP a.example;")
    assert octets.endswith(b"\r\nContent-Length: 5\r\n\r\nv=0\r\n")
    assert parse_message(octets).body == b"v=0\r\n"


def test_the_request_uri_may_be_text_or_parsed(request_):
    uri = parse_uri("sip:x@y;lr")
    assert Request("ACK", uri).start_line == Request("ACK", b"sip:x@y;lr").start_line
    request_.uri = uri
    assert request_.uri is uri
    assert request_.start_line == "INVITE sip:x@y;lr SIP/2.0"


def test_headers_are_taken_over_and_copies_are_independent(request_):
    headers = Headers([("X", "1")])
    request = Request("ACK", "sip:h", headers)
    response = Response(200, headers=headers)
    assert request.headers is response.headers is headers
    for message in (request, response):
        twin = message.copy()
        twin.headers.set("X", "2")
        assert twin.start_line == message.start_line
        assert message.headers.get("X") == "1"


def test_a_response_has_the_phrase_of_the_registry_or_its_own():
    assert Response(486).start_line == "SIP/2.0 486 Busy Here"
    assert Response(486, "").start_line == "SIP/2.0 486 "
    assert Response(499).start_line == "SIP/2.0 499 "
    assert (
        Response(200, "Gr\xfc\xdfe").to_bytes().startswith("SIP/2.0 200 Gr\xfc\xdfe\r\n".encode())
    )


@pytest.mark.parametrize(
    "message",
    [
        Request("INVITE", "sip:h SIP/2.0\r\nX: y"),
        Request("A\nB", "sip:h"),
        Response(200, "OK\0"),
    ],
)
def test_a_start_line_cannot_be_broken(message):
    with pytest.raises(LocalProtocolError):
        message.to_bytes()


def test_a_response_copies_what_the_rfc_wants_copied(request_):
    response = request_.create_response(486, to_tag="t1", headers=[("Retry-After", 5)], body=b"x")
    assert list(response.headers) == [
        ("Via", "SIP/2.0/UDP a.example;branch=z9hG4bK1, SIP/2.0/TCP b.example"),
        ("Via", "SIP/2.0/TLS c.example"),
        ("From", '"Alice" <sip:alice@a.example>;tag=1'),
        ("To", "<sip:bob@b.example>;tag=t1"),
        ("Call-ID", "xyz"),
        ("CSeq", "1 INVITE"),
        ("Retry-After", "5"),
    ]
    assert (response.status, response.reason, response.body) == (486, "Busy Here", b"x")
    assert (response.is_request, request_.is_request) == (False, True)


def test_a_100_gets_the_timestamp_and_no_tag(request_):
    response = request_.create_response(100, to_tag="t1")
    assert response.headers.get("Timestamp") == "54"
    assert response.to.tag is None


def test_a_tag_is_not_added_to_a_to_that_has_one(request_):
    request_.headers.set("To", "<sip:b>;tag=old")
    assert request_.create_response(200, "Fine", to_tag="new").to.tag == "old"
    request_.headers.set("To", "sip:b")
    assert request_.create_response(200, to_tag="new").to == NameAddr.parse("<sip:b>;tag=new")


@pytest.mark.parametrize("tag", ["", "a b", "a\r\nX: y", "a;b", "\u0661"])
def test_a_tag_that_is_no_token_is_refused(request_, tag):
    with pytest.raises(LocalProtocolError):
        request_.create_response(200, to_tag=tag)


def test_a_malformed_to_is_given_back_as_it_came():
    request = Request("INVITE", "sip:h", [("To", '"Mr. J. User <sip:b>'), ("To", "<sip:c>")])
    assert list(request.create_response(400, to_tag="x").headers) == [
        ("To", '"Mr. J. User <sip:b>')
    ]


def test_what_is_shown_is_the_start_line_alone(request_):
    assert repr(request_) == "<Request 'INVITE sip:bob@b.example SIP/2.0'>"
    assert repr(Response(200)) == "<Response 'SIP/2.0 200 OK'>"


def test_a_message_is_a_request_or_a_response():
    with pytest.raises(TypeError):
        Message().start_line  # noqa: B018


def test_what_identifies_a_message_is_the_same_by_either_way_of_parsing():
    data = (
        b"BYE sip:b@b.example SIP/2.0\r\nVia: SIP/2.0/UDP a:5070;branch=z9hG4bK1\r\n"
        b"From: <sip:a@a.example>;tag=1\r\nTo: <sip:b@b.example>;tag=2\r\n"
        b"Call-ID: c\r\nCSeq: 2 BYE\r\nContent-Length: 0\r\n\r\n"
    )
    usual, odd = parse_message(data), parse_message(data.replace(b"Call-ID", b"i"))
    assert usual.usual is not None
    assert odd.usual is None
    for message in (usual, odd):
        assert message.uri_text == str(message.uri) == "sip:b@b.example"
        assert (message.branch, message.from_tag, message.to_tag) == ("z9hG4bK1", "1", "2")
        assert (message.call_id, message.cseq.number, message.via.port) == ("c", 2, 5070)
        assert (message.cseq_number, message.contact_uri) == (2, None)


@pytest.mark.parametrize("name", ["Contact", "m"])
@pytest.mark.parametrize(
    ("contact", "uri"),
    [
        ('"A" <sip:a@a.example;x=y>;q=1', "sip:a@a.example;x=y"),
        ("sip:a@a.example:5070;expires=5", "sip:a@a.example:5070"),
        ("<sip:a@a.example>", "sip:a@a.example"),
    ],
)
def test_the_contact_is_the_same_by_either_way_of_parsing(name, contact, uri):
    message = parse_message(
        b"BYE sip:b@b.example SIP/2.0\r\nVia: SIP/2.0/UDP a:5070;branch=z9hG4bK1\r\n"
        b"From: <sip:a@a.example>;tag=1\r\nTo: <sip:b@b.example>;tag=2\r\n"
        b"Call-ID: c\r\nCSeq: 2 BYE\r\n%b: %b\r\nContent-Length: 0\r\n\r\n"
        % (name.encode(), contact.encode())
    )
    assert message.contact_uri == uri


def test_a_contact_of_all_has_no_uri():
    message = Request("REGISTER", "sip:a.example", [("Contact", "*")])
    assert message.contact_uri is None


def test_what_the_parser_saw_is_forgotten_when_the_headers_change():
    data = (
        b"BYE sip:b@b.example SIP/2.0\r\nVia: SIP/2.0/UDP a:5070;branch=z9hG4bK1\r\n"
        b"From: <sip:a@a.example>;tag=1\r\nTo: <sip:b@b.example>;tag=2\r\n"
        b"Call-ID: c\r\nCSeq: 2 BYE\r\nContent-Length: 0\r\n\r\n"
    )
    message = parse_message(data)
    message.headers.set("To", "<sip:b@b.example>;tag=3")
    assert (message.usual, message.to_tag) == (None, "3")
