"""Blocks that are not used as such."""

from __future__ import annotations

import asyncio
from typing import ClassVar

import pytest

from callmeter.async_block import AsyncBlock
from callmeter.errors import LocalProtocolError


class Door(AsyncBlock):
    usage: ClassVar[str] = "write `async with door`"

    async def __aenter__(self):
        self._entered = True

    async def __aexit__(self, *_):
        pass


def test_a_block_that_is_never_entered_says_how_it_is_written():
    with pytest.warns(
        RuntimeWarning, match="this Door was never entered: write `async with door`"
    ) as warned:
        Door()
    assert warned[0].filename == __file__


def test_a_block_that_is_awaited_says_how_it_is_written():
    async def forgetful():
        await Door()

    with pytest.raises(LocalProtocolError, match="nothing to await: write `async with door`"):
        asyncio.run(forgetful())


def test_a_block_that_was_entered_says_nothing():
    async def careful():
        async with Door():
            pass

    asyncio.run(careful())
