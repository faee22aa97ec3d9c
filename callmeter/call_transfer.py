"""Transfers of a call: those we ask for, and those the peer asks for (RFC 3515, 3891, 5589)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from callmeter import events
from callmeter.config import TransferPolicy
from callmeter.errors import (
    CallFailed,
    CallmeterError,
    CallRejected,
    CallTimedOut,
    LocalProtocolError,
    RequestRejected,
    TransportError,
)
from callmeter.sip.refer import refer_to_replacing
from callmeter.sip.session_events import Notified, SubscriptionEnded
from callmeter.sip.subscriber import SubscriptionPhase

if TYPE_CHECKING:
    from collections.abc import Iterable

    from callmeter.call import Call
    from callmeter.call_journal import CallJournal
    from callmeter.config import MediaConfig
    from callmeter.endpoint import Endpoint
    from callmeter.sip.headers import NameAddr
    from callmeter.sip.invite_session import InviteSession
    from callmeter.sip.refer import Referral, ReferSubscriber
    from callmeter.sip.session_events import SubscriptionAccepted

__all__ = ["CallTransfers", "TransferRequest", "replacing"]

DECLINE = 603
SERVICE_UNAVAILABLE = 503
LAST_WORD = 2.0
"""Seconds that one end of a transfer waits for what the other is about to say."""


def replacing(session: InviteSession) -> NameAddr:
    """The Refer-To that puts somebody in our place in an answered session.

    Raises:
        LocalProtocolError: It is not answered, or over.
    """
    dialog = session.dialog
    refer_to = None if dialog is None else refer_to_replacing(dialog)
    if refer_to is None or session.over or not session.answered:
        raise LocalProtocolError("an attended transfer needs two answered calls")
    return refer_to


class Transfer:
    """A REFER of ours, and what the peer tells of it.

    Args:
        journal: Where the progress is told.

    Attributes:
        outcome: The final status of the referred call.
    """

    def __init__(self, journal: CallJournal, usage: ReferSubscriber) -> None:
        self._journal = journal
        self._usage = usage
        self.outcome: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()

    def on_event(self, event: SubscriptionAccepted | Notified | SubscriptionEnded) -> None:
        """One event of the REFER and the subscription it made."""
        match event:
            case Notified():
                progress = self._usage.progress
                if progress is not None:
                    self._journal.tell(events.TransferProgress(self._journal.at(), *progress))
                    if progress[0] >= 200 and not self.outcome.done():  # noqa: PLR2004  final
                        self.outcome.set_result(progress)
            case SubscriptionEnded(_, cause, status, reason, _) if not self.outcome.done():
                if cause == "no-subscription":
                    self.outcome.set_result((202, "Accepted"))
                else:
                    self.outcome.set_exception(_untold(cause, status, reason))


def _untold(cause: str, status: int, reason: str | None) -> CallmeterError:
    match cause:
        case "rejected":
            return RequestRejected(status, reason or "")
        case "transport":
            return TransportError(reason or "the REFER found no way to the peer")
        case _:
            return CallTimedOut("the peer never told how the transfer went", timer="refer")


class TransferRequest:
    """The peer asks that this end calls somebody else: `accept` or `reject` it.

    It is refused with 603 when nothing is done about it in half the time the peer waits.

    Attributes:
        target: Whom to call.
        referred_by: Who says so, as written, or None (RFC 3892).
        attended: Whether the new call takes the place of one that the target has (RFC 3891).
    """

    def __init__(self, endpoint: Endpoint, call: Call, usage: Referral) -> None:
        self._endpoint = endpoint
        self._call = call
        self._usage = usage
        lines = dict(usage.invite_headers)
        self.target = str(usage.target)
        self.referred_by = lines.get("Referred-By")
        self.attended = "Replaces" in lines

    @property
    def waiting(self) -> bool:
        """Whether it was neither accepted nor rejected yet."""
        return self._usage.phase is SubscriptionPhase.SUBSCRIBING

    async def accept(self, *, media: MediaConfig | None = None) -> Call:
        """Agree, and call the target: returns the ringing call, as `endpoint.invite` does.

        The peer is told how that call goes, and usually hangs up this one when it is answered.

        Args:
            media: Settings of the new call; None takes those of this one.

        Raises:
            LocalProtocolError: It was answered already.
            TransportError: The target cannot be reached; the peer is told.
        """
        endpoint = self._endpoint
        self._run(self._usage.accept(endpoint.stack.now))
        try:
            call = await endpoint.invite(
                self.target,
                media=media or self._call.media.config,
                headers=dict(self._usage.invite_headers),
            )
        except BaseException:
            self._report(SERVICE_UNAVAILABLE)
            raise
        endpoint.stack.start_task(self._watch(call))
        return call

    def reject(self, status: int = DECLINE) -> None:
        """Refuse; this call goes on.

        Raises:
            LocalProtocolError: It was answered already.
        """
        self._run(self._usage.reject(status, self._endpoint.stack.now))

    async def expire(self, seconds: float) -> None:
        """Nobody did anything about it (called by the endpoint)."""
        await asyncio.sleep(seconds)
        if self.waiting and self._endpoint.running:
            self.reject()

    async def _watch(self, call: Call) -> None:
        """Tell the peer how the new call goes, up to its answer or its end."""
        async for event in call.events():
            match event:
                case events.Ringing(_, status, reason):
                    self._report(status, reason)
                case events.Answered(_, status):
                    self._report(status)
                    self._call.note_transferred(call)
                    return
                case events.Ended():
                    self._report(call.report().final_status_code or SERVICE_UNAVAILABLE)

    def _report(self, status: int, reason: str | None = None) -> None:
        if self._endpoint.running:
            now = self._endpoint.stack.now
            self._run(self._usage.report(status, now, reason=reason or None))

    def _run(self, effects: Iterable[object]) -> None:
        if not self._endpoint.running:
            raise LocalProtocolError("the endpoint was left")
        self._endpoint.stack.run(self._endpoint, effects)


class CallTransfers:
    """The transfers of one call, from either end.

    Args:
        endpoint: Whose call it is.
        call: The call.
        journal: Where they are noted.
    """

    def __init__(self, endpoint: Endpoint, call: Call, journal: CallJournal) -> None:
        self._endpoint = endpoint
        self._call = call
        self._journal = journal

    async def transfer(self, refer_to: NameAddr, headers: Iterable[tuple[str, str]] = ()) -> int:
        """Ask the peer to call somebody; hang up when it has."""
        endpoint, call = self._endpoint, self._call
        usage, effects = endpoint.core.refer(
            refer_to, endpoint.stack.now, session=call.session, headers=headers
        )
        transfer = Transfer(self._journal, usage)
        endpoint.standalone.usages[usage] = transfer
        try:
            endpoint.stack.run(endpoint, effects)
            status, reason = await self._outcome(transfer)
        finally:
            transfer.outcome.cancel()
            endpoint.standalone.usages.pop(usage, None)
            if endpoint.running:
                endpoint.stack.run(endpoint, usage.unsubscribe(endpoint.stack.now))
        if status >= 300:  # noqa: PLR2004  no success
            raise CallRejected(status, reason)
        await call.bye()
        return status

    async def _outcome(self, transfer: Transfer) -> tuple[int, str]:
        """What the peer tells, also when it hangs up first."""
        async with asyncio.TaskGroup() as tasks:
            ended = tasks.create_task(self._call.ended())
            either: set[asyncio.Future[Any]] = {ended, transfer.outcome}
            try:
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                if not transfer.outcome.done():
                    await asyncio.wait({transfer.outcome}, timeout=LAST_WORD)
            finally:
                ended.cancel()
        if not transfer.outcome.done():
            raise CallFailed("the peer hung up before it told how the transfer went")
        return transfer.outcome.result()

    def on_refer(self, usage: Referral) -> None:
        """The peer asks to be rid of us."""
        endpoint = self._endpoint
        request = TransferRequest(endpoint, self._call, usage)
        if not endpoint.running or usage.target is None or usage.method != "INVITE":
            endpoint.stack.run(endpoint, usage.reject(DECLINE, endpoint.stack.now))
        elif endpoint.config.transfers is TransferPolicy.FOLLOW:
            endpoint.stack.start_task(self._follow(request))
        else:
            self._journal.tell(
                events.TransferRequested(
                    self._journal.at(), request.target, request.attended, request
                )
            )
            patience = 32 * endpoint.stack.config.timers.t1
            endpoint.stack.start_task(request.expire(patience))

    async def _follow(self, request: TransferRequest) -> None:
        try:
            call = await request.accept()
            await call.answered()
        except CallmeterError:
            return  # the peer was told
        # RFC 5589 section 6.1: the peer hangs up, once it knows.
        try:
            async with asyncio.timeout(LAST_WORD):
                await self._call.ended()
        except TimeoutError:
            await self._call.bye()
