"""Leases: one process carries a delegation at a time, and one delegation of an owner asks for a signature at a time.

A lease stands in the row of the journal: who holds it and until when. It is renewed while its process lives, so that
what a killed process held is free a minute later, or at once where it can be seen that the process is gone, and nobody
has to clear anything up.
"""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from chains.errors import ToolkitError

if TYPE_CHECKING:
    from delegation.journal import Journal

LEASE: Final = timedelta(seconds=60)
"""How long a lease holds when it is not renewed."""

BEAT: Final = LEASE / 3
"""How often a living process renews its leases."""

_NUMBERS: Final = count(1)
_HOLDER: Final = re.compile(r"process ([0-9]+) on (.+), [0-9]+", re.ASCII)


def name_holder() -> str:
    """Return a name for one lease: the process, its machine, and a number that no other lease of the process has."""
    return f"process {os.getpid()} on {_machine()}, {next(_NUMBERS)}"


def is_gone(holder: str) -> bool:
    """Return whether it can be seen from here that the process of a lease has ended."""
    named = _HOLDER.fullmatch(holder)
    if named is None or named[2] != _machine():
        return False
    try:
        os.kill(int(named[1]), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False  # it is there, and somebody else's
    return False


@cache
def _machine() -> str:
    """Return where process numbers mean what they mean here: a machine since it was started, or one container of it."""
    try:
        # The number of the first space is the same on every machine, and so may the name of the machine be.
        started = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        space = f" ({started} {Path('/proc/self/ns/pid').stat().st_ino})"
    except OSError:
        space = ""  # no Linux, where a machine has one space of process numbers
    return f"{socket.gethostname()}{space}"


class Heart(Protocol):
    """Calls something again and again, every `BEAT`, while the process lives."""

    def start(self, beat: Callable[[], None]) -> Callable[[], None]:
        """Begin to call `beat`, and return what ends it."""
        ...


class ThreadHeart:
    """One daemon thread for all leases of a process: a question that waits for a person blocks everything else."""

    def __init__(self) -> None:
        self._beats: dict[int, Callable[[], None]] = {}
        self._names = count()
        self._turn = threading.Condition()
        self._thread: threading.Thread | None = None

    def start(self, beat: Callable[[], None]) -> Callable[[], None]:
        """Begin to call `beat`, and return what ends it."""
        name = next(self._names)
        with self._turn:
            self._beats[name] = beat
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="delegation-leases", daemon=True)
                self._thread.start()

        def stop() -> None:
            with self._turn:
                self._beats.pop(name, None)
                self._turn.notify()

        return stop

    def _run(self) -> None:
        while True:
            with self._turn:
                self._turn.wait_for(lambda: not self._beats, timeout=BEAT.total_seconds())
                beats = tuple(self._beats.values())
                if not beats:
                    self._thread = None
                    return
            for beat in beats:
                beat()


@cache
def process_heart() -> ThreadHeart:
    """Return the heart of this process."""
    return ThreadHeart()


@dataclass(slots=True)
class Lease:
    """The right of one process to carry one delegation; `release` gives it back."""

    journal: Journal
    delegation_id: str
    holder: str
    _stop: Callable[[], None] | None = None

    def start(self, heart: Heart) -> None:
        """Renew it from now on for as long as the process lives."""
        self._stop = heart.start(self._renew)

    def _renew(self) -> None:
        try:
            self.journal.renew_lease(self)
        except ToolkitError:
            # The next beat tries again. Should the lease run out meanwhile, whoever takes it over changes the row, and
            # the next save finds that out: nothing rests on the lease alone.
            return

    def release(self) -> None:
        """Give it back, and the owner's lock with it unless something of the delegation is in flight."""
        if self._stop is not None:
            self._stop()
        self.journal.release_lease(self)
