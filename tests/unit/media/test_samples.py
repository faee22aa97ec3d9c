"""One sample a second of all streams, bounded."""

from __future__ import annotations

import numpy as np
import pytest

from callmeter.media import samples as module
from callmeter.media.lanes import LaneTable
from callmeter.media.samples import MAX_SAMPLES, SampleTable
from callmeter.media.sources import Tone
from callmeter.metrics.quality import Speech, mos_of, r_factor_of
from callmeter.metrics.series import StreamSeries
from callmeter.rtp import SendTable, StreamTable
from callmeter.rtp.rtcp import ReportBlock

PACKET = 0.02


@pytest.fixture
def tables():
    return make_tables()


def make_tables():
    reception, sending, lanes = StreamTable(rows=2), SendTable(rows=2), LaneTable(2, 64)
    return reception, sending, SampleTable(reception, sending, lanes), lanes


def take_row(reception, sending, _samples, lanes):
    row = reception.allocate(7, probation=0)
    assert sending.allocate(8, 0, 0) == row == lanes.allocate()
    return row


class Course:
    """One stream of 50 packets a second each way."""

    def __init__(self, tables, row, start=100.0, speech=None):
        self.reception, self.sending, self.samples, self.lanes = tables
        self.row = row
        self.number = 0
        self.now = start
        self.samples.begin(row, start, speech)

    def seconds(self, count=1, *, missing=(), sending=True, packets=50, octets=160):
        for _ in range(count):
            for place in range(packets):
                arrival = self.now + (place + 1) * PACKET
                if place not in missing:
                    number = self.number & 0xFFFF
                    stamp = self.number * 160
                    self.reception.update_one(self.row, number, stamp, arrival, octets)
                self.number += 1
                if sending:
                    self.sending.advance_one(self.row, 160, octets, arrival)
            self.now += 1
            self.reception.roll()
            self.samples.on_second(self.now)


def test_each_second_has_its_rates_loss_and_jitter(tables):
    course = Course(tables, take_row(*tables))
    course.seconds()
    course.seconds(missing=range(10, 15), sending=False)
    found = course.samples.series(course.row)
    assert found.at_ms == (1000.0, 2000.0)
    assert found.send["packets_sent_rate_ps"] == (50.0, 0.0)
    assert found.send["bytes_sent_rate_bps"] == (64_000.0, 0.0)
    assert found.receive["packets_recv_rate_ps"] == (50.0, 45.0)
    assert found.receive["bytes_recv_rate_bps"] == (64_000.0, 57_600.0)
    assert found.receive["fraction_lost"] == (0.0, 10.0)
    assert found.receive["jitter_ms"] == pytest.approx((0.0, 0.0), abs=0.01)
    assert found.receive["max_packet_spacing"] == pytest.approx((20.0, 120.0))


SPEECH = Speech.of("PCMU", 20)


def test_each_second_has_its_score_refused_packets_and_level(tables):
    course = Course(tables, take_row(*tables), speech=SPEECH)
    course.lanes.srtp_failures[course.row] = 9
    course.lanes.srtp_replays[course.row] = 1
    course.seconds()
    course.lanes.srtp_failures[course.row] = 12
    course.lanes.level_power[course.row] = 2e-3
    course.lanes.level_packets[course.row] = 2
    course.seconds(missing=range(10, 15))
    found = course.samples.series(course.row).receive
    good, poor = (
        r_factor_of(SPEECH, loss_percent=loss, jitter_ms=0, rtt_ms=None) for loss in (0, 10)
    )
    assert found["r_factor"] == pytest.approx((good, poor), abs=0.01)
    assert found["mos"] == pytest.approx((mos_of(good), mos_of(poor)), abs=0.01)
    assert found["srtp_decrypt_failures"] == (9.0, 3.0)
    assert found["srtp_replayed"] == (1.0, 0.0)
    assert found["audio_level_rms"] == (None, pytest.approx(-30.0, abs=0.01))


def test_digital_silence_has_the_least_level(tables):
    course = Course(tables, take_row(*tables))
    course.lanes.level_packets[course.row] = 2
    course.seconds()
    assert course.samples.series(course.row).receive["audio_level_rms"] == (-127.0,)


def test_what_the_peer_reports_is_the_course_of_the_sent_stream(tables):
    course = Course(tables, take_row(*tables), speech=SPEECH)
    course.seconds()
    block = ReportBlock(8, 64, 12, 49, 80, 0, 0)
    course.samples.note_report(course.row, None, block)
    course.seconds()
    course.samples.note_report(course.row, 0.25, None)
    course.seconds()
    found = course.samples.series(course.row).send
    assert found["fraction_lost"] == (None, 25.0, 25.0)
    assert found["jitter_ms"] == (None, 10.0, 10.0)
    assert found["rtt_ms"] == (None, None, 250.0)
    scores = [
        mos_of(r_factor_of(SPEECH, loss_percent=25, jitter_ms=10, rtt_ms=rtt)) for rtt in (0, 250)
    ]
    assert found["mos"] == (None, pytest.approx(scores[0]), pytest.approx(scores[1]))


