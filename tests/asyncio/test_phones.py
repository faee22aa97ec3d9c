"""The endpoints of the plugin: what they do by themselves, and what they remember."""

from __future__ import annotations

import asyncio

import pytest

from callmeter import CallRejected, SrtpPolicy, Transport
from callmeter.errors import ConfigurationError, LocalProtocolError
from callmeter.testing.endpoint_settings import endpoint_config
from callmeter.testing.phones import KEPT_CALLS, Phones, loopback_stack, open_registrar

PATIENCE = 20


async def test_a_phone_is_registered_answers_and_echoes(phones, standstill):
    alice, bob = await phones("alice"), await phones("bob")
    assert phones.registrar.contacts("bob") == [str(bob.contact)]
    async with alice.call(bob.aor) as call:
        await call.media.play(seconds=0.5)
    assert call.report().media[0].receive["packets_received"] > 10 - standstill.packets
    assert repr(phones) == "<Phones alice, bob>"


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls", "wss"])
async def test_it_reaches_the_registrar_by_any_transport(phones, transport):
    alice = await phones("alice", transport=transport)
    assert alice.transport is Transport[transport.upper()]
    assert phones.registrar.contacts("alice") == [str(alice.contact)]


async def test_defaults_are_for_all_and_keywords_go_before_them(trusted):
    settings = {"srtp": "sdes", "ptime": 40}
    async with open_registrar(trusted) as running, Phones(running, trusted, settings) as phones:
        alice = await phones("alice", ptime=30)
        assert alice.config.media.ptime == 30
        assert alice.config.media.srtp.policy is SrtpPolicy.REQUIRED


async def test_a_status_refuses_calls(phones):
    alice, bob = await phones("alice"), await phones("bob", answer=603)
    with pytest.raises(CallRejected) as refused:
        async with alice.call(bob.aor):
            pass
    assert refused.value.status == 603


async def test_a_coroutine_function_is_given_each_call(phones):
    taken = []

    async def answer(incoming):
        taken.append(incoming.caller)
        await incoming.answer()

    alice, bob = await phones("alice"), await phones("bob", answer=answer)
    for _ in range(2):
        async with alice.call(bob.aor):
            pass
    assert taken == [alice.aor] * 2
    assert [call.over for call in alice.every_call] == [True, True]


async def test_an_error_of_the_test_in_it_comes_out_at_the_end(trusted):
    async def answer(incoming):
        await incoming.answer()
        raise ValueError("of the test")

    async def give_up(incoming):
        raise LocalProtocolError("of callmeter")

    async def conversation():
        async with open_registrar(trusted) as running, Phones(running, trusted) as phones:
            alice, bob = await phones("alice"), await phones("bob", answer=answer)
            carol = await phones("carol", answer=give_up)
            async with alice.call(bob.aor):
                pass
            call = await alice.invite(carol.aor)
            await call.bye()

    with pytest.raises(ValueError, match="of the test") as failed:
        await conversation()
    (note,) = failed.value.__notes__
    assert note.startswith("while sip:bob@127.0.0.1:")
    assert " took a call from sip:alice@127.0.0.1:" in note


async def test_calls_can_be_left_to_the_test(phones):
    alice, bob = await phones("alice"), await phones("bob", answer=False)
    call = await alice.invite(bob.aor)
    incoming = await bob.next_call(PATIENCE)
    assert bob.every_call == [incoming]
    incoming.reject(486)
    async with asyncio.timeout(PATIENCE):
        await call.ended()


async def test_it_remembers_the_last_hundred_calls_only(phones):
    alice = await phones("alice")
    assert alice._ended.maxlen == KEPT_CALLS


async def test_phones_share_a_stack_that_is_given(trusted):
    async with (
        open_registrar(trusted) as running,
        loopback_stack() as shared,
        Phones(running, trusted, None, shared) as phones,
    ):
        alice, bob = await phones("alice"), await phones("bob")
        assert alice.stack is bob.stack is shared
        async with alice.call(bob.aor) as call:
            await call.media.play(seconds=0.1)


async def test_a_password_of_ones_own_and_no_registration(phones):
    alice = await phones("alice", password="wonderland", register=False)
    assert alice.config.credentials.password == "wonderland"
    assert phones.registrar.contacts("alice") == []


async def test_without_a_registrar_whole_configurations_are_added():
    async with Phones(None, None) as phones:
        with pytest.raises(ConfigurationError, match="without a registrar"):
            await phones("alice")
        alice = await phones.add(endpoint_config("sip:alice@127.0.0.1"), register=False)
        assert phones.name_of("127.0.0.1:5060") == "127.0.0.1:5060"
        assert list(phones) == [alice]


def test_another_event_loop_is_refused_in_words():
    async def enter():
        return await Phones(None, None).__aenter__()

    async def use(phones):
        await phones.add(endpoint_config("sip:alice@127.0.0.1"))

    phones = asyncio.run(enter())
    assert repr(phones) == "<Phones none yet>"
    with pytest.raises(ConfigurationError, match="another event loop"):
        asyncio.run(use(phones))


async def test_the_stack_of_a_test_turns_nobody_away_because_the_machine_is_busy():
    limits = loopback_stack().config.limits
    assert min(limits.loop_delay, limits.tick_delay) >= 60
