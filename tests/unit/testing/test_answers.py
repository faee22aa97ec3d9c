"""Which ways to take calls there are, and what becomes of a call that nobody takes care of."""

from __future__ import annotations

import functools
from http import HTTPStatus
from unittest.mock import AsyncMock

import pytest

from callmeter.errors import ConfigurationError, LocalProtocolError
from callmeter.testing.answers import answer_by, check_answer, end_call


class FakeCall:
    """What is asked of an incoming call."""

    def __init__(self, *, answered=False, over=False):
        self.answered = answered
        self.over = over
        self.server_session = self
        self.did = []

    def reject(self, status, reason):
        self.did.append((status, reason))

    async def bye(self):
        self.did.append("bye")


class Taker:
    """An object and a method that take calls."""

    async def __call__(self, incoming):
        """Take a call."""

    async def take(self, incoming, ring=True):  # noqa: FBT002  as users write it
        """Take a call."""


async def take(incoming):
    return incoming


def take_later(incoming):
    return take(incoming)


async def take_none():
    pass


async def take_two(incoming, other):
    pass


async def generate(incoming):
    yield incoming


def generate_plainly(incoming):
    yield incoming


def take_plainly(incoming):
    incoming.reject(486, None)


@pytest.mark.parametrize(
    "answer",
    [
        True,
        False,
        300,
        486,
        699,
        HTTPStatus.NOT_FOUND,
        take,
        Taker(),
        Taker().take,
        AsyncMock(),
        functools.partial(take_two, other=1),
        take_later,
    ],
)
def test_what_can_take_calls_is_accepted(answer):
    check_answer(answer)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("486", "not '486': did you mean 486"),
        ("yes", "not 'yes'$"),
        (None, "not None"),
        (4.86, r"not 4\.86"),
        (200, "not 200"),
        (700, "not 700"),
        (Taker, "not <class"),
        (take_none, "take_none cannot be called with it alone"),
        (take_two, "take_two cannot be called with it alone"),
        (generate, "generate is a generator: it has a yield"),
        (generate_plainly, "generate_plainly is a generator"),
    ],
)
def test_what_cannot_take_calls_is_refused_with_what_can(answer, told):
    with pytest.raises(ConfigurationError, match=told) as refused:
        check_answer(answer)
    assert "an async function that takes the incoming call" in str(refused.value)


def test_a_function_that_does_not_tell_its_parameters_is_taken_at_its_word():
    check_answer(iter)


async def test_a_plain_function_may_return_a_coroutine():
    await answer_by(take_later, FakeCall())


async def test_a_plain_function_that_leaves_nothing_to_wait_for_is_told_in_words():
    call = FakeCall()
    told = "take_plainly is a plain function that returned None: write `async def`"
    with pytest.raises(ConfigurationError, match=told):
        await answer_by(take_plainly, call)
    assert call.did == [(486, None)]


async def test_a_call_that_rings_is_refused_with_the_reason():
    call = FakeCall()
    await end_call(call, "because", answered=False)
    assert call.did == [(500, "because")]


async def test_a_call_that_is_answered_is_hung_up_where_that_is_asked_for():
    call = FakeCall(answered=True)
    await end_call(call, "because", answered=False)
    assert call.did == []
    await end_call(call, "because")
    assert call.did == ["bye"]


async def test_a_call_that_is_over_or_ends_meanwhile_is_left_alone(monkeypatch):
    call = FakeCall(over=True)
    await end_call(call, "because")
    assert call.did == []
    ending = FakeCall()

    def cancelled(status, reason):
        raise LocalProtocolError("the call is over")

    monkeypatch.setattr(ending, "reject", cancelled)
    await end_call(ending, "because")
