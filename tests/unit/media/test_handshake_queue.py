"""Steps of handshakes: some at once, the others turn by turn."""

from __future__ import annotations

import pytest

from callmeter.media.handshake_queue import MAX_WAITING, STEPS_PER_TURN, HandshakeQueue


@pytest.fixture
def turns():
    return []


@pytest.fixture
def queue(turns):
    return HandshakeQueue(turns.append)


def take_turn(turns):
    callbacks, turns[:] = turns[:], []
    for callback in callbacks:
        callback()


def test_the_first_steps_are_taken_at_once_and_the_others_in_later_turns(queue, turns):
    taken = []
    for number in range(2 * STEPS_PER_TURN + 3):
        queue.add(lambda number=number: taken.append(number))
    assert taken == list(range(STEPS_PER_TURN))
    assert len(turns) == 1
    take_turn(turns)
    assert len(taken) == 2 * STEPS_PER_TURN
    take_turn(turns)
    assert taken == list(range(2 * STEPS_PER_TURN + 3))
    assert len(queue) == 0
    take_turn(turns)
    assert turns == []


def test_a_step_waits_behind_those_that_came_before_it(queue, turns):
    taken = []
    for number in range(STEPS_PER_TURN + 1):
        queue.add(lambda number=number: taken.append(number))
    queue._left = 1
    queue.add(lambda: taken.append("late"))
    take_turn(turns)
    assert taken[-2:] == [STEPS_PER_TURN, "late"]


def test_a_full_queue_loses_what_comes_on_top(queue, turns):
    for _ in range(STEPS_PER_TURN + MAX_WAITING + 5):
        queue.add(lambda: None)
    assert (len(queue), queue.lost) == (MAX_WAITING, 5)


def test_what_waits_can_be_forgotten(queue, turns):
    taken = []
    for _ in range(STEPS_PER_TURN + 2):
        queue.add(lambda: taken.append(1))
    queue.clear()
    take_turn(turns)
    assert len(taken) == STEPS_PER_TURN
    assert turns == []


def test_a_step_that_fails_holds_up_no_other(queue, turns):
    taken = []

    def fail():
        raise ValueError("broken")

    for _ in range(STEPS_PER_TURN):
        queue.add(lambda: None)
    queue.add(fail)
    queue.add(lambda: taken.append("next"))
    with pytest.raises(ValueError, match="broken"):
        take_turn(turns)
    take_turn(turns)
    assert taken == ["next"]
