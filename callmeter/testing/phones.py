"""Phones: endpoints for tests, which register, answer, echo, and remember what their calls did."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self

import pytest

from callmeter.config import Credentials, LimitConfig, StackConfig, TlsConfig, TlsVerify, Transport
from callmeter.endpoint import Endpoint
from callmeter.errors import CallmeterError, ConfigurationError
from callmeter.media_session import MediaSession, MediaSessions
from callmeter.stack import Stack
from callmeter.testing.answers import answer_by, check_answer, end_call
from callmeter.testing.ear import Ear
from callmeter.testing.endpoint_settings import endpoint_config
from callmeter.testing.registrar import Registrar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
    from types import TracebackType

    import trustme

    from callmeter.call import Call
    from callmeter.config import EndpointConfig
    from callmeter.incoming_call import IncomingCall
    from callmeter.sip.invite_session import InviteSession
    from callmeter.testing.answers import Answer
    from callmeter.testing.impaired_network import ImpairedNetwork

__all__ = ["Phone", "PhoneMedia", "Phones", "loopback_stack", "open_registrar"]

LOOPBACK: Final = "127.0.0.1"
EVERY_TRANSPORT: Final = (Transport.UDP, Transport.TCP, Transport.TLS, Transport.WSS)
KEPT_CALLS: Final = 100
"""Calls of one phone that are remembered after their end."""
NOT_OVERLOADED: Final = LimitConfig(loop_delay=60.0, tick_delay=60.0)


class PhoneMedia(MediaSession):
    """The media of a phone's call; what arrives is remembered for `assert_heard`.

    Attributes:
        ear: What was heard.
        phone: Whose it is.
    """

    def __init__(self, *arguments: Any, phone: Phone, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.ear = Ear()
        self.phone = phone
        self._listening = False

    def _begin(self, *agreed: Any) -> None:
        super()._begin(*agreed)
        if not self._listening:
            self._listening = True
            self.attach(self.ear)


class Phone(Endpoint):
    """An endpoint that takes its calls by itself and remembers them.

    Args:
        config: As for `Endpoint`.
        stack: As for `Endpoint`.
        phones: The phones of the same test.
        answer: What becomes of calls: True answers and echoes, False leaves them to
            `incoming()`, a status refuses them, a coroutine function is given each.
    """

    def __init__(
        self, config: EndpointConfig, stack: Stack, phones: Phones, answer: Answer
    ) -> None:
        super().__init__(config, stack)
        self._media = MediaSessions(partial(PhoneMedia, phone=self))
        self._answer = answer
        self._ended: deque[Call] = deque(maxlen=KEPT_CALLS)
        self.phones = phones

    @property
    def every_call(self) -> list[Call]:
        """The calls that have ended, the last hundred, and those that have not."""
        return [*self._ended, *self.calls]

    def forget(self, session: InviteSession) -> None:
        """The session is over; its call is remembered unless it is sent again."""
        call = self.call_of(session)
        super().forget(session)
        if call is not None and call.session is session:
            self._ended.append(call)

    async def take_calls(self) -> None:
        """Take every call that comes, until the phone is left."""
        async for incoming in self.incoming():
            self.stack.start_task(self._take(incoming))

    async def _take(self, incoming: IncomingCall) -> None:
        # A caller that gives up, or offers what is refused, reads so in its own report.
        with suppress(CallmeterError):
            if self._answer is True:
                await incoming.answer()
                incoming.media.echo()
            elif isinstance(self._answer, int):
                incoming.reject(self._answer)
            else:
                await self._take_by_test(self._answer, incoming)

    async def _take_by_test(
        self, answer: Callable[[IncomingCall], Awaitable[object]], incoming: IncomingCall
    ) -> None:
        try:
            await answer_by(answer, incoming)
        except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001  told to the test
            # What the caller did is in its own report, and what callmeter was told wrong is not.
            of_test = not isinstance(error, CallmeterError) or isinstance(error, ConfigurationError)
            if of_test:
                # It is the test's own code: it fails the test, and not the stack.
                error.add_note(f"while {self.aor} took a call from {incoming.caller}")
                self.phones.errors.append(error)
            reason = f"answer= raised {type(error).__name__}"
            await end_call(incoming, reason, answered=of_test)


class Phones:
    """The endpoints of a test: `alice = await endpoint("alice", srtp="sdes")`.

    Args:
        registrar: Where they register; None for a test against a system of its own.
        authority: Who signed the certificates they trust; None trusts the system's.
        settings: What is not given in a call.
        shared: The stack of all of them; None gives each its own.
        bind: Own address.

    Attributes:
        errors: What went wrong in answering functions of the test.
        told: Call-IDs of calls of which an assertion has told all.
        registrar: As given.
    """

    def __init__(
        self,
        registrar: Registrar | None,
        authority: trustme.CA | None,
        settings: Mapping[str, Any] | None = None,
        shared: Stack | None = None,
        bind: str = LOOPBACK,
    ) -> None:
        self.registrar = registrar
        self.errors: list[BaseException] = []
        self.told: set[str] = set()
        self._authority = authority
        self._settings = dict(settings or {})
        self._shared = shared
        self._bind = bind
        self._phones: list[Phone] = []
        self._entered = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._entered.aclose()
        if self.errors:
            raise self.errors[0]

    def __iter__(self) -> Iterator[Phone]:
        return iter(self._phones)

    def __repr__(self) -> str:
        return f"<Phones {', '.join(phone.aor_user for phone in self) or 'none yet'}>"

    async def __call__(
        self,
        user: str = "alice",
        *,
        password: str | None = None,
        register: bool = True,
        answer: Answer = True,
        stack: Stack | None = None,
        **settings: Any,
    ) -> Phone:
        """A running endpoint, registered, that answers its calls and echoes.

        Args:
            user: Its user name; any name has an account.
            password: Its password; None makes one up.
            register: Whether to register it.
            answer: True answers calls and echoes, False leaves them to `incoming()` and
                `next_call()`, a status (486) refuses them, a coroutine function is given each.
            stack: The stack it is on; None takes the fixture `stack` where the test asks for it,
                else one of its own.
            settings: `transport`, `srtp`, `policy`, `suites`, `codec`, `profile`, and every
                attribute of `EndpointConfig` but `aor`, `MediaConfig` and `SrtpConfig`.
                `credentials` are what it proves itself by, in place of those of its account.

        Raises:
            ConfigurationError: A setting that does not exist or cannot work.
            RegistrationFailed: The registrar refused.
        """
        registrar = self.registrar
        if registrar is None:
            raise ConfigurationError("without a registrar, give a whole configuration to `add`")
        given = {**self._settings, **settings}
        if "aor" in given:
            raise ConfigurationError(
                "aor= is made of the user name and of the registrar: say endpoint('carol') for "
                f"{registrar.aor('carol')}"
            )
        word = secrets.token_urlsafe(12) if password is None else password
        registrar.add_account(user, word)
        given.setdefault("credentials", Credentials(user, word))
        config = endpoint_config(registrar.aor(user), **given)
        if config.outbound_proxy is None:
            given["outbound_proxy"] = registrar.uri(config.transport)
        if "tls" not in given and self._authority is not None:
            given["tls"] = trust(self._authority)
        config = endpoint_config(config.aor, **given)
        return await self.add(config, register=register, answer=answer, stack=stack)

    async def add(
        self,
        config: EndpointConfig,
        *,
        register: bool = True,
        answer: Answer = True,
        stack: Stack | None = None,
    ) -> Phone:
        """A running endpoint of this very configuration; the rest is as for a call of this object.

        Raises:
            ConfigurationError: The fixtures live in another event loop than the test, or calls
                cannot be answered so.
            RegistrationFailed: The registrar refused.
        """
        if asyncio.get_running_loop() is not self._loop:
            raise ConfigurationError(
                "the test runs in another event loop than the fixtures of callmeter: give tests "
                "and fixtures one scope (asyncio_default_fixture_loop_scope, "
                "asyncio_default_test_loop_scope)"
            )
        check_answer(answer)
        running = stack or self._shared
        if running is None:
            # One each, so that each has an address of its own in the ladder.
            running = await self._entered.enter_async_context(loopback_stack(self._bind))
        phone = Phone(config, running, self, answer)
        await self._entered.enter_async_context(phone)
        self._phones.append(phone)
        if register:
            await self._entered.enter_async_context(phone.registered())
        if answer is not False:
            running.start_task(phone.take_calls())
        return phone

    def name_of(self, address: str) -> str:
        """What to call an address in a ladder."""
        registrar = self.registrar
        if registrar is not None and registrar.listens_at(address):
            return "registrar"
        return address


def trust(authority: trustme.CA) -> TlsConfig:
    """TLS settings that trust an authority."""
    return TlsConfig(verify=TlsVerify.CUSTOM, ca=authority.cert_pem.bytes().decode())


def loopback_stack(bind: str = LOOPBACK) -> Stack:
    """A stack for one test.

    Tests run where others run too: how late the loop is says nothing of the few calls of a test,
    and none is turned away for it.
    """
    return Stack(StackConfig(bind=bind, limits=NOT_OVERLOADED))


@asynccontextmanager
async def open_registrar(
    authority: trustme.CA,
    between: ImpairedNetwork | None = None,
    settings: Mapping[str, Any] | None = None,
) -> AsyncIterator[Registrar]:
    """A registrar on loopback by every transport, behind a network where there is one."""
    issued = authority.issue_cert(LOOPBACK, "localhost")
    chain = "".join(blob.bytes().decode() for blob in issued.cert_chain_pems)
    tls = TlsConfig(certificate=chain, private_key=issued.private_key_pem.bytes().decode())
    merged = {"transports": EVERY_TRANSPORT, "tls": tls, **(settings or {})}
    async with Registrar(merged.pop("accounts", {}), **merged) as running:
        if between is None:
            yield running
            return
        async with between.in_front_of(running):
            yield running
