"""Opus (RFC 6716, RFC 7587), by PyAV and the libopus in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from callmeter.codec_config import MAX_BITRATE
from callmeter.media.codecs.audio import AudioCodec
from callmeter.media.codecs.libav import LibavDecoder, LibavEncoder
from callmeter.rtp.opus import CLOCK_RATE, join, packet_samples

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from callmeter.codec_config import OpusConfig
    from callmeter.media.codecs.audio import Decoder, Encoder
    from callmeter.sdp.opus import OpusParameters

__all__ = ["OpusCodec"]

FRAMES: Final = {120: "2.5", 240: "5", 480: "10", 960: "20", 1920: "40", 2880: "60"}
"""Samples of the frames there are, and libopus' names for them in milliseconds."""
JOINED: Final = (960, 480, 240, 120)
"""Frames that packets of other lengths are made of."""
JOINED_BITRATE: Final = 48_000
"""From here on all frames of a signal are of one kind, so that they can share a packet."""
EXPECTED_LOSS_PERCENT: Final = 10
"""What redundancy is made for when the peer wants some."""
BANDWIDTHS: Final = (4000, 6000, 8000, 12_000, 20_000)


class OpusEncoder:
    """Encodes packets of any length that is a multiple of 2.5 ms.

    Args:
        codec: How.
        samples: Of a packet, at 48 kHz.
    """

    __slots__ = ("_encoder", "_step")

    def __init__(self, codec: OpusCodec, samples: int) -> None:
        lengths = (samples, *JOINED)
        self._step = next(step for step in lengths if step in FRAMES and not samples % step)
        joined = self._step != samples
        bitrate = codec.bitrate
        options = {
            "application": "voip",
            "frame_duration": FRAMES[self._step],
            "vbr": "off",
            "fec": str(int(codec.redundant)),
            "packet_loss": str(EXPECTED_LOSS_PERCENT if codec.redundant else 0),
        }
        if joined:
            bitrate = min(max(bitrate, JOINED_BITRATE), codec.max_bitrate)
            options["application"] = "lowdelay"
        if codec.cutoff is not None:
            options["cutoff"] = str(codec.cutoff)
        self._encoder = LibavEncoder("libopus", CLOCK_RATE, {**options, "b": str(bitrate)})

    def encode(self, samples: npt.NDArray[np.int16]) -> bytes:
        """The payload of one packet."""
        return join([self._encoder.encode(frame) for frame in samples.reshape(-1, self._step)])


@dataclass(frozen=True)
class OpusCodec(AudioCodec):
    """Opus with the settings that a peer and a user agreed on.

    Attributes:
        bitrate: Bits a second.
        max_bitrate: What the peer takes; packets of 30 or 50 ms want more than `bitrate`.
        redundant: In-band forward error correction.
        discontinuous: Hardly a packet is sent in silence.
        cutoff: Highest frequency worth encoding, None for all there is.
    """

    bitrate: int = 32_000
    max_bitrate: int = 510_000
    redundant: bool = False
    discontinuous: bool = False
    cutoff: int | None = None

    name = "opus"
    clock_rate = sample_rate = CLOCK_RATE

    @classmethod
    def agreed(cls, own: OpusConfig, peer: OpusParameters) -> Self:
        """Opus as this end wants to send it and the peer wants to have it."""
        limit = peer.max_average_bitrate or MAX_BITRATE
        rate = peer.max_playback_rate
        return cls(
            bitrate=min(own.bitrate, limit),
            max_bitrate=limit,
            redundant=peer.in_band_fec,
            discontinuous=own.discontinuous,
            cutoff=None if rate >= CLOCK_RATE else max(w for w in BANDWIDTHS if w <= rate // 2),
        )

    def encoder(self, samples_per_frame: int) -> Encoder:
        """A new encoder for packets of so many samples."""
        return OpusEncoder(self, samples_per_frame)

    def decoder(self) -> Decoder:
        """A new decoder."""
        return LibavDecoder("libopus", CLOCK_RATE)

    def samples_of(self, payload: bytes) -> int:
        """What the packet says."""
        return packet_samples(payload)
