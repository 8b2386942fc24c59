"""A storm of faults over many delegations at once: each is completed, approved once and accepted once."""

from pathlib import Path

import pytest
from storm import Storm, finished, fund_owners, open_storm

from delegation.sandbox import Sandbox

SEED = 20_261_125
_MOST_ROUNDS = 10


async def weather_it(storm: Storm) -> None:
    """Begin everything at once, go on twice while the faults go on, and then until all is done."""
    await storm.begin()
    for _ in range(2):
        await storm.go_on()
    storm.weather.calm = True
    for _ in range(_MOST_ROUNDS):
        if await storm.go_on() == 0:
            break


@pytest.mark.parametrize(
    ("evm", "solana", "patience"),
    [(7, 9, 0.8), pytest.param(140, 60, 1.5, marks=[pytest.mark.long, pytest.mark.load])],
    ids=["a part", "200"],
)
async def test_all_are_completed_none_is_approved_or_accepted_twice(
    sandbox: Sandbox, tmp_path: Path, evm: int, solana: int, patience: float
) -> None:
    third = evm // 3
    counts = {"ethereum": evm - 2 * third, "linea": third, "base": third, "solana": solana}
    owners = await fund_owners(sandbox, counts)
    async with open_storm(sandbox.document, tmp_path, owners, seed=SEED, rate=0.3, patience=patience) as storm:
        await weather_it(storm)
        wrong = await storm.count()
        story = f"seed {SEED}: {storm.weather.calls} calls, {dict(storm.weather.met)}, stopped by {dict(storm.stopped)}"
        assert not wrong, "\n".join([story, *wrong])
        assert sum(map(finished, storm.journal.list())) == evm + solana
        assert storm.weather.met.total() > 0.15 * storm.weather.calls, f"it was no storm: {story}"


async def test_the_count_tells_what_was_not_done_and_what_was_done_twice(sandbox: Sandbox, tmp_path: Path) -> None:
    owners = await fund_owners(sandbox, {"linea": 1, "solana": 1})
    async with open_storm(sandbox.document, tmp_path, owners, seed=SEED, rate=0, patience=15) as storm:
        undone = await storm.count()
        await storm.begin()
        assert await storm.count() == []
        await storm.begin()
        doubled = await storm.count()
    assert undone[0] == "0 delegations of 2"
    assert all("no delegation, 0 approvals, 0 accepted proofs" in line for line in undone[1:])
    assert doubled[0] == "4 delegations of 2"
    assert all("finished, 2 approvals, 2 accepted proofs" in line for line in doubled[1:])
    assert len(undone) == len(doubled) == 3
