from __future__ import annotations

import pytest

from callmeter.sip.transaction.effects import Hop, TimedOut


@pytest.mark.parametrize(
    ("transport", "reliable"),
    [("UDP", False), ("TCP", True), ("TLS", True), ("WS", True), ("WSS", True)],
)
def test_only_udp_is_unreliable(transport, reliable):
    assert Hop(transport, "192.0.2.1", 5060).reliable is reliable


def test_a_hop_reads_as_transport_address_and_port():
    assert str(Hop("UDP", "192.0.2.1", 5060)) == "UDP 192.0.2.1:5060"


def test_an_ipv6_hop_is_written_in_brackets():
    assert str(Hop("TLS", "2001:db8::1", 5061, 7)) == "TLS [2001:db8::1]:5061"


def test_effects_are_compared_by_value():
    assert TimedOut(("c", "b", "INVITE"), "B") == TimedOut(("c", "b", "INVITE"), "B")
    assert TimedOut(("c", "b", "INVITE"), "B") != TimedOut(("c", "b", "INVITE"), "F")
