"""A world in which example.com exists: names, a registrar, people who answer and who call."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest

from callmeter import Credentials, Endpoint, EndpointConfig, NegotiationError, Tone, Transport
from callmeter.testing.name_server import NameServer
from callmeter.testing.registrar import Registrar
from callmeter.transport.resolver import Resolver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

    from callmeter.call import Call

DOMAINS = ("example.com", "pbx.test", "pbx.example.com")
TRANSPORTS = (Transport.UDP, Transport.TCP)
PATIENCE = 20
PASSWORD = "s3cret"
USERS = ("alice", "bob", "carol", "dave", "service", "echo", "600", "mallory")
ZONE = """
{name}.            A     {address}
sip.{name}.         A     {address}
_sip._udp.{name}.  SRV   0 0 {port} sip.{name}.
_sip._tcp.{name}.  SRV   0 0 {port} sip.{name}.
"""


class World:
    """example.com.

    Attributes:
        registrar: Its registrar and proxy.
        domain: Whose it is: example.com, unless a page speaks of another one.
        exits: What is closed with it.
    """

    def __init__(
        self, registrar: Registrar, exits: AsyncExitStack, tasks: asyncio.TaskGroup, domain: str
    ) -> None:
        self.registrar = registrar
        self.domain = domain
        self.exits = exits
        self._tasks = tasks
        self._running: list[asyncio.Task[Any]] = []

    def meanwhile(self, what: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Let something go on until the world ends."""
        task = self._tasks.create_task(what)
        self._running.append(task)
        return task

    def end(self) -> None:
        """Nobody answers any more."""
        for task in self._running:
            task.cancel()

    async def endpoint(self, user: str, **settings: Any) -> Endpoint:
        """An endpoint of the domain that is registered."""
        config = EndpointConfig(
            f"sip:{user}@{self.domain}", Credentials(user, PASSWORD), **settings
        )
        endpoint = await self.exits.enter_async_context(Endpoint(config))
        await self.exits.enter_async_context(endpoint.registered())
        return endpoint

    async def answers(self, *users: str, **settings: Any) -> None:
        """These people answer every call and return what they hear."""
        for user in users:
            endpoint = await self.endpoint(user, **settings)
            self.meanwhile(self._echo(endpoint))

    async def _echo(self, endpoint: Endpoint) -> None:
        async with asyncio.TaskGroup() as calls:
            async for incoming in endpoint.incoming():
                with contextlib.suppress(NegotiationError):  # refused with 488
                    call = await incoming.answer()
                    call.media.echo()
                    calls.create_task(call.ended())

    async def call(self, user: str, *, packets: int = 0, **settings: Any) -> dict[str, Any]:
        """Somebody calls this user as soon as it is registered, talks, and hangs up.

        Args:
            user: Who is called.
            packets: Go on talking until so many have come.
            settings: Of the caller.
        """
        async with asyncio.timeout(PATIENCE):
            while not self.registrar.contacts(user):  # noqa: ASYNC110  no event of the registrar
                await asyncio.sleep(0.01)
            async with (
                Endpoint(EndpointConfig("sip:zoe@example.com", **settings)) as zoe,
                zoe.call(f"sip:{user}@example.com") as call,
            ):
                await call.media.play(Tone(440), seconds=0.4)
                while _heard(call) < packets and not call.over:
                    await call.media.play(Tone(440), seconds=0.1)
        return call.report().to_dict()


def _heard(call: Call) -> int:
    statistics = call.media.statistics()
    return 0 if statistics is None else statistics.receive.packets_received


@contextlib.asynccontextmanager
async def example_com(names: NameServer, domain: str) -> AsyncIterator[World]:
    accounts = dict.fromkeys(USERS, PASSWORD)
    async with (
        Registrar(accounts, realm=domain, transports=TRANSPORTS) as registrar,
        names,
        asyncio.TaskGroup() as tasks,
        AsyncExitStack() as exits,
    ):
        address, port = registrar.address
        zone = (ZONE.format(name=name, address=address, port=port) for name in DOMAINS)
        names.load("".join(zone))
        world = World(registrar, exits, tasks, domain)
        try:
            yield world
        finally:
            world.end()


@pytest.fixture
def open_world(monkeypatch):
    """`async with open_world() as world`: until then example.com does not exist."""
    names = NameServer("", origin=".")

    async def ask_ours(resolver: Resolver, question: Any) -> Any:
        return await resolver._in_turn(question, (("127.0.0.1", names.port),))

    monkeypatch.setattr(Resolver, "_find_out", ask_ours)
    return lambda domain="example.com": example_com(names, domain)
