"""What hears a stream: a recorder, nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

import numpy as np

from callmeter.errors import LocalProtocolError
from callmeter.media.codecs import find_codec
from callmeter.media.decoding import Decoding, DecodingStatistics
from callmeter.media.wave_file import WaveWriter

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

    Schedule = Callable[[Callable[[], None]], object]

__all__ = ["AudioSink", "DecodingSink", "Discard", "NoiseSink", "WavRecorder"]

FIRST_RATE: Final = 8000
"""Of a recording before its first packet."""
FULL_SCALE: Final = 32_768.0
NOISE: Final = "CN"
BATCH_PACKETS: Final = 50
HELD_BACK_PACKETS: Final = 4
JUMP_S: Final = 10
HALF_TIMESTAMPS: Final = 1 << 31


class AudioSink(Protocol):
    """Hears the audio packets of a stream, after decryption, in the order of arrival.

    `write` is called in the tick: it keeps what it needs and returns at once.
    """

    def open(self, schedule: Any) -> None:
        """Called when it is attached; `schedule(callback)` runs something off the tick."""

    def write(
        self, codec: str, sequence: int, timestamp: int, arrival: float, payload: bytes
    ) -> None:
        """Take one packet; `arrival` is in loop seconds."""

    def close(self) -> None:
        """Called when it is detached or the stream stops."""


@runtime_checkable
class NoiseSink(Protocol):
    """A sink that wants to know what pauses sound like."""

    def on_comfort_noise(
        self, sequence: int, timestamp: int, arrival: float, payload: bytes
    ) -> None:
        """Take one packet of comfort noise (RFC 3389)."""


@runtime_checkable
class DecodingSink(Protocol):
    """A sink that decodes, and can tell what it had to cope with.

    Attributes:
        on_power: To be called with the codec and the mean power of each packet it decodes, where 1
            is a square wave of full scale; None while nobody wants to know.
    """

    on_power: Callable[[str, float], None] | None

    @property
    def statistics(self) -> DecodingStatistics:
        """What happened so far."""
        ...

    def metrics(self) -> Mapping[str, float | None]:
        """The same by catalogue key."""
        ...


class Discard:
    """Hears and forgets; counts the packets."""

    def __init__(self) -> None:
        self.packets = 0

    def open(self, schedule: Any) -> None:
        """Nothing to prepare."""

    def write(
        self, codec: str, sequence: int, timestamp: int, arrival: float, payload: bytes
    ) -> None:
        """Count it."""
        del codec, sequence, timestamp, arrival, payload
        self.packets += 1

    def close(self) -> None:
        """Nothing to release."""


class WavRecorder:
    """Records a stream as mono 16-bit PCM, for true duration, at the rate of its first codec.

    Packets are placed by their timestamps. What is missing becomes silence, or what concealment
    makes of it; pauses with comfort noise become such noise. Timestamps that are ten seconds away
    from real time (another SSRC, a restarted peer) are placed by their arrival.

    Args:
        path: The file to write; it is made when the recorder is attached.
        conceal: Fill what was lost as a telephone does, in place of silence.

    Attributes:
        late_packets: Packets that came after their place was written.
        on_power: Is told how loud each packet was.
    """

    def __init__(self, path: str | os.PathLike[str], *, conceal: bool = False) -> None:
        self.path = path
        self.conceal = conceal
        self.late_packets = 0
        self.on_power: Callable[[str, float], None] | None = None
        self._schedule: Schedule | None = None
        self._writer: WaveWriter | None = None
        self._decoding: Decoding | None = None
        self._waiting: list[tuple[int, int, str, bytes]] = []
        self._scheduled = False
        self._rate = FIRST_RATE
        self._clock = 0
        self._base: tuple[int, int] | None = None
        self._newest_end = 0
        self._first_arrival = 0.0

    def __repr__(self) -> str:
        return f"WavRecorder({str(self.path)!r})"

    @property
    def seconds(self) -> float:
        """Length of what was heard so far."""
        return self._newest_end / self._rate

    @property
    def statistics(self) -> DecodingStatistics:
        """What decoding had to cope with, for what is written so far."""
        return DecodingStatistics() if self._decoding is None else self._decoding.statistics

    def metrics(self) -> Mapping[str, float | None]:
        """The same by catalogue key."""
        return self.statistics.metrics()

    def open(self, schedule: Any) -> None:
        """Make the file.

        Raises:
            LocalProtocolError: It is already recording another stream.
            ConfigurationError: The file cannot be made.
        """
        if self._writer is not None:
            raise LocalProtocolError(f"{self!r} is already recording a stream")
        self._writer = WaveWriter(self.path, FIRST_RATE)
        self._schedule = schedule

    def write(
        self, codec: str, sequence: int, timestamp: int, arrival: float, payload: bytes
    ) -> None:
        """Keep one packet; a batch of them is written off the tick."""
        known = find_codec(codec)
        if self._decoding is None and self._writer is not None:
            self._rate = self._writer.rate = known.sample_rate
            self._decoding = Decoding(self._rate, conceal=self.conceal)
        length = known.samples_of(payload) * self._rate // known.sample_rate
        self._place(codec, sequence, timestamp, arrival, payload, known.clock_rate, length)

    def on_comfort_noise(
        self, sequence: int, timestamp: int, arrival: float, payload: bytes
    ) -> None:
        """A pause begins or goes on; before the first audio there is nothing to pause."""
        if self._decoding is not None:
            self._place(NOISE, sequence, timestamp, arrival, payload, self._clock, 0)

    def _place(
        self,
        codec: str,
        sequence: int,
        timestamp: int,
        arrival: float,
        payload: bytes,
        clock: int,
        length: int,
    ) -> None:
        if self._base is None:
            self._base = (timestamp, 0)
            self._first_arrival = arrival
            self._clock = clock
        base_timestamp, base_position = self._base
        step = (timestamp - base_timestamp + HALF_TIMESTAMPS) % (2 * HALF_TIMESTAMPS)
        position = base_position + (step - HALF_TIMESTAMPS) * self._rate // clock
        elapsed = round((arrival - self._first_arrival) * self._rate)
        if clock != self._clock or abs(position - elapsed) > JUMP_S * self._rate:
            position = max(self._newest_end, elapsed)
            self._clock = clock
        # Counting from the newest packet keeps the distance far from half a circle.
        self._base = (timestamp, position)
        self._newest_end = max(self._newest_end, position + length)
        self._waiting.append((position, sequence, codec, payload))
        if len(self._waiting) >= BATCH_PACKETS + HELD_BACK_PACKETS and not self._scheduled:
            self._scheduled = True
            if self._schedule is not None:
                self._schedule(self._flush_batch)

    def _flush_batch(self) -> None:
        self._scheduled = False
        self._flush(HELD_BACK_PACKETS)

    def _flush(self, held_back: int) -> None:
        writer, decoding = self._writer, self._decoding
        if writer is None or decoding is None:
            return
        self._waiting.sort(key=lambda packet: packet[0])
        count = len(self._waiting) - held_back
        due, self._waiting = self._waiting[:count], self._waiting[count:]
        for position, sequence, codec, payload in due:
            if position < writer.samples:
                self.late_packets += 1
                continue
            if position > writer.samples:
                writer.write(decoding.gap(position - writer.samples, sequence))
                writer.silence(position - writer.samples)
            if codec == NOISE:
                decoding.noise(sequence, payload)
            else:
                samples = decoding.packet(codec, sequence, payload)
                writer.write(samples)
                if self.on_power is not None and len(samples):
                    self.on_power(codec, float(np.mean((samples / FULL_SCALE) ** 2)))

    def close(self) -> None:
        """Write what is left and the header."""
        if self._writer is not None:
            self._flush(0)
            self._writer.close()
            self._writer = None
