"""Registration: bind an address of record, refresh it, unbind on exit (RFC 3261 section 10)."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Self

from callmeter.errors import AuthenticationFailed, RegistrationFailed
from callmeter.sip.session_events import Registered, Unregistered
from callmeter.sip.session_events import RegistrationFailed as RegistrationFailedEvent

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from callmeter.endpoint import Endpoint
    from callmeter.sip.register import RegisterUsage
    from callmeter.sip.uri import SipUri

__all__ = ["Registration"]


class Registration:
    """A binding of an endpoint at its registrar: `async with endpoint.registered() as binding`.

    The binding is made on entry, refreshed at 80 to 90 % of the granted time while the block
    runs, and removed on exit.

    Attributes:
        expires: Seconds the registrar granted last, 0 when not bound.
        refreshes: How many refreshes the registrar confirmed.

    Raises:
        AuthenticationFailed: On entry, when the registrar refuses the credentials.
        RegistrationFailed: On entry, when it refuses or does not answer.
    """

    def __init__(self, endpoint: Endpoint, registrar: SipUri, expires: int) -> None:
        self._endpoint = endpoint
        self._registrar = registrar
        self._asked = expires
        self._usage: RegisterUsage | None = None
        self._answer: asyncio.Future[None] | None = None
        self._leaving = False
        self.expires = 0
        self.refreshes = -1
        self.error: RegistrationFailed | None = None

    @property
    def bound(self) -> bool:
        """Whether the registrar holds the binding, as far as it told."""
        return self.expires > 0

    async def __aenter__(self) -> Self:
        await self._endpoint.face_registrar(self._registrar)
        stack = self._endpoint.stack
        self._usage, effects = self._endpoint.core.register(self._registrar, self._asked, stack.now)
        self._endpoint.registrations[self._usage] = self
        try:
            await self._carry_out(effects)
        except BaseException:
            self._endpoint.registrations.pop(self._usage, None)
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
        self._leaving = True
        try:
            # What the registrar says now changes nothing for the body of the block.
            with contextlib.suppress(RegistrationFailed):
                await self._carry_out(usage.unregister(self._endpoint.stack.now))
        finally:
            self._endpoint.registrations.pop(usage, None)
            self._usage = None

    async def refresh(self) -> None:
        """Send a REGISTER now and wait for the answer.

        Raises:
            RegistrationFailed: The registrar refused or did not answer.
        """
        if self._usage is not None:
            await self._carry_out(self._usage.refresh(self._endpoint.stack.now))

    async def _carry_out(self, effects: Iterable[object]) -> None:
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._answer = answer
        self._endpoint.stack.run(self._endpoint, effects)
        try:
            await answer
        finally:
            self._answer = None

    def on_event(self, event: object) -> None:
        """One event of the register usage."""
        match event:
            case Registered(_, expires):
                self.expires = expires
                self.refreshes += 1
                self.error = None
                if not self._leaving:
                    self._settle(None)
            case Unregistered():
                self.expires = 0
                self._settle(None)
            case RegistrationFailedEvent(_, status, reason, cause):
                self.expires = 0
                self.error = _failure(status, reason, cause, str(self._registrar))
                self._settle(self.error)

    def _settle(self, error: RegistrationFailed | None) -> None:
        if self._answer is not None and not self._answer.done():
            if error is None:
                self._answer.set_result(None)
            else:
                self._answer.set_exception(error)


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
