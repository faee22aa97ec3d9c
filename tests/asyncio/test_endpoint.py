"""The life of an endpoint, and what it is asked wrongly."""

from __future__ import annotations

import asyncio

import pytest

from callmeter.config import EndpointConfig, StackConfig, TlsConfig
from callmeter.endpoint import Endpoint
from callmeter.errors import (
    CallCancelled,
    CallTimedOut,
    ConfigurationError,
    LocalProtocolError,
)
from callmeter.stack import Stack
from callmeter.testing.certificates import Authority

LOOPBACK = "127.0.0.1"
PATIENCE = 20


async def test_an_endpoint_needs_a_running_stack():
    stack = Stack(StackConfig(bind=LOOPBACK))
    alice = Endpoint(EndpointConfig(f"sip:alice@{LOOPBACK}"), stack)
    with pytest.raises(LocalProtocolError, match="enter the stack"):
        await alice.__aenter__()
    assert not alice.running
    with pytest.raises(LocalProtocolError, match="enter the endpoint"):
        await Endpoint(EndpointConfig(f"sip:alice@{LOOPBACK}")).options("bob")
    leftover = asyncio.sleep(0)
    with pytest.raises(LocalProtocolError, match="not running"):
        stack.start_task(leftover)
    leftover.close()


async def test_an_endpoint_that_was_not_entered_has_no_calls_and_no_address():
    alice = Endpoint(EndpointConfig(f"sip:alice@{LOOPBACK}"))
    assert repr(alice) == f"<Endpoint sip:alice@{LOOPBACK} not running>"
    with pytest.raises(LocalProtocolError, match="enter the endpoint"):
        await alice.next_call()
    with pytest.raises(LocalProtocolError, match="enter the endpoint"):
        _ = alice.contact


@pytest.mark.parametrize("config", ["sip:alice:s3cret@example.com", {"password": "s3cret"}, None])
def test_an_endpoint_takes_settings_and_nothing_else_and_shows_none_of_them(config):
    with pytest.raises(ConfigurationError, match="EndpointConfig") as caught:
        Endpoint(config)
    assert "s3cret" not in str(caught.value)


async def test_endpoints_and_calls_say_what_they_are(make_endpoint):
    alice, bob = await make_endpoint("alice"), await make_endpoint("bob")
    call = await alice.invite(bob.contact)
    assert repr(call) == f"<Call with {bob.contact}: CALLING>"
    incoming = await bob.next_call(PATIENCE)
    assert repr(incoming).startswith("<IncomingCall with sip:alice@")
    assert repr(bob) == f"<Endpoint {bob.aor} at {bob.contact}, calls: 1>"
    incoming.reject()
    async with asyncio.timeout(PATIENCE):
        await call.ended()
    assert repr(call) == f"<Call with {bob.contact}: CALL_FAILED>"


async def test_the_contact_of_who_listens_by_tcp_alone_says_so(make_endpoint):
    alice = await make_endpoint("alice")
    config = StackConfig(bind=LOOPBACK, transports=("tcp",))
    async with (
        Stack(config) as stack,
        Endpoint(EndpointConfig(f"sip:bob@{LOOPBACK}"), stack) as bob,
    ):
        assert bob.contact.transport == "tcp"
        call = await alice.invite(bob.contact)
        (await bob.next_call(PATIENCE)).reject()
        async with asyncio.timeout(PATIENCE):
            await call.ended()
        assert call.report().signaling.transport == "TCP"


async def test_an_endpoint_can_be_entered_again(stack, make_endpoint):
    bob = await make_endpoint("bob")
    alice = Endpoint(EndpointConfig(f"sip:alice@{LOOPBACK}"), stack)
    for _ in range(2):
        async with alice:
            assert alice.running
            call = await bob.invite(str(alice.contact))
            incoming = await alice.next_call(PATIENCE)
            incoming.reject(486)
            async with asyncio.timeout(PATIENCE):
                await call.ended()
        with pytest.raises(LocalProtocolError):
            await alice.next_call(1)


