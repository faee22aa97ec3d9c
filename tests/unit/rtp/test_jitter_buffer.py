from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeter.errors import ConfigurationError, LocalProtocolError
from callmeter.jitter_buffer_config import JitterBufferSettings
from callmeter.metrics.catalogue import CATALOGUE
from callmeter.rtp import jitter_buffer as module
from callmeter.rtp.jitter_buffer import JitterBufferTable

# Powers of two, so that sums are exact: a packet is 1/64 s, 128 units of a clock of 8192 Hz.
RATE, UNITS, PACKET = 8192, 128, 1 / 64
FIXED = JitterBufferSettings(adaptive=False, delay=1 / 16, least=0, most=1 / 4, room=1 / 2)
ADAPTIVE = JitterBufferSettings(delay=1 / 16, least=1 / 64, most=1 / 4, room=1 / 2)


class Oracle:
    """The same decisions for one stream, a packet at a time, in plain Python."""

    def __init__(self, settings):
        self.settings = settings
        self.highest = None
        self.missing = {}
        self.counts = dict.fromkeys(("pushed", "lost", "late", "early", "duplicates"), 0)
        self.restarts = 0
        self.delay = settings.delay
        self.jitter = 0.0

    def begin(self, number, stamp, arrival):
        self.highest, self.stamp, self.media = number, stamp, 0.0
        self.origin = self.last = arrival
        self.mean = self.transit = 0.0
        self.deviation = self.delay / 4
        self.offset = self.waits = self.delay
        self.played = -1
        self.counts["pushed"] += 1

    def close(self, now):
        for number, (_, closes) in list(self.missing.items()):
            if closes < now:
                del self.missing[number]
                self.counts["lost"] += 1
                self.played = max(self.played, number)

    def receive(self, sequence, stamp, arrival):
        if self.highest is None:
            self.begin(sequence, stamp, arrival)
            return
        media = self.media + ((stamp - self.stamp + 2**31) % 2**32 - 2**31) / RATE
        transit = arrival - self.origin - media
        ahead = (sequence - self.highest) % 65_536
        if ahead != 1:
            self.close(arrival)
        if abs(transit - self.mean) > 2 or 3000 <= ahead < 65_536 - 100:
            self.close(float("inf"))
            self.restarts += 1
            self.begin(sequence, stamp, arrival)
        elif 0 < ahead < 3000:
            last = self.media + (media - self.media) * (ahead - 1) / ahead
            for number in range(self.highest + 1, self.highest + ahead):
                self.missing[number] = self.offset, self.origin + last + self.offset
            self.highest, self.stamp, self.media = self.highest + ahead, stamp, media
            waits = self.offset - transit
            kind = self.judge(waits)
            if kind == "pushed":
                self.jitter += (abs(transit - self.transit) - self.jitter) / 16
                self.transit, self.waits = transit, waits
            self.learn(transit, arrival)
        else:
            number = self.highest - -ahead % 65_536
            if number in self.missing:
                self.judge(self.missing.pop(number)[0] - transit)
            elif transit <= self.offset and number > self.played:
                self.counts["duplicates"] += 1
            else:
                self.counts["late"] += 1

    def judge(self, waits):
        kind = "late" if waits < 0 else "early" if waits > self.settings.room else "pushed"
        self.counts[kind] += 1
        self.counts["lost"] += kind == "late"
        return kind

    def learn(self, transit, arrival):
        self.mean += (transit - self.mean) / 16
        self.deviation += (abs(transit - self.mean) - self.deviation) / 16
        passed, self.last = max(arrival - self.last, 0), arrival
        if self.settings.adaptive:
            least, most = self.settings.least, self.settings.most
            self.delay = min(max(4 * self.deviation, least), most)
            self.offset = max(self.mean + self.delay, self.offset - 0.1 * passed)


@pytest.fixture
def table():
    return JitterBufferTable(rows=4, limit=4)


