"""An event loop on a virtual clock: it never waits, but moves its own time on to whatever happens next."""

from __future__ import annotations

import asyncio
from asyncio.base_events import BaseEventLoop
from collections import deque
from datetime import UTC, datetime, timedelta
from heapq import heappop
from typing import Any, Final

BIRTH: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""When every simulated life begins."""


class StuckError(Exception):
    """Nothing can ever happen any more, or the same goes on for ever: the code under test waits for nothing."""


class VirtualLoop(BaseEventLoop):
    """A loop whose `time` is virtual; in seconds since the life began."""

    def __init__(self) -> None:
        super().__init__()
        self.virtual_time = 0.0
        self._ready: deque[asyncio.Handle]
        self._scheduled: list[asyncio.TimerHandle]

    def time(self) -> float:
        """Return the virtual seconds since the life began."""
        return self.virtual_time

    def now(self) -> datetime:
        """Return the virtual time as a date."""
        return BIRTH + timedelta(seconds=self.virtual_time)

    def _run_once(self) -> None:
        """Run what is ready; if nothing is, move the time on to the next timer. There are no sockets to wait for."""
        ready, scheduled = self._ready, self._scheduled
        if not ready:
            while scheduled and scheduled[0].cancelled():
                heappop(scheduled)._scheduled = False
            if not scheduled:
                raise StuckError("nothing can ever happen: every task waits, and no timer is set")
            self.virtual_time = max(self.virtual_time, scheduled[0].when())
        while scheduled and scheduled[0].when() <= self.virtual_time:
            timer = heappop(scheduled)
            timer._scheduled = False
            ready.append(timer)
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle.cancelled():
                handle._run()

    def _write_to_self(self) -> None:
        """No other thread ever wakes this loop."""


def run_virtually(loop: VirtualLoop, main: Any) -> Any:
    """Run a coroutine to its end on the virtual clock, as `asyncio.run` does; what it left running is cancelled."""
    try:
        return loop.run_until_complete(main)
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.close()