@pytest.mark.parametrize("ppm", [-300.0, 0.0, 150.0])
def test_a_clock_that_is_fast_or_slow_shows_in_the_arrivals(tables, ppm):
    course = Course(tables, take_row(*tables))
    reception, row = course.reception, course.row
    jitter = np.random.default_rng(3).uniform(0, 1e-3, 50 * 120)
    assert course.samples.skew_ppm(row) is None
    # The timestamp wraps on the way.
    first = (1 << 32) - 400_000
    for number in range(50 * 120):
        arrival = 100 + number * PACKET / (1 + ppm * 1e-6) + jitter[number]
        stamp = (first + number * 160) % (1 << 32)
        reception.update_one(row, number & 0xFFFF, stamp, arrival, 160)
        if number % 50 == 49:
            course.samples.on_second(arrival)
    assert course.samples.skew_ppm(row) == pytest.approx(ppm, abs=4)


def test_a_clock_is_measured_anew_after_a_jump_and_for_another_source(tables):
    course = Course(tables, take_row(*tables))
    course.seconds(12)
    assert course.samples.skew_ppm(course.row) == pytest.approx(0, abs=1)
    course.number += 25
    course.seconds(1)
    assert course.samples.skew_ppm(course.row) is None
    course.seconds(12)
    assert course.samples.skew_ppm(course.row) is not None
    course.reception.switch_ssrc(course.row, 99)
    course.seconds(1)
    assert course.samples.skew_ppm(course.row) is None


def test_a_second_without_packets_is_no_reading_of_the_clock(tables):
    course = Course(tables, take_row(*tables))
    course.seconds(9)
    course.seconds(5, packets=0)
    assert course.samples.skew_ppm(course.row) is None


def test_the_jitter_of_a_call_is_the_mean_of_its_seconds(tables):
    course = Course(tables, take_row(*tables))
    assert course.samples.mean_jitter_ms(course.row) is None
    course.seconds(packets=0)
    assert course.samples.mean_jitter_ms(course.row) is None
    for units in (16, 32):
        course.reception.jitter[course.row] = units
        course.sending.advance_one(course.row, 160, 160, course.now)
        course.reception.update_one(course.row, units, units * 160, course.now, 160, timed=False)
        course.seconds(packets=0)
    assert course.samples.mean_jitter_ms(course.row) == pytest.approx(3.0)
    assert course.samples.mean_jitter_ms(1) is None


def test_a_report_about_a_stream_that_is_not_sampled_is_left_alone(tables):
    row = take_row(*tables)
    tables[2].note_report(row, 0.1, None)
    course = Course(tables, row)
    course.seconds()
    assert course.samples.series(row).send["rtt_ms"] == (None,)


def test_a_stream_that_is_no_speech_any_more_has_no_score(tables):
    course = Course(tables, take_row(*tables), speech=SPEECH)
    course.seconds()
    assert "mos" in course.samples.series(course.row).receive
    course.samples.begin(course.row, course.now)
    assert "mos" not in course.samples.series(course.row).receive


def test_a_second_without_packets_has_nothing_to_measure(tables):
    course = Course(tables, take_row(*tables))
    course.seconds(packets=0)
    found = course.samples.series(course.row)
    assert found.receive["packets_recv_rate_ps"] == (0.0,)
    for key in ("fraction_lost", "jitter_ms", "max_packet_spacing", "audio_level_rms"):
        assert found.receive[key] == (None,)


def test_packets_that_come_after_all_give_no_negative_loss(tables):
    course = Course(tables, take_row(*tables))
    course.seconds(missing=[48])
    course.reception.update_one(course.row, 48, 48 * 160, course.now, 160)
    course.seconds()
    assert course.samples.series(course.row).receive["fraction_lost"] == (2.0, 0.0)


def test_the_rest_of_the_last_second_is_a_sample_and_then_no_more_come(tables):
    course = Course(tables, take_row(*tables))
    course.seconds()
    course.sending.advance_one(course.row, 160, 160, course.now)
    found = course.samples.end(course.row, course.now + 0.5)
    assert found.at_ms == (1000.0, 1500.0)
    assert found.send["packets_sent_rate_ps"] == (50.0, 2.0)
    course.seconds()
    assert course.samples.series(course.row) == StreamSeries()
    assert course.samples.end(course.row, course.now + 9) == StreamSeries()


