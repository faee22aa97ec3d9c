"""What comfort noise sounds like."""

from __future__ import annotations

import numpy as np
import pytest

from callmeter.media import level_dbov
from callmeter.media.noise import NoiseMaker
from callmeter.rtp.comfort_noise import ComfortNoise


@pytest.mark.parametrize("level", [-70, -40, -20])
@pytest.mark.parametrize("reflection", [(), (-0.9,), (0.5, -0.3)])
def test_noise_has_its_level(level, reflection):
    samples = NoiseMaker(ComfortNoise(level, reflection)).samples(16_000)
    assert level_dbov(samples) == pytest.approx(level, abs=0.6)


def test_a_filter_colours_it():
    samples = NoiseMaker(ComfortNoise(-30, (-0.9,))).samples(16_000)
    power = np.abs(np.fft.rfft(samples)) ** 2
    assert power[:2000].mean() > 20 * power[-2000:].mean()


def test_noise_is_the_same_in_each_run_and_never_repeats_within_one():
    maker, again = NoiseMaker(ComfortNoise(-40)), NoiseMaker(ComfortNoise(-40))
    first = maker.samples(160)
    assert np.array_equal(again.samples(160), first)
    assert not np.array_equal(maker.samples(160), first)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_few_samples_are_made_too(count):
    assert len(NoiseMaker(ComfortNoise(-40, (0.1, 0.2, 0.3))).samples(count)) == count


def test_the_loudest_noise_is_clipped():
    assert np.abs(NoiseMaker(ComfortNoise(0)).samples(1000).astype(int)).max() <= 32_768
