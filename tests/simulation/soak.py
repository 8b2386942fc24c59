"""Live many lives on all cores: `python -m tests.simulation.soak FIRST COUNT`; says which seeds broke an invariant."""

# ruff: noqa: T201 - it talks to a person on the terminal

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Final

from .invariants import SENTENCES
from .run import Life, run_seed

_CHUNK: Final = 200


def live(first: int, count: int) -> tuple[list[Life], Counter[str], float]:
    """Return the lives that broke an invariant, how all calls ended, and the virtual seconds of all lives."""
    broken: list[Life] = []
    outcomes: Counter[str] = Counter()
    seconds = 0.0
    for seed in range(first, first + count):
        life = run_seed(seed)
        outcomes.update(life.outcomes)
        seconds += life.seconds
        if life.violations:
            broken.append(life)
    return broken, outcomes, seconds


def live_on_all_cores(first: int, count: int) -> Iterator[tuple[list[Life], Counter[str], float]]:
    """Give what `live` returns, chunk by chunk, in the order of the seeds."""
    starts = range(first, first + count, _CHUNK)
    counts = [min(_CHUNK, first + count - start) for start in starts]
    # Not forked: the parent may be a test run with threads.
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(live, starts, counts)


def main(arguments: list[str]) -> int:
    """Print what came of the seeds; returns 1 if an invariant did not hold, 2 for bad usage."""
    if len(arguments) != 2 or not all(argument.isdigit() for argument in arguments) or int(arguments[1]) == 0:
        print(__doc__, file=sys.stderr)
        return 2
    first, count = map(int, arguments)
    lives: list[Life] = []
    outcomes: Counter[str] = Counter()
    virtual, started = 0.0, time.perf_counter()
    for broken, ended, seconds in live_on_all_cores(first, count):
        if broken and not lives:
            _tell_first(broken[0])
        lives += broken
        outcomes.update(ended)
        virtual += seconds
    took = time.perf_counter() - started
    print(f"{count} seeds in {took:.1f} s: {count / took:.0f} a second, {virtual / took:,.0f} times real time.")
    print("How the calls ended: " + ", ".join(f"{outcome} {number}" for outcome, number in outcomes.most_common()))
    for number, sentence in SENTENCES.items():
        seeds = [life.seed for life in lives if any(violation.invariant == number for violation in life.violations)]
        if seeds:
            print(f"Invariant {number} ({sentence}) did not hold in {len(seeds)}: {', '.join(map(str, seeds[:12]))}")
    if not lives:
        print("Every invariant held.")
    return 1 if lives else 0


def _tell_first(life: Life) -> None:
    print(f"The first seed that fails is {life.seed}; live it again with: python -m tests.simulation {life.seed} -v")
    for violation in life.violations:
        print(f"  invariant {violation.invariant}: {violation.what}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
