"""What a stream sounds like: its packets as samples, with its gaps and its pauses.

Nothing is decoded unless somebody wants to hear it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from callmeter.codec_config import Codec
from callmeter.media.codecs import find_codec
from callmeter.media.concealment import Concealment
from callmeter.media.noise import NoiseMaker
from callmeter.media.wave_file import resample
from callmeter.rtp.comfort_noise import ComfortNoise

if TYPE_CHECKING:
    import numpy.typing as npt

    from callmeter.media.codecs import Decoder

    Samples = npt.NDArray[np.int16]

__all__ = ["Decoding", "DecodingStatistics"]

CONCEALED_S: Final = 0.07
"""Concealment has faded to nothing before that."""
LONGEST_LOSS: Final = 3000
"""Sequence numbers further apart belong to a stream that was begun anew."""
NOISE_AT_ONCE_S: Final = 60
NOTHING: Final = np.zeros(0, np.int16)


@dataclass(frozen=True, slots=True)
class DecodingStatistics:
    """What decoding a stream had to cope with.

    Attributes:
        codec: The last one, empty before the first packet.
        packets: Packets decoded.
        damaged: Packets that could not be.
        plc_events: Gaps, each of which sets concealment off.
        plc_duration_ms: What they lasted.
        lost_packets: Packets that were missing in them.
        comfort_noise_packets: Descriptions of noise (RFC 3389).
        last_packet_ms: Audio in the last packet; None before the first one.
        decoder_gain_db: What the decoder adds: 0, for only a file can ask Opus for a gain.
        seconds: Audio there is of it, gaps and pauses included.
    """

    codec: str = ""
    packets: int = 0
    damaged: int = 0
    plc_events: int = 0
    plc_duration_ms: float = 0.0
    lost_packets: int = 0
    comfort_noise_packets: int = 0
    last_packet_ms: float | None = None
    decoder_gain_db: float = 0.0
    seconds: float = 0.0

    def metrics(self) -> dict[str, float | None]:
        """By catalogue key; what speaks of a second is the mean of all."""
        if not self.packets:
            return {}
        values: dict[str, float | None] = {
            "plc_events": self.plc_events / self.seconds if self.seconds else None,
            "plc_duration_ms": self.plc_duration_ms / self.seconds if self.seconds else None,
        }
        if self.codec == Codec.OPUS:
            values |= {
                "opus_packet_loss": self.lost_packets / (self.packets + self.lost_packets) * 100,
                "opus_decoder_gain": self.decoder_gain_db,
                "opus_last_packet_duration_ms": self.last_packet_ms,
            }
        return values


class Decoding:
    """One stream, packet by packet, in order.

    Args:
        rate: Samples a second of what it gives.
        conceal: Fill gaps by concealment; they are counted in any case.
    """

    def __init__(self, rate: int, *, conceal: bool = False) -> None:
        self._rate = rate
        self._conceal = conceal
        self._codec = ""
        self._decoder: Decoder | None = None
        self._concealment = Concealment(rate)
        self._noise: NoiseMaker | None = None
        self._sequence: int | None = None
        self._packets = self._damaged = self._events = self._lost = self._noises = 0
        self._concealed = self._samples = self._length = 0
        self._last_ms: float | None = None

    @property
    def statistics(self) -> DecodingStatistics:
        """What happened so far."""
        return DecodingStatistics(
            codec=self._codec,
            packets=self._packets,
            damaged=self._damaged,
            plc_events=self._events,
            plc_duration_ms=self._concealed * 1000 / self._rate,
            lost_packets=self._lost,
            comfort_noise_packets=self._noises,
            last_packet_ms=self._last_ms,
            seconds=self._samples / self._rate,
        )

    def packet(self, codec: str, sequence: int, payload: bytes) -> Samples:
        """The samples of the next packet."""
        self._sequence = sequence
        known = find_codec(codec)
        if codec != self._codec or self._decoder is None:
            self._codec, self._decoder = codec, known.decoder()
        samples = self._decoder.decode(payload)
        wanted = known.samples_of(payload)
        self._packets += 1
        self._damaged += len(samples) != wanted or not wanted
        self._last_ms = wanted * 1000 / known.sample_rate
        # Its place in time is that of its description.
        samples = np.pad(samples[:wanted], (0, max(0, wanted - len(samples))))
        samples = resample(samples, known.sample_rate, self._rate)
        self._length = len(samples)
        self._samples += len(samples)
        return self._concealment.heard(samples) if self._conceal else samples

    def noise(self, sequence: int, payload: bytes) -> None:
        """A pause follows, and sounds like this."""
        self._sequence = sequence
        self._noises += 1
        described = ComfortNoise.parse(payload)
        self._noise = None if described is None else NoiseMaker(described)

    def gap(self, samples: int, sequence: int) -> Samples:
        """What is heard between two packets that do not touch; silence follows it.

        Args:
            samples: Its length.
            sequence: Of the packet behind it.

        Returns:
            So many samples, or fewer.
        """
        self._samples += samples
        before = self._sequence
        missing = 0 if before is None else (sequence - before - 1) & 0xFFFF
        if 0 < missing < LONGEST_LOSS:
            self._events += 1
            self._lost += missing
            # A pause may follow what was lost.
            lost = min(samples, missing * self._length)
            self._concealed += lost
            audible = min(lost, round(self._rate * CONCEALED_S))
            return self._concealment.fill(audible) if self._conceal else NOTHING
        if self._noise is None:
            return NOTHING
        return self._noise.samples(min(samples, NOISE_AT_ONCE_S * self._rate))
