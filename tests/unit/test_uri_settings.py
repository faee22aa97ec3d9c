"""URIs as users write them."""

from __future__ import annotations

import re

import pytest

from callmeter.errors import ConfigurationError
from callmeter.sip.uri import SipUri
from callmeter.uri_settings import proxy_uri, setting_uri, target_uri

AOR = SipUri("sip", "example.com", None, "alice")


@pytest.mark.parametrize(
    ("text", "uri"),
    [("example.com:5070", "sip:example.com:5070"), ("sips:example.com", "sips:example.com")],
)
def test_a_setting_may_leave_the_scheme_out(text, uri):
    assert str(setting_uri("registrar", text)) == uri


@pytest.mark.parametrize("text", ["", "tel:+4930", "a b"])
def test_a_setting_that_is_no_sip_uri_is_named(text):
    with pytest.raises(ConfigurationError, match="registrar"):
        setting_uri("registrar", f"sip:{text}" if text == "" else f"sip:{text}>")


def test_an_outbound_proxy_is_a_loose_route_once():
    assert str(proxy_uri("proxy.example.com")) == "sip:proxy.example.com;lr"
    assert str(proxy_uri("sip:proxy.example.com;lr")) == "sip:proxy.example.com;lr"


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("bob", "sip:bob@example.com"),
        ("bob@example.net", "sip:bob@example.net"),
        ("SIP:bob@example.net", "sip:bob@example.net"),
    ],
)
def test_whom_to_call_may_be_written_short(text, uri):
    assert str(target_uri(text, AOR)) == uri


def test_the_contact_of_an_endpoint_can_be_called_as_it_is():
    assert target_uri(AOR, SipUri("sip", "example.net", None, "bob")) is AOR


@pytest.mark.parametrize("text", ["tel:+4930123", "sip:a b@c", "http://bob", "b b"])
def test_who_cannot_be_called_by_sip_is_named_as_it_was_written(text):
    with pytest.raises(ConfigurationError, match=f"^'{re.escape(text)}' is not a SIP URI"):
        target_uri(text, AOR)


def test_what_is_no_text_is_nobody_to_call():
    with pytest.raises(ConfigurationError, match="not None"):
        target_uri(None, AOR)
