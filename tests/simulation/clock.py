"""An event loop on a virtual clock: it never waits, but moves its own time on to whatever happens next."""

from __future__ import annotations

import asyncio
from asyncio.base_events import BaseEventLoop
from datetime import UTC, datetime, timedelta
from typing import Any, Final

BIRTH: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""When every simulated life begins."""


class StuckError(Exception):
    """Nothing can ever happen any more, or the same goes on for ever: the code under test waits for nothing."""


class _Selector:
    """Stands where a loop waits for sockets: there are none, and the time until the next timer passes at once."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            raise StuckError("nothing can ever happen: every task waits, and no timer is set")
        if timeout > 0:
            self._loop.virtual_time += timeout
        return []

    def close(self) -> None:
        """There is nothing to close."""


class VirtualLoop(BaseEventLoop):
    """A loop whose `time` is virtual; in seconds since the life began."""

    def __init__(self) -> None:
        super().__init__()
        self.virtual_time = 0.0
        self._selector = _Selector(self)
        self._clock_resolution = 1e-9

    def time(self) -> float:
        """Return the virtual seconds since the life began."""
        return self.virtual_time

    def now(self) -> datetime:
        """Return the virtual time as a date."""
        return BIRTH + timedelta(seconds=self.virtual_time)

    def _process_events(self, event_list: list[Any]) -> None:
        """There are no events of sockets."""

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
