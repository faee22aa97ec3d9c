"""What extended reports say of a stream, and what is taken of the peer's."""

from __future__ import annotations

import pytest

from callmeter.jitter_buffer_config import JitterBufferSettings
from callmeter.media.extended_reports import (
    REFERENCE_TIME,
    VOIP_METRICS,
    ExtendedReports,
    voip_metrics,
    voip_values,
)
from callmeter.media.levels import LevelStatistics
from callmeter.metrics.burst_gap import burst_gap
from callmeter.metrics.catalogue import Direction, stream_keys
from callmeter.rtp.jitter_buffer import JitterBufferStatistics
from callmeter.rtp.rtcp import ntp_timestamp
from callmeter.rtp.xr import (
    DelaySinceReference,
    DelaySinceReferences,
    ExtendedReport,
    ReferenceTime,
    VoipMetrics,
)

OWN, PEER = 0xCAFE, 0xBEEF
NTP = ntp_timestamp(1_700_000_000.0)
NO_LEVELS = LevelStatistics(packets=0, mean=None, signal=None, noise=None, speech_share=None)
BUFFER = JitterBufferStatistics(
    target_delay_ms=60.0,
    current_delay_ms=50.0,
    average_jitter_ms=1.0,
    pushed=465,
    lost=30,
    late=20,
    early=5,
    duplicates=0,
    restarts=0,
)


def test_the_block_has_the_figures_of_the_stream_in_its_units(stream_statistics):
    block = voip_metrics(
        stream_statistics(jitter_buffer=BUFFER, jitter_buffer_settings=JitterBufferSettings())
    )
    assert block.ssrc == 2
    assert (block.loss_rate, block.discard_rate) == (5, 12)
    assert (block.burst_density, block.gap_density) == (128, 2)
    assert (block.burst_duration, block.gap_duration) == (200, 4900)
    assert (block.round_trip_delay, block.end_system_delay) == (12, 80)
    assert (block.signal_level, block.noise_level) == (-12, -54)
    assert (block.r_factor, block.mos_lq, block.mos_cq) == (69, 36, 35)
    assert (block.adaptive, block.nominal_delay, block.absolute_maximum_delay) == (3, 60, 200)


def test_a_fixed_buffer_is_named_so_and_none_is_unknown(stream_statistics):
    fixed = JitterBufferSettings(adaptive=False)
    block = voip_metrics(stream_statistics(jitter_buffer=BUFFER, jitter_buffer_settings=fixed))
    assert block.adaptive == 2
    block = voip_metrics(stream_statistics())
    assert (block.adaptive, block.nominal_delay, block.discard_rate) == (0, 0, 0)


def test_what_was_not_measured_is_127(stream_statistics):
    block = voip_metrics(
        stream_statistics(
            speech=None, levels=NO_LEVELS, rtt_ms=None, receive={"fraction_lost": None}
        )
    )
    assert block.loss_rate == block.round_trip_delay == block.end_system_delay == 0
    assert {block.signal_level, block.noise_level, block.r_factor, block.mos_lq, block.mos_cq} == {
        127
    }
    found = voip_values(block, 1)
    assert found["xr_signal_level_dbm"] is found["xr_mos_cq"] is found["xr_r_factor"] is None


def test_what_does_not_fit_a_field_is_its_end(stream_statistics):
    long = burst_gap([0, 9], 10_000_000, ptime_ms=20)
    block = voip_metrics(
        stream_statistics(
            bursts=long, rtt_ms=1e6, receive={"fraction_lost": 100.0, "packets_expected": 10}
        )
    )
    assert (block.gap_duration, block.round_trip_delay, block.loss_rate) == (0xFFFF, 0xFFFF, 255)


@pytest.mark.parametrize("changes", [{"remote_ssrc": None}, {"bursts": None}])
def test_before_the_first_packet_there_is_nothing_to_tell(stream_statistics, changes):
    assert voip_metrics(stream_statistics(**changes)) is None
    reports = ExtendedReports()
    reports.wanted = frozenset({VOIP_METRICS})
    assert reports.blocks(NTP, stream_statistics(**changes)) == ()
    assert reports.blocks(NTP, None) == ()


def test_only_what_the_peer_asked_for_is_told(stream_statistics):
    reports = ExtendedReports()
    assert reports.blocks(NTP, stream_statistics()) == ()
    reports.wanted = frozenset({VOIP_METRICS, REFERENCE_TIME})
    reference, told = reports.blocks(NTP, stream_statistics())
    assert reference == ReferenceTime(NTP)
    assert told == reports.told == voip_metrics(stream_statistics())
    assert reports.sent == 1


def test_the_peer_s_metrics_about_us_are_kept():
    reports = ExtendedReports()
    other = VoipMetrics(ssrc=PEER, loss_rate=1)
    about = VoipMetrics(ssrc=OWN, loss_rate=128, discard_rate=64, signal_level=-20, mos_lq=41)
    reports.on_received(ExtendedReport(PEER, (other, about)), OWN, NTP)
    assert (reports.remote, reports.received) == (about, 1)
    found = voip_values(reports.remote, reports.received)
    assert (found["xr_loss_rate"], found["xr_discard_rate"]) == (50.0, 25.0)
    assert (found["xr_signal_level_dbm"], found["xr_mos_lq"]) == (-20, 4.1)
    assert found["xr_reports"] == 1
    for side in (Direction.SEND, Direction.RECEIVE):
        assert set(found) <= set(stream_keys(side))


@pytest.mark.parametrize(("passed", "rtt"), [(0.75, 0.25), (0.4, 0.0)])
def test_the_round_trip_comes_from_the_answer_to_a_reference_time(passed, rtt):
    reports = ExtendedReports()
    middle = NTP >> 16 & 0xFFFF_FFFF
    answers = DelaySinceReferences(
        (
            DelaySinceReference(PEER, middle, 0),
            DelaySinceReference(OWN, 0, 9),
            DelaySinceReference(OWN, middle, 32_768),
        )
    )
    later = NTP + int(passed * (1 << 32))
    reports.on_received(ExtendedReport(PEER, (answers, ReferenceTime(1))), OWN, later)
    assert reports.rtt == pytest.approx(rtt, abs=1e-4)


def test_two_streams_tell_each_other(lab):
    a, b = lab.pair(extended_reports=frozenset({VOIP_METRICS, REFERENCE_TIME}))
    lab.run(15)
    for stream in (a, b):
        found = stream.statistics()
        assert min(found.xr.sent, found.xr.received) >= 2
        assert found.xr.rtt_ms < 41  # two ticks
        assert found.xr.remote.ssrc == found.ssrc
        assert (found.xr.remote.loss_rate, found.xr.remote.mos_cq) == (0, 44)
    lost = a.statistics().xr.sent
    a.stop()
    assert a.statistics().xr.sent == lost + 1


def test_who_was_not_asked_tells_nothing(lab):
    a, _ = lab.pair()
    lab.run(15)
    assert a.statistics().xr.sent == a.statistics().xr.received == 0
    assert a.statistics().xr.rtt_ms is None
