"""The same rounds for every peer in Python, so that all are timed in the same way; viem_peer.mjs does as this does."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

Case = dict[str, Any]


def serve(parse: Callable[[Case], bool], verify: Callable[[Case], bool], arguments: list[str]) -> None:
    """Answer for the statements in a file, one JSON line each, until stdin ends; `arguments` are file and seconds.

    The first line says how many of the genuine and of the forged ones are verified. After that each line `parse` or
    `verify` on stdin is a round of so many seconds over the genuine ones, again and again; it is answered with how many
    were done, how many of them with a yes, and the seconds it took.
    """
    cases, least = json.loads(Path(arguments[0]).read_text()), float(arguments[1])
    _say(genuine=sum(map(verify, cases["genuine"])), forged=sum(map(verify, cases["forged"])))
    endless = cycle(cases["genuine"])
    for line in sys.stdin:
        task = {"parse": parse, "verify": verify}[line.strip()]
        done = yes = 0
        started = time.perf_counter()
        while (seconds := time.perf_counter() - started) < least:
            yes += task(next(endless))
            done += 1
        _say(done=done, yes=yes, seconds=seconds)


def _say(**answer: float) -> None:
    print(json.dumps(answer), flush=True)
