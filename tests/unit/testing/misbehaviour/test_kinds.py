"""What there is to do wrong."""

from __future__ import annotations

import pytest

from callmeter.srtp.protection_profiles import profile
from callmeter.testing.misbehaviour.kinds import SUITE_SPELLING, Misbehaviour


@pytest.mark.parametrize("kind", Misbehaviour)
def test_each_has_an_identifier_and_a_description_with_its_measure(kind):
    assert kind.value == kind.name.lower()
    assert Misbehaviour(kind.value) is kind
    assert ("`amount`" in kind.does) == bool(kind.amount)


def test_the_misspelt_suite_is_understood_and_not_written_here():
    right, wrong = map(profile, SUITE_SPELLING)
    assert right is wrong
    assert right.name == SUITE_SPELLING[0]
