"""What went over the ports of one stream, kept as it was on the wire, bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from callmeter.config import CaptureConfig
    from callmeter.media.parameters import RtpParameters
    from callmeter.srtp.context import SrtpContext
    from callmeter.srtp.sdes import CryptoLine

__all__ = ["CapturedDatagram", "KeyPeriod", "MediaCapture"]

Address = tuple[str, int]

RECORD_OCTETS: Final = 160
"""What Python spends on a record besides its payload, about."""
MAX_PERIODS: Final = 64
MAX_SECRETS: Final = 256


class CapturedDatagram(NamedTuple):
    """One datagram.

    Attributes:
        wall: Seconds since 1970: the kernel's arrival stamp, or the moment it was handed over.
        sent: Whether it left.
        local: Own address and port.
        remote: The other end's.
        octets: As it was on the wire.
    """

    wall: float
    sent: bool
    local: Address
    remote: Address
    octets: bytes


class KeyPeriod(NamedTuple):
    """The SRTP keys from one datagram on.

    Attributes:
        first: Number of the datagrams captured before.
        send: Line that what leaves is protected with, None in clear.
        receive: The same for what arrives.
        rtcp: The same two for RTCP that has keys of its own.
        rollovers: Rollover counters by SSRC that were not 0 at that moment.
    """

    first: int
    send: CryptoLine | None
    receive: CryptoLine | None
    rtcp: tuple[CryptoLine, CryptoLine] | None
    rollovers: dict[int, int]


class MediaCapture:
    """Datagrams of one stream in both directions; when it is full, what follows is only counted.

    The first packets are the ones kept: they are what explains a call, and the rollover counters
    of SRTP start with them.

    Args:
        config: How much, and whether with secrets.

    Attributes:
        config: As given.
        dropped: Datagrams there was no room for.
        key_periods: Which keys protected what.
        secrets: Secrets of DTLS handshakes in lines of SSLKEYLOGFILE, when they are wanted.
    """

    __slots__ = (
        "_records",
        "_room",
        "_to_host_port",
        "config",
        "dropped",
        "key_periods",
        "secrets",
    )

    def __init__(self, config: CaptureConfig) -> None:
        self.config = config
        self._records: list[tuple[float, bool, Address, Any, bytes]] = []
        self._room = config.octets
        self._to_host_port: Callable[[Any], Address] = tuple
        self.dropped = 0
        self.key_periods: list[KeyPeriod] = []
        self.secrets: list[str] = []

    def __repr__(self) -> str:
        return f"<MediaCapture {len(self)} datagrams, {self.dropped} dropped>"

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[CapturedDatagram]:
        """The datagrams as they were captured."""
        for wall, sent, local, remote, octets in self._records:
            yield CapturedDatagram(wall, sent, local, self._to_host_port(remote), octets)

    def begin(self, to_host_port: Callable[[Any], Address]) -> None:
        """Take addresses in the form of a back-end from now on."""
        self._to_host_port = to_host_port

    def add(self, wall: float, sent: bool, local: Address, remote: Any, octets: bytes) -> None:  # noqa: FBT001  called for every packet
        """Keep a datagram, if there is room for it."""
        self._room -= len(octets) + RECORD_OCTETS
        if self._room < 0:
            self._room = 0
            self.dropped += 1
            return
        self._records.append((wall, sent, local, remote, octets))

    def note_keys(self, parameters: RtpParameters, *ssrcs: int) -> None:
        """The stream uses these keys from now on.

        Args:
            parameters: What was negotiated.
            ssrcs: Those that packets may have come from already.
        """
        sending, receiving = parameters.srtp_send, parameters.srtp_receive
        own = parameters.srtp_rtcp
        period = KeyPeriod(
            len(self._records),
            None if sending is None else sending.line,
            None if receiving is None else receiving.line,
            None if own is None else (own[0].line, own[1].line),
            _rollovers((sending, receiving), ssrcs),
        )
        if len(self.key_periods) < MAX_PERIODS:
            self.key_periods.append(period)

    def note_secret(self, line: bytes) -> None:
        """A line of a DTLS key log."""
        if len(self.secrets) < MAX_SECRETS:
            self.secrets.append(line.decode("ascii", "replace"))


def _rollovers(contexts: tuple[SrtpContext | None, ...], ssrcs: tuple[int, ...]) -> dict[int, int]:
    found = {}
    for context in contexts:
        for ssrc in ssrcs:
            roc = None if context is None else context.roc(ssrc)
            if roc:
                found[ssrc] = roc
    return found
