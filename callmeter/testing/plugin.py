"""The pytest plugin: fixtures for calls, options for a system under test, failures that explain.

It is loaded in every run of a pytest that has callmeter installed. So it imports nothing of
callmeter until a fixture is asked for, and touches no test that asks for none.
"""

from __future__ import annotations

import inspect
from importlib import import_module
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator

    import trustme

    from callmeter.call import Call
    from callmeter.stack import Stack
    from callmeter.testing.assertions import (
        assert_heard,
        assert_messages,
        assert_quality,
        assert_secure,
        wait_heard,
    )
    from callmeter.testing.call_cases import CallCase, callmeter_matrix
    from callmeter.testing.impaired_network import ImpairedNetwork
    from callmeter.testing.network import LinkConditions
    from callmeter.testing.phones import Phones
    from callmeter.testing.registrar import Registrar
    from callmeter.testing.system_under_test import Target

__all__ = [
    "CallCase",
    "LinkConditions",
    "assert_heard",
    "assert_messages",
    "assert_quality",
    "assert_secure",
    "callmeter_matrix",
    "wait_heard",
]

FixtureT = TypeVar("FixtureT", bound="Callable[..., Any]")

_HOMES: Final = {
    "CallCase": "call_cases",
    "LinkConditions": "network",
    "assert_heard": "assertions",
    "assert_messages": "assertions",
    "assert_quality": "assertions",
    "assert_secure": "assertions",
    "callmeter_matrix": "call_cases",
    "wait_heard": "assertions",
}
_TARGET_OPTIONS: Final = {
    "callmeter_target": "SIP URI of the system under test",
    "callmeter_transport": "how it is reached: udp, tcp, tls, wss or auto",
    "callmeter_tls_ca": "PEM file of the authority that signed its certificate",
    "callmeter_outbound_proxy": "proxy on the way to it",
    "callmeter_registrar": "registrar, where it is not at the domain of the address of record",
    "callmeter_aor": "own address of record; CALLMETER_USER and CALLMETER_PASSWORD prove it",
    "callmeter_srtp": "keying towards it: none, sdes, dtls or dual",
    "callmeter_bind": "own address that it can reach",
}
_MARKERS: Final = (
    "callmeter(**settings): settings of every endpoint of the test, as `endpoint` takes them",
    "callmeter_registrar(**settings): settings of its `registrar`, as `Registrar` takes them",
    "callmeter_target(uri, **settings): its system under test, in place of the ini options",
)
_PHONES: Final[pytest.StashKey[list[Phones]]] = pytest.StashKey()
_RUNNERS: Final = ("asyncio", "anyio", "trio")
_PLAIN: Final[dict[str, Callable[..., Any]]] = {}
"""The asynchronous fixtures as anyio wants them."""


def __getattr__(name: str) -> Any:
    """Import what a test module asks for (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"callmeter.testing.{_HOMES[name]}"), name)


def _asynchronous(function: FixtureT) -> FixtureT:
    """A fixture that pytest-asyncio runs in every mode, and anyio for the tests it runs."""
    made = cast("FunctionType", function)
    _PLAIN[made.__name__] = FunctionType(
        made.__code__, made.__globals__, made.__name__, made.__defaults__, made.__closure__
    )
    try:
        import pytest_asyncio  # noqa: PLC0415  it need not be there
    except ImportError:
        return cast("FixtureT", pytest.fixture(function))
    return cast("FixtureT", pytest_asyncio.fixture(function))


# what a test asks for


@pytest.fixture(scope="session")
def tls_authority() -> trustme.CA:
    """The authority that signs the registrar's certificates and that endpoints trust."""
    try:
        import trustme  # noqa: PLC0415
    except ModuleNotFoundError as missing:
        missing.add_note("It comes with an extra: pip install 'callmeter[test]'")
        raise
    return trustme.CA(organization_name="callmeter tests")


@pytest.fixture
def case() -> CallCase:
    """What `callmeter_matrix` varies; without it, nothing is set."""
    from callmeter.testing.call_cases import CallCase  # noqa: PLC0415

    return CallCase()


@pytest.fixture
def network(request: pytest.FixtureRequest) -> ImpairedNetwork:
    """The way between the endpoints of this test: what it asks for loses, delays and cuts."""
    from callmeter.testing.impaired_network import ImpairedNetwork  # noqa: PLC0415

    return ImpairedNetwork(seed=request.node.name)


@pytest.fixture
def _callmeter_network(request: pytest.FixtureRequest) -> ImpairedNetwork | None:
    """The network of a test that asks for it."""
    found: ImpairedNetwork | None = _if_asked_for(request, "network")
    return found


@pytest.fixture
def _callmeter_stack(request: pytest.FixtureRequest) -> Stack | None:
    """The stack of a test that asks for it."""
    # Looked up here, for an asynchronous fixture cannot set up another one.
    found: Stack | None = _if_asked_for(request, "stack")
    return found


def _if_asked_for(request: pytest.FixtureRequest, name: str) -> Any:
    return request.getfixturevalue(name) if name in request.fixturenames else None


@_asynchronous
async def stack() -> AsyncIterator[Stack]:
    """One stack on loopback; a test that asks for it has all its endpoints on it."""
    from callmeter.testing.phones import loopback_stack  # noqa: PLC0415

    async with loopback_stack() as running:
        yield running


