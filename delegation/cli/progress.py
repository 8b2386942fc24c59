"""Progress on stderr: the station and the elapsed time while the line waits; a spinner where a person is looking."""

from __future__ import annotations

import sys
import threading
import time
from itertools import cycle
from typing import Self

_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


class Progress:
    """Shows what the line is doing; a line of its own for every station where stderr is not a terminal."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._spins = not quiet and sys.stderr.isatty()
        self._words = ""
        self._since = time.monotonic()
        self._paused = threading.Event()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._spin, daemon=True)

    def __enter__(self) -> Self:
        if self._spins:
            self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        if self._spins:
            self._thread.join()
            self._erase()

    def __call__(self, station: str, words: str) -> None:
        """Show what is being done now."""
        self._words = f"{station}: {words}"
        self._since = time.monotonic()
        self._paused.clear()
        if not self._spins and not self._quiet:
            sys.stderr.write(self._words + "\n")
            sys.stderr.flush()

    def pause(self) -> None:
        """Leave the line to a question, until the next thing is done."""
        self._paused.set()
        if self._spins:
            time.sleep(0.15)
            self._erase()

    def _spin(self) -> None:
        for frame in cycle(_FRAMES):
            if self._done.wait(0.1):
                return
            if self._words and not self._paused.is_set():
                sys.stderr.write(f"\r\x1b[2K{frame} {self._words} ({time.monotonic() - self._since:.0f} s)")
                sys.stderr.flush()

    def _erase(self) -> None:
        sys.stderr.write("\r\x1b[2K")
        sys.stderr.flush()
