"""The size of the picture in a sequence parameter set (ITU-T H.264 section 7.3.2.1.1)."""

from __future__ import annotations

from typing import Final

__all__ = ["picture_size"]

_MAX_OCTETS: Final = 256
"""Those with scaling matrices of their own have two hundred."""
_MAX_LEADING_ZEROS: Final = 31
_MAX_REFERENCE_CYCLE: Final = 255
_MAX_SIDE: Final = 16_384
_MACROBLOCK: Final = 16
_CHROMA_420: Final = 1
_CHROMA_422: Final = 2
_CHROMA_444: Final = 3
_SMALL_LISTS: Final = 6
_SMALL_LIST: Final = 16
_LARGE_LIST: Final = 64
_HIGH_PROFILES: Final = frozenset({44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244})
_NO_PICTURE_ORDER_TYPE: Final = 3


class _Bits:
    """Reads bits from the front; past the end it raises `ValueError`."""

    __slots__ = ("_left", "_value")

    def __init__(self, octets: bytes) -> None:
        self._value = int.from_bytes(octets, "big")
        self._left = 8 * len(octets)

    def read(self, count: int) -> int:
        """An unsigned number of so many bits."""
        self._left -= count
        if self._left < 0:
            raise ValueError("the parameter set ends early")
        return self._value >> self._left & ((1 << count) - 1)

    def unsigned(self) -> int:
        """An Exp-Golomb number (section 9.1)."""
        zeros = 0
        while not self.read(1):
            zeros += 1
            if zeros > _MAX_LEADING_ZEROS:
                raise ValueError("a number of more than 32 bits")
        return (1 << zeros) - 1 + self.read(zeros)

    def signed(self) -> int:
        """A signed Exp-Golomb number (section 9.1.1)."""
        number = self.unsigned()
        return (number + 1) // 2 if number & 1 else -(number // 2)


def picture_size(unit: bytes) -> tuple[int, int] | None:
    """Width and height in pixels after cropping.

    Args:
        unit: The NAL unit, its header included.

    Returns:
        The size; None when it cannot be read.
    """
    if len(unit) > _MAX_OCTETS:
        return None
    # Section 7.4.1: an octet 3 after two zeros is no content.
    bits = _Bits(unit[1:].replace(b"\0\0\3", b"\0\0"))
    try:
        width, height = _read_size(bits)
    except ValueError:
        return None
    if 0 < width <= _MAX_SIDE and 0 < height <= _MAX_SIDE:
        return width, height
    return None


def _read_size(bits: _Bits) -> tuple[int, int]:
    profile = bits.read(8)
    bits.read(16)  # constraint flags and level
    bits.unsigned()  # seq_parameter_set_id
    chroma = _skip_chroma(bits) if profile in _HIGH_PROFILES else _CHROMA_420
    bits.unsigned()  # log2_max_frame_num_minus4
    _skip_picture_order(bits)
    bits.unsigned()  # max_num_ref_frames
    bits.read(1)  # gaps_in_frame_num_value_allowed_flag
    width = _MACROBLOCK * (bits.unsigned() + 1)
    map_units = bits.unsigned() + 1
    frames_only = bits.read(1)
    fields = 2 - frames_only
    height = _MACROBLOCK * map_units * fields
    if not frames_only:
        bits.read(1)  # mb_adaptive_frame_field_flag
    bits.read(1)  # direct_8x8_inference_flag
    if bits.read(1):
        left, right, top, bottom = (bits.unsigned() for _ in range(4))
        across = 2 if chroma in {_CHROMA_420, _CHROMA_422} else 1
        down = fields * (2 if chroma == _CHROMA_420 else 1)
        width -= across * (left + right)
        height -= down * (top + bottom)
    return width, height


def _skip_chroma(bits: _Bits) -> int:
    """What only the high profiles say; returns the chroma format, 0 for planes of their own."""
    chroma = bits.unsigned()
    separate = chroma == _CHROMA_444 and bits.read(1)
    bits.unsigned()  # bit_depth_luma_minus8
    bits.unsigned()  # bit_depth_chroma_minus8
    bits.read(1)  # qpprime_y_zero_transform_bypass_flag
    if bits.read(1):
        for number in range(12 if chroma == _CHROMA_444 else 8):
            if bits.read(1):
                _skip_scaling_list(bits, _SMALL_LIST if number < _SMALL_LISTS else _LARGE_LIST)
    return 0 if separate else chroma


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.signed()) % 256
        last = following or last


def _skip_picture_order(bits: _Bits) -> None:
    kind = bits.unsigned()
    if kind == 0:
        bits.unsigned()  # log2_max_pic_order_cnt_lsb_minus4
    elif kind == 1:
        bits.read(1)  # delta_pic_order_always_zero_flag
        bits.signed()  # offset_for_non_ref_pic
        bits.signed()  # offset_for_top_to_bottom_field
        cycle = bits.unsigned()
        if cycle > _MAX_REFERENCE_CYCLE:
            raise ValueError("more reference frames than there can be")
        for _ in range(cycle):
            bits.signed()
    elif kind >= _NO_PICTURE_ORDER_TYPE:
        raise ValueError("a picture order of no known type")
