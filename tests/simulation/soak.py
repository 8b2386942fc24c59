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
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import delegation.context
from delegation.lifecycle import TRANSITIONS, Event, State

from .invariants import SENTENCES
from .run import Life, run_seed

_CHUNK: Final = 200

Transition = tuple[State | None, Event]


@dataclass(slots=True)
class Lives:
    """What came of many lives: those that broke an invariant, how all calls ended, virtual seconds, and the transitions
    of the state table that were taken."""

    broken: list[Life] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    taken: set[Transition] = field(default_factory=set)

    def add(self, other: Lives) -> None:
        """Add what came of others."""
        self.broken += other.broken
        self.outcomes.update(other.outcomes)
        self.seconds += other.seconds
        self.taken |= other.taken


def live(first: int, count: int) -> Lives:
    """Return what came of the lives of `count` seeds."""
    lives = Lives()
    with recording(lives.taken):
        for seed in range(first, first + count):
            life = run_seed(seed)
            lives.outcomes.update(life.outcomes)
            lives.seconds += life.seconds
            # What ends together with the one that takes its place is saved without being asked for.
            lives.taken.update((state, "supersede") for state in life.ended_with)
            if life.violations:
                lives.broken.append(life)
    return lives


@contextmanager
def recording(taken: set[Transition]) -> Iterator[None]:
    """Note every transition of the state table that the line takes."""
    original = delegation.context.next_state

    def follow(state: State | None, event: Event) -> State:
        after = original(state, event)
        taken.add((state, event))
        return after

    delegation.context.next_state = follow  # type: ignore[attr-defined]
    try:
        yield
    finally:
        delegation.context.next_state = original  # type: ignore[attr-defined]


def live_on_all_cores(first: int, count: int) -> Iterator[Lives]:
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
    lives, started = Lives(), time.perf_counter()
    for chunk in live_on_all_cores(first, count):
        if chunk.broken and not lives.broken:
            _tell_first(chunk.broken[0])
        lives.add(chunk)
    took = time.perf_counter() - started
    print(f"{count} seeds in {took:.1f} s: {count / took:.0f} a second, {lives.seconds / took:,.0f} times real time.")
    ends = ", ".join(f"{outcome} {number}" for outcome, number in lives.outcomes.most_common())
    print(f"How the calls ended: {ends}")
    missing = sorted(f"{event} from {state or 'nothing'}" for state, event in TRANSITIONS.keys() - lives.taken)
    print(f"Transitions that no life took: {', '.join(missing)}" if missing else "Every transition was taken.")
    for number, sentence in SENTENCES.items():
        seeds = [life.seed for life in lives.broken if any(each.invariant == number for each in life.violations)]
        if seeds:
            print(f"Invariant {number} ({sentence}) did not hold in {len(seeds)}: {', '.join(map(str, seeds[:12]))}")
    if not lives.broken:
        print("Every invariant held.")
    return 1 if lives.broken else 0


def _tell_first(life: Life) -> None:
    print(f"The first seed that fails is {life.seed}; live it again with: python -m tests.simulation {life.seed} -v")
    for violation in life.violations:
        print(f"  invariant {violation.invariant}: {violation.what}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
