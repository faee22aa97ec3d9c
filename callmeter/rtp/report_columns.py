"""The usual compound packets of many streams, as columns of an arena (RFC 3550 section 6.4.1).

Usual is a sender report with one report block or none, and a source description with one item:
what nearly every peer sends every few seconds. All else is for `rtcp`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from callmeter.rtp.reception import take_report_intervals, valid_packets
from callmeter.rtp.report_table import DESCRIPTION_OCTETS, UNITS
from callmeter.rtp.rtcp import NTP_UNIX, PacketType

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from callmeter.rtp.report_table import ReportTable
    from callmeter.rtp.send_table import SendTable
    from callmeter.rtp.stream_table import StreamTable

    Integers = NDArray[np.int64]
    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

__all__ = ["LONGEST_USUAL", "ReportColumns", "UsualReports"]

_VERSION_2: Final = 0x80
_ONE: Final = 0x81
_WORD: Final = 4
_INFORMATION: Final = 28
"""Octets of a sender report without blocks."""
_BLOCK: Final = 24
_ITEM: Final = 8
"""From the beginning of a source description to that of its first item."""
_SHORTEST_DESCRIPTION: Final = 12
_REPORT_WORDS: Final = (6, 12)
_ALL: Final = 0xFFFF_FFFF
_HALF: Final = 0x8000_0000
_NTP_UNITS: Final = 4_294_967_296.0
_NTP_ERA: Final = _NTP_UNITS * _NTP_UNITS
LONGEST_USUAL: Final = 384
"""Both packets with the longest item, protected."""

_FORM: Final = np.dtype(
    [
        ("first", "u1"),
        ("type", "u1"),
        ("words", ">u2"),
        ("ssrc", ">u4"),
        ("ntp", ">u8"),
        ("timestamp", ">u4"),
        ("packets", ">u4"),
        ("octets", ">u4"),
        ("source", ">u4"),
        ("block_loss", ">u4"),
        ("block_highest", ">u4"),
        ("block_jitter", ">u4"),
        ("block_last_sr", ">u4"),
        ("block_delay", ">u4"),
    ]
)
_BLOCK_FIELDS: Final = (
    "block_loss",
    "block_highest",
    "block_jitter",
    "block_last_sr",
    "block_delay",
)


@dataclass(frozen=True, slots=True)
class UsualReports:
    """What the usual compound packets of some streams say.

    Attributes:
        ssrc: Their senders.
        ntp, timestamp: The same moment by both clocks of each.
        octets: Length of each packet.
        about: Which have a report block about the own stream.
        block: The words of that block by the names of `ReportTable`, only where there is one.
        trips: Round trip in seconds by that block, if it names a sender report.
    """

    ssrc: Integers
    ntp: NDArray[np.uint64]
    timestamp: Integers
    octets: Integers
    about: Flags
    block: dict[str, Integers]
    trips: Floats

    @property
    def sr_middle(self) -> Integers:
        """Middle 32 bits of the NTP times."""
        return _middle(self.ntp)


def _middle(ntp: NDArray[np.uint64]) -> Integers:
    middle: Integers = ((ntp >> np.uint64(16)) & np.uint64(_ALL)).astype(np.int64)
    return middle


class ReportColumns:
    """Reads and writes usual compound packets in an arena.

    Args:
        arena: Octets, shape (packets, slot size), a row for each packet.
    """

    __slots__ = ("_arena", "_fields")

    def __init__(self, arena: NDArray[np.uint8]) -> None:
        self._arena = arena
        self._fields = arena[:, : _FORM.itemsize].view(_FORM)[:, 0]

    def write(
        self,
        rows: Integers,
        sending: SendTable,
        reception: StreamTable,
        reports: ReportTable,
        now: float,
        ntp: int,
    ) -> Integers:
        """Write the reports of some senders, and begin their next report interval.

        Args:
            rows: The streams, for the first slots in their order.
            sending: What each sent.
            reception: What each received.
            reports: What each knows of its peer.
            now: Loop time.
            ntp: The same moment as 64-bit NTP time.

        Returns:
            The length of each.
        """
        count = len(rows)
        fields = self._fields[:count]
        heard = valid_packets(reception, rows) > 0
        fields["first"] = _VERSION_2 + heard
        fields["type"] = PacketType.SENDER_REPORT
        fields["words"] = np.where(heard, _REPORT_WORDS[1], _REPORT_WORDS[0])
        fields["ssrc"] = sending.ssrc[rows]
        fields["ntp"] = ntp
        fields["timestamp"] = sending.media_times(rows, now)
        fields["packets"] = sending.packets[rows] & _ALL
        fields["octets"] = sending.octets[rows] & _ALL
        sources = reception.ssrc[rows]
        fields["source"] = sources & _ALL
        every = bool(heard.all())
        fraction, lost = take_report_intervals(reception, rows if every else rows[heard])
        fields["block_loss"][... if every else heard] = (fraction << 24) | (lost & 0xFF_FFFF)
        fields["block_highest"] = np.maximum(reception.extended_max[rows], 0) & _ALL
        fields["block_jitter"] = np.minimum(reception.jitter[rows], _ALL)
        middles, delays = reports.last_srs(rows, sources, now)
        fields["block_last_sr"], fields["block_delay"] = middles, delays
        self._describe(rows, heard, reports)
        lengths: Integers = _INFORMATION + _BLOCK * heard + DESCRIPTION_OCTETS
        return lengths

    def _describe(self, rows: Integers, heard: Flags, reports: ReportTable) -> None:
        descriptions = reports.description[rows]
        for slots, start in (
            (np.flatnonzero(heard), _INFORMATION + _BLOCK),
            (np.flatnonzero(~heard), _INFORMATION),
        ):
            if len(slots):
                self._arena[slots, start : start + DESCRIPTION_OCTETS] = descriptions[slots]

    def are_usual(self, slots: Integers, lengths: Integers) -> Flags:
        """Which packets have the usual form, whole and right to the last octet.

        Args:
            slots: Some of the packets, decrypted.
            lengths: Octets of each.
        """
        arena, fields = self._arena, self._fields[slots]
        first = fields["first"]
        has_block = first == _ONE
        usual: Flags = (first == _VERSION_2) | has_block
        usual &= fields["type"] == PacketType.SENDER_REPORT
        usual &= fields["words"] == np.where(has_block, _REPORT_WORDS[1], _REPORT_WORDS[0])
        start = np.where(has_block, _INFORMATION + _BLOCK, _INFORMATION)
        usual &= lengths >= start + _SHORTEST_DESCRIPTION
        usual &= lengths <= LONGEST_USUAL
        # What is too short or too long is looked at where it surely has octets.
        start = np.where(usual, start, 0)
        usual &= (arena[slots, start] == _ONE) & (
            arena[slots, start + 1] == PacketType.SOURCE_DESCRIPTION
        )
        words = arena[slots, start + 2].astype(np.int64) << 8 | arena[slots, start + 3]
        usual &= start + _WORD * (words + 1) == lengths
        usual &= arena[slots, start + _ITEM] != 0
        # The item, at least one null octet, and nothing beyond the word that is in.
        end = start + _ITEM + 2 + arena[slots, start + _ITEM + 1]
        usual &= (end // _WORD + 1) * _WORD == lengths
        usual &= arena[slots, np.where(usual, end, 0)] == 0
        return usual

    def read(
        self, slots: Integers, lengths: Integers, own: Integers, arrivals: Floats
    ) -> UsualReports:
        """What usual packets say.

        Args:
            slots: They.
            lengths: Octets of each.
            own: SSRC of the stream each is for.
            arrivals: When each came, in seconds since 1970.
        """
        fields = self._fields[slots]
        block = {name: fields[name].astype(np.int64) for name in _BLOCK_FIELDS}
        # The seconds of NTP have 32 bits, which are used up in 2036.
        came = (np.rint((arrivals + NTP_UNIX) * _NTP_UNITS) % _NTP_ERA).astype(np.uint64)
        units = (_middle(came) - block["block_last_sr"] - block["block_delay"]) & _ALL
        # Coarse clocks make it negative.
        trips = np.where(units >= _HALF, 0.0, units / UNITS)
        return UsualReports(
            ssrc=fields["ssrc"].astype(np.int64),
            ntp=fields["ntp"].astype(np.uint64),
            timestamp=fields["timestamp"].astype(np.int64),
            octets=lengths,
            about=(fields["first"] == _ONE) & (fields["source"] == own),
            block=block,
            trips=trips,
        )
