"""A registrar, a stack and endpoints on loopback; every port is one the system picked."""

from __future__ import annotations

import asyncio
import math
import socket
import sys
import threading
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Self

import pytest
import trustme

from callmeter.config import (
    Credentials,
    EndpointConfig,
    LimitConfig,
    MediaConfig,
    SrtpConfig,
    SrtpPolicy,
    StackConfig,
    TimerConfig,
    TlsConfig,
    Transport,
)
from callmeter.endpoint import Endpoint
from callmeter.sip.message import Request
from callmeter.sip.parser import parse_message
from callmeter.sip.uri import parse_uri
from callmeter.stack import Stack
from callmeter.testing.impaired_network import ImpairedNetwork
from callmeter.testing.phones import Phones, open_registrar
from callmeter.testing.registrar import Registrar
from callmeter.transport.layer import Located, Route

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

LOOPBACK = "127.0.0.1"
PATIENCE = 20
SECURE = MediaConfig(srtp=SrtpConfig(policy=SrtpPolicy.REQUIRED))
EndpointMaker = "Callable[..., Awaitable[Endpoint]]"


@pytest.fixture(autouse=True)
def _loopback_is_not_shared(own_network) -> Iterator[None]:
    """Else a test would hear what a test of another worker says."""
    with own_network.entered():
        yield


@pytest.fixture(autouse=True)
def not_overloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is busy with other tests is no overload: no stack turns calls away for it."""
    defaults = LimitConfig.__init__.__kwdefaults__
    for name in ("loop_delay", "tick_delay"):
        monkeypatch.setitem(defaults, name, 60.0)


@pytest.fixture
async def stack() -> AsyncIterator[Stack]:
    async with Stack(StackConfig(bind=LOOPBACK)) as running:
        yield running


@pytest.fixture
async def hasty_stack() -> AsyncIterator[Stack]:
    """A stack whose 64*T1 is two seconds, for what has to time out."""
    timers = TimerConfig(t1=1 / 32, t2=0.1, t4=0.1, ring_timeout=5)
    async with Stack(StackConfig(bind=LOOPBACK, timers=timers)) as running:
        yield running


@pytest.fixture
async def brisk_stack() -> AsyncIterator[Stack]:
    """A stack whose 64*T1 is four seconds: many calls at once may take one on a busy machine."""
    timers = TimerConfig(t1=1 / 16, t2=0.1, t4=0.1, ring_timeout=20)
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


class Standstill:
    """For how long this process got no processor, as a thread sees that only looks at the clock.

    A loop that is busy does not delay it: what a test bounds may be late by so much, and no more.
    """

    STEP_S = 0.01
    NOISE_S = 0.02

    def __init__(self) -> None:
        self._sum = 0.0
        self._seen = time.monotonic()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Self:
        self._seen = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def seconds(self) -> float:
        with self._lock:
            now = time.monotonic()
            late = now - self._seen - self.STEP_S
            if late > self.NOISE_S:
                self._sum += late
                self._seen = now
            return self._sum

    @property
    def packets(self) -> int:
        """How many of a stream, one every 20 ms, were left out for it."""
        return math.ceil(self.seconds / 0.02)

    def _look(self) -> None:
        while not self._over.wait(self.STEP_S):
            _ = self.seconds
            with self._lock:
                self._seen = time.monotonic()


@pytest.fixture
def standstill() -> Iterator[Standstill]:
    """What a bound on a time is extended by: `waited < 5 + standstill.seconds`."""
    with Standstill() as watching:
        yield watching


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A UDP port that takes everything and answers nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind((LOOPBACK, 0))
        yield bound.getsockname()[1]


@pytest.fixture
def same_port() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Sockets of UDP and TCP, bound to a number that nobody else has of either."""
    while True:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
            socket.socket() as stream,
        ):
            stream.bind((LOOPBACK, 0))
            try:
                datagrams.bind(stream.getsockname())
            except OSError:
                continue
            yield datagrams, stream
            return


@pytest.fixture
def closed_port(same_port) -> int:
    """A port that refuses by UDP and TCP, and that nobody is given meanwhile."""
    datagrams, stream = same_port  # which does not listen
    datagrams.connect(stream.getsockname())  # what others send has no socket here
    return int(stream.getsockname()[1])


@pytest.fixture
def tell(record_property, capsys):
    """Print a figure, for whoever runs this to see what the limits are."""

    def record(name, value):
        record_property(name, value)
        with capsys.disabled():
            sys.stdout.write(f"\n{name}: {value}")

    return record


