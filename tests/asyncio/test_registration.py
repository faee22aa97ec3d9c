"""Bindings at a registrar, over sockets."""

from __future__ import annotations

import asyncio

import pytest

from callmeter.config import Credentials, EndpointConfig
from callmeter.endpoint import Endpoint
from callmeter.errors import AuthenticationFailed, LocalProtocolError, RegistrationFailed
from callmeter.sip.session_events import Registered
from callmeter.testing.registrar import Registrar

PATIENCE = 20


@pytest.fixture
def make_alice(entered, stack, registrar):
    async def make(password="wonderland", *, aor=None, on=stack, **settings):
        config = EndpointConfig(
            aor or registrar.aor("alice"), Credentials("alice", password), **settings
        )
        return await entered.enter_async_context(Endpoint(config, on))

    return make


def sent_by(endpoint, method="REGISTER"):
    return [entry.message for entry in endpoint.messages.requests(method).sent()]


async def test_the_binding_lasts_as_long_as_the_block(make_alice, registrar):
    alice = await make_alice()
    async with alice.registered() as binding:
        assert registrar.contacts("alice") == [str(alice.contact)]
        assert binding.bound
        assert binding.expires == 600
        assert binding.refreshes == 0
        assert binding.error is None
        assert repr(binding).endswith(f"bound for {binding.expires} s>")
    assert registrar.contacts("alice") == []
    assert not binding.bound
    assert repr(binding).endswith("not bound>")
    assert alice.registrations == {}
    assert len(alice.core) == 0
    last = sent_by(alice)[-1]
    assert last.expires == 0


async def test_a_wrong_password_is_tried_once_and_told(make_alice, registrar):
    alice = await make_alice("looking-glass")
    with pytest.raises(AuthenticationFailed, match="401") as caught:
        async with alice.registered():
            pytest.fail("it was registered")
    assert caught.value.status == 401
    assert "looking-glass" not in str(caught.value)
    assert len(sent_by(alice)) == 2
    assert registrar.contacts("alice") == []
    assert alice.registrations == {}
    assert len(alice.core) == 0


async def test_an_account_that_may_not_register_this_address_is_refused(make_alice, registrar):
    alice = await make_alice(aor=registrar.aor("bob"))
    with pytest.raises(RegistrationFailed, match="403 Forbidden") as caught:
        async with alice.registered():
            pytest.fail("it was registered")
    assert caught.value.status == 403
    assert not isinstance(caught.value, AuthenticationFailed)


async def test_no_credentials_are_an_authentication_failure(entered, stack, registrar):
    config = EndpointConfig(registrar.aor("alice"))
    alice = await entered.enter_async_context(Endpoint(config, stack))
    with pytest.raises(AuthenticationFailed, match="asks for credentials, and there are none"):
        async with alice.registered():
            pytest.fail("it was registered")
    assert len(sent_by(alice)) == 1


async def test_the_least_interval_of_the_registrar_is_obeyed(make_alice):
    alice = await make_alice()
    async with alice.registered(5) as binding:
        assert binding.expires == 10
    asked = [request.expires for request in sent_by(alice)]
    assert asked[0] == 5
    assert 10 in asked
    assert asked[-1] == 0


async def test_the_binding_is_refreshed_before_it_ends(entered, stack, until):
    async with Registrar({"alice": "wonderland"}, min_expires=1) as registrar:
        config = EndpointConfig(registrar.aor("alice"), Credentials("alice", "wonderland"))
        alice = await entered.enter_async_context(Endpoint(config, stack))
        async with alice.registered(2) as binding:
            first = registrar.core.bindings["alice"][0].expires_at
            await until(lambda: binding.refreshes == 1)
            assert registrar.core.bindings["alice"][0].expires_at > first
            assert len(registrar.contacts("alice")) == 1
    call_ids = {request.call_id for request in sent_by(alice)}
    assert len(call_ids) == 1


async def test_a_refresh_can_be_asked_for_by_several_at_once(make_alice):
    alice = await make_alice()
    async with alice.registered() as binding:
        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
            for _ in range(3):
                tasks.create_task(binding.refresh())
        assert binding.refreshes == 1
        assert binding.bound


async def test_a_refresh_that_fails_is_raised_and_kept(make_alice, registrar):
    alice = await make_alice()
    async with alice.registered() as binding:
        registrar.core.accounts["alice"] = "changed"
        with pytest.raises(AuthenticationFailed):
            await binding.refresh()
        assert isinstance(binding.error, AuthenticationFailed)
        assert not binding.bound
        registrar.core.accounts["alice"] = "wonderland"
        await binding.refresh()
        assert binding.error is None
        assert binding.bound
    assert registrar.contacts("alice") == []


async def test_a_refresh_nobody_asked_for_that_fails_is_kept(entered, stack, until):
    async with Registrar({"alice": "wonderland"}, min_expires=1) as registrar:
        config = EndpointConfig(registrar.aor("alice"), Credentials("alice", "wonderland"))
        alice = await entered.enter_async_context(Endpoint(config, stack))
        async with alice.registered(2) as binding:
            registrar.core.accounts["alice"] = "changed"
            await until(lambda: binding.error is not None)
            assert binding.error.status == 401
            assert not binding.bound
    assert alice.registrations == {}


async def test_a_silent_registrar_times_out(make_alice, hasty_stack, silent_port):
    alice = await make_alice(aor=f"sip:alice@127.0.0.1:{silent_port}", on=hasty_stack)
    with pytest.raises(RegistrationFailed, match="did not answer") as caught:
        async with alice.registered():
            pytest.fail("it was registered")
    assert caught.value.status == 408
    assert str(silent_port) in str(caught.value)


