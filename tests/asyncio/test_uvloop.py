"""Everything that touches the event loop, on uvloop: transports, keys, media, registration."""

from __future__ import annotations

import asyncio
import re
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import uvloop

from callmeter.config import (
    Credentials,
    EndpointConfig,
    MediaConfig,
    SrtpConfig,
    SrtpMethod,
    SrtpPolicy,
    StackConfig,
    TlsConfig,
    TlsVerify,
    Transport,
)
from callmeter.endpoint import Endpoint
from callmeter.media.sources import Tone
from callmeter.metrics.phases import Outcome
from callmeter.stack import Stack
from callmeter.testing.certificates import Authority
from callmeter.testing.registrar import Registrar

LOOPBACK = "127.0.0.1"
PATIENCE = 20
LISTENERS = (Transport.UDP, Transport.TCP, Transport.TLS, Transport.WSS)
KEYS = {
    "plain": SrtpConfig(),
    "sdes": SrtpConfig(policy=SrtpPolicy.REQUIRED),
    "dtls": SrtpConfig(method=SrtpMethod.DTLS, policy=SrtpPolicy.REQUIRED),
    "dual": SrtpConfig(method=SrtpMethod.DUAL, policy=SrtpPolicy.REQUIRED),
}


AUTHORITY = Authority()
TRUST = TlsConfig(verify=TlsVerify.CUSTOM, ca=AUTHORITY.pem)


def on_uvloop(work):
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def phone(user, stack, keys="plain", transport=Transport.UDP):
    media = MediaConfig(srtp=KEYS[keys])
    config = EndpointConfig(f"sip:{user}@{LOOPBACK}", transport=transport, media=media, tls=TRUST)
    return Endpoint(config, stack)


async def talk(alice, bob, target):
    """A call in which each side hears the other."""

    async def serve():
        incoming = await bob.next_call(PATIENCE)
        await incoming.answer()
        await incoming.media.play(Tone(440))
        await incoming.ended()

    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        tasks.create_task(serve())
        async with alice.call(target) as call:
            await call.media.play(Tone(620), seconds=0.3)
            heard = lambda: call.report().to_dict()["media"][0]["receive"]["packets_received"]
            while heard() < 10:  # noqa: ASYNC110  there is no event
                await asyncio.sleep(0.01)
    assert call.outcome is Outcome.SUCCESS
    return call.report().to_dict()


@pytest.mark.parametrize("keys", KEYS)
def test_a_call_is_heard_whatever_its_keys(keys):
    async def work():
        assert isinstance(asyncio.get_running_loop(), uvloop.Loop)
        async with (
            Stack(StackConfig(bind=LOOPBACK)) as stack,
            phone("alice", stack, keys) as alice,
            phone("bob", stack, keys) as bob,
        ):
            return await talk(alice, bob, str(bob.contact))

    (audio,) = on_uvloop(work())["media"]
    assert audio["keying"] == {"plain": "none", "dual": "dtls"}.get(keys, keys)
    assert audio["receive"]["packets_lost"] == 0


@pytest.mark.parametrize("transport", LISTENERS)
def test_a_call_is_heard_over_each_transport(transport):
    issued = AUTHORITY.issue(LOOPBACK)
    tls = TlsConfig(certificate=issued.certificate, private_key=issued.private_key)
    name = transport.value

    async def work():
        async with (
            Stack(StackConfig(bind=LOOPBACK, transports=LISTENERS, tls=tls)) as there,
            Stack(StackConfig(bind=LOOPBACK)) as here,
            phone("bob", there) as bob,
            phone("alice", here, transport=transport) as alice,
        ):
            port = there.transport.listening(name.upper())[1]
            return await talk(alice, bob, f"sip:bob@{LOOPBACK}:{port};transport={name}")

    assert on_uvloop(work())["signaling"]["transport"] == name.upper()


@pytest.mark.parametrize("transport", [Transport.UDP, Transport.TCP])
def test_a_registered_endpoint_is_called_through_its_registrar(transport):
    accounts = {"alice": "wonderland", "bob": "builder"}

    async def work():
        async with (
            Registrar(accounts, transports=(Transport.UDP, Transport.TCP)) as registrar,
            Stack(StackConfig(bind=LOOPBACK)) as stack,
            AsyncExitStack() as entered,
        ):
            phones = []
            for user, password in accounts.items():
                config = EndpointConfig(
                    registrar.aor(user), Credentials(user, password), transport=transport
                )
                phones.append(await entered.enter_async_context(Endpoint(config, stack)))
                await entered.enter_async_context(phones[-1].registered())
            alice, bob = phones
            return await talk(alice, bob, registrar.aor("bob"))

    assert on_uvloop(work())["media"][0]["receive"]["packets_lost"] == 0


def test_the_how_to_runs_what_it_is_given_on_uvloop():
    page = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "uvloop.md"
    (block,) = re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    loops = []

    async def main():
        loops.append(asyncio.get_running_loop())

    exec(block, {"main": main})
    assert isinstance(loops[0], uvloop.Loop)
