"""Parameter sets that x264 wrote, and others spelt out field by field."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeter.rtp.h264_sps import picture_size


class Bits:
    """Writes a parameter set field by field (ITU-T H.264 section 7.3.2.1.1)."""

    def __init__(self, profile):
        self.text = f"{profile:08b}{0:08b}{31:08b}"

    def flag(self, *values):
        self.text += "".join(map(str, values))
        return self

    def numbers(self, *values):
        for value in values:
            coded = f"{value + 1:b}"
            self.text += "0" * (len(coded) - 1) + coded
        return self

    def signed(self, *values):
        return self.numbers(*(2 * value - 1 if value > 0 else -2 * value for value in values))

    def unit(self):
        text = self.text + "1"
        text += "0" * (-len(text) % 8)
        return b"\x67" + int(text, 2).to_bytes(len(text) // 8, "big")


def rest(bits, width=20, height=15):
    """References, size in macroblocks, frames only, direct inference, no cropping."""
    return bits.numbers(1).flag(0).numbers(width - 1, height - 1).flag(1, 1, 0).unit()


@pytest.mark.parametrize(
    ("unit", "size"),
    [
        ("6742c00dda0507e840000003004000000f03c50aa8", (320, 240)),
        ("674d4028eca03c0113f2c2000003000200000300781e30632c", (1920, 1080)),
        ("674d4028eca03c0227ee10000003001000000303c1f162d960", (1920, 1080)),  # interlaced
        ("67640020acd94056061e6a84000003000400000300f03c60c658", (1366, 766)),
        ("677a001ebcd940a03deae10000030001000003003c0f162d96", (638, 478)),  # 4:2:2
        ("67f4001e919b281407bd4908000003000800000301e078b16cb0", (639, 477)),  # 4:4:4
    ],
)
def test_the_size_an_encoder_was_given_is_read_from_what_it_wrote(unit, size):
    assert picture_size(bytes.fromhex(unit)) == size


def test_scaling_lists_are_passed_over():
    bits = Bits(100).numbers(0, 1, 0, 0).flag(0, 1)
    bits.flag(1).signed(*[1] * 16)  # a list spelt out
    bits.flag(1).signed(-8)  # a list that ends at once: the default one
    bits.flag(0, 0, 0, 0)
    bits.flag(1).signed(2, *[0] * 63)
    bits.flag(0)
    assert picture_size(rest(bits.numbers(0, 2))) == (320, 240)


def test_three_separate_planes_are_cropped_by_the_pixel():
    bits = Bits(244).numbers(0, 3).flag(1).numbers(0, 0).flag(0, 1, *[0] * 12).numbers(0, 2)
    unit = bits.numbers(1).flag(0).numbers(19, 14).flag(1, 1, 1).numbers(1, 2, 3, 4).unit()
    assert picture_size(unit) == (317, 233)


def test_an_order_of_pictures_by_cycle_is_passed_over():
    bits = Bits(66).numbers(0, 0, 1).flag(0).signed(-1, 2).numbers(3).signed(4, -5, 6)
    assert picture_size(rest(bits)) == (320, 240)


@pytest.mark.parametrize(
    "unit",
    [
        b"\x67",
        b"\x67\x42\xc0\x0d\xda",
        b"\x67\x42\xc0\x0d" + bytes(8),  # a number of too many bits
        rest(Bits(66).numbers(0, 0, 1).flag(0).signed(0, 0).numbers(256)),
        rest(Bits(66).numbers(0, 0, 3)),
        rest(Bits(66).numbers(0, 0, 2), width=1025),
        rest(Bits(66).numbers(0, 0, 2), height=1025),
        rest(Bits(66).numbers(0, 0, 2)) + bytes(256),
        Bits(66).numbers(0, 0, 2, 1).flag(0).numbers(0, 0).flag(1, 1, 1).numbers(8, 0, 0, 0).unit(),
        Bits(66).numbers(0, 0, 2, 1).flag(0).numbers(0, 0).flag(1, 1, 1).numbers(0, 0, 9, 0).unit(),
    ],
)
def test_what_cannot_be_a_size_is_none(unit):
    assert picture_size(unit) is None


@given(st.binary(max_size=80))
def test_any_octets_are_a_size_or_none(octets):
    size = picture_size(b"\x67" + octets)
    assert size is None or all(0 < side <= 16_384 for side in size)
