"""Many rows at once do what `ReportSchedule` does with each of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeter.rtp.clock_drift import REPORTS, ClockDrift
from callmeter.rtp.report_columns import ReportColumns
from callmeter.rtp.report_schedule import ReportSchedule
from callmeter.rtp.report_table import DESCRIPTION_OCTETS, NOBODY, ReportTable
from callmeter.rtp.rtcp import (
    Goodbye,
    ReportBlock,
    SenderReport,
    SourceDescription,
    build_compound,
    ntp_timestamp,
    parse_rtcp,
)

ROWS = 3
WALL = 1_700_000_000.0
PEERS = np.array([11, 12, 13])

steps = st.lists(
    st.tuples(
        st.sampled_from(["due", "due", "report", "block", "old block"]),
        st.sets(st.integers(0, ROWS - 1), min_size=1),
        st.floats(0.0, 9.0),
        st.booleans(),
    ),
    max_size=25,
)


class Sessions:
    """The same sessions row by row and at once."""

    def __init__(self, chance, **settings):
        def entropy(octets):
            return (bytes([chance]) * 4 * octets)[:octets]

        self.entropy = entropy
        self.alone, self.together = ReportTable(ROWS, ROWS), ReportTable(ROWS, ROWS)
        tables = (self.alone, self.together)
        for table in tables:
            for _ in range(ROWS):
                table.allocate()
        self.schedules, _ = [
            [
                ReportSchedule(row + 1, 0.0, entropy, table=table, row=row, **settings)
                for row in range(ROWS)
            ]
            for table in tables
        ]
        self.arena = np.zeros((ROWS, 1728), np.uint8)
        self.columns = ReportColumns(self.arena)
        self.number = 0

    def due(self, rows, now, *, we_sent):
        rows = np.array([row for row in rows if self.alone.deadline[row] <= now], np.int64)
        sent = [self._due_alone(row, now, we_sent=we_sent) for row in rows.tolist()]
        senders = np.full(len(rows), we_sent)
        assert self.together.due(rows, now, senders, self.entropy).tolist() == sent
        sent = rows[np.array(sent, np.bool_)]
        for row in sent:
            self.alone.sent[row] += 1
            self.schedules[row].on_sent(100 + row)
        self.together.note_sent(sent, 100 + sent)

    def _due_alone(self, row, now, *, we_sent):
        self.schedules[row].we_sent = we_sent
        return self.schedules[row].on_deadline(now)

    def report(self, rows, now, block):
        self.number += 1
        rows = np.array(sorted(rows))
        came = [self._report_alone(row, now, block) for row in rows.tolist()]
        lengths = np.array([len(data) for data in came])
        for slot, data in enumerate(came):
            self.arena[slot, : len(data)] = np.frombuffer(data, np.uint8)
        slots = np.arange(len(rows))
        assert self.columns.are_usual(slots, lengths).all()
        at = np.full(len(rows), now)
        found = self.columns.read(slots, lengths, rows + 1, at + WALL)
        self.together.note_received(rows, found, at, np.full(len(rows), 1.5))

    def _report_alone(self, row, now, block):
        peer, ntp = int(PEERS[row]), ntp_timestamp(WALL + now - 0.25)
        blocks = () if block is None else (block(row + 1, ntp),)
        report = SenderReport(peer, ntp, 160 * self.number, self.number, 9, blocks)
        data = build_compound([report, SourceDescription.cname(peer, "x" * (row + self.number))])
        arrived = ntp_timestamp(WALL + now)
        self.schedules[row].on_received(parse_rtcp(data), len(data), now, arrived)
        self.alone.received[row] += 1
        self.alone.report_after[row] = now - 1.5
        self.alone.note_clock(row, peer, ntp, 160 * self.number)
        return data

    def compare(self):
        compare(self.alone, self.together)


def compare(one, other):
    for name in ReportTable.COLUMNS:
        expected, found = getattr(one, name), getattr(other, name)
        np.testing.assert_allclose(found, expected, rtol=1e-12, err_msg=name)


class Mixed:
    """A session that is served row by row, and the same one now so, now in a batch."""

    def __init__(self):
        self.entropy = bytes
        self.tables = ReportTable(1, 1), ReportTable(1, 1)
        for table in self.tables:
            table.allocate()
        self.schedules = [ReportSchedule(1, 0.0, bytes, table=table) for table in self.tables]
        self.columns = ReportColumns(np.zeros((1, 1728), np.uint8))
        self.row = np.array([0])

    def due(self, now, *, batch):
        alone, mixed = self.schedules
        alone.we_sent = True
        sent = alone.on_deadline(now)
        table = self.tables[1]
        if batch and table.deadline[0] <= now and not table.crowded[0]:
            assert table.due(self.row, now, np.array([True]), bytes).tolist() == [sent]
        else:
            mixed.we_sent = True
            assert mixed.on_deadline(now) == sent

    def report(self, source, now, *more, batch):
        report = SenderReport(source, ntp_timestamp(WALL + now), 1, 1, 1, (block(1, 0),))
        data = build_compound([report, SourceDescription.cname(source, "peer"), *more])
        table = self.tables[1]
        usual = table.peer[0] == source or (table.peer[0] == NOBODY and source == int(PEERS[0]))
        for number, (each, schedule) in enumerate(zip(self.tables, self.schedules, strict=True)):
            if number and batch and usual and not more and not table.crowded[0]:
                octets = np.frombuffer(data, np.uint8)[np.newaxis]
                columns, lengths = ReportColumns(octets), np.array([len(data)])
                found = columns.read(self.row, lengths, self.row + 1, np.array([WALL + now]))
                table.note_received(self.row, found, np.array([now]), np.array([0.5]))
            else:
                arrived = ntp_timestamp(WALL + now)
                schedule.on_received(parse_rtcp(data), len(data), now, arrived)
                each.received[0] += 1
                each.report_after[0] = now - 0.5
                each.note_clock(0, source, report.ntp, 1)

    def compare(self):
        compare(*self.tables)
        alone, mixed = self.schedules
        assert mixed.members == alone.members
        assert mixed.remote_block == alone.remote_block
        for source in (11, 21, 22):
            assert mixed.last_sr(source, 1000.0) == alone.last_sr(source, 1000.0)


mixed_steps = st.lists(
    st.tuples(
        st.sampled_from(["due", "report", "report", "another", "goodbye"]),
        st.sampled_from([11, 21, 22]),
        st.floats(-0.5, 30.0),
        st.booleans(),
    ),
    max_size=25,
)


@given(mixed_steps)
def test_a_session_may_be_served_now_so_and_now_so(script):
    session = Mixed()
    now = 1.0
    for kind, source, passed, batch in script:
        now += passed
        if kind == "due":
            session.due(now, batch=batch)
        elif kind == "goodbye":
            session.report(source, now, Goodbye((source,)), batch=batch)
        else:
            session.report(11 if kind == "report" else source, now, batch=batch)
        session.compare()
        assert not session.tables[0].report_interval[0] < 0


def block(own, ntp):
    return ReportBlock(own, 7, -3, 70_000, 12, ntp >> 16 & 0xFFFF_FFFF, 4000)


def old_block(own, ntp):
    return ReportBlock(own, 1, 2, 3, 4)


BLOCKS = {"report": None, "block": block, "old block": old_block}


@given(steps, st.integers(0, 255), st.sampled_from([80_000.0, 4_000.0, 500.0]), st.booleans())
def test_rows_at_once_are_as_rows_one_by_one(script, chance, bandwidth, reduced):
    sessions = Sessions(chance, bandwidth=bandwidth, reduced_minimum=reduced)
    now = 0.0
    for kind, rows, passed, we_sent in script:
        now += passed
        if kind == "due":
            sessions.due(rows, now, we_sent=we_sent)
        else:
            sessions.report(rows, now, BLOCKS[kind])
        sessions.compare()


def test_a_peer_that_is_silent_for_five_intervals_is_no_member():
    sessions = Sessions(128)
    sessions.report({0, 1}, 1.0, None)
    sessions.due({0, 1, 2}, 20.0, we_sent=True)
    assert sessions.together.peer.tolist() == [11, 12, -1]
    sessions.report({1}, 21.0, None)
    sessions.due({0, 1, 2}, 30.0, we_sent=True)
    sessions.compare()
    assert sessions.together.peer.tolist() == [-1, 12, -1]


def test_last_sender_reports_are_told_of_the_source_that_sent_them_alone():
    sessions = Sessions(0)
    sessions.report({0, 1}, 2.0, None)
    rows, sources = np.arange(ROWS), np.array([11, 99, 13])
    middles, delays = sessions.together.last_srs(rows, sources, 5.5)
    expected = [
        sessions.schedules[row].last_sr(int(source), 5.5)
        for row, source in zip(rows, sources, strict=True)
    ]
    assert list(zip(middles.tolist(), delays.tolist(), strict=True)) == expected
    assert delays.tolist() == [round(3.5 * 65_536), 0, 0]


@pytest.mark.parametrize("readings", [2, 3, REPORTS, 2 * REPORTS + 3])
def test_the_drift_is_that_of_the_last_sender_reports(readings):
    table, drift = ReportTable(2), ClockDrift(8000)
    table.allocate()
    for number in range(readings):
        reading = 11, ntp_timestamp(WALL + 5 * number), 40_002 * number & 0xFFFF_FFFF
        table.note_clock(0, *reading)
        drift.add(*reading)
    assert table.drift_ppm(0, 8000) == drift.ppm
    assert (drift.ppm is None) == (readings < 3)
    assert drift.ppm is None or drift.ppm == pytest.approx(50, abs=0.01)


def test_a_description_of_another_length_is_not_for_batches():
    table = ReportTable(2)
    table.allocate()
    table.describe(0, bytes(range(DESCRIPTION_OCTETS)))
    assert table.described[0]
    assert bytes(table.description[0]) == bytes(range(DESCRIPTION_OCTETS))
    table.describe(0, bytes(DESCRIPTION_OCTETS + 4))
    assert not table.described[0]


def test_a_row_that_is_given_back_has_forgotten_all():
    sessions, fresh = Sessions(9), ReportTable(ROWS, ROWS)
    sessions.report({0, 1, 2}, 2.0, block)
    sessions.due({0, 1, 2}, 9.0, we_sent=True)
    for row in range(ROWS):
        sessions.together.release(row)
    for name in ReportTable.COLUMNS:
        np.testing.assert_equal(getattr(sessions.together, name), getattr(fresh, name), name)
