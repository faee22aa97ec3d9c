from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from callmeter.rtp.run_length import chunks_of, flags_of, numbers_reported

runs = st.lists(st.tuples(st.booleans(), st.integers(1, 40)), max_size=30).map(
    lambda parts: [bit for bit, length in parts for _ in range(length)]
)


@given(runs)
def test_what_was_encoded_is_read_back_in_chunks_that_are_never_null(flags):
    chunks = chunks_of(flags)
    assert 0 not in chunks
    assert flags_of(chunks, len(flags)) == flags


def test_a_run_longer_than_its_field_takes_two_chunks():
    chunks = chunks_of([True] * 20_000)
    assert chunks == (0x4000 | 0x3FFF, 0x4000 | 20_000 - 0x3FFF)
    assert flags_of(chunks, 20_000) == [True] * 20_000


def test_short_runs_are_bits_and_long_ones_are_counted():
    assert chunks_of([True] * 3 + [False] + [True] * 40) == (0xF7FF, 0x4000 | 29)


def test_chunks_tell_no_more_than_was_asked():
    assert flags_of([0x3FFF, 0x3FFF], 5) == [False] * 5
    assert flags_of([0xFFFF, 0x4005], 18) == [True] * 18
    assert flags_of([0x8000], 3) == [False] * 3


def test_thinning_leaves_the_multiples_of_its_power():
    assert list(numbers_reported(3, 13, 2)) == [4, 8, 12]
    assert list(numbers_reported(65_534, 2, 0)) == [65_534, 65_535, 65_536, 65_537]
    assert list(numbers_reported(65_533, 9, 2)) == [65_536, 65_540, 65_544]
