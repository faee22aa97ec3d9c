"""Whose challenges may be answered (R23)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from callmeter.sip.message import Request


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
