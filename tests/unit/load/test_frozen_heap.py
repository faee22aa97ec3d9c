"""Garbage collection while many calls are up."""

from __future__ import annotations

import gc
import weakref

import pytest

from callmeter.load import frozen_heap


class Ring:
    """Refers to itself."""

    def __init__(self):
        self.itself = self


@pytest.fixture(autouse=True)
def thawed():
    gc.unfreeze()
    yield
    gc.unfreeze()


def test_what_is_there_is_left_out_and_collected_again_afterwards():
    ring = Ring()
    watched = weakref.ref(ring)
    with frozen_heap():
        assert gc.get_freeze_count() > 0
        del ring
        gc.collect()
        assert watched() is not None
    assert gc.get_freeze_count() == 0
    gc.collect()
    assert watched() is None


def test_what_comes_later_is_collected_as_ever():
    with frozen_heap():
        watched = weakref.ref(Ring())
        gc.collect()
        assert watched() is None


def test_garbage_from_before_is_not_frozen():
    watched = weakref.ref(Ring())
    with frozen_heap():
        assert watched() is None


def test_the_outer_block_thaws():
    with frozen_heap():
        with frozen_heap():
            pass
        assert gc.get_freeze_count() > 0
    assert gc.get_freeze_count() == 0


def test_an_error_in_the_block_thaws_too():
    with pytest.raises(ZeroDivisionError), frozen_heap():
        _ = 1 / 0
    assert gc.get_freeze_count() == 0
