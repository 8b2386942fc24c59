"""Eight processes resume one journal at once: each delegation is carried once, and each proof is sent once."""

import asyncio
import json
import sys
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from line_lab import POST_APPROVAL, CrashError, Line, die_at, open_line

from delegation import carry
from delegation.journal import Journal, open_journal
from delegation.lifecycle import State
from delegation.sandbox import Sandbox
from delegation.sandbox.profile import profile_of

PROCESSES = 8
# Where each delegation was left: what its process said when it died, and the state that this leaves it in.
STOPS: list[tuple[str, State]] = [
    ("reading the platform's configuration", "requested"),
    ("preparing", "agreed"),
    ("waiting for", "on_its_way"),
    ("taking a token", "approved"),
    ("asking the wallet to sign the ownership", "approved"),
    ("telling the platform", "signed"),
    ("the platform's answer was lost", "submitted"),
]
ALLOWANCES = [("linea", "usdc"), ("base", "usdc"), ("ethereum", "usdc"), ("linea", "usdt")]
AMOUNT = 900


@dataclass(frozen=True)
class Left:
    """A delegation that somebody left behind."""

    id: str
    owner: str
    network: str
    key: str
    state: State


async def leave_behind(sandbox: Sandbox, directory: Path, journal: Journal) -> list[Left]:
    """Leave 28 delegations of 28 owners unfinished, four at each place."""
    left = []
    for words, state in STOPS:
        for network, currency in ALLOWANCES:
            async with open_line(sandbox, directory, network, currency) as line:
                left.append(await leave(line, journal, words, state))
    return left


async def leave(line: Line, journal: Journal, words: str, state: State) -> Left:
    if state == "submitted":
        # It took the proof, and nobody heard it say so.
        await line.platform.misbehave(POST_APPROVAL, lose_answer=True)
    context = replace(line.context, journal=journal, progress=die_at(words))
    d = line.new(str(AMOUNT))
    with pytest.raises(CrashError):
        await carry(d, context)
    assert journal.load(d.id).state == state
    return Left(d.id, line.owner, line.network, line.key.private_key, state)


async def resume(job: dict[str, Any]) -> list[dict[str, Any]]:
    """Run the processes, and return what each of them tells."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(__file__).with_name("resuming_processes.py")),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(json.dumps(job).encode()), 200)
    assert process.returncode == 0, err.decode()
    return [json.loads(line) for line in out.splitlines()]


@pytest.mark.long
@pytest.mark.load
@pytest.mark.parametrize("kept_in", ["sqlite", "postgresql"])
async def test_eight_processes_that_resume_one_journal_carry_each_once_and_send_each_proof_once(
    sandbox: Sandbox, tmp_path: Path, request: pytest.FixtureRequest, kept_in: str
) -> None:
    location = str(tmp_path / "journal.sqlite")
    if kept_in == "postgresql":
        location = request.getfixturevalue("database")
    journal = open_journal(location)
    left = await leave_behind(sandbox, tmp_path, journal)
    assert len(left) == len({one.owner for one in left}) == 28

    profile = profile_of(sandbox.document, journal=Path()).model_copy(update={"journal": location})
    keys = {one.owner: one.key for one in left}
    job = {"profile": profile.model_dump(mode="json"), "keys": keys, "processes": PROCESSES}
    told = await resume(job)

    assert len(told) == PROCESSES
    carried = Counter(name for one in told for name in one["carried"])
    assert carried == Counter(one.id for one in left), "each was carried to its end, by one of them"
    assert sum(Counter(one["passed_over"]).total() for one in told) > 0, "they never met"
    for d in journal.list():
        assert (d.state, d.result.verdict) == ("done", "VERIFIED")
        assert len(d.approvals) == 1
    journal.close()
    for one in left:
        async with open_line(sandbox, tmp_path / "look", one.network) as line:
            proofs = await line.platform.ask("GET", "/sandbox/proofs")
            of_owner = [proof["status"] for proof in proofs if proof["address"] == one.owner]
            nonce = await line.rpc.request("eth_getTransactionCount", [one.owner, "pending"])
        assert of_owner == [201], one
        assert int(nonce, 16) == 1, one
