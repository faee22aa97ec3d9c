"""Which DTLS datagrams a misbehaving endpoint loses."""

from __future__ import annotations

from typing import Final

from callmeter.rtp.demux import PacketKind, classify
from callmeter.srtp import dtls_records
from callmeter.testing.misbehaviour.kinds import Misbehaviour

__all__ = ["HandshakeFault"]

CLIENT_HELLO: Final = 1
CERTIFICATE: Final = 11
_FIRST_FLIGHTS: Final = frozenset({CLIENT_HELLO, 2, 3, 12, 13, 14})
"""Messages of RFC 6347 section 4.2.4: ClientHello, and ServerHello to ServerHelloDone."""


class HandshakeFault:
    """What is wrong with the DTLS of one stream.

    Args:
        kind: What it does wrong.
        amount: How much of it.
    """

    def __init__(self, kind: Misbehaviour, amount: float) -> None:
        self._kind = kind
        self._amount = amount
        self._is_client = False
        self._from: float | None = None

    def loses(self, datagram: bytes, now: float) -> bool:
        """Whether a datagram that is about to be sent is not.

        Args:
            datagram: Any that is neither RTP nor RTCP.
            now: Seconds.
        """
        if classify(datagram) is not PacketKind.DTLS:
            return False
        messages = _messages(datagram)
        self._is_client = self._is_client or CLIENT_HELLO in messages
        match self._kind:
            case Misbehaviour.BOTH_PASSIVE:
                return self._is_client
            case Misbehaviour.DROPPED_FLIGHT:
                return self._amount == self._flight(messages)
            case Misbehaviour.LATE_HANDSHAKE:
                if self._from is None:
                    self._from = now + self._amount
                return now < self._from
            case _:
                return False

    def _flight(self, messages: set[int]) -> int:
        """Number of the own flight that has these messages: each end has two."""
        first = bool(messages & _FIRST_FLIGHTS) or (CERTIFICATE in messages and not self._is_client)
        return 1 if first else 2


def _messages(datagram: bytes) -> set[int]:
    """Types of the handshake messages in clear."""
    return {
        fragment.kind
        for record in dtls_records.records(datagram)
        if record.content == dtls_records.HANDSHAKE and not record.epoch
        for fragment in dtls_records.fragments(record)
    }