@_asynchronous
async def registrar(
    request: pytest.FixtureRequest,
    tls_authority: trustme.CA,
    _callmeter_network: ImpairedNetwork | None,
) -> AsyncIterator[Registrar]:
    """A registrar on loopback by UDP, TCP, TLS and WSS, with digest authentication."""
    from callmeter.testing.phones import open_registrar  # noqa: PLC0415

    settings = _settings(request.node, "callmeter_registrar")
    async with open_registrar(tls_authority, _callmeter_network, settings) as running:
        yield running


@_asynchronous
async def endpoint(
    request: pytest.FixtureRequest,
    registrar: Registrar,
    tls_authority: trustme.CA,
    case: CallCase,
    _callmeter_stack: Stack | None,
) -> AsyncIterator[Phones]:
    """Registered endpoints on demand, each with settings of its own."""
    from callmeter.testing.phones import Phones  # noqa: PLC0415

    settings = {**case.settings, **_settings(request.node, "callmeter")}
    async with Phones(registrar, tls_authority, settings, _callmeter_stack) as phones:
        request.node.stash.setdefault(_PHONES, []).append(phones)
        yield phones


@_asynchronous
async def call(endpoint: Phones) -> AsyncIterator[Call]:
    """A call from alice to bob, who answers and echoes."""
    alice, bob = await endpoint("alice"), await endpoint("bob")
    async with alice.call(bob.aor) as established:
        yield established


@_asynchronous
async def target(request: pytest.FixtureRequest) -> AsyncIterator[Target]:
    """The system under test of the ini options; a test that asks for it is skipped without."""
    from callmeter.testing.system_under_test import Target, target_settings  # noqa: PLC0415

    marker = request.node.get_closest_marker("callmeter_target")
    settings = target_settings(request.config, marker)
    async with Target(settings) as found:
        request.node.stash.setdefault(_PHONES, []).append(found.phones)
        yield found


def _settings(node: pytest.Item, marker: str) -> dict[str, Any]:
    """The keyword arguments of all markers of this name, the closest last."""
    found: dict[str, Any] = {}
    for each in reversed(list(node.iter_markers(marker))):
        found.update(each.kwargs)
    return found


# what pytest asks


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of the command line and of the ini file."""
    group = parser.getgroup("callmeter", "calls by SIP and RTP")
    group.addoption(
        "--callmeter-report",
        metavar="DIR",
        help="keep a page in DIR for each call of a test that fails",
    )
    for name, text in _TARGET_OPTIONS.items():
        parser.addini(name, text)


def pytest_configure(config: pytest.Config) -> None:
    """The markers."""
    for line in _MARKERS:
        config.addinivalue_line("markers", line)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_pycollect_makeitem() -> Generator[None, Any, Any]:
    """Let pytest-asyncio run a coroutine that asks for a fixture of ours, unless another does."""
    made = yield
    for item in made if isinstance(made, list) else [made]:
        if isinstance(item, pytest.Function) and _is_to_run(item):
            item.add_marker("asyncio")
    return made


def _is_to_run(item: pytest.Function) -> bool:
    if not inspect.iscoroutinefunction(item.obj) or "anyio_backend" in item.fixturenames:
        return False
    if any(item.get_closest_marker(runner) for runner in _RUNNERS):
        return False
    # Nothing public tells whose a fixture is; another plugin may have one called `call`.
    known = item._fixtureinfo.name2fixturedefs  # noqa: SLF001
    return any(defs[-1].func.__module__ == __name__ for defs in known.values())


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, Any, Any]:
    """Leave our fixtures to anyio where it runs the test: one event loop for both."""
    ours = fixturedef.func.__module__ == __name__
    plain = _PLAIN.get(fixturedef.argname) if ours else None
    if plain is None or "anyio_backend" not in request.fixturenames:
        return (yield)
    # pytest calls it final, and offers no other way.
    forced, fixturedef.func = fixturedef.func, plain  # type: ignore[misc]
    try:
        return (yield)
    finally:
        fixturedef.func = forced  # type: ignore[misc]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Say of a test that failed what its calls did, and keep their pages."""
    phones = item.stash.get(_PHONES, [])
    if not phones or call.excinfo is None:
        return (yield)
    from callmeter.testing.failures import explain, shorten  # noqa: PLC0415

    if not item.config.getoption("fulltrace"):
        shorten(call.excinfo)
    report = yield
    if report.failed:
        pages = explain(report, phones, item.config.getoption("--callmeter-report"))
        report.user_properties += pages
        # The file of --junitxml takes those of the last report of a test, that of its teardown.
        item.user_properties += pages
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Where the pages are, and what was not tested."""
    pages = [
        value
        for outcome in ("failed", "error")
        for report in terminalreporter.stats.get(outcome, [])
        for name, value in getattr(report, "user_properties", ())
        if name == "callmeter_page"
    ]
    if pages:
        terminalreporter.section("callmeter: pages of the calls that failed")
        for page in dict.fromkeys(pages):
            terminalreporter.line(str(page))
    skipped = [
        report
        for report in terminalreporter.stats.get("skipped", [])
        if "callmeter_target" in str(getattr(report, "longrepr", ""))
    ]
    if skipped:
        terminalreporter.section("callmeter")
        terminalreporter.line(
            f"{len(skipped)} not run: no system under test, callmeter_target is not set"
        )
