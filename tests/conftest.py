"""What every test folder shares: how long hypothesis searches, that no test shows a secret, and
how the time grows that some work takes.

Every secret that a test gives to callmeter is a canary: passwords, SDES keys, private keys, what
DTLS derives. A test fails when one of them stands in a log record, in its output, or in an error
that callmeter made, whatever the test itself looks at (`Canaries`).
"""

from __future__ import annotations

import base64
import ctypes
import fcntl
import functools
import logging
import os
import signal
import socket
import struct
import time
import weakref
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import HealthCheck, settings

from callmeter.config import Credentials, HepConfig, TlsConfig
from callmeter.errors import CallmeterError
from callmeter.media.datagrams import uring
from callmeter.srtp.sdes import MasterKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# A loaded machine is slow; that is no fault of the input.
PATIENT: Final = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("short", print_blob=True, **PATIENT)
settings.register_profile("long", print_blob=True, max_examples=10_000, **PATIENT)
settings.load_profile("long" if os.environ.get("CALLMETER_LONG") else "short")

SHORTEST: Final = 6
"""Shorter ones stand in any text."""
KEPT: Final = 500
"""Secrets, errors and records of one test that are looked at, the last ones."""
PEM_LINE: Final = 1


class Canaries(logging.Handler):
    """The secrets of one test, and everything in which they should not be."""

    def __init__(self) -> None:
        super().__init__(0)
        self.secrets: deque[str] = deque(maxlen=KEPT)
        # Weakly: a test may look whether anything outlives its call.
        self.errors: deque[weakref.ref[CallmeterError]] = deque(maxlen=KEPT)
        self.output: deque[str] = deque(maxlen=KEPT)

    def clear(self) -> None:
        for kept in (self.secrets, self.errors, self.output):
            kept.clear()

    def emit(self, record: logging.LogRecord) -> None:
        self.output.append(self.format(record))

    def note_error(self, error: CallmeterError) -> None:
        self.output.append(f"{error} {error!r}")
        self.errors.append(weakref.ref(error))

    def note(self, secret: str | None) -> None:
        if secret is not None and len(secret) >= SHORTEST:
            self.secrets.append(secret)

    def note_key(self, key: bytes) -> None:
        """In base64 as SDES has it, in hexadecimal, and as Python shows octets."""
        if len(set(key)) >= SHORTEST:
            self.note(base64.b64encode(key).decode().rstrip("="))
            self.note(key.hex())
            self.note(repr(key)[2:-1])

    def note_pem(self, pem: str | None) -> None:
        lines = (pem or "").splitlines()
        self.note(lines[PEM_LINE] if len(lines) > PEM_LINE else None)

    def leaks(self) -> list[str]:
        """Where a secret stands; the secret itself is not repeated."""
        shown = [describe(error) for each in self.errors if (error := each()) is not None]
        shown.extend(self.output)
        together = "\n".join(shown)
        found = [secret for secret in set(self.secrets) if secret in together]
        return sorted(
            f"{len(secret)} characters of a secret in: {text.replace(secret, '*' * 8)[:400]}"
            for secret in found
            for text in shown
            if secret in text
        )

    @contextmanager
    def apart(self) -> Iterator[Canaries]:
        """What happens meanwhile is judged by the test, not by the end of it."""
        kept = [list(each) for each in (self.secrets, self.errors, self.output)]
        self.clear()
        try:
            yield self
        finally:
            self.clear()
            for each, before in zip((self.secrets, self.errors, self.output), kept, strict=True):
                each.extend(before)


def describe(error: BaseException) -> str:
    """All that a traceback, a report or a debugger shows of an error."""
    details = {name: value for name, value in vars(error).items() if name != "report"}
    return f"{error} {error!r} {details} {getattr(error, '__notes__', '')}"


CANARIES = Canaries()


def note_private_key(cls, *_, private_key=None, **__):
    """In `__new__`, for a warning of `__init__` has to name the line of the test."""
    CANARIES.note_pem(private_key)
    return object.__new__(cls)


def watch(owner: type, method: str, note) -> None:
    """Call `note` with each object on which the method has run."""
    original = getattr(owner, method)

    @functools.wraps(original)
    def watched(self, *arguments, **named):
        result = original(self, *arguments, **named)
        note(self)
        return result

    setattr(owner, method, watched)


