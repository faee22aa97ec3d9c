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

    def __del__(self) -> None:
        if not self._entered:
            text = f"a {type(self).__name__} was never entered: {self.usage}"
            warnings.warn(text, RuntimeWarning, stacklevel=2, source=self)
