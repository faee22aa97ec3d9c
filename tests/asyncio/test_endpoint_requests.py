"""MESSAGE and OPTIONS between endpoints of ours."""

from __future__ import annotations

import asyncio

import pytest

from callmeter import ConfigurationError, RequestRejected
from callmeter.errors import CallTimedOut, TransportError

PATIENCE = 20


@pytest.fixture
async def bob(make_endpoint):
    return await make_endpoint("bob")


async def next_of(iterator):
    async with asyncio.timeout(PATIENCE):
        return await anext(aiter(iterator))


async def test_a_message_arrives_as_it_was_sent(alice, bob):
    arriving = bob.incoming_messages()
    response = await alice.message(str(bob.contact), "Grüße", headers={"Subject": "hello"})
    assert response.status == 200
    message = await next_of(arriving)
    assert message.text == "Grüße"
    assert message.sender == alice.aor
    assert message.content_type == "text/plain;charset=UTF-8"
    assert message.request.headers.get("Subject") == "hello"
    await alice.message(str(bob.contact), b"\x00\x01", content_type="application/octet-stream")
    assert (await next_of(arriving)).body == b"\x00\x01"


async def test_a_message_to_who_does_not_read_any_is_refused(alice, bob):
    with pytest.raises(RequestRejected, match="405") as caught:
        await alice.message(str(bob.contact), "hello")
    assert caught.value.status == 405
    assert caught.value.reason == "Method Not Allowed"


@pytest.mark.parametrize(
    "headers", [{"X-Mark": "1\r\nX-Other: 2"}, {"X\n": "1"}, {"": "1"}, {"X: Y": "1"}]
)
async def test_a_header_that_would_break_the_message_is_refused(alice, bob, headers):
    with pytest.raises(ConfigurationError):
        await alice.options(str(bob.contact), headers=headers)


async def test_options_take_more_header_fields(alice, bob):
    await alice.options(str(bob.contact), headers={"X-Mark": "1"})
    [received] = [m.text for m in bob.messages if m.text.startswith("OPTIONS")]
    assert "X-Mark: 1" in received


async def test_silence_and_closed_ports_are_told_apart(
    make_endpoint, hasty_stack, silent_port, closed_port
):
    alice = await make_endpoint("alice", on=hasty_stack)
    with pytest.raises(CallTimedOut):
        await alice.message(f"sip:nobody@127.0.0.1:{silent_port}", "hello")
    with pytest.raises(TransportError):
        await alice.message(f"sip:nobody@127.0.0.1:{closed_port}", "hello")