def feed(table, packets, row=0, *, start=(0, 0)):
    """Packets as pairs: number in the stream, and its arrival in packet times."""
    sequence, stamp = start
    for number, arrival in packets:
        table.update(
            np.array([row]),
            np.array([(sequence + number) % 65_536]),
            np.array([(stamp + number * UNITS) % 2**32]),
            np.array([100 + arrival * PACKET]),
        )


def counts(table, now=1e6, row=0):
    found = table.statistics(row, now)
    return {
        name: count
        for name in ("pushed", "lost", "late", "early", "duplicates", "restarts")
        if (count := getattr(found, name))
    }


def test_a_steady_stream_waits_for_the_delay_of_a_fixed_buffer(table):
    table.allocate(FIXED, RATE)
    feed(table, [(n, n) for n in range(50)])
    assert counts(table) == {"pushed": 50}
    found = table.statistics(0, 1e6)
    assert (found.target_delay_ms, found.current_delay_ms) == (62.5, 62.5)
    assert (found.average_jitter_ms, found.rtx_requests, found.rtx_success) == (0, 0, 0)


def test_a_packet_after_its_moment_is_late_and_lost(table):
    table.allocate(FIXED, RATE)
    feed(table, [(0, 0), (1, 5), (2, 6.5), (3, 6.5)])
    assert counts(table) == {"pushed": 3, "late": 1, "lost": 1}


def test_an_overtaken_packet_is_in_time_before_its_moment(table):
    table.allocate(FIXED, RATE)
    feed(table, [(0, 0), (2, 2), (1, 4.9), (3, 4.9)])
    assert counts(table) == {"pushed": 4}


def test_an_overtaken_packet_after_its_moment_is_late(table):
    table.allocate(FIXED, RATE)
    feed(table, [(0, 0), (3, 3), (1, 5.5), (4, 5.5)])
    assert counts(table, 100 + 5.5 * PACKET) == {"pushed": 3, "late": 1, "lost": 1}
    assert counts(table) == {"pushed": 3, "late": 1, "lost": 2}


def test_a_number_is_lost_when_its_moment_is_over(table):
    table.allocate(FIXED, RATE)
    feed(table, [(0, 0), (2, 2)])
    assert counts(table, 100 + 5 * PACKET) == {"pushed": 2}
    assert counts(table, 100 + 5.1 * PACKET) == {"pushed": 2, "lost": 1}
    # It comes after all: that does not lose it again.
    feed(table, [(1, 5.2)])
    assert counts(table) == {"pushed": 2, "lost": 1, "late": 1}


def test_a_copy_of_a_waiting_packet_is_a_duplicate_and_of_a_played_one_late(table):
    table.allocate(FIXED, RATE)
    feed(table, [(0, 0), (1, 1), (1, 2), (0, 4.5)])
    assert counts(table) == {"pushed": 2, "duplicates": 1, "late": 1}


def test_a_packet_there_is_no_room_for_is_early(table):
    table.allocate(FIXED, RATE)
    # The room is 32 packets, four of them the delay.
    feed(table, [(n, 0) for n in range(40) if n != 35])
    feed(table, [(35, 0)])
    assert counts(table) == {"pushed": 29, "early": 11}


@pytest.mark.parametrize("packets", [[(5000, 1), (5001, 2)], [(-500, 1), (-499, 2)]])
def test_a_jump_of_the_numbers_is_a_new_beginning(table, packets):
    table.allocate(FIXED, RATE)
    feed(table, [(0, 0), *packets], start=(600, 0))
    assert counts(table) == {"pushed": 3, "restarts": 1}


def test_timestamps_that_leave_the_arrivals_are_a_new_beginning(table):
    table.allocate(FIXED, RATE)
    feed(table, [(0, 0), (2, 2), (3, 200), (4, 201)])
    assert counts(table) == {"pushed": 4, "restarts": 1, "lost": 1}


def test_numbers_and_timestamps_wrap(table):
    table.allocate(FIXED, RATE)
    feed(table, [(n, n) for n in range(20) if n != 9], start=(65_530, 2**32 - 1000))
    feed(table, [(9, 19.5)], start=(65_530, 2**32 - 1000))
    assert counts(table) == {"pushed": 19, "late": 1, "lost": 1}