watch(Credentials, "__post_init__", lambda given: CANARIES.note(given.password))
watch(HepConfig, "__post_init__", lambda given: CANARIES.note(given.password))
TlsConfig.__new__ = note_private_key
watch(MasterKey, "__init__", lambda key: CANARIES.note_key(key.key_and_salt))
watch(CallmeterError, "__init__", CANARIES.note_error)


def pytest_configure() -> None:
    logging.getLogger().addHandler(CANARIES)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # Started in the background of a script: programs that tests interrupt would inherit it.
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_unconfigure() -> None:
    logging.getLogger().removeHandler(CANARIES)


def pytest_runtest_setup() -> None:
    CANARIES.clear()


@pytest.fixture
def canaries() -> Canaries:
    """The secrets of this test, for tests that look themselves."""
    return CANARIES


@pytest.fixture(autouse=True)
def _output_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what a test takes from `capsys` and `capfd`."""
    original = pytest.CaptureFixture.readouterr

    def readouterr(fixture):
        taken = original(fixture)
        CANARIES.output.extend(map(str, taken))
        return taken

    monkeypatch.setattr(pytest.CaptureFixture, "readouterr", readouterr)


class OwnNetwork:
    """A loopback that no other process has, where the system lets this one make it: Linux, as root.

    The system gives the number of a port again at once. What one worker still sends to the former
    owner of a port, such as the last packets of a call, would reach a test of another worker.
    """

    CLONE_NEWNET = 0x4000_0000
    SIOCSIFFLAGS = 0x8914
    UP = struct.pack("16sh14x", b"lo", 1)

    def __init__(self) -> None:
        self._system = ctypes.CDLL(None, use_errno=True)
        self._common = self._own = -1
        if not hasattr(self._system, "unshare"):
            return
        self._common = self._current()
        if self._system.unshare(self.CLONE_NEWNET) == 0:
            own = self._current()
            try:
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
                    fcntl.ioctl(control, self.SIOCSIFFLAGS, self.UP)
            except OSError:
                # It may make a network and not set it up: a container without NET_ADMIN.
                os.close(own)
            else:
                self._own = own
            self._move(self._common)

    @staticmethod
    def _current() -> int:
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY)

    def _move(self, namespace: int) -> None:
        if self._system.setns(namespace, self.CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "cannot change the network namespace")

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Sockets of this thread, and of what it starts, are in this network meanwhile."""
        if self._own < 0:
            yield
            return
        self._move(self._own)
        try:
            yield
        finally:
            self._move(self._common)

    def close(self) -> None:
        for namespace in (self._common, self._own):
            if namespace >= 0:
                os.close(namespace)


@pytest.fixture(scope="session")
def own_network() -> Iterator[OwnNetwork]:
    network = OwnNetwork()
    yield network
    network.close()


def in_ci() -> bool:
    """Whether this run has to do every test."""
    return os.environ.get("CI", "").lower() in {"1", "true"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs io_uring where the system gives none, as in most containers."""
    if uring.available():
        return
    left_out = [item for item in items if item.get_closest_marker("io_uring")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if not item.get_closest_marker("io_uring")]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Iterator[None]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and in_ci():
        # A skip that nobody sees would pass for a test.
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, and CI lets nothing be skipped"
    if call.when == "teardown" and report.passed:
        CANARIES.output.extend(text for _, text in report.sections)
        leaks = CANARIES.leaks()
        if leaks:
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid} shows secrets:\n" + "\n".join(leaks)
    return report


LINEAR: Final = 8
"""Four times the octets: work that grows with the size takes 4 times as long, a square 16 times."""
ROUNDS: Final = 20


def times_longer(work: Callable[[bytes], object], quarter: bytes, whole: bytes) -> float:
    """How many times as long `work` takes for `whole` as for `quarter`, the quickest of each.

    The two take turns, so that a slow machine is slow for both, and there are more rounds only
    as long as the figure looks like a square.
    """
    quickest = [float("inf")] * 2
    for _ in range(ROUNDS):
        for index, data in enumerate((quarter, whole)):
            start = time.process_time()
            work(data)
            quickest[index] = min(quickest[index], time.process_time() - start)
        if quickest[1] < LINEAR * quickest[0]:
            break
    return quickest[1] / quickest[0]


@pytest.fixture(scope="session")
def grows_with_the_size() -> Callable[[Callable[[bytes], object], bytes, bytes], bool]:
    """Whether work grows no faster than its input, of which a quarter and the whole are given."""
    return lambda work, quarter, whole: times_longer(work, quarter, whole) < LINEAR
