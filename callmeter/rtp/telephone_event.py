"""DTMF digits as RTP telephone events (RFC 4733).

The sender is asked once each packet time; the receiver is given each payload. Both hold at most
one digit at a time.
"""

from __future__ import annotations

import struct
from collections import deque
from dataclasses import dataclass
from typing import Final, NamedTuple

from callmeter.errors import ConfigurationError

__all__ = [
    "DIGITS",
    "MINIMUM_DURATION_MS",
    "DigitReceived",
    "EventPacket",
    "EventReceiver",
    "EventSender",
    "check_digits",
]

DIGITS: Final = "0123456789*#ABCD"
"""The digits in the order of their event codes 0 to 15 (RFC 4733 section 3.2)."""
MINIMUM_DURATION_MS: Final = 100
"""Shorter digits are missed by some receivers."""

_PAYLOAD = struct.Struct("!BBH")
_END: Final = 0x80
_VOLUME: Final = 0x3F
_END_PACKETS: Final = 3
_LONGEST: Final = 0xFFFF
_SILENCE_AFTER: Final = 0.2
"""Seconds without a packet after which a digit whose end was lost counts as ended."""
_REMEMBERED: Final = 8


def check_digits(digits: str, duration_ms: int) -> None:
    """Refuse what is no digit, or too short to be heard, by whichever way it is to go.

    Raises:
        ConfigurationError: A character that is no digit, or a length under 100 ms.
    """
    wrong = set(digits.upper()) - set(DIGITS)
    if wrong:
        raise ConfigurationError(f"not a DTMF digit: {sorted(wrong)}")
    if duration_ms < MINIMUM_DURATION_MS:
        raise ConfigurationError(f"a digit lasts {MINIMUM_DURATION_MS} ms or more")


class EventPacket(NamedTuple):
    """What one event packet carries.

    Attributes:
        timestamp: Of the start of the digit, the same in all its packets.
        marker: True in the first packet of a digit.
        payload: Four octets.
    """

    timestamp: int
    marker: bool
    payload: bytes


class EventSender:
    """Sends digits, one packet each packet time.

    Args:
        digits: Of `0-9 * # A-D`; small letters are taken too.
        clock_rate: Timestamp units a second.
        step: Timestamp units between packets.
        duration_ms: Length of a digit, rounded up to whole packets; 100 ms or more.
        gap_ms: Silence between digits, rounded up likewise.
        volume: Power level in -dBm0, 0 to 63.

    Raises:
        ConfigurationError: A character that is no digit, or a length that cannot be sent.

    Attributes:
        sent: Digits whose end was sent.
    """

    __slots__ = (
        "_digits",
        "_duration",
        "_gap",
        "_packet",
        "_start",
        "_step",
        "_volume",
        "sent",
    )

    def __init__(
        self,
        digits: str,
        *,
        clock_rate: int = 8000,
        step: int = 160,
        duration_ms: int = MINIMUM_DURATION_MS,
        gap_ms: int = 100,
        volume: int = 10,
    ) -> None:
        check_digits(digits, duration_ms)
        if not 0 <= volume <= _VOLUME:
            raise ConfigurationError("the volume of a digit is 0 to 63 (-dBm0)")
        self._digits = deque(map(DIGITS.index, digits.upper()))
        self._step = step
        self._duration = _packets(duration_ms, clock_rate, step)
        self._gap = _packets(gap_ms, clock_rate, step)
        if self._duration * step > _LONGEST:
            raise ConfigurationError("a digit does not fit one segment (RFC 4733 section 2.5.1.3)")
        self._volume = volume
        self._packet = 0
        self._start = 0
        self.sent = 0

    @property
    def finished(self) -> bool:
        """Whether everything was sent, the gap after the last digit included."""
        return not self._digits

    def tick(self, timestamp: int) -> EventPacket | None:
        """The packet of this packet time; None in a gap, and when finished.

        Args:
            timestamp: Where the media clock stands now.
        """
        if not self._digits:
            return None
        number = self._packet
        self._packet += 1
        last_end = self._duration + _END_PACKETS - 1
        if number >= last_end:
            if number >= last_end + self._gap:
                self._digits.popleft()
                self._packet = 0
                return self.tick(timestamp)
            return None
        if number == 0:
            self._start = timestamp & 0xFFFF_FFFF
        units = min(number + 1, self._duration) * self._step
        ended = number + 1 >= self._duration
        if number + 1 == last_end:
            self.sent += 1
        payload = _PAYLOAD.pack(self._digits[0], (_END if ended else 0) | self._volume, units)
        return EventPacket(self._start, number == 0, payload)


