"""A registrar, a stack and endpoints on loopback; every port is one the system picked."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from callmeter.config import (
    Credentials,
    EndpointConfig,
    MediaConfig,
    SrtpConfig,
    SrtpPolicy,
    StackConfig,
    TimerConfig,
    TlsConfig,
    Transport,
)
from callmeter.endpoint import Endpoint
from callmeter.sip.parser import parse_message
from callmeter.sip.uri import parse_uri
from callmeter.stack import Stack
from callmeter.testing.registrar import Registrar
from callmeter.transport.layer import Located, Route

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

LOOPBACK = "127.0.0.1"
PATIENCE = 20
SECURE = MediaConfig(srtp=SrtpConfig(policy=SrtpPolicy.REQUIRED))
EndpointMaker = "Callable[..., Awaitable[Endpoint]]"


@pytest.fixture
async def stack() -> AsyncIterator[Stack]:
    async with Stack(StackConfig(bind=LOOPBACK)) as running:
        yield running


@pytest.fixture
async def hasty_stack() -> AsyncIterator[Stack]:
    """A stack whose 64*T1 is a second, for what has to time out."""
    timers = TimerConfig(t1=1 / 64, t2=0.1, t4=0.1, ring_timeout=5)
    async with Stack(StackConfig(bind=LOOPBACK, timers=timers)) as running:
        yield running


@pytest.fixture
async def registrar() -> AsyncIterator[Registrar]:
    accounts = {"alice": "wonderland", "bob": "builder", "carol": "christmas"}
    async with Registrar(accounts, realm="test") as running:
        yield running


@pytest.fixture
async def entered() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as exits:
        yield exits


@pytest.fixture
def make_endpoint(entered: AsyncExitStack, stack: Stack) -> Callable[..., Awaitable[Endpoint]]:
    """Endpoints on the common stack; they need no registrar: each is called by its contact."""

    async def make(user: str, *, media: MediaConfig | None = None, on: Stack = stack) -> Endpoint:
        config = EndpointConfig(f"sip:{user}@{LOOPBACK}", media=media or MediaConfig())
        return await entered.enter_async_context(Endpoint(config, on))

    return make


@pytest.fixture
def make_registered(
    entered: AsyncExitStack, stack: Stack, registrar: Registrar
) -> Callable[..., Awaitable[Endpoint]]:
    """Endpoints that registered with their own password."""

    async def make(user: str, password: str, *, media: MediaConfig | None = None) -> Endpoint:
        config = EndpointConfig(
            registrar.aor(user), Credentials(user, password), media=media or MediaConfig()
        )
        endpoint = await entered.enter_async_context(Endpoint(config, stack))
        await entered.enter_async_context(endpoint.registered())
        return endpoint

    return make


@pytest.fixture
def until() -> Callable[[Callable[[], object]], Awaitable[None]]:
    """Wait for what no event tells of."""

    async def wait(condition: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not condition():  # noqa: ASYNC110  there is no event
                await asyncio.sleep(0.005)

    return wait


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A UDP port that takes everything and answers nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind((LOOPBACK, 0))
        yield bound.getsockname()[1]


@pytest.fixture
def closed_port() -> int:
    """A UDP port that nobody listens on."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind((LOOPBACK, 0))
        return int(bound.getsockname()[1])


class Peer:
    """A plain UDP socket that says what it is told to."""

    def __init__(self, bound):
        self._socket = bound
        self.port = bound.getsockname()[1]
        self.source = None
        self._branches = iter(range(1, 1000))

    def send(self, stack, text):
        self._socket.sendto(text.encode(), stack.transport.listening())

    def reply(self, text):
        self._socket.sendto(text.encode(), self.source)

    async def receive(self):
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(PATIENCE):
            data, self.source = await loop.sock_recvfrom(self._socket, 65_535)
        return parse_message(data)

    async def ask(self, stack, text):
        self.send(stack, text)
        return await self.receive()

    def request(self, method, uri, *, to=None, call_id=None, extra="", body=""):
        branch = f"{self.port}-{next(self._branches)}"
        return (
            f"{method} {uri} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP {LOOPBACK}:{self.port}"
            f";branch=z9hG4bK{branch};rport\r\n"
            f"From: <sip:peer@{LOOPBACK}>;tag=p\r\n"
            f"To: {to or f'<{uri}>'}\r\n"
            f"Call-ID: {call_id or branch}\r\n"
            f"CSeq: 1 {method}\r\n"
            "Max-Forwards: 70\r\n"
            f"Contact: <sip:peer@{LOOPBACK}:{self.port}>\r\n"
            f"{extra}Content-Length: {len(body)}\r\n\r\n{body}"
        )

    def answer(self, request, status, reason="OK"):
        self.reply(request.create_response(status, reason, to_tag="p").to_bytes().decode())


@pytest.fixture
def peer():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind((LOOPBACK, 0))
        bound.settimeout(0)
        yield Peer(bound)


@pytest.fixture
def resolves(stack, monkeypatch):
    """Let names lead where the test says; a future keeps a request waiting."""

    def arrange(hops, on=stack):
        known = on.transport.known
        address = Route(parse_uri(f"sip:{LOOPBACK}"), Transport.UDP, TlsConfig())
        location = known(address).location

        async def locate(route):
            found = await hops if isinstance(hops, asyncio.Future) else hops
            return Located(location, tuple(found))

        monkeypatch.setattr(on.transport, "locate", locate)
        numeric = lambda route: known(route) if route.uri.host == LOOPBACK else None
        monkeypatch.setattr(on.transport, "known", numeric)

    return arrange
