"""The line lives thousands of lives over model chains and a model platform; no invariant is ever broken."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from simulation.clock import StuckError, VirtualLoop, run_virtually
from simulation.planted import BUGS, Bug, find_catch
from simulation.run import Life, run_seed
from simulation.soak import Lives, Transition, live
from simulation.world import World

from chains.evm.codec.headers import check_header
from delegation.lifecycle import TRANSITIONS, Event, State

SEEDS = 2_000
CHUNK = 250
MANY_SEEDS = 4_000
SELDOM: set[tuple[State, Event]] = {
    ("agreed", "lose"),
    ("cancelled", "lose"),
    ("done", "supersede"),
    ("handed_out", "abandon"),
    ("handed_out", "cancel"),
    ("handed_out", "lose"),
    ("on_its_way", "abandon"),
    ("on_its_way", "forget_before_asked"),
    ("on_its_way", "forget_before_sent"),
    ("on_its_way", "lose"),
    ("on_its_way", "settle_before_asked"),
    ("on_its_way", "settle_before_sent"),
    ("on_its_way", "settle_offered"),
    ("signed", "abandon"),
    ("submitted", "abandon"),
    ("submitted", "lose"),
    ("submitted", "stay_told"),
    ("submitted", "supersede"),
    ("unverified", "abandon"),
    ("unverified", "supersede"),
    ("unverified", "tell_again"),
}
"""What takes an accident within an accident: once in some thousand lives."""
ROOT = Path(__file__).parents[1]


@cache
def lives_of(first: int) -> Lives:
    """Return what came of a chunk of the lives that are lived each time, which several tests look at."""
    return live(first, CHUNK)


def describe(life: Life) -> str:
    """Say what was broken and how to see it."""
    what = "; ".join(f"invariant {violation.invariant}: {violation.what}" for violation in life.violations)
    return f"seed {life.seed} (python -m tests.simulation {life.seed} -v): {what}"


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_no_life_breaks_an_invariant(first: int) -> None:
    broken = lives_of(first).broken
    assert not broken, "\n".join(describe(life) for life in broken)


@pytest.mark.long
@pytest.mark.load
def test_no_life_of_four_thousand_breaks_an_invariant() -> None:
    soak = [sys.executable, "-m", "tests.simulation.soak", "0", str(MANY_SEEDS)]
    result = subprocess.run(soak, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "Every invariant held." in result.stdout, result.stdout + result.stderr


@pytest.mark.parametrize(
    "bug", [pytest.param(bug, id=bug.name, marks=[pytest.mark.long] if bug.rare else []) for bug in BUGS]
)
def test_a_planted_bug_is_caught(bug: Bug) -> None:
    assert find_catch(bug, 0, SEEDS) is not None, f"nothing notices that {bug.name}"


def test_every_transition_of_the_state_table_is_taken_but_for_accidents_within_accidents() -> None:
    left: set[Transition] = set(TRANSITIONS.keys() - SELDOM)
    for first in range(0, SEEDS, CHUNK):
        left -= lives_of(first).taken
        if not left:
            return
    pytest.fail(f"no life takes {sorted(map(str, left))}")


def test_the_same_seed_is_the_same_life() -> None:
    for seed in range(20):
        assert run_seed(seed, verbose=True) == run_seed(seed, verbose=True)


def test_a_life_over_the_real_http_client_is_the_same() -> None:
    for seed in range(20):
        assert run_seed(seed, verbose=True) == run_seed(seed, real_http=True, verbose=True)


def test_the_lives_are_eventful_enough() -> None:
    outcomes = lives_of(0).outcomes + lives_of(CHUNK).outcomes
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
