"""What a caller hears of an answering function that fails, and who an endpoint says it is."""

from __future__ import annotations

import asyncio

import pytest

from callmeter import CallRejected, Credentials
from callmeter.errors import AuthenticationFailed, ConfigurationError, LocalProtocolError
from callmeter.testing.phones import Phones, open_registrar
from callmeter.testing.system_under_test import Target, TargetSettings

PATIENCE = 20


@pytest.fixture
def failing_phones(trusted):
    """Phones whose answering functions fail: what their end raises is returned."""

    async def run(conversation):
        async with asyncio.timeout(PATIENCE), open_registrar(trusted) as running:
            try:
                async with Phones(running, trusted) as phones:
                    await conversation(phones)
            except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001  for the test
                return error, phones.errors
        return None, phones.errors

    return run


async def fail(incoming):
    raise ValueError("my bug")


async def fail_as_pytest_does(incoming):
    pytest.fail("not this one")


async def answer_wrongly(incoming):
    incoming.reject(999)


def answer_plainly(incoming):
    incoming.ring()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (fail, ValueError),
        (fail_as_pytest_does, pytest.fail.Exception),
        (answer_wrongly, ConfigurationError),
        (answer_plainly, ConfigurationError),
    ],
)
async def test_a_function_that_fails_refuses_the_call_at_once_and_is_told(
    failing_phones, answer, error
):
    statuses = []

    async def conversation(phones):
        alice, bob = await phones("alice"), await phones("bob", answer=answer)
        with pytest.raises(CallRejected, match=f"500 answer= raised {error.__name__}") as refused:
            async with alice.call(bob.aor):
                pass
        statuses.append(refused.value.status)

    raised, errors = await failing_phones(conversation)
    assert statuses == [500]
    assert isinstance(raised, error)
    assert errors == [raised]


async def test_a_function_that_fails_in_a_call_hangs_up(failing_phones):
    ended = []

    async def answer(incoming):
        await incoming.answer()
        raise ValueError("my bug")

    async def conversation(phones):
        alice, bob = await phones("alice"), await phones("bob", answer=answer)
        async with alice.call(bob.aor) as call:
            await call.ended()
            ended.append(call)

    raised, _ = await failing_phones(conversation)
    assert isinstance(raised, ValueError)
    assert [call.over for call in ended] == [True]


async def test_a_function_that_fails_after_it_refused_changes_nothing(failing_phones):
    statuses = []

    async def answer(incoming):
        incoming.reject(486)
        raise ValueError("my bug")

    async def conversation(phones):
        alice, bob = await phones("alice"), await phones("bob", answer=answer)
        with pytest.raises(CallRejected) as refused:
            async with alice.call(bob.aor):
                pass
        statuses.append(refused.value.status)

    raised, _ = await failing_phones(conversation)
    assert isinstance(raised, ValueError)
    assert statuses == [486]


async def test_an_error_of_callmeter_in_it_leaves_no_caller_ringing(phones):
    async def answer(incoming):
        raise LocalProtocolError("not now")

    alice, bob = await phones("alice"), await phones("bob", answer=answer)
    with pytest.raises(CallRejected, match="500 answer= raised LocalProtocolError"):
        async with asyncio.timeout(PATIENCE), alice.call(bob.aor):
            pass
    assert phones.errors == []


async def test_a_way_to_answer_that_does_not_exist_is_refused_where_it_is_given(phones):
    with pytest.raises(ConfigurationError, match="not '486': did you mean 486"):
        await phones("bob", answer="486")
    assert list(phones) == []


async def test_credentials_go_before_those_of_the_account(phones):
    with pytest.raises(AuthenticationFailed):
        await phones("alice", credentials=Credentials("alice", "nope"))
    bob = await phones("bob", password="s3cret", credentials=Credentials("bob", "s3cret"))
    assert phones.registrar.contacts("bob") == [str(bob.contact)]
    carol = await phones("carol", register=False, credentials=None)
    assert carol.config.credentials is None


async def test_an_address_of_record_is_made_of_the_user_name(phones):
    with pytest.raises(ConfigurationError, match="aor= is made of the user name") as refused:
        await phones("alice", aor="sip:carol@127.0.0.1")
    assert f"say endpoint('carol') for {phones.registrar.aor('carol')}" in str(refused.value)


async def test_an_endpoint_of_a_target_takes_credentials_too(phones):
    registrar = phones.registrar
    registrar.add_account("dave", "s3cret")
    reached = {"aor": registrar.aor("dave"), "outbound_proxy": registrar.uri()}
    settings = TargetSettings(uri=registrar.aor("echo"), endpoint=reached, bind="127.0.0.1")
    async with Target(settings) as target:
        dave = await target.endpoint(transport="udp", credentials=Credentials("dave", "s3cret"))
        assert registrar.contacts("dave") == [str(dave.contact)]
        with pytest.raises(AuthenticationFailed):
            await target.endpoint(transport="udp", credentials=Credentials("dave", "nope"))