async def sip_message(bound):
    """The next message on a socket, and its source.

    Not what is no SIP: somebody may still send media to the former owner of the port.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(PATIENCE):
        while True:
            data, source = await loop.sock_recvfrom(bound, 65_535)
            if b"SIP/2.0" in data.partition(b"\r\n")[0]:
                return parse_message(data), source


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
        message, self.source = await sip_message(self._socket)
        return message

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


# a phone that is a script


class Phone:
    """A phone that says what the test tells it to."""

    def __init__(self, bound, media_port):
        self._socket = bound
        self._host_port = f"{LOOPBACK}:{bound.getsockname()[1]}"
        self.uri = f"sip:phone@{self._host_port}"
        self._media_port = media_port
        self._peer = None
        self.invite = None
        self._cseq = 10

    async def receive(self):
        message, self._peer = await sip_message(self._socket)
        return message

    async def expect(self, method):
        while True:
            message = await self.receive()
            if isinstance(message, Request) and message.method == method:
                return message

    async def response(self, method):
        while True:
            message = await self.receive()
            if not isinstance(message, Request) and message.cseq.method == method:
                return message

    def sdp(self, *lines, version=1, host=LOOPBACK, profile="RTP/AVP"):
        tail = "".join(f"{line}\r\n" for line in lines)
        return (
            f"v=0\r\no=- 1 {version} IN IP4 {LOOPBACK}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\n"
            f"m=audio {self._media_port} {profile} 0 101\r\n"
            f"a=rtpmap:101 telephone-event/8000\r\n{tail}"
        ).encode()

    def answer(
        self, request, status=200, body=None, *, kind="application/sdp", reason=None, headers=()
    ):
        headers = [("Contact", f"<{self.uri}>"), *headers]
        if body:
            headers.append(("Content-Type", kind))
        response = request.create_response(
            status, reason, to_tag="phone", headers=headers, body=body or b""
        )
        self._socket.sendto(response.to_bytes(), self._peer)

    async def take(self, body=None, **how):
        """Answer the call that comes."""
        self.invite = await self.expect("INVITE")
        self.answer(self.invite, 200, body or self.sdp(), **how)
        return self.invite

    def request(self, method, body=b"", *, kind="application/sdp", cseq=None, extra=()):
        invite = self.invite
        self._cseq += 1
        number = self._cseq if cseq is None else cseq
        tagged = f"{invite.to};tag=phone"
        headers = [
            ("Via", f"SIP/2.0/UDP {self._host_port};branch=z9hG4bK{method}{self._cseq};rport"),
            ("From", tagged),
            ("To", str(invite.from_)),
            ("Call-ID", invite.call_id),
            ("CSeq", f"{number} {method}"),
            ("Max-Forwards", "70"),
            ("Contact", f"<{self.uri}>"),
            *extra,
        ]
        if body:
            headers.append(("Content-Type", kind))
        request = Request(method, invite.contacts[0].uri, headers, body)
        self._socket.sendto(request.to_bytes(), self._peer)
        return number

    def notify(self, fragment, *, state):
        """Tell how a call goes that a REFER asked for."""
        lines = [("Event", "refer"), ("Subscription-State", state)]
        return self.request(
            "NOTIFY", fragment.encode(), kind="message/sipfrag;version=2.0", extra=lines
        )

    async def hang_up(self, call):
        """Let `call` end, and see its BYE."""
        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
            tasks.create_task(call.bye())
            self.answer(await self.expect("BYE"))
        assert call.over


@pytest.fixture
def phone(silent_port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind((LOOPBACK, 0))
        bound.settimeout(0)
        yield Phone(bound, silent_port)


@pytest.fixture
async def alice(make_endpoint):
    return await make_endpoint("alice")


@pytest.fixture
def begin(phone):
    """Call the phone, which answers."""

    async def answered(endpoint, body=None, **settings):
        call = await endpoint.invite(phone.uri, **settings)
        await phone.take(body)
        await call.answered(PATIENCE)
        await phone.expect("ACK")
        return call

    return answered


# phones of the pytest plugin


@pytest.fixture(scope="session")
def trusted():
    """The authority of `phones`."""
    return trustme.CA()


@pytest.fixture
async def impaired():
    """The network in front of the registrar of `phones`."""
    return ImpairedNetwork(seed=1)


@pytest.fixture
async def phones(trusted, impaired):
    """What the fixture `endpoint` of the plugin is, with a network."""
    async with (
        open_registrar(trusted, impaired) as running,
        Phones(running, trusted) as made,
    ):
        yield made
