"""Peers for the interop tests: started per test on free ports, their logs shown when it fails.

A test names what it needs: `@pytest.mark.interop("kamailio", "sipp")`. What is missing makes it
skipped, and a section at the end of the run names it; with CI=true it fails.

`--interop-matrix FILE` writes what was shown with which peer as JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from typing import TYPE_CHECKING, TypeVar

import pytest
from aioice.ice import get_host_addresses

from callmeter import (
    Credentials,
    Endpoint,
    EndpointConfig,
    MediaConfig,
    SrtpConfig,
    TlsConfig,
    TlsVerify,
    TransferPolicy,
    Transport,
)
from callmeter.config import LimitConfig
from peers.aiortc import Aiortc
from peers.baresip import Baresip
from peers.browser import Browser, not_bundled
from peers.conversation import PATIENCE, Expectation
from peers.gstreamer import Gstreamer
from peers.janus import Janus, JanusPhone
from peers.kamailio import DOMAIN, PASSWORD, Kamailio
from peers.linphone import Linphone
from peers.matrix import PROPERTY, Matrix
from peers.program import HOST, Program
from peers.rtpengine import Rtpengine
from peers.sipp import Sipp
from peers.tshark import Capture, cannot_capture

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from callmeter import Stack
    from peers.certificates import Certificates

P = TypeVar("P", bound=Program)

EXECUTABLES: dict[str, tuple[str, ...]] = {
    "aiortc": (),  # a library, and a dependency of callmeter itself
    "baresip": ("baresip",),
    "bind": ("named",),
    "chromium": ("chromium",),
    "gstreamer": ("gst-launch-1.0",),
    "iptables": ("iptables",),
    "janus": ("janus",),
    "kamailio": ("kamailio",),
    "knot": ("knotd",),
    "linphone": ("linphonec",),
    "rtpengine": ("rtpengine",),
    "sipp": ("sipp",),
    "sngrep": ("sngrep",),
    "tshark": ("tshark", "dumpcap"),
}
NEEDS_ADDRESS = frozenset({"janus"})
"""Their ICE takes none of loopback, and there is nothing else in a network of one's own."""
STARTED = pytest.StashKey[list[Program]]()
NOT_RUN = "not run"


class NotRun:
    """What lacked a peer, named once more at the end; the reports of workers tell of it."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, str]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "setup":
            rows = (
                (report.nodeid, str(value))
                for name, value in report.user_properties
                if name == NOT_RUN
            )
            self._rows.extend(rows)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self._rows:
            return
        title = f"INTEROP: {len(self._rows)} NOT RUN"
        terminalreporter.section(title, sep="!", red=True, bold=True)
        for node, reason in self._rows:
            terminalreporter.line(f"{node}: {reason}", red=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--interop-matrix", metavar="FILE", help="write the interop matrix as JSON")
    parser.addoption("--report-screenshots", metavar="DIR", help="write the pictures of the docs")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(NotRun())
    file = config.getoption("--interop-matrix")
    if file and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Matrix(file))


@pytest.fixture(autouse=True)
def _loopback_is_not_shared(request: pytest.FixtureRequest, own_network) -> Iterator[None]:
    """Else a peer would hear what a test of another worker sends to the former owner of a port."""
    marker = request.node.get_closest_marker("interop")
    with contextlib.ExitStack() as stack:
        if marker is None or NEEDS_ADDRESS.isdisjoint(marker.args):
            stack.enter_context(own_network.entered())
        yield


@pytest.fixture(autouse=True)
def not_overloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is busy with other tests is no overload: no stack turns calls away for it."""
    defaults = LimitConfig.__init__.__kwdefaults__
    for name in ("loop_delay", "tick_delay"):
        monkeypatch.setitem(defaults, name, 60.0)