async def test_a_closed_port_fails_at_once(make_alice, closed_port):
    alice = await make_alice(aor=f"sip:alice@127.0.0.1:{closed_port}")
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(RegistrationFailed, match="cannot be reached") as caught:
            async with alice.registered():
                pytest.fail("it was registered")
    assert caught.value.status == 503


async def test_a_cancelled_entry_leaves_no_binding(make_alice, registrar):
    alice = await make_alice()

    async def register():
        async with alice.registered():
            pytest.fail("it was registered")

    entering = asyncio.get_running_loop().create_task(register())
    while len(sent_by(alice)) < 2:  # noqa: ASYNC110  the very moment is meant
        await asyncio.sleep(0)
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    assert registrar.contacts("alice") == []
    assert alice.registrations == {}
    assert len(alice.core) == 0
    assert alice.core.next_deadline() is None


async def test_a_cancelled_entry_does_not_wait_long_for_a_silent_registrar(
    make_alice, silent_port, monkeypatch
):
    monkeypatch.setattr("callmeter.registration.LAST_WORD", 0.05)
    alice = await make_alice(aor=f"sip:alice@127.0.0.1:{silent_port}")
    begun = alice.stack.now
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05), alice.registered():
            pytest.fail("it was registered")
    assert alice.stack.now - begun < 10
    assert alice.registrations == {}


async def test_leaving_with_a_registrar_that_is_gone_raises_nothing(make_alice, registrar):
    alice = await make_alice()
    async with asyncio.timeout(PATIENCE), alice.registered() as binding:
        await registrar.__aexit__(None, None, None)
    assert not binding.bound
    assert alice.registrations == {}


async def test_an_exception_in_the_block_still_unbinds(make_alice, registrar):
    alice = await make_alice()
    with pytest.raises(ZeroDivisionError):
        async with alice.registered():
            raise ZeroDivisionError
    assert registrar.contacts("alice") == []


async def test_a_registration_is_entered_once_at_a_time_and_can_be_entered_again(
    make_alice, registrar
):
    alice = await make_alice()
    binding = alice.registered()
    with pytest.raises(LocalProtocolError, match="enter the registration"):
        await binding.refresh()
    await binding.__aexit__(None, None, None)
    async with binding:
        with pytest.raises(LocalProtocolError, match="already entered"):
            await binding.__aenter__()
    async with binding:
        assert registrar.contacts("alice") == [str(alice.contact)]
        assert binding.refreshes == 0
    assert registrar.contacts("alice") == []


async def test_a_late_answer_finds_nobody_waiting(make_alice):
    alice = await make_alice()
    async with alice.registered() as binding:
        usage = binding._usage
        gave_up = asyncio.get_running_loop().create_task(binding.refresh())
        await asyncio.sleep(0)
        gave_up.cancel()
        binding.on_event(Registered(usage, 60, None))
        with pytest.raises(asyncio.CancelledError):
            await gave_up
        assert binding.expires == 60


# what the registrar says about the ways (RFC 3327, 3608, 5627)

GRUU = "sip:alice@example.com;gr=urn:uuid:1"


def grant(peer, request, *lines):
    contact = request.headers.get("Contact")
    headers = [
        ("Contact", f'{contact};pub-gruu="{GRUU}";temp-gruu="sip:t@example.com;gr"'),
        ("Path", f"<sip:127.0.0.1:{peer.port};lr>"),
        *lines,
    ]
    response = request.create_response(200, to_tag="p", headers=headers)
    peer.reply(response.to_bytes().decode())


@pytest.mark.parametrize("wanted", [True, False])
async def test_requests_go_by_the_service_route_and_the_contact_is_a_gruu_if_wanted(
    entered, stack, peer, wanted
):
    config = EndpointConfig(
        "sip:alice@example.com", registrar=f"sip:127.0.0.1:{peer.port}", gruu=wanted
    )
    alice = await entered.enter_async_context(Endpoint(config, stack))
    route = f"<sip:127.0.0.1:{peer.port};lr>"
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        binding = alice.registered()
        entering = tasks.create_task(binding.__aenter__())
        grant(peer, await peer.receive(), ("Service-Route", f"{route}, <sip:b@example.com;lr>"))
        await entering
        assert binding.service_route == (route.strip("<>"), "sip:b@example.com;lr")
        assert binding.path == (route.strip("<>"),)
        assert binding.public_gruu == GRUU
        assert binding.temporary_gruu == "sip:t@example.com;gr"
        asking = tasks.create_task(alice.options("sip:bob@nowhere.invalid"))
        request = await peer.receive()
        assert [str(r) for r in request.routes] == [route, "<sip:b@example.com;lr>"]
        contact = str(request.contacts[0].uri)
        assert contact == (GRUU if wanted else str(alice.contact))
        peer.answer(request, 200)
        await asking
        refreshing = tasks.create_task(binding.refresh())
        request = await peer.receive()
        assert request.method == "REGISTER"
        assert request.routes == []
        assert str(request.contacts[0].uri) == str(alice.contact)
        grant(peer, request)
        await refreshing
        leaving = tasks.create_task(binding.__aexit__(None, None, None))
        peer.answer(await peer.receive(), 200)
        await leaving
    assert alice.core.identity.route_set == ()
    assert alice.core.identity.gruu is None
    assert (binding.service_route, binding.path) == ((), ())
    assert (binding.public_gruu, binding.temporary_gruu) == (None, None)
