"""A trace of calls in a file: ladder and messages as text, or all packets as pcapng."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from callmeter.rtp.demux import PacketKind, classify
from callmeter.srtp.context import SrtpContext
from callmeter.trace.frames import TcpConversations, exported_pdu, parse_address, udp_packet
from callmeter.trace.ladder import ladder
from callmeter.trace.message_log import Selection
from callmeter.trace.pcapng import Flow, LinkType, PcapngWriter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from callmeter.media.capture import CapturedDatagram, MediaCapture
    from callmeter.srtp.sdes import CryptoLine
    from callmeter.trace.message_log import LoggedMessage

__all__ = ["PCAPNG_SUFFIX", "write_trace"]

PCAPNG_SUFFIX: Final = ".pcapng"
APPLICATION: Final = "callmeter"
RAW, DECRYPTED = 0, 1
MEDIA_KINDS: Final = {PacketKind.RTP: "rtp", PacketKind.RTCP: "rtcp"}


def write_trace(
    path: str | Path, messages: Sequence[LoggedMessage], captures: Sequence[MediaCapture] = ()
) -> None:
    """Write what was said.

    Args:
        path: A name that ends in `.pcapng` gets packets, any other ladder and messages as text.
        messages: SIP messages in order.
        captures: What was captured of media; only packets show it.

    Raises:
        OSError: The file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != PCAPNG_SUFFIX:
        text = f"{ladder(messages)}\n\n{Selection(messages).to_text()}"
        path.write_text(text, encoding="utf-8")
        return
    with path.open("wb") as file:
        writer = PcapngWriter(file, application=APPLICATION, comment=_comment(captures))
        writer.add_interface(LinkType.RAW_IP, "callmeter", "datagrams, and messages of TCP")
        writer.add_interface(LinkType.UPPER_PDU, "decrypted", "what was inside TLS and SRTP")
        secrets = [line for capture in captures for line in _secrets(capture)]
        if secrets:
            writer.add_key_log(secrets)
        packets = list(_signaling(messages))
        for capture in captures:
            packets += _media(capture)
        for wall, interface, octets, flow in sorted(packets, key=lambda packet: packet[0]):
            writer.add_packet(interface, wall, octets, flow=flow)


Packet = tuple[float, int, bytes, Flow]


def _comment(captures: Iterable[MediaCapture]) -> str:
    dropped = sum(capture.dropped for capture in captures)
    return f"{dropped} media datagrams were left out, there was no room" if dropped else ""


# signalling


def _signaling(messages: Iterable[LoggedMessage]) -> Iterator[Packet]:
    connections = TcpConversations()
    for entry in messages:
        ends = parse_address(entry.sender), parse_address(entry.receiver)
        wall = entry.time if entry.wall is None else entry.wall
        flow = Flow.OUTBOUND if entry.direction == "sent" else Flow.INBOUND
        match entry.transport:
            case "UDP":
                yield wall, RAW, udp_packet(*ends, entry.filled), flow
            case "TCP":
                for octets in connections.packets(*ends, entry.filled):
                    yield wall, RAW, octets, flow
            case _:
                octets = exported_pdu("sip", *ends, entry.filled, transport="TCP")
                yield wall, DECRYPTED, octets, flow


# media


def _secrets(capture: MediaCapture) -> Iterator[str]:
    """What the key log says: the secrets of DTLS, and as comments the keys of SRTP."""
    if not capture.config.secrets:
        return
    yield from capture.secrets
    for period in capture.key_periods:
        for way, line in (("sent", period.send), ("received", period.receive)):
            if line is not None:
                yield f"# SRTP {way}: a=crypto:{line.to_attribute()}"


def _media(capture: MediaCapture) -> Iterator[Packet]:
    opener = _Opener(capture) if capture.config.decrypt else None
    for number, datagram in enumerate(capture):
        ends = datagram.local, datagram.remote
        flow = Flow.OUTBOUND
        if not datagram.sent:
            ends, flow = (datagram.remote, datagram.local), Flow.INBOUND
        clear = None if opener is None else opener.open(number, datagram)
        if clear is None:
            yield datagram.wall, RAW, udp_packet(*ends, datagram.octets), flow
        else:
            # The session description calls these ports SRTP, so no port type leads to them.
            protocol = MEDIA_KINDS[classify(clear)]
            octets = exported_pdu(protocol, *ends, clear, transport="")
            yield datagram.wall, DECRYPTED, octets, flow
    if opener is not None:
        opener.close()


class _Opener:
    """Decrypts what was captured with the keys of its time."""

    def __init__(self, capture: MediaCapture) -> None:
        self._periods = list(capture.key_periods)
        self._contexts: dict[tuple[CryptoLine, bool], SrtpContext] = {}
        self._in_use: dict[tuple[bool, bool], list[SrtpContext]] = {}

    def open(self, number: int, datagram: CapturedDatagram) -> bytes | None:
        """The RTP or RTCP packet in a datagram; None when it is no SRTP that a key opens."""
        while self._periods and self._periods[0].first <= number:
            self._begin()
        kind = classify(datagram.octets)
        if kind not in MEDIA_KINDS:
            return None
        control = kind is PacketKind.RTCP
        for context in self._in_use.get((datagram.sent, control), ()):
            opened = (
                context.unprotect_rtcp(datagram.octets)
                if control
                else context.unprotect(datagram.octets)
            )
            if opened is not None:
                return opened
        return None

    def _begin(self) -> None:
        """New keys; those before still open what was under way."""
        period = self._periods.pop(0)
        pairs = period.send, period.receive
        own = period.rtcp or pairs
        for sent, control, line in (
            (True, False, pairs[0]),
            (False, False, pairs[1]),
            (True, True, own[0]),
            (False, True, own[1]),
        ):
            if line is None:
                continue
            context = self._context(line, sent, period.rollovers)
            before = [one for one in self._in_use.get((sent, control), ()) if one is not context]
            self._in_use[sent, control] = [context, *before[:1]]

    def _context(self, line: CryptoLine, sent: bool, rollovers: dict[int, int]) -> SrtpContext:  # noqa: FBT001
        """The same line again goes on with its rollover counters."""
        context = self._contexts.get((line, sent))
        if context is None:
            context = self._contexts[line, sent] = SrtpContext(line, "receive")
            for ssrc, roc in rollovers.items():
                context.set_roc(ssrc, roc)
        return context

    def close(self) -> None:
        """Free the keys."""
        for context in self._contexts.values():
            context.close()
