"""What hears a stream: an echo, a recorder, nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from callmeter.errors import LocalProtocolError
from callmeter.media.codecs import find_codec
from callmeter.media.wave_file import WaveWriter

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    Schedule = Callable[[Callable[[], None]], object]

__all__ = ["AudioSink", "Discard", "Echo", "EchoLine", "WavRecorder"]

RATE: Final = 8000
ECHO_LIMIT_OCTETS: Final = 1600
ECHO_START_FRAMES: Final = 2
BATCH_PACKETS: Final = 50
HELD_BACK_PACKETS: Final = 4
JUMP_SAMPLES: Final = 10 * RATE
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


class Echo:
    """Sends back what arrives. It is played like a source and hears by itself."""

    def line(self) -> EchoLine:
        """The echo of one stream."""
        return EchoLine()


class EchoLine:
    """The echo of one stream: a short queue between hearing and speaking.

    It holds at most 200 ms; it begins, and begins again after it ran dry, with two frames, so
    that ordinary jitter does not tear the audio.
    """

    __slots__ = ("_codec", "_flowing", "_octets")

    def __init__(self) -> None:
        self._octets = bytearray()
        self._codec = ""
        self._flowing = False

    def open(self, schedule: Any) -> None:
        """Nothing to prepare."""

    def write(
        self, codec: str, sequence: int, timestamp: int, arrival: float, payload: bytes
    ) -> None:
        """Queue what was heard; the oldest goes when the queue is full."""
        del sequence, timestamp, arrival
        if codec != self._codec:
            self._codec = codec
            self._octets.clear()
        self._octets += payload
        if len(self._octets) > ECHO_LIMIT_OCTETS:
            del self._octets[:-ECHO_LIMIT_OCTETS]

    def next_frame(self, codec: str, samples_per_frame: int) -> bytes | None:
        """What was heard, or silence until there is enough of it."""
        wanted = samples_per_frame * (1 if self._flowing else ECHO_START_FRAMES)
        self._flowing = len(self._octets) >= wanted
        if not self._flowing:
            return find_codec(codec).silent_frame(samples_per_frame)
        frame = bytes(self._octets[:samples_per_frame])
        del self._octets[:samples_per_frame]
        if codec != self._codec:
            return find_codec(codec).encode(find_codec(self._codec).decode(frame))
        return frame

    def close(self) -> None:
        """Forget what is queued."""
        self._octets.clear()


class WavRecorder:
    """Records a stream as mono 16-bit PCM at 8 kHz, for true duration.

    Packets are placed by their timestamps; what is missing becomes silence. Timestamps that are
    ten seconds away from real time (another SSRC, a restarted peer) are placed by their arrival.

    Args:
        path: The file to write; it is made when the recorder is attached.

    Attributes:
        late_packets: Packets that came after their place was written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = path
        self.late_packets = 0
        self._schedule: Schedule | None = None
        self._writer: WaveWriter | None = None
        self._waiting: list[tuple[int, str, bytes]] = []
        self._scheduled = False
        self._base: tuple[int, int] | None = None
        self._newest_end = 0
        self._first_arrival = 0.0

    def __repr__(self) -> str:
        return f"WavRecorder({str(self.path)!r})"

    @property
    def seconds(self) -> float:
        """Length of what was heard so far."""
        return self._newest_end / RATE

    def open(self, schedule: Any) -> None:
        """Make the file.

        Raises:
            LocalProtocolError: It is already recording another stream.
            OSError: The file cannot be made.
        """
        if self._writer is not None:
            raise LocalProtocolError(f"{self!r} is already recording a stream")
        self._writer = WaveWriter(self.path, RATE)
        self._schedule = schedule

    def write(
        self, codec: str, sequence: int, timestamp: int, arrival: float, payload: bytes
    ) -> None:
        """Keep one packet; a batch of them is written off the tick."""
        del sequence
        if self._base is None:
            self._base = (timestamp, 0)
            self._first_arrival = arrival
        base_timestamp, base_position = self._base
        step = (timestamp - base_timestamp + HALF_TIMESTAMPS) % (2 * HALF_TIMESTAMPS)
        position = base_position + step - HALF_TIMESTAMPS
        elapsed = round((arrival - self._first_arrival) * RATE)
        if abs(position - elapsed) > JUMP_SAMPLES:
            position = max(self._newest_end, elapsed)
        # Counting from the newest packet keeps the distance far from half a circle.
        self._base = (timestamp, position)
        self._newest_end = max(self._newest_end, position + len(payload))
        self._waiting.append((position, codec, payload))
        if len(self._waiting) >= BATCH_PACKETS + HELD_BACK_PACKETS and not self._scheduled:
            self._scheduled = True
            if self._schedule is not None:
                self._schedule(self._flush_batch)

    def _flush_batch(self) -> None:
        self._scheduled = False
        self._flush(HELD_BACK_PACKETS)

    def _flush(self, held_back: int) -> None:
        writer = self._writer
        if writer is None:
            return
        self._waiting.sort(key=lambda packet: packet[0])
        count = len(self._waiting) - held_back
        due, self._waiting = self._waiting[:count], self._waiting[count:]
        for position, codec, payload in due:
            if position < writer.samples:
                self.late_packets += 1
                continue
            if position > writer.samples:
                writer.silence(position - writer.samples)
            writer.write(find_codec(codec).decode(payload))

    def close(self) -> None:
        """Write what is left and the header."""
        if self._writer is not None:
            self._flush(0)
            self._writer.close()
            self._writer = None
