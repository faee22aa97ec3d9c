"""CallRequests: what is asked of the peer of a call: changes of it, digits, transfers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import contextmanager
from typing import TYPE_CHECKING

from callmeter.call_transfer import CallTransfers, replacing
from callmeter.errors import CallFailed, LocalProtocolError
from callmeter.metrics.phases import Phase
from callmeter.rtp.telephone_event import check_digits
from callmeter.sip.headers import NameAddr
from callmeter.standalone_requests import header_lines, take_success

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

    from callmeter.call_changes import CallChanges
    from callmeter.call_record import CallRecord
    from callmeter.config import MediaConfig
    from callmeter.endpoint import Endpoint
    from callmeter.media_keys import RekeyRoc
    from callmeter.media_session import MediaSession
    from callmeter.metrics.report import CallReport
    from callmeter.sip.invite_session import InviteSession
    from callmeter.sip.message import Response
    from callmeter.sip.uri import SipUri

__all__ = ["CallRequests"]


class CallRequests(ABC):
    """The part of a `Call` that asks something of its peer."""

    media: MediaSession
    _endpoint: Endpoint
    _record: CallRecord
    _answered: asyncio.Event
    _changes: CallChanges
    _transfers: CallTransfers

    @property
    @abstractmethod
    def session(self) -> InviteSession:
        """The INVITE session (sans-IO), lower stability."""

    @property
    @abstractmethod
    def over(self) -> bool:
        """Whether it has ended."""

    @abstractmethod
    def report(self) -> CallReport:
        """What happened so far."""

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Who hangs up may do so between two lines of the other's program, or while one waits."""
        if self.over and self._record.times.answer_at is not None:
            raise CallFailed("the call ended", report=self.report())
        try:
            yield
        except CallFailed as error:
            if error.report is None:
                error.report = self.report()
            raise

    async def hold(self) -> None:
        """Put the peer on hold: a re-INVITE with a=sendonly (RFC 3264 section 8.4).

        Raises:
            CallRejected: The peer refused the re-INVITE; the call goes on unchanged.
            CallFailed: The call ended before.
        """
        with self._asking():
            await self._changes.hold(self.session)

    async def resume(self) -> None:
        """Take the peer off hold: a re-INVITE with a=sendrecv.

        Raises:
            CallRejected: The peer refused the re-INVITE; the call goes on unchanged.
            CallFailed: The call ended before.
        """
        with self._asking():
            await self._changes.resume(self.session)

    async def rekey(self, *, roc: RekeyRoc = "reset") -> None:
        """Agree on new media keys by a re-INVITE; media goes on meanwhile.

        Under SDES the offer has a new inline key of the suite in use, and both directions switch
        when the answer is accepted. The old key of the peer stays good until its first packet
        under the new one, for 2 s at most. Under DTLS it asks for a new association, with a new
        certificate unless one is configured, and media switches when its handshake is verified.

        Args:
            roc: What becomes of the own rollover counter under a new inline key: `"reset"` starts
                it at 0 as most of what is deployed does, `"keep"` carries it on (RFC 3711 section
                3.3.1). Whichever the peer does with its own is followed.

        Raises:
            LocalProtocolError: The call is not answered, another re-INVITE is under way, or the
                media is not encrypted.
            CallRejected: The peer refused the re-INVITE; the old keys go on.
            NegotiationError: The answer has no key that can be used.
            MediaSecurityError: The DTLS handshake failed; the old keys go on.
            CallFailed: The call ended before.
        """
        with self._asking():
            await self._changes.rekey(self.session, roc)

    async def update(
        self,
        media: MediaConfig | None = None,
        *,
        method: str | None = None,
        offer: bool = True,
    ) -> None:
        """Agree on the media anew while it runs: other codecs, another packet time, video.

        Args:
            media: Settings to offer from now on; None offers what is in use.
            method: `"UPDATE"` (RFC 3311) or `"INVITE"`; None takes UPDATE where the peer serves
                it, which asks nobody's leave.
            offer: Whether this end makes the offer; otherwise a re-INVITE asks the peer for one.

        Raises:
            ConfigurationError: What `media` changes cannot change in a call.
            LocalProtocolError: The call is not answered, another change is under way, or the peer
                serves no UPDATE.
            CallRejected: The peer refused; the call goes on unchanged.
            NegotiationError: The answer has nothing in common with the offer.
            MediaSecurityError: The DTLS handshake of video that is new failed; the call goes on.
            CallFailed: It ended before.
        """
        with self._asking():
            await self._changes.update(self.session, media, method=method, offer=offer)

    async def send_dtmf(self, digits: str, *, method: str = "rtp", duration_ms: int = 160) -> None:
        """Send DTMF digits and wait until they are sent.

        Args:
            digits: 0 to 9, *, #, A to D.
            method: `"rtp"` (RFC 4733) or `"info"` (RFC 2976): one request for each digit, the
                next when the peer has taken the one before.
            duration_ms: Length of each digit, at least 100 ms.

        Raises:
            LocalProtocolError: The call is not answered, is held, or the peer has no
                telephone-event.
            ConfigurationError: A character that is no digit, or a length that is too short.
            RequestRejected: The peer refused an INFO; the digits before were taken.
            CallTimedOut: An INFO got no final response.
            CallFailed: The call ended before the last one was sent.
        """
        with self._asking():
            if not self._answered.is_set() or self.over:
                raise LocalProtocolError("DTMF needs an answered call")
            if self.media.on_hold:
                raise LocalProtocolError("DTMF is not sent while the call is held")
            if method == "rtp":
                await self.media.send_digits(digits, duration_ms=duration_ms)
            elif method == "info":
                await self._send_digits_by_info(digits.upper(), duration_ms)
            else:
                raise LocalProtocolError(f"unknown DTMF method {method!r}: 'rtp' or 'info'")

    async def _send_digits_by_info(self, digits: str, duration_ms: int) -> None:
        check_digits(digits, duration_ms)
        for digit in digits:
            if self._record.life.phase is not Phase.INCALL:
                raise CallFailed("the call ended before its digits were sent")
            if self.media.on_hold:
                raise LocalProtocolError("the call was put on hold before its digits were sent")
            body = f"Signal={digit}\r\nDuration={duration_ms}\r\n".encode("ascii")
            await self.send_info("application/dtmf-relay", body)
            self._record.digit("sent")

    async def transfer(self, target: str | SipUri, *, headers: dict[str, str] | None = None) -> int:
        """Have the peer call somebody else: a blind transfer by REFER (RFC 3515).

        `events.TransferProgress` tells how that goes. When it is answered, this call is hung up.

        Args:
            target: SIP URI, or a user name at the domain of the own address of record.
            headers: More header fields of the REFER.

        Returns:
            The final status the peer told; 202 from a peer that does not tell (RFC 4488).

        Raises:
            RequestRejected: The peer refuses to.
            CallRejected: Whom it called refused.
            CallTimedOut: The peer never told how it went.
            LocalProtocolError: The call is not answered.
            CallFailed: The call ended before.
        """
        with self._asking():
            refer_to = NameAddr(self._endpoint.target(target))
            return await self._transfers.transfer(refer_to, header_lines(headers))

    async def transfer_to(
        self, other: CallRequests, *, headers: dict[str, str] | None = None
    ) -> int:
        """Connect the peers of two calls: an attended transfer by REFER and Replaces (RFC 3891).

        This call's peer calls the other's, whose call with us it replaces. Both are hung up then.

        Args:
            other: The call whose peer is called; answered.
            headers: More header fields of the REFER.

        Raises:
            LocalProtocolError: One of the calls is not answered; else as for `transfer`.
        """
        with other._asking(), self._asking():
            return await self._transfers.transfer(replacing(other.session), header_lines(headers))

    async def send_info(
        self, content_type: str, body: bytes, *, headers: dict[str, str] | None = None
    ) -> Response:
        """Send an INFO request (RFC 6086) and wait for its 2xx.

        Args:
            content_type: Type of the body.
            body: The octets.
            headers: More header fields, such as Info-Package.

        Raises:
            ConfigurationError: A body of no type.
            RequestRejected: The peer refused it.
            CallTimedOut: No final response.
            LocalProtocolError: The call is not answered.
            CallFailed: The call ended before.
        """
        with self._asking():
            sent = self.session.info(
                content_type, body, self._endpoint.stack.now, headers=header_lines(headers)
            )
            return take_success(await self._endpoint.standalone.exchange(*sent))
