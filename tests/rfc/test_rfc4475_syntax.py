"""RFC 4475, the torture messages: what the parser decides and what it reads."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from callmeter.errors import SipSyntaxError
from callmeter.sip import Request, Response, parse_message
from callmeter.sip.body import multipart
from callmeter.sip.framing import StreamFramer
from callmeter.sip.grammar import unescape

VECTORS = Path(__file__).parents[1] / "vectors"
MANIFEST = json.loads((VECTORS / "rfc4475" / "manifest.json").read_text(encoding="utf-8"))
ROWS = {row["name"]: row for row in MANIFEST["messages"]}
PARSER_ANSWERS = (400, 505)


def octets(row):
    # The archived baddn ends within its headers; the completed file is what the RFC means.
    name = row["file"].replace("baddn.dat", "baddn_crlf.dat")
    return (VECTORS / name).read_bytes()


def is_refused(row):
    if row["parse"] == "error-or-ok":
        return row["callmeter_default"] in PARSER_ANSWERS
    return row["parse"] == "error"


REFUSED = [name for name, row in ROWS.items() if is_refused(row)]
READ = [name for name, row in ROWS.items() if not is_refused(row)]
STREAMED = [
    name
    for name, row in ROWS.items()
    if row["ostensible_transport"] in {"tcp", "tls"} or row["content_length_exact"]
    if row["content_length_header"]
]


def contact(message):
    return message.contacts[0]


def unescaped(params):
    return {
        unescape(name).decode(): None if value is None else unescape(value).decode()
        for name, value in params
    }


FACTS = {
    "method": lambda m: m.method,
    "status": lambda m: m.status,
    "reason": lambda m: m.reason,
    "reason_is_utf8": lambda m: not m.reason.isascii() and bool(m.reason.encode()),
    "max_forwards": lambda m: m.max_forwards,
    "cseq": lambda m: m.cseq.number,
    "via_count": lambda m: len(m.vias),
    "via_transports": lambda m: [via.transport for via in m.vias],
    "subject": lambda m: m.headers.get("Subject"),
    "route_count": lambda m: len(m.routes),
    "to_tag": lambda m: m.to.tag,
    "from_tag": lambda m: m.from_.tag,
    "contact_count": lambda m: len(m.contacts),
    "contact_q": lambda m: contact(m).param("q"),
    "contact_param": lambda m: unescaped(contact(m).uri.params),
    "contact_header_params": lambda m: dict(contact(m).params),
    "contact_uri_params": lambda m: dict(contact(m).uri.params),
    "contact_uri_headers": lambda m: {
        n: contact(m).uri.header(n) for n, _ in contact(m).uri.headers
    },
    "contact_users_hex": lambda m: [c.uri.user_bytes.hex() for c in m.contacts],
    "contact_scheme": lambda m: contact(m).uri.scheme,
    "contact_display_unescaped": lambda m: contact(m).display,
    "top_via_branch": lambda m: m.via.branch,
    "top_via_is_rfc3261": lambda m: m.via.branch.startswith("z9hG4bK"),
    "from_display": lambda m: m.from_.display,
    "from_display_unescaped": lambda m: m.from_.display,
    "to_display": lambda m: m.to.display,
    "to_user_bytes_hex": lambda m: m.to.uri.user_bytes.hex(),
    "to_user_unescaped": lambda m: m.to.uri.user_text,
    "from_user_unescaped": lambda m: m.from_.uri.user_text,
    "to_scheme": lambda m: m.to.uri.scheme,
    "request_uri_user": lambda m: m.uri.user,
    "request_uri_password": lambda m: m.uri.password,
    "request_uri_user_unescaped": lambda m: m.uri.user_text,
    "request_uri_host": lambda m: m.uri.host,
    "request_uri_params": lambda m: dict(m.uri.params),
    "body_octets": lambda m: len(m.body),
    "body_octets_used": lambda m: len(m.body),
    "messages_udp": lambda m: 1,
    "parts": lambda m: len(multipart(m)),
    "part0_body": lambda m: multipart(m)[0].body.decode(),
    "unsupported": lambda m: list(m.require),
}
# These are no fact of one parsed message and are asserted by tests of their own.
ELSEWHERE = {"header", "unknown_header", "total_octets", "stream_outcome", "to_display_bytes_hex"}


def assert_facts(row, message):
    facts = row["facts"]
    assert {name: FACTS[name](message) for name in facts if name not in ELSEWHERE} == {
        name: value for name, value in facts.items() if name not in ELSEWHERE
    }
    for name, value in facts.get("header", {}).items():
        assert message.headers.get(name) == value
    if "to_display_bytes_hex" in facts:
        # The manifest leaves the two spaces out that the message has on the wire.
        display = message.to.display.encode()
        assert display == b"BEL:\x07 NUL:\x00 DEL:\x7f"
        assert display.replace(b" ", b"").hex() == facts["to_display_bytes_hex"]
    if "unknown_header" in facts:
        assert facts["unknown_header"] in dict(message.headers)
    if "total_octets" in facts:
        assert len(octets(row)) == facts["total_octets"]


def drain(framer, data):
    """All items and the first error of a stream that arrives octet by octet."""
    items = []
    for octet in data:
        try:
            items += framer.feed(bytes((octet,)))
        except SipSyntaxError as error:
            return items, error
    return items, None


def test_all_49_messages_are_here_unchanged():
    assert len(ROWS) == MANIFEST["count"] == 49
    for row in ROWS.values():
        data = (VECTORS / row["file"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == row["sha256"]


@pytest.mark.parametrize("name", READ)
def test_a_datagram_that_is_to_be_read_gives_its_facts(name):
    row = ROWS[name]
    message = parse_message(octets(row))
    assert isinstance(message, Request if row["kind"] == "request" else Response)
    assert_facts(row, message)


@pytest.mark.parametrize("name", REFUSED)
def test_a_datagram_that_is_to_be_refused_names_the_status(name):
    row = ROWS[name]
    with pytest.raises(SipSyntaxError) as caught:
        parse_message(octets(row))
    if row["callmeter_default"] != "drop":
        assert caught.value.status == row["callmeter_default"]
        assert isinstance(caught.value.partial, Request)


def test_the_archived_baddn_is_a_truncated_head():
    with pytest.raises(SipSyntaxError, match="do not end") as caught:
        parse_message((VECTORS / "rfc4475" / "baddn.dat").read_bytes())
    assert caught.value.status == 400


@pytest.mark.parametrize("name", STREAMED)
def test_a_stream_octet_by_octet_decides_as_a_datagram_does(name):
    row = ROWS[name]
    framer = StreamFramer()
    items, error = drain(framer, octets(row))
    if name in REFUSED:
        assert items == []
        if row["callmeter_default"] != "drop":
            assert error.status == row["callmeter_default"]
    else:
        assert error is None
        (message,) = items
        assert_facts(row, message)
    assert not framer.pending


def test_extra_octets_are_the_next_message_on_a_stream():
    # The second body is 5 octets longer than it says; those are no message of their own.
    items, error = drain(StreamFramer(), octets(ROWS["dblreq"]))
    assert error.status == 400
    messages = [item for item in items if isinstance(item, Request)]
    assert [message.method for message in messages] == ["REGISTER", "INVITE"]


def test_a_stream_waits_for_a_body_that_was_announced_too_long():
    framer = StreamFramer()
    items, error = drain(framer, octets(ROWS["clerr"]))
    assert (items, error) == ([], None)
    assert framer.pending


@pytest.mark.parametrize("name", ["ncl", "mcl01", "inv2543"])
def test_a_stream_without_a_usable_content_length_is_lost(name):
    framer = StreamFramer()
    items, error = drain(framer, octets(ROWS[name]))
    assert items == []
    assert error.status == 400
    assert error.partial.method in {"INVITE", "OPTIONS"}
    assert not framer.in_sync


@pytest.mark.parametrize("name", READ)
def test_writing_a_message_and_reading_it_again_changes_nothing(name):
    first = parse_message(octets(ROWS[name]))
    second = parse_message(first.to_bytes())
    assert second.start_line == first.start_line
    kept = [line for line in second.headers if line[0] != "Content-Length"]
    assert kept == [line for line in first.headers if line[0] != "Content-Length"]
    assert second.body == first.body
    assert second.to_bytes() == first.to_bytes()


def test_a_refused_request_can_be_answered_from_what_was_read():
    for name in REFUSED:
        row = ROWS[name]
        with pytest.raises(SipSyntaxError) as caught:
            parse_message(octets(row))
        if row["kind"] == "request":
            request = caught.value.partial
            answer = request.create_response(caught.value.status, to_tag="abc")
            assert answer.to_bytes().startswith(b"SIP/2.0 %d " % caught.value.status)
            assert answer.headers.get_all("Via") == request.headers.get_all("Via") != []
            assert len(answer.headers.get_all("To")) <= 1