async def test_leaving_with_calls_up_hangs_up(stack, make_endpoint):
    bob = await make_endpoint("bob")
    async with Endpoint(EndpointConfig(f"sip:alice@{LOOPBACK}"), stack) as alice:
        answered = await alice.invite(str(bob.contact))
        incoming = await bob.next_call(PATIENCE)
        await incoming.answer()
        ringing = await alice.invite(str(bob.contact))
        waiting = await bob.next_call(PATIENCE)
        called = await bob.invite(str(alice.contact))
        await alice.next_call(PATIENCE)
    async with asyncio.timeout(PATIENCE):
        for call in (answered, incoming, ringing, waiting, called):
            await call.ended()
    assert len(alice.messages.requests("BYE").sent()) == 1
    assert len(alice.messages.requests("CANCEL").sent()) == 1
    assert called.report().to_dict()["final_status_code"] == 480
    assert stack.media.streams == []


async def test_a_call_that_comes_while_leaving_is_refused(stack, make_endpoint):
    alice, bob = await make_endpoint("alice"), await make_endpoint("bob")
    bob._exit, leaving = None, bob._exit
    call = await alice.invite(str(bob.contact))
    async with asyncio.timeout(PATIENCE):
        await call.ended()
    bob._exit = leaving
    assert call.report().to_dict()["final_status_code"] == 480


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, CallCancelled])
async def test_an_exception_in_the_body_comes_out_as_itself(error):
    with pytest.raises(error) as caught:
        async with Endpoint(EndpointConfig(f"sip:alice@{LOOPBACK}")):
            raise error("x")
    assert type(caught.value) is error


async def test_a_cancelled_body_is_cancelled():
    entered = asyncio.Event()

    async def linger():
        async with Endpoint(EndpointConfig(f"sip:alice@{LOOPBACK}")):
            entered.set()
            await asyncio.Event().wait()

    lingering = asyncio.get_running_loop().create_task(linger())
    await entered.wait()
    lingering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await lingering


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (lambda: EndpointConfig("sip:alice@exa mple"), "aor"),
        (lambda: EndpointConfig("sip:alice@b", registrar="exa mple"), "registrar"),
        (lambda: EndpointConfig("sip:alice@b", outbound_proxy="exa mple"), "outbound_proxy"),
    ],
)
def test_an_endpoint_that_cannot_work_is_refused(config, message):
    with pytest.raises(ConfigurationError, match=message):
        Endpoint(config())


@pytest.mark.parametrize("target", ["exa mple", "tel:+15551234", "bob@exa mple", ""])
async def test_a_target_that_is_no_sip_uri_is_refused(make_endpoint, target):
    alice = await make_endpoint("alice")
    with pytest.raises(ConfigurationError, match="SIP URI"):
        await alice.invite(target)
    with pytest.raises(ConfigurationError, match="SIP URI"):
        await alice.options(target)


@pytest.mark.parametrize(
    ("target", "uri"),
    [
        ("bob", "sip:bob@127.0.0.1"),
        ("bob@example.com", "sip:bob@example.com"),
        ("bob@example.com:5070", "sip:bob@example.com:5070"),
        ("sips:bob@example.com", "sips:bob@example.com"),
    ],
)
async def test_a_short_target_is_completed(make_endpoint, target, uri):
    alice = await make_endpoint("alice")
    assert str(alice.target(target)) == uri


async def test_header_fields_that_cannot_be_sent_leave_no_call_behind(make_endpoint, stack):
    alice = await make_endpoint("alice")
    with pytest.raises(ConfigurationError):
        await alice.invite("bob", headers={"X-Wish": "a\r\nVia: b"})
    assert alice.calls == []
    assert len(alice.core) == 0
    assert stack.media.streams == []


async def test_nobody_calls_in_time(make_endpoint):
    alice = await make_endpoint("alice")
    with pytest.raises(CallTimedOut, match=r"0\.01 s"):
        await alice.next_call(0.01)


@pytest.mark.parametrize("transport", ["tls", "udp"])
async def test_who_calls_by_tls_and_listens_by_it_is_called_by_it(transport):
    issued = Authority().issue(LOOPBACK)
    own = TlsConfig(certificate=issued.certificate, private_key=issued.private_key)
    config = StackConfig(bind=LOOPBACK, transports=("udp", "tls"), tls=own)
    bob = EndpointConfig(f"sip:bob@{LOOPBACK}", transport=transport)
    async with Stack(config) as stack, Endpoint(bob, stack) as endpoint:
        port = stack.transport.listening(transport.upper())[1]
        assert endpoint.contact.port == port
        assert (endpoint.contact.transport or "udp") == transport
