"""The line lives thousands of lives over model chains and a model platform; no invariant is ever broken."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Set
from pathlib import Path

import pytest
from simulation.clock import StuckError, VirtualLoop, run_virtually
from simulation.planted import BUGS, Bug, find_catch
from simulation.run import Life, run_seed
from simulation.soak import live
from simulation.world import World

import delegation.context
from chains.evm.codec.headers import check_header
from delegation.lifecycle import TRANSITIONS, Event, State, next_state

SEEDS = 2_000
CHUNK = 250
MANY_SEEDS = 100_000
SELDOM: set[tuple[State, Event]] = {
    ("agreed", "forget"),
    ("agreed", "lose"),
    ("handed_out", "abandon"),
    ("handed_out", "cancel"),
    ("handed_out", "forget"),
    ("handed_out", "lose"),
    ("on_its_way", "abandon"),
    ("on_its_way", "lose"),
    ("on_its_way", "settle_before_asked"),
    ("on_its_way", "settle_before_sent"),
    ("signed", "abandon"),
    ("submitted", "abandon"),
    ("submitted", "lose"),
    ("submitted", "stay_told"),
    ("submitted", "supersede"),
    ("unverified", "abandon"),
    ("unverified", "supersede"),
}
"""What takes an accident within an accident: once in some thousand lives."""
ROOT = Path(__file__).parents[1]


def describe(life: Life) -> str:
    """Say what was broken and how to see it."""
    what = "; ".join(f"invariant {violation.invariant}: {violation.what}" for violation in life.violations)
    return f"seed {life.seed} (python -m tests.simulation {life.seed} -v): {what}"


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_no_life_breaks_an_invariant(first: int) -> None:
    broken, _, _ = live(first, CHUNK)
    assert not broken, "\n".join(describe(life) for life in broken)


@pytest.mark.long
def test_no_life_of_a_hundred_thousand_breaks_an_invariant() -> None:
    soak = [sys.executable, "-m", "tests.simulation.soak", str(SEEDS), str(MANY_SEEDS)]
    result = subprocess.run(soak, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    "bug", [pytest.param(bug, id=bug.name, marks=[pytest.mark.long] if bug.rare else []) for bug in BUGS]
)
def test_a_planted_bug_is_caught(bug: Bug) -> None:
    assert find_catch(bug, 0, SEEDS) is not None, f"nothing notices that {bug.name}"


def take_transitions(
    monkeypatch: pytest.MonkeyPatch, wanted: Set[tuple[State | None, Event]], most: int
) -> set[tuple[State | None, Event]]:
    """Live until every wanted transition was taken, or `most` lives; return those that never were."""
    left = set(wanted)

    def follow(state: State | None, event: Event) -> State:
        after = next_state(state, event)
        left.discard((state, event))
        return after

    monkeypatch.setattr(delegation.context, "next_state", follow)
    for seed in range(most):
        if not left:
            break
        # What ends together with the one that takes its place is saved without being asked for.
        left.difference_update((state, "supersede") for state in run_seed(seed).ended_with)
    return left


def test_every_transition_of_the_state_table_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    left = take_transitions(monkeypatch, TRANSITIONS.keys() - SELDOM, SEEDS)
    assert not left, f"no life takes {sorted(map(str, left))}"


@pytest.mark.long
def test_what_is_seldom_happens_in_a_hundred_thousand_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    left = take_transitions(monkeypatch, SELDOM, MANY_SEEDS)
    assert not left, f"no life takes {sorted(map(str, left))}"


def test_the_same_seed_is_the_same_life() -> None:
    for seed in range(20):
        assert run_seed(seed, verbose=True) == run_seed(seed, verbose=True)


def test_a_life_over_the_real_http_client_is_the_same() -> None:
    for seed in range(20):
        assert run_seed(seed, verbose=True) == run_seed(seed, real_http=True, verbose=True)


def test_the_lives_are_eventful_enough() -> None:
    _, outcomes, _ = live(0, 500)
    seldom = {
        "done": 500,
        "crashed": 50,
        "OwnerBusyError": 10,
        "JournalConflictError": 5,
        "TransactionReplacedError": 3,
        "TransactionExpiredError": 3,
        "WalletRefusedError": 10,
        "LostAnswerError": 10,
        "NodeUnreachableError": 10,
        "DelegationEndedError": 5,
        "RejectedError": 3,
    }
    assert not {name: outcomes[name] for name, least in seldom.items() if outcomes[name] < least}


def test_the_clock_never_waits_and_says_when_nothing_can_happen() -> None:
    async def sleep() -> float:
        await asyncio.sleep(86_400)
        return asyncio.get_running_loop().time()

    async def wait_for_nothing() -> None:
        await asyncio.get_running_loop().create_future()

    assert run_virtually(VirtualLoop(), sleep()) == pytest.approx(86_400)
    with pytest.raises(StuckError, match="nothing can ever happen"):
        run_virtually(VirtualLoop(), wait_for_nothing())


def test_the_model_chain_has_real_headers() -> None:
    for seed in range(8):
        world = World(seed)
        world.loop.virtual_time = 60.0
        for chain in world.chains.values():
            if chain.chain.family == "evm":
                newest = int(chain.answer("eth_blockNumber", []), 16)
                for number in range(newest - 3, newest + 1):
                    shown = chain.answer("eth_getBlockByNumber", [hex(number), True])
                    assert check_header(shown).number == number
        world.loop.close()
        world.close()
