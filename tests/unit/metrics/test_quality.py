"""The E-model against the figures that ITU-T G.107, G.109, G.113 and G.114 print."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeter.errors import ConfigurationError
from callmeter.metrics.quality import (
    IMPAIRMENTS,
    CodecImpairment,
    Speech,
    absolute_delay_impairment,
    delay_impairment,
    loss_impairment,
    mos_of,
    mouth_to_ear_ms,
    r_factor,
    r_factor_of,
)

G711, G711_PLC = IMPAIRMENTS["G.711"], IMPAIRMENTS["G.711 PLC"]


def test_the_defaults_of_g107_give_93_2():
    assert r_factor(G711) == pytest.approx(93.2, abs=0.05)
    assert mos_of(r_factor(G711)) == pytest.approx(4.41, abs=0.005)


@pytest.mark.parametrize(
    ("r", "mos"),
    [(90, 4.34), (80, 4.03), (70, 3.60), (60, 3.10), (50, 2.58), (0, 1), (-5, 1), (100, 4.5)],
)
def test_mos_of_the_limits_of_user_satisfaction(r, mos):
    """G.107 table B.1, whose last digit is rounded up for 80, and the ends of the formula."""
    assert mos_of(r) == pytest.approx(mos, abs=0.0061)


def test_mos_never_falls_below_1():
    assert mos_of(3) == 1.0
    assert mos_of(130) == 4.5


@pytest.mark.parametrize(
    ("codec", "loss", "ie_eff"),
    [
        ("G.711", 0, 0),
        ("G.711", 1, 95 / 5.3),
        ("G.711 PLC", 1, 95 / 26.1),
        ("G.729A", 0, 11),
        ("G.729A", 2, 11 + 84 * 2 / 21),
        ("G.723.1", 4, 15 + 80 * 4 / 20.1),
        ("G.711 PLC", -1, 0),
        ("G.711 PLC", 250, 95 * 100 / 125.1),
    ],
)
def test_loss_adds_to_what_the_codec_costs(codec, loss, ie_eff):
    assert loss_impairment(IMPAIRMENTS[codec], loss) == pytest.approx(ie_eff)


def test_the_same_loss_in_bursts_costs_more():
    random, bursts = (loss_impairment(G711_PLC, 5, burst_ratio=ratio) for ratio in (1, 4))
    assert random == pytest.approx(95 * 5 / 30.1)
    assert bursts == pytest.approx(95 * 5 / (5 / 4 + 25.1))
    assert loss_impairment(G711_PLC, 5, burst_ratio=0.1) == random


def test_delay_costs_nothing_up_to_100_ms_when_there_is_no_echo():
    assert absolute_delay_impairment(100) == 0
    assert absolute_delay_impairment(101) == pytest.approx(0, abs=0.001)


def test_the_formula_of_delay_has_its_value_at_twice_the_sensitive_delay():
    # X = 1: 25 (2^(1/6) - 3 (1 + 3^-6)^(1/6) + 2).
    expected = 25 * (2 ** (1 / 6) - 3 * (1 + 1 / 729) ** (1 / 6) + 2)
    assert absolute_delay_impairment(200) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("delay", "published"), [(50, 1.2), (100, 2.4), (150, 3.6), (200, 7.3), (300, 20.7)]
)
def test_delay_with_the_default_echo_follows_the_published_fit(delay, published):
    """Id = 0.024 d + 0.11 (d - 177.3) H(d - 177.3): Cole and Rosenbluth, for TELR = 65 dB."""
    assert delay_impairment(delay) == pytest.approx(published, abs=1.7)


def test_less_echo_costs_less():
    assert (
        delay_impairment(150, echo_loss_db=80)
        < delay_impairment(150)
        < (delay_impairment(150, echo_loss_db=50))
    )
    assert delay_impairment(-3) == delay_impairment(0) == pytest.approx(0.15, abs=0.01)


def test_r_stays_between_0_and_100():
    assert r_factor(G711, loss_percent=100, delay_ms=2000) == 0
    assert r_factor(G711, advantage=20) == 100
    assert r_factor(G711, advantage=5) == pytest.approx(98.2, abs=0.05)


@given(
    st.sampled_from(list(IMPAIRMENTS.values())),
    st.floats(0, 1000),
    st.floats(0, 100),
    st.floats(0, 50),
    st.floats(0, 50),
)
def test_more_delay_or_loss_is_never_better(codec, delay, loss, more_delay, more_loss):
    before = r_factor(codec, delay_ms=delay, loss_percent=loss)
    after = r_factor(codec, delay_ms=delay + more_delay, loss_percent=loss + more_loss)
    # The echo of the first milliseconds is masked by the own voice.
    assert after <= before + 0.2
    assert 1 <= mos_of(after) <= 4.5
    assert math.isfinite(after)


@pytest.mark.parametrize(("ie", "bpl"), [(-1, 4), (96, 4), (0, 0)])
def test_an_impairment_outside_its_range_is_refused(ie, bpl):
    with pytest.raises(ConfigurationError, match="ie is 0 to 95"):
        CodecImpairment(ie, bpl)


def test_the_delay_to_the_ear_has_the_network_the_packet_and_the_jitter_buffer():
    assert mouth_to_ear_ms(rtt_ms=80, ptime_ms=20, jitter_ms=15) == 90
    assert mouth_to_ear_ms(rtt_ms=80, ptime_ms=20, jitter_ms=1) == 80


def test_a_stream_is_rated_by_what_was_measured_of_it():
    speech = Speech.of("pcma", 30)
    assert speech == Speech(IMPAIRMENTS["G.711 PLC"], 30)
    rated = r_factor_of(speech, loss_percent=2, jitter_ms=20, rtt_ms=100, burst_ratio=1.5)
    whole = r_factor(IMPAIRMENTS["G.711 PLC"], delay_ms=120, loss_percent=2, burst_ratio=1.5)
    assert rated == whole
    without = r_factor_of(speech, loss_percent=2, jitter_ms=20)
    assert without == r_factor(IMPAIRMENTS["G.711 PLC"], delay_ms=70, loss_percent=2)


def test_a_codec_without_a_value_has_no_rating():
    assert Speech.of("VP8", 20) is None
