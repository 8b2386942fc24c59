"""Progress on stderr: the station and the elapsed time while the line waits; a spinner where a person is looking."""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import suppress
from itertools import cycle
from typing import TextIO

_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_PERIOD = 0.1  # seconds
_WIDTH = 80  # of a terminal that does not say


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a person is at a stream; there is none at all where the shell has closed it."""
    return stream is not None and stream.isatty()


class Progress:
    """Shows what is being done; where stderr is not a terminal, a line of its own for everything that is begun."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet or sys.stderr is None
        self._spins = not quiet and is_terminal(sys.stderr)
        self._words = ""
        self._since = 0.0
        self._lock = threading.Lock()
        self._spinner: threading.Thread | None = None

    def __call__(self, station: str, words: str) -> None:
        """Show what is being done now, until the next call or `pause`."""
        shown = words if words.startswith(station) else f"{station}: {words}"
        if not self._spins:
            if not self._quiet:
                _write(f"{shown}\n")
            return
        with self._lock:
            self._words, self._since = shown, time.monotonic()
        if self._spinner is None:
            self._spinner = threading.Thread(target=self._spin, daemon=True)
            self._spinner.start()

    def pause(self) -> None:
        """Leave the terminal to other words, until the next thing is done."""
        with self._lock:
            if self._words:
                self._words = ""
                _write("\r\x1b[2K")

    def _spin(self) -> None:
        for frame in cycle(_FRAMES):
            with self._lock:
                if self._words:
                    elapsed = f" ({time.monotonic() - self._since:.0f} s)"
                    # A line that wraps could not be wiped out again.
                    room = (os.get_terminal_size(sys.stderr.fileno()).columns or _WIDTH) - len(elapsed) - 3
                    _write(f"\r\x1b[2K{frame} {self._words[: max(room, 0)]}{elapsed}")
            time.sleep(_PERIOD)


def _write(text: str) -> None:
    # Nobody who stopped listening to progress stops what was begun: something may be signed already.
    with suppress(OSError):
        sys.stderr.write(text)
        sys.stderr.flush()
