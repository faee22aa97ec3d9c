"""Descriptions of background noise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeter.errors import ConfigurationError
from callmeter.rtp.comfort_noise import ComfortNoise


def test_a_level_alone_is_one_octet():
    assert ComfortNoise(-65).to_bytes() == b"\x41"
    assert ComfortNoise.parse(b"\x41") == ComfortNoise(-65)


def test_the_bit_that_is_not_used_is_ignored():
    assert ComfortNoise.parse(b"\xc1") == ComfortNoise(-65)


def test_coefficients_are_quantized_around_127():
    noise = ComfortNoise.parse(bytes([70, 127, 0, 254, 255]))
    assert noise.reflection == pytest.approx((0, -0.99994, 0.99994, 0.99994), abs=1e-4)


def test_an_empty_payload_describes_nothing():
    assert ComfortNoise.parse(b"") is None


def test_coefficients_beyond_the_32nd_are_ignored():
    assert len(ComfortNoise.parse(bytes(200)).reflection) == 32


@pytest.mark.parametrize("level", [1, -128])
def test_a_level_that_cannot_be_written_is_refused(level):
    with pytest.raises(ConfigurationError, match="noise"):
        ComfortNoise(level)


@given(st.integers(-127, 0), st.lists(st.floats(-1, 1), max_size=10))
def test_what_is_written_is_read_again(level, reflection):
    noise = ComfortNoise(level, tuple(reflection))
    again = ComfortNoise.parse(noise.to_bytes())
    assert again.level_dbov == level
    assert again.reflection == pytest.approx(noise.reflection, abs=0.005)
    assert again.to_bytes() == noise.to_bytes()
