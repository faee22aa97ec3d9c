"""MediaSession: the media of one call - what was negotiated, what is played, heard and measured."""

from __future__ import annotations

import asyncio
import copy
import secrets
from dataclasses import fields
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Final

from callmeter.config import CaptureConfig
from callmeter.errors import (
    CallFailed,
    CallmeterError,
    ConfigurationError,
    LocalProtocolError,
)
from callmeter.jitter_buffer_config import JitterBufferSettings
from callmeter.media.capture import MediaCapture
from callmeter.media.echo import Echo
from callmeter.media.sinks import WavRecorder
from callmeter.media.sources import PcmSource, Tone
from callmeter.media_negotiation import MediaNegotiation, check_media
from callmeter.srtp.dtls_certificate import DtlsCertificate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from callmeter.config import DtlsConfig, MediaConfig
    from callmeter.media.engine import MediaEngine
    from callmeter.media.sinks import AudioSink
    from callmeter.media.sources import AudioSource, LiveSource
    from callmeter.media.stream import MediaStream
    from callmeter.media_keys import MediaKeys
    from callmeter.sdp.offer_answer import OfferAnswer
    from callmeter.sdp.profiles import RtpProfile
    from callmeter.srtp.sdes import CryptoLine

__all__ = ["MediaSession", "MediaSessions", "check_media"]

CHANGEABLE = frozenset(
    {
        "codecs",
        "comfort_noise",
        "deferred",
        "feedback_messages",
        "opus",
        "ptime",
        "telephone_event",
        "telephone_event_payload_type",
        "video",
    }
)
"""Settings that may differ in a later offer; the others were decided when the ports were opened."""

_BEFORE_DIGITS: Final = "the call ended before its digits were sent"


@lru_cache
def _usual_tone() -> Tone:
    """What plays unless it is said: encoded once for all calls."""
    return Tone(440)


