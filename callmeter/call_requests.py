"""CallRequests: what is asked of the peer of a call besides changes of its session."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from callmeter.call_transfer import CallTransfers, replacing
from callmeter.sip.headers import NameAddr
from callmeter.standalone_requests import header_lines, take_success

if TYPE_CHECKING:
    from callmeter.endpoint import Endpoint
    from callmeter.sip.invite_session import InviteSession
    from callmeter.sip.message import Response

__all__ = ["CallRequests"]


class CallRequests(ABC):
    """The part of a `Call` that sends REFER and INFO."""

    _endpoint: Endpoint
    _transfers: CallTransfers

    @property
    @abstractmethod
    def session(self) -> InviteSession:
        """The INVITE session (sans-IO), lower stability."""

    async def transfer(self, target: str, *, headers: dict[str, str] | None = None) -> int:
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
        """
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
            RequestRejected: The peer refused it.
            CallTimedOut: No final response.
        """
        sent = self.session.info(
            content_type, body, self._endpoint.stack.now, headers=header_lines(headers)
        )
        return take_success(await self._endpoint.standalone.exchange(*sent))