def test_an_instant_at_the_end_is_no_sample(tables):
    course = Course(tables, take_row(*tables))
    course.seconds()
    assert course.samples.end(course.row, course.now + 0.01).at_ms == (1000.0,)


def test_a_long_call_is_sampled_less_often_in_the_same_space(monkeypatch):
    monkeypatch.setattr(module, "MAX_SAMPLES", 8)
    tables = make_tables()
    course = Course(tables, take_row(*tables))
    course.seconds(3, packets=10)
    course.seconds(1, packets=10, missing=range(3, 8))
    course.seconds(36, packets=10)
    found = course.samples.series(course.row)
    assert found.at_ms == (8000.0, 16_000.0, 24_000.0, 32_000.0, 40_000.0)
    assert found.send["packets_sent_rate_ps"] == (10.0,) * 5
    assert found.receive["fraction_lost"] == (6.25, 0.0, 0.0, 0.0, 0.0)
    # The pause of a second, and in the first samples the five packets that did not come.
    assert found.receive["max_packet_spacing"][0] == pytest.approx(820.0)
    assert MAX_SAMPLES == 300


def test_calls_that_began_together_are_not_merged_at_the_same_time(monkeypatch):
    monkeypatch.setattr(module, "MAX_SAMPLES", 8)
    tables = make_tables()
    samples = tables[2]
    for _ in range(2):
        samples.begin(take_row(*tables), 0.0)
    for second in range(1, 7):
        samples.on_second(float(second))
    assert len(samples.series(0).at_ms) == 6
    assert samples.series(1).at_ms == (2000.0, 4000.0, 6000.0)
    for second in range(7, 11):
        samples.on_second(float(second))
    course = (2000.0, 4000.0, 6000.0, 8000.0, 10_000.0)
    assert samples.series(0).at_ms == samples.series(1).at_ms == course


def test_rows_of_a_table_that_grew_keep_their_samples(tables):
    first = Course(tables, take_row(*tables))
    first.seconds(packets=10)
    take_row(*tables)
    late = Course(tables, take_row(*tables), first.now)
    late.seconds(packets=20)
    assert first.samples.series(first.row).receive["packets_recv_rate_ps"] == (10.0, 0.0)
    assert late.samples.series(late.row).receive["packets_recv_rate_ps"] == (20.0,)


def test_seconds_that_come_at_once_after_a_pause_are_one_sample(tables):
    course = Course(tables, take_row(*tables))
    course.seconds()
    course.samples.on_second(course.now)
    course.samples.on_second(course.now + 0.02)
    course.seconds()
    assert course.samples.series(course.row).at_ms == (1000.0, 2000.0)


def test_a_row_that_was_never_begun_has_no_samples(tables):
    assert tables[2].series(1).at_ms == ()
    assert tables[2].series(99).at_ms == ()
    tables[2].on_second(1.0)
    assert tables[2].end(1, 2.0).at_ms == ()


def test_a_row_that_is_given_to_another_stream_begins_anew(tables):
    reception, sending, samples, lanes = tables
    course = Course(tables, take_row(*tables))
    course.seconds(2)
    samples.end(course.row, course.now)
    reception.release(course.row)
    sending.release(course.row)
    lanes.release(course.row)
    other = Course(tables, take_row(*tables), course.now)
    assert other.row == course.row
    other.seconds(packets=25)
    assert samples.series(other.row).receive["packets_recv_rate_ps"] == (25.0,)


def test_a_stream_that_is_started_again_goes_on(tables):
    course = Course(tables, take_row(*tables))
    course.seconds()
    course.samples.begin(course.row, course.now)
    course.seconds()
    assert course.samples.series(course.row).at_ms == (1000.0, 2000.0)
    assert np.count_nonzero(course.samples._active) == 1


def test_the_engine_samples_its_streams_until_they_stop(lab):
    a, b = lab.pair()
    a.play(Tone(440))
    lab.run(2.6)
    assert len(b.series().at_ms) == 2
    a.stop()
    b.stop()
    sent, heard = a.series(), b.series()
    assert sent.at_ms == pytest.approx((1000, 2000, 2600), abs=21)
    assert sent.send["packets_sent_rate_ps"] == pytest.approx((50, 50, 50), abs=2)
    assert heard.receive["packets_recv_rate_ps"] == pytest.approx((50, 50, 50), abs=2)
    assert heard.receive["fraction_lost"] == (0, 0, 0)
    assert heard.receive["mos"] == pytest.approx((4.4, 4.4, 4.4), abs=0.05)
    assert sent.send["fraction_lost"][-1] == 0
