"""What is made of the codecs that offer and answer agree on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from callmeter.config import Codec
from callmeter.media.codecs.opus import OpusCodec
from callmeter.sdp.codecs import PayloadFormat
from callmeter.sdp.opus import OpusParameters

if TYPE_CHECKING:
    from collections.abc import Iterable

    from callmeter.config import OpusConfig
    from callmeter.media.codecs import AudioCodec
    from callmeter.sdp.remote_track import RemoteTrack

__all__ = [
    "codec_name",
    "coding_for",
    "event_for",
    "is_voice",
    "noise_number",
    "opus_format",
    "packet_time",
]

SHORTEST_PTIME: Final = 5
LONGEST_PTIME: Final = 120
STEP: Final = 5
"""Packet times in milliseconds that the engine can keep are multiples of it."""


def is_voice(item: PayloadFormat) -> bool:
    """Whether this is a codec that can be spoken."""
    return item.encoding.upper() in Codec.__members__


def codec_name(item: PayloadFormat) -> str:
    """Its name as callmeter spells it."""
    return Codec(item.encoding).value


def opus_format(config: OpusConfig) -> PayloadFormat:
    """How Opus is described in an offer."""
    wanted = OpusParameters(
        max_average_bitrate=config.max_bitrate,
        in_band_fec=config.in_band_fec,
        discontinuous=config.discontinuous,
        min_ptime=10,
    )
    return PayloadFormat(config.payload_type, "opus", 48_000, 2, str(wanted))


def coding_for(voice: PayloadFormat, opus: OpusConfig) -> AudioCodec | None:
    """The codec as the peer wants to have it; None for one without settings."""
    if codec_name(voice) != Codec.OPUS:
        return None
    return OpusCodec.agreed(opus, OpusParameters.parse(voice.fmtp))


def packet_time(track: RemoteTrack, voice: PayloadFormat, own: int) -> int:
    """The packet time to send with, in milliseconds.

    The peer's a=ptime, where the engine can keep it, else the own one; no longer than its
    a=maxptime (RFC 8866 sections 6.4, 6.5), and with Opus no shorter than its minptime.
    """
    wanted = track.ptime or own
    if wanted % STEP or not SHORTEST_PTIME <= wanted <= LONGEST_PTIME:
        wanted = own
    if codec_name(voice) == Codec.OPUS:
        least = OpusParameters.parse(voice.fmtp).min_ptime
        wanted = max(wanted, -(-least // STEP) * STEP)
    if track.maxptime is not None:
        wanted = min(wanted, track.maxptime // STEP * STEP)
    return max(wanted, SHORTEST_PTIME)


def event_for(formats: Iterable[PayloadFormat], voice: PayloadFormat) -> PayloadFormat | None:
    """The events to send beside this codec.

    Those of its clock rate (RFC 4733 section 2.1). Many a peer has events of 8000 alone, beside
    Opus too; it gets those.
    """
    events = [item for item in formats if item.is_telephone_event]
    fitting = (item for item in events if item.clock_rate == voice.clock_rate)
    return next(fitting, events[0] if events else None)


def noise_number(formats: Iterable[PayloadFormat], voice: PayloadFormat) -> int | None:
    """Payload type of the comfort noise that goes with this codec."""
    return next(
        (
            item.payload_type
            for item in formats
            if item.is_comfort_noise and item.clock_rate == voice.clock_rate
        ),
        None,
    )
