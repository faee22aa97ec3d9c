from __future__ import annotations

import pytest

from callmeter.errors import SipSyntaxError
from callmeter.sip.headers import Via
from callmeter.sip.parser import parse_message
from callmeter.sip.transaction.effects import Hop
from callmeter.sip.transaction.response_route import response_hops, stamp

SOURCE = Hop("UDP", "192.0.2.1", 40000, 3)


def stamped(make_request, via, source=SOURCE):
    request = make_request(via=via)
    before = request.from_
    stamp(request, source)
    assert request.from_ is before  # not parsed again
    return request


def test_a_via_that_tells_the_truth_and_asks_for_nothing_is_left_alone(make_request):
    request = stamped(make_request, "SIP/2.0/UDP 192.0.2.1:5060 ;branch=z9hG4bKa")
    assert request.headers.get("Via") == "SIP/2.0/UDP 192.0.2.1:5060 ;branch=z9hG4bKa"


def test_another_source_than_sent_by_is_noted_as_received(make_request):
    request = stamped(make_request, "SIP/2.0/UDP pc.example.com;branch=z9hG4bKa")
    assert str(request.via) == "SIP/2.0/UDP pc.example.com;branch=z9hG4bKa;received=192.0.2.1"
    assert request.headers.get("Via") == str(request.via)


def test_rport_is_filled_in_with_received_even_if_that_says_nothing_new(make_request):
    request = stamped(make_request, "SIP/2.0/UDP 192.0.2.1:5060;rport;branch=z9hG4bKa")
    assert request.via.rport == 40000
    assert request.via.received == "192.0.2.1"


@pytest.mark.parametrize(
    "forged", [";received=198.51.100.9", ";rport=9", ";received=198.51.100.9;rport=9"]
)
def test_what_the_sender_claims_about_the_source_is_overwritten(make_request, forged):
    request = stamped(make_request, "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKa" + forged)
    assert request.via.received == "192.0.2.1"
    assert request.via.rport in {None, 40000}


def test_the_vias_below_the_top_one_stay(make_request):
    request = make_request(
        via="SIP/2.0/UDP a.example.com;branch=z9hG4bKa, SIP/2.0/UDP b.example.com;branch=z9hG4bKb"
    )
    request.headers.add("v", "SIP/2.0/TCP c.example.com;branch=z9hG4bKc")
    stamp(request, SOURCE)
    expected = [
        "SIP/2.0/UDP a.example.com;branch=z9hG4bKa;received=192.0.2.1",
        "SIP/2.0/UDP b.example.com;branch=z9hG4bKb",
        "SIP/2.0/TCP c.example.com;branch=z9hG4bKc",
    ]
    assert request.headers.values("Via") == expected
    assert [str(via) for via in request.vias] == expected


def test_a_via_that_cannot_be_written_again_is_refused():
    data = b"\r\n".join(
        (
            b"OPTIONS sip:bob@example.com SIP/2.0",
            b'Via: SIP/2.0/UDP pc.example.com;branch=z9hG4bKa;x="\\\0"',
            b"From: <sip:alice@example.com>;tag=1",
            b"To: <sip:bob@example.com>",
            b"Call-ID: call",
            b"CSeq: 1 OPTIONS",
            b"Max-Forwards: 70",
            b"",
            b"",
        )
    )
    with pytest.raises(SipSyntaxError, match="NUL"):
        stamp(parse_message(data), SOURCE)


def test_an_ipv6_source_is_compared_without_brackets(make_request):
    source = Hop("UDP", "2001:db8::1", 5060)
    request = stamped(make_request, "SIP/2.0/UDP [2001:db8::1];branch=z9hG4bKa", source)
    assert request.via.received is None


@pytest.mark.parametrize(
    ("via", "host", "port"),
    [
        ("SIP/2.0/UDP 192.0.2.1:5070;branch=z9hG4bKa", "192.0.2.1", 5070),
        ("SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa", "192.0.2.1", 5060),
        ("SIP/2.0/UDP pc.example.com:5070;branch=z9hG4bKa", "192.0.2.1", 5070),
        ("SIP/2.0/UDP pc.example.com;branch=z9hG4bKa;rport", "192.0.2.1", 40000),
        ("SIP/2.0/UDP pc;branch=z9hG4bKa;maddr=198.51.100.7", "198.51.100.7", 5060),
        ("SIP/2.0/UDP pc:5070;branch=z9hG4bKa;maddr=198.51.100.7;rport", "198.51.100.7", 5070),
    ],
)
def test_datagrams_are_answered_by_maddr_rport_or_sent_by(via, host, port):
    assert response_hops(Via.parse(via), SOURCE) == (Hop("UDP", host, port, 3), None)


@pytest.mark.parametrize(
    "maddr",
    ["224.0.1.75", "ff02::1", "255.255.255.255", "0.0.0.0", "127.0.0.1", "::1", "host.example.com"],
)
def test_a_maddr_that_is_no_single_remote_address_is_ignored(maddr):
    via = Via("UDP", "pc.example.com", None, (("branch", "z9hG4bKa"), ("maddr", maddr)))
    assert response_hops(via, SOURCE)[0].host == "192.0.2.1"


@pytest.mark.parametrize(("transport", "port"), [("TCP", 5060), ("TLS", 5061)])
def test_a_stream_is_answered_on_its_connection_or_else_at_sent_by(transport, port):
    source = Hop(transport, "192.0.2.1", 40000, 9)
    via = Via(transport, "pc.example.com", None, (("branch", "z9hG4bKa"), ("rport", None)))
    # RFC 5922 section 7.3: the certificate has to name the sent-by, wherever it came from.
    name = "pc.example.com" if transport == "TLS" else None
    assert response_hops(via, source) == (source, Hop(transport, "192.0.2.1", port, name=name))


def test_the_port_of_sent_by_is_where_a_lost_connection_is_replaced():
    source = Hop("TCP", "192.0.2.1", 40000, 9)
    assert response_hops(Via("TCP", "pc.example.com", 5080), source)[1] == Hop(
        "TCP", "192.0.2.1", 5080
    )


@pytest.mark.parametrize(
    "source",
    [
        Hop("WSS", "192.0.2.1", 40000, 9),
        Hop("WS", "192.0.2.1", 40000, 9),
        Hop("TCP", "192.0.2.1", 40000),
    ],
)
def test_a_browser_is_not_called_back_nor_an_unnumbered_connection(source):
    assert response_hops(Via("WSS", "x.invalid"), source) == (source, None)
