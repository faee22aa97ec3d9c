"""Registration: bind an address of record, refresh it, unbind on exit (RFC 3261 section 10)."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import uuid
from typing import TYPE_CHECKING, ClassVar, Self

from callmeter.async_block import AsyncBlock
from callmeter.datagram_flow import DatagramFlow
from callmeter.errors import (
    AuthenticationFailed,
    LocalProtocolError,
    RegistrationFailed,
    TlsError,
)
from callmeter.sip.headers import parse_delta_seconds
from callmeter.sip.session_events import Registered, Unregistered
from callmeter.sip.session_events import RegistrationFailed as RegistrationFailedEvent

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from callmeter.endpoint import Endpoint
    from callmeter.sip.message import Response
    from callmeter.sip.register import RegisterUsage
    from callmeter.sip.transaction.effects import Hop
    from callmeter.sip.uri import SipUri

__all__ = ["Registration"]

LAST_WORD = 2.0
"""Seconds that a cancelled entry waits for the registrar, so that no binding stays behind."""


class Registration(AsyncBlock):
    """A binding of an endpoint at its registrar: `async with endpoint.registered() as binding`.

    The binding is made on entry, refreshed at 80 to 90 % of the granted time while the block
    runs, and removed on exit. The way to the registrar is kept alive; over a connection the
    binding is bound to it, and made anew by another one when it is lost (RFC 5626).

    Attributes:
        expires: Seconds the registrar granted last, 0 when not bound.
        refreshes: How many refreshes the registrar confirmed.
        error: Why the last REGISTER failed, None after one that succeeded.
        service_route: Proxies that requests go by, as the registrar wants it (RFC 3608).
        path: Proxies on the way to us, as the registrar knows them (RFC 3327).
        public_gruu: A URI that reaches this very user agent (RFC 5627), or None.
        temporary_gruu: One that does not tell whose it is, or None.

    Raises:
        AuthenticationFailed: On entry, when the registrar refuses the credentials.
        RegistrationFailed: On entry, when it refuses or does not answer.
        TransportError: On entry, when it cannot be reached: `TlsError`, `ResolutionFailed` ...
    """

    usage: ClassVar[str] = "write `async with endpoint.registered()`"

    def __init__(self, endpoint: Endpoint, registrar: SipUri, expires: int) -> None:
        self._endpoint = endpoint
        self._registrar = registrar
        self._asked = expires
        self._usage: RegisterUsage | None = None
        self._waiting: list[asyncio.Future[None]] = []
        self._leaving = False
        self._instance = uuid.UUID(bytes=secrets.token_bytes(16), version=4).urn
        self._flow: Hop | None = None
        self._datagrams: DatagramFlow | None = None
        self.expires = 0
        self.refreshes = 0
        self.error: RegistrationFailed | TlsError | None = None

    def __repr__(self) -> str:
        state = f"bound for {self.expires} s" if self.bound else "not bound"
        return f"<Registration of {self._endpoint.aor} at {self._registrar}: {state}>"

    @property
    def service_route(self) -> tuple[str, ...]:
        """Proxies that requests go by."""
        return () if self._usage is None else tuple(map(str, self._usage.service_route))

    @property
    def path(self) -> tuple[str, ...]:
        """Proxies on the way to us."""
        return () if self._usage is None else tuple(map(str, self._usage.path))

    @property
    def public_gruu(self) -> str | None:
        """A URI that reaches this very user agent."""
        gruu = None if self._usage is None else self._usage.public_gruu
        return None if gruu is None else str(gruu)

    @property
    def temporary_gruu(self) -> str | None:
        """One that does not tell whose it is."""
        gruu = None if self._usage is None else self._usage.temporary_gruu
        return None if gruu is None else str(gruu)

    @property
    def bound(self) -> bool:
        """Whether the registrar holds the binding, as far as it told."""
        return self.expires > 0

    async def __aenter__(self) -> Self:
        self._entered = True
        if self._usage is not None:
            raise LocalProtocolError("this registration is already entered")
        self._leaving = False
        self.refreshes = 0
        await self._endpoint.face_registrar(self._registrar)
        stack = self._endpoint.stack
        usage, effects = self._endpoint.core.register(
            self._registrar, self._asked, stack.now, instance=self._instance
        )
        self._usage = usage
        self._endpoint.registrations[usage] = self
        try:
            await self._carry_out(effects)
        except (RegistrationFailed, TlsError):
            self._forget(usage)
            raise
        except BaseException:
            # Cancelled: the registrar may bind yet, or have bound already.
            try:
                async with asyncio.timeout(LAST_WORD):
                    await self._unbind(usage)
            except TimeoutError:
                pass
            finally:
                self._forget(usage)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        usage = self._usage
        if usage is None:
            return
        try:
            await self._unbind(usage)
        finally:
            self._forget(usage)

    async def _unbind(self, usage: RegisterUsage) -> None:
        self._leaving = True
        self._let_go()
        self._endpoint.face_home()
        # What the registrar says now changes nothing for the body of the block.
        with contextlib.suppress(RegistrationFailed, TlsError):
            await self._carry_out(usage.unregister(self._endpoint.stack.now))

    def _forget(self, usage: RegisterUsage) -> None:
        self._endpoint.registrations.pop(usage, None)
        self._usage = None
        self._let_go()

    async def refresh(self) -> None:
        """Send a REGISTER now, unless one is under way, and wait for the answer.

        Raises:
            RegistrationFailed: The registrar refused or did not answer.
            LocalProtocolError: The registration is not entered.
        """
        if self._usage is None:
            raise LocalProtocolError("enter the registration first: async with registered()")
        self._endpoint.face_home()
        await self._carry_out(self._usage.refresh(self._endpoint.stack.now))

    async def _carry_out(self, effects: Iterable[object]) -> None:
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        try:
            self._endpoint.stack.run(self._endpoint, effects)
            await answer
        finally:
            self._waiting.remove(answer)

    def on_event(self, event: object) -> None:
        """One event of the register usage."""
        match event:
            case Registered(usage, expires, response):
                self.refreshes += self.bound
                self.expires = expires
                self.error = None
                if not self._leaving:
                    self._endpoint.note_routes(usage.service_route, usage.public_gruu)
                    self._keep(response)
                    self._settle(None)
            case Unregistered():
                self._endpoint.note_routes((), None)
                self.expires = 0
                self._settle(None)
            case RegistrationFailedEvent(_, status, reason, cause):
                self.expires = 0
                self.error = self._failure(status, reason, cause)
                self._settle(self.error)

    def _failure(self, status: int, reason: str, cause: str) -> RegistrationFailed | TlsError:
        if cause == "transport":
            error = self._endpoint.network_error(reason)
            if isinstance(error, TlsError):
                return error
        if cause == "authentication" and self._endpoint.config.credentials is None:
            return AuthenticationFailed(
                f"{self._registrar} asks for credentials, and there are none: {status} {reason}",
                status=status,
            )
        return _failure(status, reason, cause, str(self._registrar))

    # the flow

    def _keep(self, response: Response) -> None:
        """Keep the way alive that the registrar's answer has come by."""
        stack = self._endpoint.stack
        flow = stack.source
        if flow is None or flow == self._flow:
            return
        self._let_go()
        self._flow = flow
        asked = response.headers.get("Flow-Timer")
        interval = None if asked is None else parse_delta_seconds(asked)
        # Only who says so is known to answer pings (RFC 5626 section 4.4.1, 11.5).
        answers = bool(interval) or "outbound" in response.headers.values("Require")
        connection = stack.transport.pool.get(flow.connection)
        if connection is None:
            self._datagrams = DatagramFlow(
                stack, flow, stun=answers, interval=interval, on_lost=self._on_flow_lost
            )
            return
        stack.watch_flow(flow, self._on_flow_lost)
        if connection.ping_at is None:
            wait = stack.transport.pool.ping_interval(flow.transport, interval)
            connection.keep_alive(stack.now + wait, interval=interval, pong_expected=answers)

    def _let_go(self) -> None:
        if self._datagrams is not None:
            self._datagrams.close()
            self._datagrams = None
        if self._flow is not None:
            self._endpoint.stack.unwatch_flow(self._flow, self._on_flow_lost)
            self._flow = None

    def _on_flow_lost(self) -> None:
        self._let_go()
        usage, stack = self._usage, self._endpoint.stack
        if usage is not None and not self._leaving:
            self._endpoint.face_home()
            pause = stack.recovery.pause(stack.now)
            stack.run(self._endpoint, usage.on_flow_lost(stack.now, pause))

    def _settle(self, error: RegistrationFailed | TlsError | None) -> None:
        for answer in self._waiting:
            if answer.done():
                continue
            if error is None:
                answer.set_result(None)
            else:
                answer.set_exception(error)


def _failure(status: int, reason: str, cause: str, registrar: str) -> RegistrationFailed:
    if cause == "authentication":
        return AuthenticationFailed(
            f"{registrar} refused the credentials: {status} {reason}".rstrip(), status=status
        )
    if cause == "timeout":
        return RegistrationFailed(f"{registrar} did not answer", status=status)
    if cause == "transport":
        return RegistrationFailed(f"{registrar} cannot be reached: {reason}", status=status)
    return RegistrationFailed(
        f"{registrar} refused the registration: {status} {reason}".rstrip(), status=status
    )
