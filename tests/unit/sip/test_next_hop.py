"""Where a message goes next, and where we are reached from there."""

from __future__ import annotations

import pytest

from callmeter.config import Transport
from callmeter.sip.message import Request, Response
from callmeter.sip.next_hop import default_port, facing, host_port, next_hop_uri, transport_of
from callmeter.sip.transaction.effects import Hop
from callmeter.sip.uri import parse_uri


def request(uri="sip:bob@example.com", **headers):
    return Request("INVITE", uri, headers.items())


def hop(transport):
    return Hop(transport, "192.0.2.1", 5060)


def test_a_request_without_route_goes_to_its_uri():
    assert str(next_hop_uri(request())) == "sip:bob@example.com"


def test_a_loose_router_comes_first():
    asked = request(Route="<sip:proxy.example.com;lr>, <sip:two.example.com;lr>")
    assert str(next_hop_uri(asked)) == "sip:proxy.example.com;lr"


@pytest.mark.parametrize("route", ["<sip:old.example.com>", "<tel:+4930>"])
def test_a_route_that_is_no_loose_router_does_not_count(route):
    assert str(next_hop_uri(request(Route=route))) == "sip:bob@example.com"


def test_a_strict_router_comes_before_every_route():
    asked = request(Route="<sip:two.example.com;lr>")
    asked.next_hop = parse_uri("sip:strict.example.com")
    assert str(next_hop_uri(asked)) == "sip:strict.example.com"
    asked.next_hop = parse_uri("tel:+4930")
    assert next_hop_uri(asked) is None


def test_a_telephone_number_has_no_address():
    assert next_hop_uri(request("tel:+4930")) is None


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (("192.0.2.1", 5060), "192.0.2.1:5060"),
        (("2001:db8::1", 5060), "[2001:db8::1]:5060"),
        (("a1.invalid", 0), "a1.invalid"),
    ],
)
def test_host_and_port_as_in_a_via(address, text):
    assert host_port(address) == text


@pytest.mark.parametrize(
    ("uri", "default", "transport"),
    [
        ("sip:bob@b.example", Transport.UDP, Transport.UDP),
        ("sip:bob@b.example", Transport.TCP, Transport.TCP),
        ("sip:bob@b.example;transport=TCP", Transport.UDP, Transport.TCP),
        ("sip:bob@b.example;transport=sctp", Transport.UDP, Transport.UDP),
        ("sip:bob@b.example;transport=auto", Transport.UDP, Transport.UDP),
        ("sip:bob@b.example;transport=ws", Transport.UDP, Transport.WSS),
        ("sips:bob@b.example", Transport.UDP, Transport.TLS),
        ("sips:bob@b.example;transport=tcp", Transport.WSS, Transport.TLS),
        ("sips:bob@b.example", Transport.WSS, Transport.WSS),
        ("sips:bob@b.example", Transport.AUTO, Transport.AUTO),
    ],
)
def test_the_transport_a_uri_asks_for(uri, default, transport):
    assert transport_of(parse_uri(uri), default) is transport


@pytest.mark.parametrize(
    ("transport", "port"), [("UDP", 5060), ("TCP", 5060), ("TLS", 5061), ("WSS", 5061)]
)
def test_the_port_of_a_uri_that_names_none(transport, port):
    assert default_port(hop(transport)) == port


@pytest.mark.parametrize(
    ("transport", "local", "contact"),
    [
        ("UDP", ("192.0.2.9", 5070), "<sip:alice@192.0.2.9:5070;ob>"),
        ("TCP", ("192.0.2.9", 5070), "<sip:alice@192.0.2.9:5070;ob;transport=tcp>"),
        ("TLS", ("2001:db8::1", 5061), "<sip:alice@[2001:db8::1]:5061;ob;transport=tls>"),
        ("WSS", ("a1.invalid", 0), "<sip:alice@a1.invalid;ob;transport=ws>"),
    ],
)
def test_a_message_bears_the_contact_of_the_way_it_takes(transport, local, contact):
    asked = request(Contact='"Al" <sip:alice@198.51.100.7:5060;transport=tls;ob>;audio')
    faced = facing(asked, local, hop(transport))
    assert str(faced.headers.get("Contact")) == f'"Al" {contact};audio'
    assert "198.51.100.7" in str(asked.headers.get("Contact"))


def test_a_secure_contact_stays_secure():
    asked = request(Contact="<sips:alice@192.0.2.9:5061;transport=tls>")
    faced = facing(asked, ("192.0.2.8", 5061), hop("TLS"))
    assert str(faced.headers.get("Contact")) == "<sips:alice@192.0.2.8:5061;transport=tls>"


def test_a_response_bears_it_too():
    answer = Response(200, "OK", [("Contact", "<sip:bob@192.0.2.9:5060>")])
    faced = facing(answer, ("192.0.2.9", 5060), hop("TCP"))
    assert str(faced.headers.get("Contact")) == "<sip:bob@192.0.2.9:5060;transport=tcp>"
    assert faced.status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Contact": "<sip:alice@192.0.2.9:5070>"},
        {"Contact": "<sip:alice@192.0.2.9:5070;transport=udp>"},
        {},
        {"Contact": "*"},
        {"Contact": "<tel:+4930>"},
        {"Contact": "<sip:alice@example.com;gr=urn:uuid:1>"},
        {"Contact": "<sip:alice@192.0.2.1>, <sip:alice@192.0.2.2>"},
    ],
)
def test_what_is_right_or_not_one_address_of_ours_stays_the_same_message(headers):
    asked = request(**headers)
    assert facing(asked, ("192.0.2.9", 5070), hop("UDP")) is asked
