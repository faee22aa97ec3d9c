"""The check-up itself: one step after the other against a real server."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Self

from cryptography import x509

from callmeter.config import SrtpMethod, SrtpPolicy, StackConfig
from callmeter.doctor.findings import Checkup, call_finding, failed, location_finding
from callmeter.endpoint import Endpoint
from callmeter.errors import (
    AuthenticationFailed,
    CallmeterError,
    CallTimedOut,
    LocalProtocolError,
    ResolutionFailed,
    TlsError,
    TransportError,
)
from callmeter.media.sources import Tone
from callmeter.metrics.report import Finding, FindingStatus
from callmeter.sip.next_hop import transport_of
from callmeter.stack import Stack
from callmeter.transport.layer import Route

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from types import TracebackType

    from callmeter.config import EndpointConfig, MediaConfig
    from callmeter.metrics.report import CallReport
    from callmeter.sip.transaction.effects import Hop
    from callmeter.sip.uri import SipUri

__all__ = ["Examination", "Keys", "examine"]

PASS, WARN, FAIL, SKIP = (
    FindingStatus.PASS,
    FindingStatus.WARN,
    FindingStatus.FAIL,
    FindingStatus.SKIP,
)
EXPIRES_SOON_DAYS: Final = 30
REQUEST_TIMEOUT: Final = 408
SERVER_ERROR: Final = 500


class Keys(StrEnum):
    """Ways to key the media of a call."""

    NONE = "none"
    SDES = "sdes"
    DTLS = "dtls"
    DUAL = "dual"


METHODS: Final = {
    Keys.SDES: SrtpMethod.SDES,
    Keys.DTLS: SrtpMethod.DTLS,
    Keys.DUAL: SrtpMethod.DUAL,
}


async def examine(
    uri: str,
    config: EndpointConfig,
    stack: StackConfig | None = None,
    *,
    keys: Sequence[Keys] = tuple(Keys),
    seconds: float = 2.0,
    patience: float = 10.0,
) -> Checkup:
    """Check a server from its DNS records to a call with each kind of media keys.

    Args:
        uri: Whom to call, `"sip:600@pbx.example.com"`; without a user part no call is made.
        config: Who to be. Without credentials nothing is registered.
        stack: Own addresses and name servers.
        keys: The calls to make.
        seconds: Seconds to talk in each.
        patience: Seconds to wait for each answer.

    Raises:
        ConfigurationError: A setting that cannot work.
    """
    async with Examination(
        uri, config, stack, keys=keys, seconds=seconds, patience=patience
    ) as examination:
        async for _ in examination:
            pass
    return examination.result


class Examination:
    """A check-up that is under way: `async with` it, and iterate over its findings as they come.

    Takes what `examine` takes. Leaving the block early hangs up and ends it.
    """

    def __init__(
        self,
        uri: str,
        config: EndpointConfig,
        stack: StackConfig | None = None,
        *,
        keys: Sequence[Keys] = tuple(Keys),
        seconds: float = 2.0,
        patience: float = 10.0,
    ) -> None:
        self._uri = uri
        self._config = config
        self._stack_config = stack or StackConfig()
        self._keys = tuple(keys)
        self._seconds = seconds
        self._patience = patience
        self._findings: list[Finding] = []
        self._reports: dict[str, CallReport] = {}
        self._news: asyncio.Queue[Finding | None] = asyncio.Queue()
        self._answers = False
        self._sdes_answered = False
        self._tasks: asyncio.TaskGroup | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._tasks is not None:
            raise LocalProtocolError("an examination is made once")
        self._tasks = asyncio.TaskGroup()
        await self._tasks.__aenter__()
        self._task = self._tasks.create_task(self._run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._tasks is not None and self._task is not None:
            self._task.cancel()
            await self._tasks.__aexit__(kind, error, traceback)

    async def __aiter__(self) -> AsyncIterator[Finding]:
        while (finding := await self._news.get()) is not None:
            yield finding

    @property
    def result(self) -> Checkup:
        """What was found so far; all of it after the iteration."""
        return Checkup(
            target=self._uri, findings=tuple(self._findings), reports=dict(self._reports)
        )

    # the steps

    async def _run(self) -> None:
        try:
            async with (
                Stack(self._stack_config) as stack,
                Endpoint(self._config, stack) as endpoint,
                AsyncExitStack() as bindings,
            ):
                await self._steps(endpoint, bindings)
        finally:
            self._news.put_nowait(None)

    async def _steps(self, endpoint: Endpoint, bindings: AsyncExitStack) -> None:
        target = endpoint.target(self._uri)
        hops = await self._resolve(endpoint, target)
        if not hops:
            self._skip_from("connect", "the server was not found")
        elif not await self._connect(endpoint, hops):
            self._skip_from("options", "there is no connection")
        else:
            await self._options(endpoint)
            if await self._register(endpoint, bindings):
                await self._calls(endpoint, target)
            else:
                self._skip_calls(self._keys, "the account was refused")

    def _tell(self, finding: Finding) -> None:
        self._findings.append(finding)
        self._news.put_nowait(finding)

    def _skip_from(self, first: str, why: str) -> None:
        steps = ("connect", "tls", "options", "register")
        for check in steps[steps.index(first) :]:
            self._tell(Finding(check, SKIP, why))
        self._skip_calls(self._keys, why)

    def _skip_calls(self, keys: Sequence[Keys], why: str) -> None:
        for each in keys:
            self._tell(Finding(_name(each), SKIP, why))

    async def _resolve(self, endpoint: Endpoint, target: SipUri) -> Sequence[Hop]:
        routes = endpoint.core.identity.route_set
        first = routes[0] if routes else target
        route = Route(first, transport_of(first, endpoint.transport), endpoint.tls)
        try:
            located = await endpoint.stack.transport.locate(route)
        except ResolutionFailed as error:
            self._tell(failed("resolve", error))
            return ()
        self._tell(location_finding(located.location))
        return located.hops

    async def _connect(self, endpoint: Endpoint, hops: Sequence[Hop]) -> bool:
        transport = endpoint.stack.transport
        try:
            async with asyncio.timeout(self._patience):
                hop = await transport.first_open(hops)
        except TlsError as error:
            self._tell(Finding("connect", PASS, f"{error.destination} takes connections"))
            self._tell(failed("tls", error))
            return False
        except TimeoutError:
            self._tell(failed("connect", _silence(str(hops[-1]), self._patience)))
            self._tell(Finding("tls", SKIP, "there is no connection"))
            return False
        except TransportError as error:
            self._tell(failed("connect", error))
            self._tell(Finding("tls", SKIP, "there is no connection"))
            return False
        if hop.transport == "UDP":
            self._tell(Finding("connect", SKIP, "UDP has no connections: see options"))
            self._tell(Finding("tls", SKIP, "SIP goes by UDP, without encryption"))
            return True
        self._tell(Finding("connect", PASS, str(hop)))
        self._tell(self._tls(endpoint, hop))
        return True

    def _tls(self, endpoint: Endpoint, hop: Hop) -> Finding:
        found = endpoint.stack.transport.tls_of(hop)
        if found is None:
            return Finding("tls", SKIP, f"SIP goes by {hop.transport}, without encryption")
        detail = f"{found.version}, {found.cipher}"
        if not found.verified:
            remedy = "Verify it: without --tls-verify skip, or by --tls-ca FILE.pem."
            return Finding("tls", WARN, f"{detail}; the certificate was not verified", remedy)
        shown = endpoint.stack.transport.certificate_of(hop) or b""
        left = x509.load_der_x509_certificate(shown).not_valid_after_utc - datetime.now(UTC)
        if left.days < EXPIRES_SOON_DAYS:
            text = f"{detail}; the certificate expires in {left.days} days"
            return Finding("tls", WARN, text, "Renew the certificate of the server.")
        return Finding("tls", PASS, f"{detail}, certificate valid for {left.days} days more")

    async def _options(self, endpoint: Endpoint) -> None:
        stack = endpoint.stack
        begun = stack.now
        try:
            async with asyncio.timeout(self._patience):
                response = await endpoint.options(self._uri)
        except TimeoutError:
            self._tell(failed("options", _silence(self._uri, self._patience)))
            return
        except CallmeterError as error:
            self._tell(failed("options", error))
            return
        took = (stack.now - begun) * 1000
        self._answers = response.status != REQUEST_TIMEOUT
        said = f"{response.status} {response.reason}".rstrip()
        if response.status == REQUEST_TIMEOUT:
            self._tell(failed("options", _silence(self._uri, stack.now - begun)))
        elif response.status >= SERVER_ERROR:
            remedy = "The server is there and in trouble: look into its log."
            self._tell(Finding("options", WARN, f"answered {said}", remedy))
        else:
            self._tell(Finding("options", PASS, f"answered {said} after {took:.1f} ms"))

    async def _register(self, endpoint: Endpoint, bindings: AsyncExitStack) -> bool:
        """Whether calls are worth a try."""
        if self._config.credentials is None:
            text = "no account was given: --aor, --password"
            self._tell(Finding("register", SKIP, text))
            return True
        try:
            async with asyncio.timeout(self._patience):
                binding = await bindings.enter_async_context(endpoint.registered())
        except TimeoutError:
            self._tell(failed("register", _silence(self._config.aor, self._patience)))
            return True
        except CallmeterError as error:
            self._tell(failed("register", error))
            self._answers |= isinstance(error, AuthenticationFailed)
            return not isinstance(error, AuthenticationFailed)
        self._answers = True
        text = f"{self._config.aor} at {endpoint.contact} for {binding.expires} s"
        self._tell(Finding("register", PASS, text))
        return True

    async def _calls(self, endpoint: Endpoint, target: SipUri) -> None:
        if not target.user:
            why = "name whom to call, as in sip:600@pbx.example.com"
            self._skip_calls(self._keys, why)
            return
        for number, each in enumerate(self._keys, 1):
            finding = await self._call(endpoint, each)
            self._tell(finding)
            if self._reports and not self._answers:
                # Not one word to OPTIONS, nor to this call: the others would wait in vain.
                self._skip_calls(self._keys[number:], "the server does not answer")
                return

    async def _call(self, endpoint: Endpoint, keys: Keys) -> Finding:
        """Talk for a while; whoever answers at all, `_answers` is true afterwards."""
        check, failure = _name(keys), None
        try:
            call = await endpoint.invite(self._uri, media=_media(self._config.media, keys))
        except CallmeterError as error:
            return failed(check, error)
        try:
            async with call:
                await call.answered(self._patience)
                await call.media.play(Tone(440), seconds=self._seconds)
        except CallmeterError as error:
            failure = error
        report = self._reports[check] = call.report()
        self._answers |= report.timing.metrics().get("time_to_trying_ms") is not None
        if keys is Keys.SDES and failure is None:
            self._sdes_answered = True
        return call_finding(check, report, failure, sdes_answered=self._sdes_answered)


def _name(keys: Keys) -> str:
    return f"call {keys}"


def _media(media: MediaConfig, keys: Keys) -> MediaConfig:
    method = METHODS.get(keys)
    if method is None:
        return replace(media, srtp=replace(media.srtp, policy=SrtpPolicy.DISABLED))
    srtp = replace(media.srtp, method=method, policy=SrtpPolicy.REQUIRED)
    return replace(media, srtp=srtp)


def _silence(whom: str, seconds: float) -> CallTimedOut:
    return CallTimedOut(f"no answer from {whom} within {seconds:.0f} s", timer="F")
