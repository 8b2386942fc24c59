"""One reading of the chains for all who ask at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

_Answer = TypeVar("_Answer")


class SharedReading(Generic[_Answer]):
    """Runs `read` once for everybody who asked before it began.

    Who asks while a reading is under way gets the next one, because only a reading that begins after a request arrived
    shows all that its sender did before. However many ask, there is one under way and one waiting.
    """

    def __init__(self, read: Callable[[], Awaitable[_Answer]]) -> None:
        self._read = read
        self._under_way: asyncio.Task[_Answer] | None = None
        self._next: asyncio.Task[_Answer] | None = None

    async def get(self) -> _Answer:
        """Return what a reading finds that begins now or later; raises what `read` raises."""
        if self._next is None:
            self._next = asyncio.create_task(self._begin_after(self._under_way))
        # Shielded: one of those who wait may be cancelled, and the others still want the answer.
        return await asyncio.shield(self._next)

    async def _begin_after(self, earlier: asyncio.Task[_Answer] | None) -> _Answer:
        if earlier is not None:
            await asyncio.wait([earlier])
        self._under_way, self._next = self._next, None
        return await self._read()

    async def aclose(self) -> None:
        """Cancel what is under way and what waits."""
        tasks = [task for task in (self._under_way, self._next) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
