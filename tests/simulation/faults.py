"""What goes wrong: faults on the way to a node or to the platform, and processes that die.

Drawn per life: none, 5 % or 30 % of the attempts at a call fail. A crash is a `BaseException`, raised before or after
any call or any write of the journal; then the journal is all that is left of that process.
"""

from __future__ import annotations

from enum import Enum
from random import Random
from typing import Final


class CrashError(BaseException):
    """The process dies here."""


class Fault(Enum):
    """What happens to one attempt at a call."""

    NONE = "answered"
    LOST_BEFORE = "lost on the way there"
    LOST_AFTER = "done, and its answer lost"
    BUSY = "refused as busy"
    DELAY = "delayed"


_KINDS: Final = (Fault.LOST_BEFORE, Fault.LOST_AFTER, Fault.BUSY, Fault.DELAY)


class Faults:
    """Draws what happens to each attempt; `on` until the faults end."""

    def __init__(self, rng: Random, rate: float) -> None:
        self._rng = rng
        self.rate = rate
        self.on = True

    def draw(self) -> Fault:
        """Return what happens to one attempt at a call."""
        if not self.on or self._rng.random() >= self.rate:
            return Fault.NONE
        return _KINDS[int(self._rng.random() * len(_KINDS))]

    def happens(self, chance: float) -> bool:
        """Return whether something happens that does so with this chance, while there are faults."""
        return self.on and self._rng.random() < chance

    def latency(self) -> float:
        """Return how long one way takes, in seconds; half of them take no time, which saves a turn of the loop."""
        drawn = self._rng.random()
        return 0.0 if drawn < 0.5 else 0.01 + 1.6 * (drawn - 0.5) ** 2


class Process:
    """One process of the user: everything that it does goes through `step`, where it may die."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.dies_in: int | None = None
        self.leases = 0

    def name_holder(self) -> str:
        """Return a name for one lease of this process."""
        self.leases += 1
        return f"{self.name}, {self.leases}"

    def step(self) -> None:
        """Go one step on; raises `CrashError` if the process dies at it, or is dead."""
        if not self.alive:
            raise CrashError
        if self.dies_in is not None:
            self.dies_in -= 1
            if self.dies_in <= 0:
                self.alive = False
                raise CrashError

    def restart(self) -> None:
        """Start the process again; what it held in memory is gone."""
        self.alive, self.dies_in = True, None
