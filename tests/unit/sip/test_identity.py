"""Whose challenges may be answered (R23)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from callmeter.sip.message import Request
from callmeter.sip.uri import SipUri


@pytest.mark.parametrize(
    ("uri", "route", "status", "answered"),
    [
        ("sip:bob@Example.COM.", None, 401, True),
        ("sip:bob@evil.example", None, 401, False),
        ("sip:bob@evil.example", None, 407, False),
        ("sip:bob@evil.example", "<sip:proxy.example.com;lr>", 407, True),
        ("sip:bob@evil.example", "<sip:proxy.example.com;lr>", 401, False),
        ("sip:bob@example.com", "<sip:evil.example;lr>", 407, False),
        ("tel:+15550100", None, 401, False),
        ("sip:bob@[2001:db8::1]", None, 401, True),
    ],
)
def test_only_a_trusted_host_that_was_asked_may_ask_back(identity, uri, route, status, answered):
    trusting = replace(
        identity,
        trusted_realm_hosts=frozenset({"example.com", "proxy.example.com", "2001:db8::1"}),
    )
    request = Request("INVITE", uri, [("Route", route)] if route else [])
    assert trusting.may_answer(request, status) is answered


def test_nobody_is_trusted_unless_named(identity):
    assert not identity.may_answer(Request("INVITE", "sip:bob@example.com"), 401)


def test_a_gruu_takes_the_place_of_the_contact_but_not_in_a_register(rig):
    gruu = SipUri("sip", "example.com", user="alice", params=(("gr", "urn:x"),))
    rig.core.identity = replace(rig.core.identity, gruu=gruu)
    _, order = rig.call()
    assert order.request.contacts[0].uri == gruu
    _, (order,) = rig.core.register(SipUri("sip", "example.com"), 600, 0.0)
    assert order.request.contacts[0].uri == rig.core.identity.contact


@pytest.mark.parametrize(
    ("routes", "service", "expected"),
    [
        ([], ["p1", "p2"], ["p1", "p2"]),
        (["edge"], ["p1"], ["edge", "p1"]),
        (["p1"], ["p1", "p2"], ["p1", "p2"]),
        (["edge"], [], ["edge"]),
    ],
)
def test_the_service_route_follows_the_outbound_proxy(rig, routes, service, expected):
    def uris(names):
        return tuple(SipUri("sip", name, params=(("lr", None),)) for name in names)

    rig.core.identity = replace(rig.core.identity, routes=uris(routes), service_route=uris(service))
    _, order = rig.call()
    assert [route.uri.host for route in order.request.routes] == expected
    _, (order,) = rig.core.register(SipUri("sip", "example.com"), 600, 0.0)
    assert [route.uri.host for route in order.request.routes] == routes
