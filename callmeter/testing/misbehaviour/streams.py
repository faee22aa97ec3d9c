"""Media streams that send what they should not, or do not send what they should."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from callmeter.media.stream import MediaStream
from callmeter.testing.misbehaviour.contexts import ClearRtcp, RestartingContext, wrong_context
from callmeter.testing.misbehaviour.handshakes import HandshakeFault
from callmeter.testing.misbehaviour.kinds import Misbehaviour

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from callmeter.media.parameters import RtpParameters
    from callmeter.media.sources import AudioSource, LiveSource
    from callmeter.srtp.context import SrtpContext

__all__ = ["MisbehavingStream"]

BEFORE_THE_WRAP: Final = 15
"""Packets until the sequence numbers wrap for the first time."""
SEQUENCES: Final = 1 << 16


class MisbehavingStream(MediaStream):
    """A stream that does one thing wrong.

    Args:
        arguments: Those of `MediaStream`.
        kind: What it does wrong.
        amount: How much of it.
        note: Called each time it does so.
    """

    def __init__(
        self, *arguments: Any, kind: Misbehaviour, amount: float, note: Callable[[], None]
    ) -> None:
        super().__init__(*arguments)
        self._kind = kind
        self._note = note
        self._agreed: SrtpContext | None = None
        self._wrong: SrtpContext | None = None
        self._clear: tuple[SrtpContext, SrtpContext] | None = None
        self._handshake = HandshakeFault(kind, amount)

    def start(self, parameters: RtpParameters) -> None:
        """Send and receive otherwise than negotiated."""
        first = self._parameters is None
        if first and self._kind is Misbehaviour.RESET_ROC:
            self._engine.send_table.sequence[self._row] = SEQUENCES - BEFORE_THE_WRAP
        send = self._context(parameters.srtp_send, first=first)
        changed = replace(parameters, srtp_send=send)
        if self._kind is Misbehaviour.PLAIN_MEDIA:
            changed = replace(changed, srtp_rtcp=None)
        elif self._kind is Misbehaviour.CLEAR_SRTCP and send is not None:
            changed = replace(changed, srtp_rtcp=self._clear_rtcp(parameters, send))
        elif self._kind in {Misbehaviour.ONE_WAY, Misbehaviour.SENDS_NOTHING}:
            changed = replace(changed, send=False)
            if first:
                self._note()
        if self._kind is Misbehaviour.SENDS_NOTHING:
            changed = replace(changed, remote_rtcp=(parameters.remote[0], 0))
        super().start(changed)

    def _context(self, agreed: SrtpContext | None, *, first: bool) -> SrtpContext | None:
        """The context to send with; the same again while the agreed one stays."""
        if self._kind is Misbehaviour.IGNORED_REKEY and not first:
            if agreed is not None and agreed is not self._wrong:
                agreed.close()
                self._note()
            return self._wrong
        if first or agreed is not self._agreed:
            self._agreed = agreed
            self._wrong = wrong_context(self._kind, agreed, self.ssrc, self._engine.entropy)
            if agreed is not None and self._wrong is not agreed:
                agreed.close()
            if isinstance(self._wrong, RestartingContext):
                self._wrong.note = self._note
            elif self._wrong is not agreed:
                self._note()
        return self._wrong

    def _clear_rtcp(
        self, parameters: RtpParameters, send: SrtpContext
    ) -> tuple[SrtpContext, SrtpContext] | None:
        receive = parameters.srtp_receive
        if parameters.srtp_rtcp is not None:
            receive = parameters.srtp_rtcp[1]
        if receive is None:
            return None
        if self._clear is None or self._clear[1] is not receive:
            self._clear = ClearRtcp(send.line, "send"), receive
            self._note()
        return self._clear

    def play(
        self, source: AudioSource | LiveSource | None, *, seconds: float | None = None
    ) -> asyncio.Future[None]:
        """Play a source, or nothing instead."""
        silent = self._kind is Misbehaviour.SILENT_AUDIO
        if silent and source is not None:
            self._note()
        return super().play(None if silent else source, seconds=seconds)

    def send_datagram(
        self, datagram: bytes, destination: tuple[str, int], *, rtcp: bool = False
    ) -> bool:
        """Send a STUN or DTLS datagram, or lose it."""
        if self._handshake.loses(datagram, self._engine.now()):
            self._note()
            return True
        return super().send_datagram(datagram, destination, rtcp=rtcp)
