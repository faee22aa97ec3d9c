"""Which connection a request in a dialog takes."""

from __future__ import annotations

import pytest

from callmeter.dialog_paths import DialogPaths
from callmeter.sip.parser import parse_message
from callmeter.sip.transaction.effects import Hop
from callmeter.sip.uri import parse_uri

OPENED = Hop("TCP", "192.0.2.1", 40_000, connection=7)
DATAGRAM = Hop("UDP", "192.0.2.1", 5060)
PEER = parse_uri("sip:bob@192.0.2.1")


def invite(*sent_by):
    vias = "".join(f"Via: SIP/2.0/TCP {each};branch=z9hG4bK{each[-1]}\r\n" for each in sent_by)
    return parse_message(
        (
            f"INVITE sip:a@b SIP/2.0\r\n{vias}From: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\n"
            "Call-ID: x\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        ).encode()
    )


@pytest.fixture
def open_connections():
    return {OPENED}


@pytest.fixture
def paths(open_connections):
    return DialogPaths(open_connections.__contains__)


def test_a_dialog_keeps_to_the_connection_the_peer_opened(paths, open_connections):
    paths.follow(invite("192.0.2.1"), OPENED)
    assert "x" in paths
    assert paths.flow_of("x", PEER) == OPENED
    assert paths.get("x").hop == OPENED
    open_connections.clear()
    assert paths.flow_of("x", PEER) is None


def test_a_dialog_by_datagrams_and_one_of_ours_have_no_connection_to_keep_to(paths):
    assert paths.flow_of("x", PEER) is None
    paths.begin("x", DATAGRAM)
    assert paths.flow_of("x", PEER) is None
    paths.follow(invite("192.0.2.1"), DATAGRAM)
    assert paths.flow_of("x", PEER) is None
    assert paths.get("x").hop == DATAGRAM


@pytest.mark.parametrize(
    ("target", "flow"),
    [
        ("sip:proxy.example", OPENED),
        ("sip:proxy.example:5060", OPENED),
        ("sip:proxy.example:5062", None),
        ("sip:bob@192.0.2.1", None),
    ],
)
def test_behind_a_proxy_only_what_goes_to_that_proxy_takes_its_connection(paths, target, flow):
    paths.follow(invite("proxy.example", "192.0.2.9"), OPENED)
    assert paths.flow_of("x", parse_uri(target)) == flow


def test_whom_the_first_request_was_to_reach_is_kept(paths):
    paths.begin("x", Hop("TLS", "192.0.2.1", 5061, name="example.com"))
    paths.follow(invite("192.0.2.1"), OPENED)
    assert paths.get("x").hop.name == "example.com"
    assert paths.get("x").flow.name is None


def test_a_dialog_that_is_over_leaves_nothing(paths):
    for call_id in ("x", "y"):
        paths.begin(call_id, DATAGRAM)
    paths.forget("x")
    paths.forget("x")
    assert len(paths) == 1
    paths.clear()
    assert len(paths) == 0