class MediaSession(MediaNegotiation):
    """The audio of one call: `play`, `record`, `echo`, `statistics`; see `MediaNegotiation`."""

    _stream: MediaStream | None

    _first_offer: tuple[OfferAnswer, tuple[tuple[CryptoLine, ...], ...]] | None = None

    def accept_early_answer(self, body: bytes) -> None:
        """Take an answer before the call is answered; another dialog may have the last word.

        Raises:
            SdpSyntaxError: The answer cannot be read.
            NegotiationError: Nothing in common.
            MediaSecurityError: The keys in the answer are not usable.
        """
        offered = tuple(keys.sdes.offered for keys in self._all_keys())
        self._first_offer = copy.copy(self._offer_answer), offered
        try:
            self._take_answer(body)
        except CallmeterError:
            self._reopen()
            raise

    def accept_other_answer(self, body: bytes) -> None:
        """Take the answer to our first offer in place of the early one, which stays if it fails.

        Raises:
            SdpSyntaxError: The answer cannot be read.
            NegotiationError: Nothing in common.
            MediaSecurityError: The keys in the answer are not usable.
        """
        self._reopen()
        for keys in self._all_keys():
            keys.expect_fork()
        self._take_answer(body)

    def _reopen(self) -> None:
        if self._first_offer is not None:
            before, offered = self._first_offer
            for keys, lines in zip(self._all_keys(), offered, strict=False):
                keys.sdes.offered = lines
            self._offer_answer = copy.copy(before)

    def _all_keys(self) -> list[MediaKeys]:
        video = self._live_video()
        return [self.keys] if video is None else [self.keys, video.keys]

    def check_change(self, config: MediaConfig) -> None:
        """Refuse settings that a call under way cannot change to.

        Raises:
            ConfigurationError: Naming them.
        """
        fixed = [
            item.name
            for item in fields(config)
            if item.name not in CHANGEABLE
            and getattr(config, item.name) != getattr(self.config, item.name)
        ]
        own, before = config.video, self.config.video
        if self.video and own and before and own.feedback != before.feedback:
            # The profile was agreed on.
            fixed.append("video.feedback")
        if fixed:
            raise ConfigurationError(f"a call under way cannot change {', '.join(fixed)}")

    async def play(
        self, source: AudioSource | LiveSource | None = None, *, seconds: float | None = None
    ) -> float:
        """Send audio until the source ends, `seconds` have passed, or the call ends.

        What a source of your own raises ends it, and is raised here.

        Args:
            source: `Tone`, `Silence`, `WavFile`; None is a tone of 440 Hz.
            seconds: How long, time on hold included; None plays a file to its end, anything else
                until the call ends.

        Returns:
            Seconds it took: fewer than asked for when the call ended first, 0.0 when it was over.

        Raises:
            LocalProtocolError: The call is not answered.
            ConfigurationError: Less than no seconds.
        """
        if seconds is not None and not seconds >= 0:
            raise ConfigurationError(f"seconds is 0 or more, not {seconds!r}")
        stream, source = self._running(), source or _usual_tone()
        if stream is None:
            return 0.0
        coding = self.coding
        if isinstance(source, PcmSource) and coding and not source.has_encoded(*coding):
            # A file may take a moment to encode, in which the calls of this loop have to go on.
            await asyncio.to_thread(source.encoded, *coding)
            if self._stream is not stream:
                return 0.0
        playing = stream.play(source, seconds=seconds)
        return await self._until_played(playing, seconds, partial(stream.play, None))

    def echo(self) -> None:
        """From now on send back what arrives.

        Raises:
            LocalProtocolError: The call is not answered.
        """
        if stream := self._running():
            stream.play(Echo())

    def attach(self, sink: AudioSink) -> None:
        """Give what arrives to `sink` too; it is closed when the call ends."""
        if stream := self._running():
            stream.attach(sink)
        else:
            sink.open(self._engine.call_soon)
            sink.close()

    def record(self, path: str | Path, *, conceal: bool = False) -> WavRecorder:
        """Record what arrives as mono WAV, at the rate of its codec, until the call ends.

        Args:
            path: The file to write.
            conceal: Fill what was lost as a telephone does, in place of silence.

        Raises:
            ConfigurationError: The file cannot be made.
        """
        recorder = WavRecorder(path, conceal=conceal)
        self.attach(recorder)
        return recorder

    def capture(self, config: CaptureConfig | None = None) -> MediaCapture:
        """Keep what goes over the media ports from now on, for `Call.trace`.

        To have it from the first datagram on, DTLS handshake included, set `MediaConfig.capture`.

        Args:
            config: How much; the default settings unless given.

        Raises:
            LocalProtocolError: There is no media, or it is captured already.
        """
        capture = MediaCapture(config or CaptureConfig())
        if stream := self._running():
            stream.capture_to(capture)
            self.captured = capture
        return capture

    async def send_digits(self, digits: str, *, duration_ms: int = 160) -> None:
        """Send DTMF as RFC 4733 events.

        Raises:
            LocalProtocolError: The peer did not agree to telephone-event.
            CallFailed: The call ended before the last one was sent.
        """
        stream = self._running()
        if stream is None:
            raise CallFailed(_BEFORE_DIGITS)
        sent = stream.send_digits(digits, duration_ms=duration_ms)
        try:
            await sent
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # It was not the caller who was cancelled: the stream dropped the digits.
            if self._stream is None:
                raise CallFailed(_BEFORE_DIGITS) from None
            raise LocalProtocolError("the peer takes no telephone events any more") from None

    def send_feedback(self, kind: str, *, lost: tuple[int, ...] = ()) -> None:
        """Send an RTCP feedback message as soon as the rules for early packets allow (RFC 4585).

        Args:
            kind: `"nack"`, `"nack pli"`, `"nack sli"` or `"ccm fir"`.
            lost: Sequence numbers that a `"nack"` names.

        Raises:
            LocalProtocolError: It was not agreed on as a=rtcp-fb.
        """
        if stream := self._running():
            stream.send_feedback(kind, lost=lost)

    def buffer(self, settings: JitterBufferSettings | None = None) -> None:
        """Measure from now on what a jitter buffer would make of what arrives; nothing is delayed.

        The figures are in the report, behind `jitter_buffer_`. Called again, it begins anew.

        Args:
            settings: Fixed or adaptive, and its delays; adaptive with default delays unless given.

        Raises:
            LocalProtocolError: There is no media.
        """
        if stream := self._running():
            stream.buffer(settings or JitterBufferSettings())

    @property
    def stream(self) -> MediaStream | None:
        """The running stream, lower stability."""
        return self._stream

    @property
    def format(self) -> RtpProfile | None:
        """The RTP profile agreed on."""
        return None if self._remote is None else self._remote.profile

    def _running(self) -> MediaStream | None:
        """None once the call is over: a peer may hang up between two lines of who uses it."""
        if not self._begun:
            raise LocalProtocolError("the call has no media: it is not answered")
        return self._stream


class MediaSessions:
    """The media of the calls of one endpoint; they share what certificates it makes.

    Args:
        make: What makes the media of one call.
    """

    def __init__(self, make: Callable[..., MediaSession] = MediaSession) -> None:
        self._make = make
        self._certificates: dict[DtlsConfig, DtlsCertificate] = {}

    def open(self, engine: MediaEngine, settings: MediaConfig, address: str) -> MediaSession:
        """The media of a new call."""
        certificate = None
        if settings.srtp.enabled and settings.srtp.method.offers_dtls:
            certificate = self._certificate(settings.srtp.dtls)
        return self._make(
            engine, settings, address, entropy=secrets.token_bytes, certificate=certificate
        )

    def _certificate(self, settings: DtlsConfig) -> DtlsCertificate:
        now = datetime.now(tz=UTC)
        known = self._certificates.get(settings)
        if known is None or known.not_valid_after <= now:
            known = self._certificates[settings] = DtlsCertificate.of(settings, now)
        return known
