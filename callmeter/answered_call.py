"""AnsweredCall: a call for the length of an `async with` block."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, ClassVar

from callmeter.async_block import AsyncBlock
from callmeter.call import Call

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from types import TracebackType

__all__ = ["AnsweredCall"]


class AnsweredCall(AsyncBlock, AbstractAsyncContextManager[Call, None]):
    """What `endpoint.call` gives: the INVITE leaves on entry, and on exit the call is hung up."""

    usage: ClassVar[str] = (
        "write `async with endpoint.call(...) as call`, or `await endpoint.invite(...)` for a call "
        "that rings"
    )

    def __init__(
        self, inviting: Coroutine[object, object, Call], ring_timeout: float | None
    ) -> None:
        self._inviting = inviting
        self._ring_timeout = ring_timeout
        self._call: Call | None = None

    async def __aenter__(self) -> Call:
        self._entered = True
        self._call = call = await self._inviting
        try:
            await call.answered(self._ring_timeout)
        except BaseException:
            await call.bye()
            raise
        return call

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._call is not None:
            await self._call.__aexit__(kind, error, traceback)

    def _discard(self) -> None:
        self._inviting.close()
