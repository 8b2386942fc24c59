"""Live one life again, or many: `python -m tests.simulation SEED [-v]`, `python -m tests.simulation FIRST COUNT`."""

from __future__ import annotations

import sys
import time
from collections import Counter

from .invariants import SENTENCES
from .run import run_seed


def main(arguments: list[str]) -> int:
    """Print what came of the seeds; returns 1 if an invariant did not hold."""
    verbose = "-v" in arguments
    numbers = [int(argument) for argument in arguments if argument != "-v"]
    first, count = numbers[0], numbers[1] if len(numbers) > 1 else 1
    broken: Counter[int] = Counter()
    example: dict[int, tuple[int, str]] = {}
    outcomes: Counter[str] = Counter()
    virtual, started = 0.0, time.perf_counter()
    for seed in range(first, first + count):
        life = run_seed(seed, verbose=verbose)
        for event in life.events:
            print(event)
        outcomes.update(life.outcomes)
        virtual += life.seconds
        for number in {violation.invariant for violation in life.violations}:
            broken[number] += 1
        for violation in life.violations:
            example.setdefault(violation.invariant, (seed, violation.what))
    took = time.perf_counter() - started
    print(f"{count} seeds in {took:.1f} s, {count / took:.0f} a second, {virtual / took:,.0f} times real time")
    print(", ".join(f"{outcome} {number}" for outcome, number in outcomes.most_common()))
    for number in sorted(broken):
        seed, what = example[number]
        print(f"invariant {number} ({SENTENCES[number]}) broken in {broken[number]}; first seed {seed}: {what}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