def test_an_adaptive_buffer_rises_at_once_and_falls_slowly(table):
    table.allocate(ADAPTIVE, RATE)
    feed(table, [(n, n) for n in range(200)])
    calm = table.statistics(0, 1e6)
    assert calm.target_delay_ms == pytest.approx(1000 / 64)
    assert calm.current_delay_ms == pytest.approx(1000 / 64)
    feed(table, [(200, 210), (201, 210), (202, 210)])
    shaken = table.statistics(0, 1e6)
    assert (shaken.pushed, shaken.late, shaken.lost) == (200, 3, 3)
    assert shaken.target_delay_ms > 80
    highest = float(table.offset[0])
    assert highest == table.mean[0] + table.delay[0]
    feed(table, [(n, n) for n in range(211, 231)])
    assert 0 < highest - table.offset[0] <= 0.1 * 20 * PACKET + 1e-9
    assert table.statistics(0, 1e6).target_delay_ms < shaken.target_delay_ms
    feed(table, [(n, n) for n in range(231, 2000)])
    assert table.statistics(0, 1e6).current_delay_ms == pytest.approx(1000 / 64, rel=0.01)


def test_the_delay_of_an_adaptive_buffer_has_limits(table):
    table.allocate(ADAPTIVE, RATE)
    feed(table, [(n, n + 60 * (n % 2)) for n in range(40)])
    assert table.statistics(0, 1e6).target_delay_ms == 250


def test_only_so_many_gaps_are_kept_open(table):
    table.allocate(FIXED, RATE)
    feed(table, [(2 * n, 0) for n in range(67)])
    # Of 66 gaps the oldest two are given up, whenever it is.
    assert counts(table, 100)["lost"] == 2


def test_nothing_is_measured_before_the_first_packet(table):
    table.allocate(FIXED, RATE)
    found = table.statistics(0, 1.0)
    assert found.target_delay_ms is None
    assert found.current_delay_ms is None
    assert found.average_jitter_ms is None


def test_a_released_row_begins_anew(table):
    table.allocate(FIXED, RATE)
    feed(table, [(0, 0), (5, 5)])
    table.release(0)
    assert table.allocate(FIXED, RATE) == 0
    assert counts(table) == {}
    with pytest.raises(LocalProtocolError):
        table.release(3)


def test_a_full_table_takes_no_more(table):
    assert [table.allocate(FIXED) for _ in range(5)][-1] is None


def test_numbers_of_what_no_buffer_keeps_are_not_missing(table):
    table.allocate(FIXED, RATE)
    table.pass_by(0, 7, 100.0)
    assert counts(table) == {}
    feed(table, [(0, 0), (1, 1)])
    for number in (2, 3, 5):
        table.pass_by(0, number, 100 + number * PACKET)
    feed(table, [(6, 6)])
    table.pass_by(0, 4, 100 + 4.5 * PACKET)
    assert counts(table) == {"pushed": 3}


def test_what_is_overtaken_by_what_no_buffer_keeps_can_be_lost(table):
    table.allocate(FIXED, RATE)
    feed(table, [(0, 0)])
    table.pass_by(0, 3, 100 + 3 * PACKET)
    table.pass_by(0, 2, 100 + 3 * PACKET)
    assert counts(table) == {"pushed": 1, "lost": 1}


def test_another_source_is_a_new_beginning(table):
    table.allocate(FIXED, RATE)
    table.restart(0)
    feed(table, [(0, 0), (2, 2)])
    table.restart(0)
    assert table.statistics(0, 1.0).current_delay_ms == 62.5
    feed(table, [(3, 3), (4, 4)])
    assert counts(table) == {"pushed": 4, "lost": 1, "restarts": 1}


def test_figures_become_metrics_by_catalogue_key(table):
    table.allocate(FIXED, RATE)
    feed(table, [(0, 0)])
    metrics = table.statistics(0, 1.0).metrics()
    assert set(metrics) == {key for key in CATALOGUE if key.startswith("jitter_buffer_")}
    assert metrics["jitter_buffer_pushed"] == 1


