"""The usual compound packets, as columns: the same octets as one by one, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from callmeter.errors import RtcpSyntaxError
from callmeter.rtp.reception import report_block
from callmeter.rtp.report_columns import LONGEST_USUAL, ReportColumns
from callmeter.rtp.report_schedule import ReportSchedule
from callmeter.rtp.report_table import ReportTable
from callmeter.rtp.rtcp import (
    Goodbye,
    ReceiverReport,
    ReportBlock,
    SdesChunk,
    SdesItem,
    SenderReport,
    SourceDescription,
    build_compound,
    ntp_timestamp,
    parse_rtcp,
)
from callmeter.rtp.send_table import SendTable
from callmeter.rtp.stream_table import StreamTable

SLOT = 1728
WALL = 1_700_000_000.0
OWN = 0xCAFE
BLOCK = ReportBlock(OWN, 7, -3, 70_000, 12, 5, 6)


def sender_report(*blocks):
    return SenderReport(0xBEEF, ntp_timestamp(WALL), 123_456, 7, 1120, blocks)


def described(name="someone"):
    return SourceDescription.cname(0xBEEF, name)


def two_items():
    items = (SdesItem(1, b"a"), SdesItem(6, b"tool"))
    return SourceDescription((SdesChunk(0xBEEF, items),))


class Packets:
    """An arena with packets."""

    def __init__(self, *datagrams, rubbish=0xFF):
        self.arena = np.full((max(len(datagrams), 8), SLOT), rubbish, np.uint8)
        self.columns = ReportColumns(self.arena)
        self.lengths = np.array([len(datagram) for datagram in datagrams])
        self.slots = np.arange(len(datagrams))
        for slot, datagram in enumerate(datagrams):
            self.arena[slot, : len(datagram)] = np.frombuffer(datagram, np.uint8)

    @property
    def usual(self):
        return self.columns.are_usual(self.slots, self.lengths).tolist()

    def read(self, own=OWN):
        owns = np.full(len(self.slots), own)
        return self.columns.read(self.slots, self.lengths, owns, np.full(len(self.slots), WALL))


# --- reading -------------------------------------------------------------------------------------


def test_sender_reports_with_a_block_or_none_and_one_item_are_usual():
    names = ["", "a", "ab", "abc", "x" * 255]
    packets = [
        build_compound([report, described(name)])
        for report in (sender_report(), sender_report(BLOCK))
        for name in names
    ]
    assert Packets(*packets).usual == [True] * 10
    assert max(map(len, packets)) < LONGEST_USUAL


@pytest.mark.parametrize(
    "packets",
    [
        [ReceiverReport(0xBEEF, (BLOCK,)), described()],
        [sender_report(BLOCK, BLOCK), described()],
        [sender_report(BLOCK)],
        [sender_report(), described(), Goodbye((0xBEEF,))],
        [sender_report(), two_items()],
        [sender_report(), SourceDescription((SdesChunk(0xBEEF),))],
        [sender_report(), SourceDescription((SdesChunk(1), SdesChunk(2)))],
        [sender_report(), SourceDescription()],
        [sender_report(), Goodbye((1, 2, 3))],
        [SenderReport(1, 2, 3, 4, 5, (), b"more"), described()],
    ],
    ids=[
        "a receiver report",
        "two blocks",
        "no description",
        "a goodbye",
        "two items",
        "no item",
        "two chunks",
        "no chunk",
        "a goodbye alone",
        "an extension",
    ],
)
def test_all_else_is_unusual(packets):
    assert Packets(build_compound(packets)).usual == [False]


@pytest.mark.parametrize("rubbish", [0x00, 0x81, 0xFF])
def test_what_is_cut_short_is_unusual_whatever_stands_behind_it(rubbish):
    whole = build_compound([sender_report(BLOCK), described()])
    cut = [whole[:length] for length in range(len(whole))]
    assert not any(Packets(*cut, rubbish=rubbish).usual)


usual_packets = st.builds(
    lambda blocks, name: build_compound([sender_report(*blocks), described(name)]),
    st.sampled_from([(), (BLOCK,)]),
    st.text("abc", max_size=9),
)


@given(usual_packets, st.lists(st.tuples(st.integers(0, 120), st.integers(0, 255)), max_size=3))
@example(build_compound([sender_report(), described("abc")]), [(37, 2)])
@example(build_compound([sender_report(), described("abc")]), [(0, 0xA0)])
def test_what_is_usual_is_read_as_by_the_parser(packet, changes):
    octets = bytearray(packet)
    for place, value in changes:
        octets[place % len(octets)] = value
    packets = Packets(bytes(octets))
    (usual,) = packets.usual
    try:
        parsed = parse_rtcp(bytes(octets))
    except RtcpSyntaxError:
        assert not usual
        return
    assert usual == is_usual(parsed, bytes(octets))
    if usual:
        found = packets.read()
        (report, _) = parsed
        assert (found.ssrc[0], found.ntp[0]) == (report.ssrc, report.ntp)
        assert (found.timestamp[0], found.octets[0]) == (report.rtp_timestamp, len(octets))
        blocks = [block for block in report.blocks if block.ssrc == OWN]
        assert found.about.tolist() == [bool(blocks)]
        for block in blocks:
            words = [int(words[0]) for words in found.block.values()]
            loss = block.fraction_lost << 24 | block.cumulative_lost & 0xFF_FFFF
            assert words == [
                loss,
                block.extended_max_sequence,
                block.jitter,
                block.last_sr,
                block.delay_since_last_sr,
            ]


def is_usual(packets, octets):
    """By the parsed packets, and without octets that the parser may skip."""
    if len(packets) != 2:
        return False
    report, description = packets
    return (
        isinstance(report, SenderReport)
        and isinstance(description, SourceDescription)
        and len(report.blocks) < 2
        and not report.extension
        and len(description.chunks) == 1
        and len(description.chunks[0].items) == 1
        and len(build_compound(packets)) == len(octets)
        and not octets[0] & 0x20
        and not octets[28 + 24 * len(report.blocks)] & 0x20
    )


# --- writing -------------------------------------------------------------------------------------


class Streams:
    """Some streams that were sent and received, twice the same."""

    def __init__(self):
        self.sending, self.reception, self.reports = SendTable(4), StreamTable(4), ReportTable(4)
        for row in range(4):
            self.sending.allocate(0xCAFE + row, 7, 0xFFFF_FF00)
            self.reception.allocate(0xBEEF + row, probation=0)
            self.reports.allocate()
            self.reports.describe(row, build_compound([self.description(row)]))
        self.schedules = [
            ReportSchedule(0xCAFE + row, 0.0, bytes, table=self.reports, row=row)
            for row in range(4)
        ]
        for row in range(4):
            self.sending.advance_one(row, 160, 160, 10.0 + row / 300)
        # The first is never heard, the second without, the third with losses, the last twice.
        for row, numbers in ((1, [5, 6]), (2, [5, 6, 9, 12]), (3, [5, 5, 5, 6, 8])):
            for number in numbers:
                self.reception.update_one(row, number, 160 * number, 10 + number / 45, 160)
        report = SenderReport(0xBEEF + 2, ntp_timestamp(WALL), 1, 1, 1)
        self.schedules[2].on_received([report], 60, 10.5, ntp_timestamp(WALL))

    @staticmethod
    def description(row):
        return SourceDescription.cname(0xCAFE + row, "sixteen octets .")

    def one_by_one(self, row, now, ntp):
        blocks = ()
        if self.reception.valid_packets(row):
            last_sr, delay = self.schedules[row].last_sr(int(self.reception.ssrc[row]), now)
            blocks = (
                report_block(self.reception, row, last_sr=last_sr, delay_since_last_sr=delay),
            )
        report = SenderReport(
            0xCAFE + row,
            ntp,
            self.sending.media_time(row, now),
            int(self.sending.packets[row]),
            int(self.sending.octets[row]),
            blocks,
        )
        return build_compound([report, self.description(row)])


@pytest.mark.parametrize("rows", [[0], [1, 2, 3], [3, 0, 2, 1]])
def test_reports_are_written_as_one_by_one(rows):
    alone, together = Streams(), Streams()
    packets = Packets(*[b""] * len(rows))
    for now, ntp in ((11.0, ntp_timestamp(WALL)), (16.1, ntp_timestamp(WALL + 5.1))):
        lengths = packets.columns.write(
            np.array(rows), together.sending, together.reception, together.reports, now, ntp
        )
        written = [
            bytes(packets.arena[slot, :length]) for slot, length in enumerate(lengths.tolist())
        ]
        assert written == [alone.one_by_one(row, now, ntp) for row in rows]
        assert packets.columns.are_usual(np.arange(len(rows)), lengths).all()
        for streams in (alone, together):
            streams.reception.update_one(2, 13, 160 * 13, 12.0, 160)
            streams.reception.update_one(3, 9, 160 * 9, 12.0, 160)


def test_counters_that_have_wrapped_are_written_modulo_their_width():
    streams, packets = Streams(), Packets(b"")
    streams.sending.packets[1] = (1 << 32) + 5
    streams.sending.octets[1] = (1 << 33) + 6
    streams.reception.jitter[1] = 2.0**33
    tables = streams.sending, streams.reception, streams.reports
    length = packets.columns.write(np.array([1]), *tables, 11.0, 0)[0]
    (report, _) = parse_rtcp(bytes(packets.arena[0, :length]))
    assert (report.packets, report.octets) == (5, 6)
    assert report.blocks[0].jitter == 0xFFFF_FFFF
