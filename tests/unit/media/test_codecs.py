"""Codecs by name."""

from __future__ import annotations

import numpy as np
import pytest

from callmeter.config import Codec
from callmeter.errors import ConfigurationError
from callmeter.media.codecs import find_codec


@pytest.mark.parametrize("codec", list(Codec))
def test_every_codec_of_the_settings_can_be_spoken(codec):
    found = find_codec(codec)
    assert found.name == codec.value
    samples = np.linspace(-30_000, 30_000, 160).astype(np.int16)
    decoded = found.decode(found.encode(samples))
    assert np.abs(decoded.astype(int) - samples).max() < 1100
    assert np.abs(found.decode(found.silent_frame(10))).max() <= 8


def test_names_are_compared_without_case_and_unknown_ones_refused():
    assert find_codec("pcma") is find_codec("PCMA")
    with pytest.raises(ConfigurationError, match="opus"):
        find_codec("opus")
