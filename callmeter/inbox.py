"""Inbox: what arrives and waits for `async for`."""

from __future__ import annotations

import asyncio
from typing import Generic, Self, TypeVar

__all__ = ["Inbox"]

ItemT = TypeVar("ItemT")


class Inbox(Generic[ItemT]):
    """An async iterator over what arrives, in its order, until it is closed.

    Args:
        limit: Items that may wait.
    """

    def __init__(self, limit: int) -> None:
        self._items: asyncio.Queue[ItemT | None] = asyncio.Queue()
        self._limit = limit
        self._closed = False

    def put(self, item: ItemT) -> bool:
        """Add an item; False where none is taken any more."""
        if self._closed or self._items.qsize() >= self._limit:
            return False
        self._items.put_nowait(item)
        return True

    def close(self) -> None:
        """Nothing more will arrive; what waits is still given."""
        if not self._closed:
            self._closed = True
            self._items.put_nowait(None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ItemT:
        item = await self._items.get()
        if item is None:
            # The next one who asks is told the same.
            self._items.put_nowait(None)
            raise StopAsyncIteration
        return item
