"""One life: the user asks, resumes and is interrupted; then all faults end, and what is unfinished is carried on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from .actions import ACTIONS, Action, ask_for, carry_on
from .clock import StuckError, run_virtually
from .faults import CrashError, Process
from .invariants import check_all, judge_saved
from .world import Violation, World

_ROUNDS: Final = 3
"""How often everything is resumed once the faults have ended."""

_PATIENCE: Final = 90.0
"""How long the user waits before each of these rounds, in seconds."""

_WEIGHTED: Final[tuple[Action, ...]] = tuple(action for weight, action in ACTIONS for _ in range(weight))


@dataclass(frozen=True, slots=True)
class Life:
    """What came of one seed: the invariants that did not hold, and the events if they were asked for."""

    seed: int
    violations: tuple[Violation, ...]
    events: tuple[str, ...]
    outcomes: tuple[str, ...]
    seconds: float
    ended_with: tuple[str, ...]


def run_seed(seed: int, *, verbose: bool = False, real_http: bool = False) -> Life:
    """Live the life of one integer and return what came of it; the same integer gives the same life."""
    world = World(seed, verbose=verbose, real_http=real_http)
    world.watch.judge_saved = judge_saved(world)
    try:
        run_virtually(world.loop, _live(world))
    except StuckError as error:
        world.watch.violate(7, str(error))
    check_all(world)
    world.close()
    return Life(
        seed,
        tuple(world.watch.violations),
        tuple(world.watch.events),
        tuple(stay.outcome for stay in world.stays),
        world.loop.virtual_time,
        tuple(world.watch.ended_with),
    )


async def _live(world: World) -> None:
    rng = world.rng
    await _act(world, ask_for, world.processes[0])
    for _ in range(rng.randint(1, 5)):
        await _act(world, rng.choice(_WEIGHTED), rng.choice(world.processes))
    world.faults.on = False
    for chain in world.chains.values():
        chain.remember(world.foreign)
    world.watch.tell("--- all faults end ---")
    for _ in range(_ROUNDS):
        await asyncio.sleep(_PATIENCE)
        unfinished = [d for d in world.known() if d.unfinished]
        for d in reversed(unfinished):
            await carry_on(world, world.processes[0], world.owner_of(d), world.load(d.id), "resume")


async def _act(world: World, action: Action, process: Process) -> None:
    for one in world.processes:
        one.restart()
        if world.rng.random() < world.crashes:
            one.dies_in = 1 + int(120 * world.rng.random() ** 2)
    try:
        await action(world, process)
    except CrashError:
        world.watch.tell(f"{process.name}: died in {action.__name__}")
    for one in world.processes:
        one.restart()


def find_failing(first: int, count: int, run: Callable[[int], Life] = run_seed) -> list[Life]:
    """Return the lives among `count` seeds from `first` on in which an invariant did not hold."""
    return [life for life in map(run, range(first, first + count)) if life.violations]


__all__ = ["Any", "Life", "Random", "find_failing", "run_seed"]
