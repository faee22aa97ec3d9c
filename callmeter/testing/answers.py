"""What becomes of the calls to a phone: the argument `answer=` of the fixture `endpoint`."""

from __future__ import annotations

import inspect
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from callmeter.errors import CallmeterError, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from callmeter.incoming_call import IncomingCall

    Answer = bool | int | Callable[[IncomingCall], Awaitable[object]]

__all__ = ["answer_by", "check_answer", "end_call"]

LEAST_REFUSAL: Final = 300
LARGEST_REFUSAL: Final = 699
WANTED: Final = (
    "answer= is True, False, a status from 300 to 699, or an async function that takes the "
    "incoming call"
)


def check_answer(answer: object) -> None:
    """See that calls can be taken so, before the first one comes and rings in vain.

    Args:
        answer: As the fixture `endpoint` takes it.

    Raises:
        ConfigurationError: They cannot.
    """
    if isinstance(answer, bool):
        return
    if isinstance(answer, int):
        if not LEAST_REFUSAL <= answer <= LARGEST_REFUSAL:
            raise ConfigurationError(f"{WANTED}, not {answer}")
        return
    generates = inspect.isgeneratorfunction(answer) or inspect.isasyncgenfunction(answer)
    if not callable(answer) or inspect.isclass(answer):
        is_status = isinstance(answer, str) and answer.isdecimal()
        hint = f": did you mean {answer}?" if is_status else ""
        raise ConfigurationError(f"{WANTED}, not {answer!r}{hint}")
    if generates:
        raise ConfigurationError(f"{WANTED}; {_name(answer)} is a generator: it has a yield")
    if not _takes_one(answer):
        raise ConfigurationError(f"{WANTED}; {_name(answer)} cannot be called with it alone")


async def answer_by(
    answer: Callable[[IncomingCall], Awaitable[object]], call: IncomingCall
) -> None:
    """Give a call to a function of the test.

    Args:
        answer: The function.
        call: The call.

    Raises:
        ConfigurationError: It is a plain function that leaves nothing to wait for.
    """
    # Only the call shows it: a plain function, such as a lambda, may return a coroutine.
    waited: Any = answer(call)
    if not inspect.isawaitable(waited):
        raise ConfigurationError(
            f"{WANTED}; {_name(answer)} is a plain function that returned {waited!r}: write "
            "`async def`"
        )
    await waited


async def end_call(call: IncomingCall, reason: str, *, answered: bool = True) -> None:
    """End a call of which nobody takes care any more: the caller would ring until it gives up.

    Args:
        call: The call.
        reason: Why, for the caller to read where the call is not answered yet.
        answered: Whether to hang up one that is answered too.
    """
    if call.over:
        return
    # It may end by itself meanwhile.
    with suppress(CallmeterError):
        if not call.server_session.answered:
            call.reject(500, reason)
        elif answered:
            await call.bye()


def _takes_one(function: Callable[..., object]) -> bool:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return True  # Some functions in C do not tell.
    try:
        signature.bind(None)
    except TypeError:
        return False
    return True


def _name(function: object) -> str:
    return str(getattr(function, "__qualname__", None) or repr(function)).split("<locals>.")[-1]
