"""AsyncBlock: what is used by `async with` alone, and says so when it is not."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, ClassVar

from callmeter.errors import LocalProtocolError

if TYPE_CHECKING:
    from typing import NoReturn

__all__ = ["AsyncBlock"]


class AsyncBlock:
    """Base of what lives for the length of an `async with` block.

    Who forgets the block gets an error for `await`, and else the warning that a coroutine gives
    when it is never awaited: nothing was sent.
    """

    usage: ClassVar[str]
    """How it is written."""
    _entered = False

    if not TYPE_CHECKING:  # a type checker finds this by itself

        def __await__(self) -> NoReturn:
            self._entered = True
            raise LocalProtocolError(f"this is a block, and nothing to await: {self.usage}")

    def _discard(self) -> None:
        """Let go of what waits for the entry; `__del__` itself is not overridden.

        So the warning is about the line that dropped the block.
        """

    def __del__(self) -> None:
        self._discard()
        if not self._entered:
            text = f"this {type(self).__name__} was never entered: {self.usage}"
            warnings.warn(text, RuntimeWarning, stacklevel=2)