def _packets(milliseconds: int, clock_rate: int, step: int) -> int:
    return -(-milliseconds * clock_rate // (1000 * step))


@dataclass(frozen=True, slots=True)
class DigitReceived:
    """One digit.

    Attributes:
        digit: One of `DIGITS`.
        duration_ms: As its packets said.
        volume: Power level in -dBm0.
        end_seen: False when the end was inferred, from the next digit or from silence.
    """

    digit: str
    duration_ms: float
    volume: int
    end_seen: bool


class EventReceiver:
    """Makes one event of the packets of each digit, whichever of them were lost.

    Args:
        clock_rate: Timestamp units a second.

    Attributes:
        ignored: Payloads too short, or of events that are no digits.
    """

    __slots__ = ("_clock_rate", "_current", "_finished", "_heard", "ignored")

    def __init__(self, clock_rate: int = 8000) -> None:
        self._clock_rate = clock_rate
        self._current: _Event | None = None
        self._heard = 0.0
        self._finished: deque[int] = deque(maxlen=_REMEMBERED)
        self.ignored = 0

    def on_packet(self, payload: bytes, timestamp: int, now: float) -> list[DigitReceived]:
        """Take in the payload of one packet.

        Args:
            payload: Without RTP header.
            timestamp: Of the RTP header.
            now: Seconds.

        Returns:
            The digits that ended: none, one, or two when the end of the digit before was lost.
        """
        if len(payload) < _PAYLOAD.size or payload[0] >= len(DIGITS):
            self.ignored += 1
            return []
        code, flags, duration = _PAYLOAD.unpack_from(payload)
        ended: list[DigitReceived] = []
        event = self._current
        if event is not None and event.goes_on_with(code, timestamp):
            event.timestamp, event.before = timestamp, event.before + event.duration
            event.duration = 0
        elif event is None or event.timestamp != timestamp:
            if timestamp in self._finished:
                return []
            if event is not None:
                ended.append(self._finish(event, end_seen=False))
            event = self._current = _Event(code, timestamp)
        self._heard = now
        event.duration = max(event.duration, duration)
        event.volume = flags & _VOLUME
        if flags & _END:
            ended.append(self._finish(event, end_seen=True))
        return ended

    def next_deadline(self) -> float | None:
        """When a digit without packets counts as ended; None between digits."""
        return None if self._current is None else self._heard + _SILENCE_AFTER

    def on_deadline(self, now: float) -> list[DigitReceived]:
        """End the digit whose packets stopped coming."""
        event = self._current
        if event is None or now < self._heard + _SILENCE_AFTER:
            return []
        return [self._finish(event, end_seen=False)]

    def _finish(self, event: _Event, *, end_seen: bool) -> DigitReceived:
        self._current = None
        self._finished.append(event.timestamp)
        milliseconds = (event.before + event.duration) * 1000 / self._clock_rate
        return DigitReceived(DIGITS[event.code], milliseconds, event.volume, end_seen)


class _Event:
    """The digit whose packets are coming in."""

    __slots__ = ("before", "code", "duration", "timestamp", "volume")

    def __init__(self, code: int, timestamp: int) -> None:
        self.code = code
        self.timestamp = timestamp
        self.duration = 0
        self.before = 0
        self.volume = 0

    def goes_on_with(self, code: int, timestamp: int) -> bool:
        """Whether this is the next segment of the same long event (RFC 4733 2.5.1.3)."""
        return (
            code == self.code
            and self.duration > 0
            and timestamp == (self.timestamp + self.duration) & 0xFFFF_FFFF
        )
