"""RFC 5118, torture messages for IPv6."""

from __future__ import annotations

import hashlib
import ipaddress
import json
from pathlib import Path

import pytest

from callmeter.errors import SipSyntaxError
from callmeter.sdp import parse_description
from callmeter.sip import parse_message
from callmeter.sip.framing import StreamFramer

VECTORS = Path(__file__).parents[1] / "vectors"
MANIFEST = json.loads((VECTORS / "rfc5118" / "manifest.json").read_text(encoding="utf-8"))
ROWS = {row["name"]: row for row in MANIFEST["messages"]}
REFUSED = [name for name, row in ROWS.items() if row["callmeter_default"] == 400]
READ = [name for name in ROWS if name not in REFUSED]

FACTS = {
    "request_uri_host": lambda m: m.uri.host,
    "request_uri_port": lambda m: m.uri.port,
    "via_host": lambda m: m.via.host,
    "contact_host": lambda m: m.contacts[0].uri.host,
    "received": lambda m: m.via.received,
    "via_count": lambda m: len(m.vias),
    "via1_host": lambda m: m.vias[1].host,
    "via2_received": lambda m: m.vias[2].received,
    "top_via_host": lambda m: m.via.host,
    "top_via_port": lambda m: m.via.port,
    "media": lambda m: len(parse_description(m.body).media),
    "sdp_connection": lambda m: parse_description(m.body).connection.address,
    "media_connections": lambda m: [
        media.connection.address for media in parse_description(m.body).media
    ],
}
# The manifest and the message spell some of these differently.
ADDRESSES = {"via_host", "contact_host", "request_uri_host", "received", "top_via_host"}


def octets(row):
    return (VECTORS / row.get("content_length_fixed_file", row["file"])).read_bytes()


def canonical(address):
    return ipaddress.ip_address(address)


def test_all_12_messages_are_here_unchanged():
    assert len(ROWS) == MANIFEST["count"] == 12
    for row in ROWS.values():
        data = (VECTORS / row["file"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == row["sha256"]


@pytest.mark.parametrize("name", READ)
def test_a_message_that_is_to_be_read_gives_its_facts(name):
    row = ROWS[name]
    message = parse_message(octets(row))
    for fact, value in row["facts"].items():
        found = FACTS[fact](message)
        if fact in ADDRESSES:
            found, value = canonical(found), canonical(value)  # noqa: PLW2901
        assert found == value, fact


@pytest.mark.parametrize("name", REFUSED)
def test_a_message_that_is_to_be_refused_gives_400(name):
    with pytest.raises(SipSyntaxError) as caught:
        parse_message(octets(ROWS[name]))
    assert caught.value.status == 400
    assert caught.value.partial is not None


@pytest.mark.parametrize("name", ["ipv6-in-sdp", "mult-ip-in-sdp", "ipv4-mapped-ipv6"])
def test_a_body_is_cut_at_its_content_length_on_udp(name):
    row = ROWS[name]
    message = parse_message((VECTORS / row["file"]).read_bytes())
    assert len(message.body) == row["content_length_header"] < row["body_octets"]


@pytest.mark.parametrize("name", READ)
def test_a_stream_octet_by_octet_gives_the_same_message(name):
    data = octets(ROWS[name])
    framer = StreamFramer()
    (message,) = [item for octet in data for item in framer.feed(bytes((octet,)))]
    assert message.to_bytes() == parse_message(data).to_bytes() == data
