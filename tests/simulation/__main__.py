"""Live one life again: `python -m tests.simulation SEED`, with -v every event with its virtual time."""

# ruff: noqa: T201 - it talks to a person on the terminal

from __future__ import annotations

import sys

from .invariants import SENTENCES
from .run import run_seed


def main(arguments: list[str]) -> int:
    """Print what came of a seed; returns 1 if an invariant did not hold, 2 if no seed was given."""
    verbose = "-v" in arguments
    numbers = [argument for argument in arguments if argument != "-v"]
    if len(numbers) != 1 or not numbers[0].isdigit():
        print(__doc__, file=sys.stderr)
        return 2
    life = run_seed(int(numbers[0]), verbose=verbose)
    for event in life.events:
        print(event)
    print(f"{life.seconds:,.0f} virtual seconds: {', '.join(life.outcomes)}")
    for violation in life.violations:
        print(f"invariant {violation.invariant} ({SENTENCES[violation.invariant]}): {violation.what}")
    return 1 if life.violations else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
