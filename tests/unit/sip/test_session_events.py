"""Effects and events of a user agent."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from typing import get_args

import pytest

from callmeter.sip import session_events
from callmeter.sip.session_events import CancelRequest, Event, Order


def test_every_effect_is_a_frozen_value_of_the_union():
    kinds = {*get_args(Order), *get_args(Event)}
    assert {kind.__name__ for kind in kinds} | {"Effect", "Event", "Order"} == set(
        session_events.__all__
    )
    for kind in kinds:
        assert "__slots__" in vars(kind)
    with pytest.raises(FrozenInstanceError):
        CancelRequest(1).token = 2


def test_the_first_field_of_an_event_is_what_it_is_about():
    for kind in get_args(Event):
        assert fields(kind)[0].name in {"session", "usage", "token"}
