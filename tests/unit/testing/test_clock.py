"""Virtual time."""

from __future__ import annotations

import pytest

from callmeter.testing.clock import VirtualClock


def test_time_moves_only_when_told():
    clock = VirtualClock(5.0)
    clock.advance(2.5)
    assert clock.now == 7.5
    clock.advance_to(7.5)
    assert clock.now == 7.5


def test_time_does_not_go_back():
    clock = VirtualClock(5.0)
    with pytest.raises(ValueError, match="does not go back"):
        clock.advance_to(4.9)