def lacking(peers: tuple[str, ...]) -> str:
    """Why these peers cannot be used here, or the empty string."""
    for peer in peers:
        for executable in EXECUTABLES[peer]:
            if shutil.which(executable) is None:
                return f"{executable} is not installed (scripts/install-peers)"
        if peer == "janus" and not get_host_addresses(use_ipv4=True, use_ipv6=True):
            return "there is no address but loopback, and ICE takes none of those"
        if peer == "chromium" and (reason := not_bundled()):
            return reason
        if peer == "tshark" and (reason := cannot_capture()):
            return reason
    return ""


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    marker = item.get_closest_marker("interop")
    if marker is None or not (reason := lacking(marker.args)):
        return
    item.user_properties.append((NOT_RUN, reason))
    if os.environ.get("CI", "").lower() in {"1", "true"}:
        pytest.fail(f"{reason}, and CI allows no missing peer", pytrace=False)
    pytest.skip(reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.failed:
        for program in item.stash.get(STARTED, []):
            title = f"{program.name} in {program.folder.name} (exit status {program.status})"
            report.sections.append((title, program.tail()))
    return report


@pytest.fixture
def run(request: pytest.FixtureRequest) -> Iterator[Callable[[P], P]]:
    """Start a program for this test: `proxy = run(Kamailio(folder))`; ended after the test."""
    started = request.node.stash.setdefault(STARTED, [])
    with contextlib.ExitStack() as stack:

        def start(program: P) -> P:
            started.append(program)
            return stack.enter_context(program)

        yield start


@pytest.fixture
def expect(request: pytest.FixtureRequest) -> Callable[..., Expectation]:
    """A row of the interop matrix: `expect(peer="baresip", role="callee", keying="sdes", ...)`."""

    def build(**what: object) -> Expectation:
        expectation = Expectation(**what)
        request.node.user_properties.append((PROPERTY, expectation.row()))
        return expectation

    return build


@pytest.fixture
def kamailio(run: Callable, tmp_path: Path) -> Callable[..., Kamailio]:
    """Start a kamailio: `kamailio(digest="SHA-256")`."""
    return lambda **options: run(Kamailio(tmp_path / "kamailio", **options))


@pytest.fixture
def baresip(run: Callable, tmp_path: Path) -> Callable[..., Baresip]:
    """Start a baresip: `baresip(user="bob", encryption="srtp-mand", tone=880)`."""
    return lambda user="bob", **options: run(
        Baresip(tmp_path / f"baresip-{user}", user=user, **options)
    )


@pytest.fixture
def aiortc(run: Callable, tmp_path: Path) -> Callable[..., Aiortc]:
    """Start an aiortc: `aiortc(hashes=("sha-384",))`, then `await carol.begin()`."""
    return lambda **options: run(Aiortc(tmp_path / "aiortc", **options))


@pytest.fixture
def gstreamer(run: Callable, tmp_path: Path) -> Callable[..., Gstreamer]:
    """Start a pipeline that talks to a stream: `gstreamer(stream=stream, suite=..., keys=...)`."""
    return lambda **options: run(Gstreamer(tmp_path / "gstreamer", **options))


@pytest.fixture
def janus(run: Callable, tmp_path: Path) -> Callable[..., JanusPhone]:
    """Start a janus and a user of it: `carol = janus(tone=880)`."""

    def build(**options: object) -> JanusPhone:
        gateway = run(Janus(tmp_path / "janus"))
        return run(JanusPhone(tmp_path / "janus-phone", gateway, **options))

    return build


@pytest.fixture
def chromium(run: Callable, tmp_path: Path) -> Callable[..., Browser]:
    """Start a browser: `async with chromium().phone("jssip", ...) as page`."""
    return lambda: run(Browser(tmp_path / "chromium"))


@pytest.fixture
def linphone(run: Callable, tmp_path: Path) -> Callable[..., Linphone]:
    """Start a linphone: `linphone(certificates=certificates)`."""
    return lambda **options: run(Linphone(tmp_path / "linphone", **options))


@pytest.fixture
def rtpengine(run: Callable, tmp_path: Path) -> Callable[..., Rtpengine]:
    """Start an rtpengine: `proxy = kamailio(rtpengine=rtpengine().address)`."""
    return lambda: run(Rtpengine(tmp_path / "rtpengine"))


@pytest.fixture
def sipp(run: Callable, tmp_path: Path) -> Callable[..., Sipp]:
    """Start a sipp: `sipp("uas")` listens, `sipp("uac", target="127.0.0.1:5060")` calls."""
    return lambda scenario, **options: run(Sipp(tmp_path / f"sipp-{scenario}", scenario, **options))


@pytest.fixture
def phone() -> Callable[..., Endpoint]:
    """An endpoint: `phone("alice", proxy=proxy.address)`, to be entered.

    With certificates it trusts their authority; `identity` is its own certificate and key.
    """

    def build(
        user: str = "alice",
        *,
        proxy: str | None = None,
        password: str = PASSWORD,
        transport: str = "udp",
        srtp: SrtpConfig | None = None,
        certificates: Certificates | None = None,
        identity: tuple[str, str] | None = None,
        also_trusted: str = "",
        stack: Stack | None = None,
        domain: str | None = None,
        registrar: str | None = None,
        expires: int = 600,
        transfers: TransferPolicy = TransferPolicy.REFUSE,
        gruu: bool = False,
        **media: object,
    ) -> Endpoint:
        tls = TlsConfig()
        if certificates is not None:
            certificate, key = identity or (None, None)
            tls = TlsConfig(
                verify=TlsVerify.CUSTOM,
                ca=certificates.ca + also_trusted,
                certificate=certificate,
                private_key=key,
            )
        config = EndpointConfig(
            f"sip:{user}@{domain or (DOMAIN if proxy else HOST)}",
            credentials=Credentials(user, password) if proxy or registrar else None,
            transport=Transport(transport),
            outbound_proxy=proxy,
            registrar=registrar,
            media=MediaConfig(srtp=srtp or SrtpConfig(), **media),
            tls=tls,
            expires=expires,
            transfers=transfers,
            gruu=gruu,
        )
        return Endpoint(config, stack)

    return build


@pytest.fixture
def until() -> Callable[[Callable[[], object]], Awaitable[None]]:
    """Wait for what no event tells of."""

    async def wait(condition: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():  # noqa: ASYNC110  there is no event
                await asyncio.sleep(0.01)

    return wait


@pytest.fixture
def capture(run: Callable, tmp_path: Path) -> Callable[..., Capture]:
    """Start capturing on loopback: `capture("udp portrange 20000-20100")`."""
    return lambda *arguments: run(Capture(tmp_path / "capture", *arguments))