@pytest.mark.parametrize(
    "settings", [{"delay": 0.01}, {"most": 0.05}, {"room": 0.1}, {"least": -0.1}]
)
def test_settings_that_contradict_each_other_are_refused(settings):
    with pytest.raises(ConfigurationError, match="least <= delay <= most <= room"):
        JitterBufferSettings(**settings)


steps = st.lists(
    st.tuples(
        st.integers(0, 2),  # row
        st.sampled_from([1] * 12 + [2, 3, 5, 0, -1, -2, -4, -60, 4000, -3000]),  # of the number
        st.integers(-4, 30).map(lambda sixths: sixths / 8),  # transit, in packets
        st.sampled_from([0] * 30 + [5 * RATE]),  # of the timestamps
    ),
    max_size=120,
)


@pytest.mark.parametrize("pays", [0, 24])
@given(steps=steps, size=st.integers(1, 40), adaptive=st.booleans())
def test_batches_decide_like_one_packet_at_a_time(steps, size, adaptive, pays):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BATCH_PAYS", pays)
        batches_decide_alike(steps, size, adaptive)


def batches_decide_alike(steps, size, adaptive):
    settings = ADAPTIVE if adaptive else FIXED
    table = JitterBufferTable(rows=3)
    oracles = [Oracle(settings) for _ in range(3)]
    for _ in oracles:
        table.allocate(settings, RATE)
    packets = []
    numbers, shifts, highest = [70_000] * 3, [0] * 3, [70_000] * 3
    for row, step, transit, shift in steps:
        numbers[row] = highest[row] + step
        highest[row] = numbers[row] if step > 0 or step < -100 else highest[row]
        shifts[row] += shift
        stamp = (numbers[row] * UNITS + shifts[row]) % 2**32
        arrival = 100 + (len(packets) / 3 + transit) * PACKET
        packets.append((row, numbers[row] % 65_536, stamp, arrival))
    packets.sort(key=lambda packet: packet[3])
    for begin in range(0, len(packets), size):
        batch = packets[begin : begin + size]
        table.update(*(np.array(column) for column in zip(*batch, strict=True)))
        for row, *packet in batch:
            oracles[row].receive(*packet)
    for row, oracle in enumerate(oracles):
        oracle.close(float("inf"))
        found = table.statistics(row, float("inf"))
        assert {name: getattr(found, name) for name in oracle.counts} == oracle.counts
        assert found.restarts == oracle.restarts
        if oracle.highest is not None:
            assert found.target_delay_ms == pytest.approx(oracle.delay * 1e3)
            assert found.current_delay_ms == pytest.approx(oracle.waits * 1e3)
            assert found.average_jitter_ms == pytest.approx(oracle.jitter * 1e3)


def test_fixed_and_adaptive_buffers_of_one_batch_keep_to_their_own_rules():
    count = 30
    together, apart = (JitterBufferTable(rows=count, limit=count) for _ in range(2))
    for table in (together, apart):
        for row in range(count):
            table.allocate(FIXED if row % 2 else JitterBufferSettings(), RATE)
    rows = np.arange(count)
    for number in range(40):
        arrivals = 100 + (number + (number % 7) / 3 + rows / 90) * PACKET
        if number in {20, 30}:
            arrivals[:5] += 1
        numbers, stamps = np.full(count, number), np.full(count, number * UNITS)
        together.update(rows, numbers, stamps, arrivals)
        for row in range(count):
            one = slice(row, row + 1)
            apart.update(rows[one], numbers[one], stamps[one], arrivals[one])
    for row in range(count):
        assert together.statistics(row, 1e6) == apart.statistics(row, 1e6)
    assert together.statistics(1, 1e6).late >= 2
    assert together.statistics(9, 1e6).late == 0
    assert together.statistics(1, 1e6).target_delay_ms == FIXED.delay * 1e3
    assert together.statistics(0, 1e6).target_delay_ms != FIXED.delay * 1e3
