"""Killed at any point, a delegation is finished by `resume`: one approval per step, one accepted proof, one nonce.

Every save of the journal is walked, with the power failing just before it is on the disk (so after everything that was
done since the last one) and just after it; and moments between them are, by chance. The same holds for the ways out of
what is stuck: sped up, cancelled, replaced by a revocation.
"""

import asyncio
import json
import random
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from chains.errors import TransactionPendingError
from chains.evm.codec.erc20 import encode_approve
from chains.http import open_http_client
from chains.rpc import HttpRpc
from chains.wallets import load_wallet, write_secret_file
from delegation import Context, DelegationRequest, carry, new_delegation, open_context
from delegation.errors import DelegationEndedError
from delegation.models import Delegation
from delegation.sandbox import Sandbox, open_sandbox
from delegation.sandbox.artifacts import encode_call
from delegation.sandbox.profile import profile_of

# Moments are parts of the time that a line takes, which must not change meanwhile.
pytestmark = pytest.mark.load

# Network, currency, what is allowed beforehand, what is granted, how many approve transactions that takes, and how many
# lines are carried at once: on Solana they only wait.
LINES = [
    ("linea", "usdc", 0, 5000, 1, 4),
    ("ethereum", "usdt", 100, 5000, 2, 4),
    ("solana", "usdc", 0, 5000, 1, 20),
    *(
        pytest.param(*line, marks=pytest.mark.long)
        for line in (
            ("base", "usdc", 0, 5000, 1, 4),
            ("linea", "usdc", 100, 5000, 1, 4),
            ("linea", "usdc", 100, 0, 1, 4),
            ("linea", "usdt", 0, 5000, 1, 4),
            ("linea", "usdt", 100, 5000, 1, 4),
            ("ethereum", "usdt", 0, 5000, 1, 4),
            ("ethereum", "usdt", 100, 0, 1, 4),
        )
    ),
]
KILLED = -9


class KillableLines:
    """Hands jobs to killable_line.py and waits for how each ended."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._ends: dict[int, asyncio.Future[int]] = {}
        self._reader = asyncio.create_task(self._read())

    async def run(self, *, save: int = 0, when: str = "never", moment: float | None = None, **job: Any) -> int:
        """Run a job and return how it ended; it is killed at the n-th `save`, or `moment` seconds after it began."""
        number = len(self._ends)
        self._ends[number] = asyncio.get_running_loop().create_future()
        assert self._process.stdin is not None
        killed = {"save": save, "when": when, "moment": moment}
        self._process.stdin.write(json.dumps({"job": number, **killed, **job}).encode() + b"\n")
        return await asyncio.wait_for(self._ends[number], 120)

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            end = json.loads(line)
            self._ends[end["job"]].set_result(end["status"])

    async def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()
        await self._reader


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def killable_lines() -> AsyncIterator[KillableLines]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(__file__).with_name("killable_line.py")),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    lines = KillableLines(process)
    yield lines
    await lines.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def quiet_sandbox() -> AsyncIterator[Sandbox]:
    """A sandbox of its own: the platform reads every wallet that it lists from the chain, each time it is asked."""
    async with open_sandbox() as running:
        yield running


@pytest.mark.parametrize(("network", "currency", "before", "amount", "steps", "at_once"), LINES)
async def test_a_line_killed_at_any_save_is_finished_by_resume_without_doing_anything_twice(
    quiet_sandbox: Sandbox,
    killable_lines: KillableLines,
    tmp_path: Path,
    network: str,
    currency: str,
    before: int,
    amount: int,
    steps: int,
    at_once: int,
) -> None:
    signed_before = 1 if before else 0
    gate = asyncio.Semaphore(at_once)

    async def start(name: str, save: int, when: str) -> tuple["KillCase", int]:
        case = KillCase(quiet_sandbox, tmp_path / name, network, currency)
        await case.set_up(before)
        return case, await killable_lines.run(**case.job(amount), save=save, when=when)

    async def kill_at(save: int, when: str) -> None:
        async with gate:
            case, status = await start(f"{when}-{save}", save, when)
            assert status == KILLED
            finished = await case.resume()
            if finished is None:
                assert (save, when) == (1, "before")
                assert await case.count_signed() == signed_before, "nothing was saved, so nothing may have been sent"
                return
            assert finished.verification is not None
            assert finished.verification.verdict == "VERIFIED"
            assert len(finished.approvals) == steps
            assert await case.count_signed() == signed_before + steps
            assert await case.count_accepted_proofs() == 1

    whole, status = await start("whole", save=0, when="never")
    assert status == 0
    done = await whole.saved()
    assert done is not None
    assert done.station == "done"
    assert done.revision >= 6 + 2 * steps, "every station is saved, and every approval when signed and when settled"
    async with asyncio.TaskGroup() as group:
        for save in range(1, done.revision + 1):
            for when in ("before", "after"):
                group.create_task(kill_at(save, when))


async def start_killed(lines: KillableLines, case: "KillCase", before: int, amount: int, moment: float) -> int:
    await case.set_up(before)
    return await lines.run(**case.job(amount), moment=moment)


@pytest.mark.parametrize("moments", [6, pytest.param(50, marks=pytest.mark.long)])
@pytest.mark.parametrize(
    ("network", "currency", "before", "steps"), [("linea", "usdc", 0, 1), ("ethereum", "usdt", 100, 2)]
)
async def test_a_line_killed_at_any_moment_is_finished_by_resume_without_doing_anything_twice(
    quiet_sandbox: Sandbox,
    killable_lines: KillableLines,
    tmp_path: Path,
    network: str,
    currency: str,
    before: int,
    steps: int,
    moments: int,
) -> None:
    chance = random.Random(f"{network} {moments}")
    signed_before = 1 if before else 0
    whole = KillCase(quiet_sandbox, tmp_path / "whole", network, currency)
    started = time.monotonic()
    assert await start_killed(killable_lines, whole, before, 5000, moment=60) == 0
    takes = time.monotonic() - started
    killed = 0
    for number in range(moments):
        case = KillCase(quiet_sandbox, tmp_path / str(number), network, currency)
        moment = chance.uniform(0, takes)
        was_killed = await start_killed(killable_lines, case, before, 5000, moment) == KILLED
        killed += was_killed
        # Whoever came to the end has been quicker than the first one: the machine has less to do by now.
        takes *= 1 if was_killed else 0.7
        finished = await case.resume()
        if finished is None:
            assert await case.count_signed() == signed_before, "nothing was saved, so nothing may have been sent"
            continue
        assert finished.result.verdict == "VERIFIED", (moment, finished.result)
        assert await case.count_signed() == signed_before + steps, moment
        assert await case.count_accepted_proofs() == 1, moment
    assert killed > moments / 3, "most are killed before they come to the end"


# What is done with a grant that is stuck, the amount of what is new, how often that saves, and what is allowed then.
WAYS_OUT = [("speed up", 5000, 7, 5000), ("cancel", 0, 2, 0), ("carry", 0, 9, 0)]


@pytest.mark.parametrize(
    ("network", "currency"), [("linea", "usdc"), pytest.param("ethereum", "usdt", marks=pytest.mark.long)]
)
@pytest.mark.parametrize(("what", "amount", "saves", "allowed"), WAYS_OUT, ids=["speed up", "cancel", "revoke"])
async def test_a_way_out_killed_at_any_save_is_finished_with_one_transaction_and_one_proof(
    quiet_sandbox: Sandbox,
    killable_lines: KillableLines,
    tmp_path: Path,
    network: str,
    currency: str,
    what: str,
    amount: int,
    saves: int,
    allowed: int,
) -> None:
    names = ["whole", *(f"{when} {save}" for save in range(1, saves + 1) for when in ("before", "after"))]
    cases = {name: KillCase(quiet_sandbox, tmp_path / name, network, currency) for name in names}
    await get_all_stuck(quiet_sandbox, network, list(cases.values()))
    whole = cases.pop("whole")
    revision = sum(d.revision for d in await whole.list())
    assert await killable_lines.run(**whole.job(amount, what)) == 0
    assert sum(d.revision for d in await whole.list()) - revision == saves + (what == "carry")
    await check_way_out(whole, what, allowed)
    gate = asyncio.Semaphore(4)

    async def kill_at(name: str, case: KillCase) -> None:
        when, _, save = name.partition(" ")
        async with gate:
            assert await killable_lines.run(**case.job(amount, what), save=int(save), when=when) == KILLED
            await case.resume_all()
            await check_way_out(case, what, 5000 if name == "before 1" else allowed)

    async with asyncio.TaskGroup() as group:
        for name, case in cases.items():
            group.create_task(kill_at(name, case))


@pytest.mark.long
@pytest.mark.parametrize(("what", "amount", "allowed"), [(what, amount, then) for what, amount, _, then in WAYS_OUT])
async def test_a_way_out_killed_at_any_moment_is_finished_with_one_transaction_and_one_proof(
    quiet_sandbox: Sandbox, killable_lines: KillableLines, tmp_path: Path, what: str, amount: int, allowed: int
) -> None:
    chance = random.Random(what)
    cases = [KillCase(quiet_sandbox, tmp_path / str(number), "linea", "usdc") for number in range(51)]
    await get_all_stuck(quiet_sandbox, "linea", cases)
    whole = cases.pop()
    started = time.monotonic()
    assert await killable_lines.run(**whole.job(amount, what)) == 0
    takes = time.monotonic() - started
    killed = 0
    for case in cases:
        before = await case.list()
        was_killed = await killable_lines.run(**case.job(amount, what), moment=chance.uniform(0, takes)) == KILLED
        killed += was_killed
        takes *= 1 if was_killed else 0.7
        nothing_done = await case.list() == before
        await case.resume_all()
        await check_way_out(case, what, 5000 if nothing_done else allowed)
    assert killed > 15, "most are killed before they come to the end"


async def get_all_stuck(sandbox: Sandbox, network: str, cases: list["KillCase"]) -> None:
    """Let each of them have a grant in flight that no node knows any more, on a network that mines again."""
    for case in cases:
        await case.set_up(0)
    async with closing_rpc(sandbox.document.networks[network].rpc_url) as rpc:
        await rpc.request("evm_setAutomine", [False])
        for case in cases:
            await case.get_stuck(5000)
        await rpc.request("anvil_dropAllTransactions")
        await rpc.request("evm_setAutomine", [True])


async def check_way_out(case: "KillCase", what: str, allowed: int) -> None:
    """Check what became of a stuck grant: its nonce was used once, and the platform knows what the chain holds."""
    everything = await case.list()
    assert not any(d.unfinished for d in everything)
    assert await case.count_signed() == 1, "one nonce, used once"
    assert await case.read_allowance() == allowed * 10**6
    is_cancelled = everything[0].state == "cancelled"
    assert is_cancelled == (what == "cancel" and not allowed)
    assert await case.count_accepted_proofs() == (0 if is_cancelled else 1)
    verdicts = [d.result.verdict for d in everything if d.state == "done"]
    assert verdicts == ([] if is_cancelled else ["VERIFIED"])


@asynccontextmanager
async def closing_rpc(url: str) -> AsyncIterator[HttpRpc]:
    rpc = HttpRpc(url)
    try:
        yield rpc
    finally:
        await rpc.aclose()


class KillCase:
    """One line with a wallet, a journal and a key file of its own."""

    def __init__(self, sandbox: Sandbox, directory: Path, network: str, currency: str) -> None:
        self.sandbox, self.directory, self.network, self.currency = sandbox, directory, network, currency
        directory.mkdir()
        self.key_file = directory / "wallet.key"
        self.profile = profile_of(sandbox.document, journal=directory / "journal.sqlite")

    async def set_up(self, allowed_before: int) -> None:
        wallet = await self.sandbox.new_wallet(self.profile.chain(self.network).family)
        write_secret_file(self.key_file, wallet.private_key)
        self.owner = wallet.address
        if allowed_before:
            known = self.sandbox.document.networks[self.network]
            call = encode_approve(known.delegation_contract, allowed_before)
            approve = {"from": self.owner, "to": known.tokens[self.currency].address, "data": "0x" + call.hex()}
            async with closing_rpc(known.rpc_url) as rpc:
                await rpc.request("anvil_impersonateAccount", [self.owner])
                await rpc.request("eth_sendTransaction", [approve])

    def job(self, amount: int, what: str = "carry") -> dict[str, Any]:
        return {
            "profile": self.profile.model_dump(mode="json"),
            "key_file": str(self.key_file),
            "network": self.network,
            "currency": self.currency,
            "amount": str(amount),
            "what": what,
        }

    async def get_stuck(self, amount: int) -> None:
        """Sign an approval and send it to a network that mines nothing and then forgets it."""
        async with self.open(settle_timeout=0) as context:
            request = DelegationRequest(
                network=self.network, currency=self.currency, amount=Decimal(amount), owner=self.owner
            )
            with pytest.raises(TransactionPendingError):
                await carry(new_delegation(request, context), context)

    @asynccontextmanager
    async def open(self, **changes: Any) -> AsyncIterator[Context]:
        wallet = load_wallet(str(self.key_file))
        async with open_context(self.profile, self.network, wallet=wallet, **changes) as context:
            yield context

    async def resume(self) -> Delegation | None:
        """Finish what the journal holds; None if it holds nothing."""
        async with self.open() as context:
            saved = context.journal.list()
            return await carry(saved[0], context) if saved else None

    async def resume_all(self) -> tuple[Delegation, ...]:
        """Finish all that the journal holds, the newest first, and return it."""
        async with self.open() as context:
            for d in reversed(context.journal.list()):
                with suppress(DelegationEndedError):  # a newer one has ended it
                    await carry(context.journal.load(d.id), context)
            return context.journal.list()

    async def read_allowance(self) -> int:
        """Return what the chain allows, read without our own node."""
        known = self.sandbox.document.networks[self.network]
        call = encode_call("allowance(address,address)", self.owner, known.delegation_contract)
        async with closing_rpc(known.rpc_url) as rpc:
            asked = {"to": known.tokens[self.currency].address, "data": call}
            return int(await rpc.request("eth_call", [asked, "latest"]), 16)

    async def list(self) -> tuple[Delegation, ...]:
        """Return what the journal holds, the oldest first."""
        async with open_context(self.profile, self.network) as context:
            return context.journal.list()

    async def saved(self) -> Delegation | None:
        """Return the first that the journal holds, or None."""
        return next(iter(await self.list()), None)

    async def count_signed(self) -> int:
        """Count the transactions that the owner has signed and that are on the chain, read without our own node."""
        async with closing_rpc(self.sandbox.document.networks[self.network].rpc_url) as rpc:
            if self.network != "solana":
                return int(await rpc.request("eth_getTransactionCount", [self.owner, "pending"]), 16)
            signatures = await rpc.request("getSignaturesForAddress", [self.owner, {"commitment": "confirmed"}])
            count = 0
            for entry in signatures:
                found = await rpc.request("getTransaction", [entry["signature"], {"commitment": "confirmed"}])
                count += found["transaction"]["message"]["accountKeys"][0] == self.owner
            return count

    async def count_accepted_proofs(self) -> int:
        gateway = self.sandbox.document.gateway
        async with open_http_client(gateway.base_url, headers={"x-client-key": gateway.client_key}) as client:
            proofs = (await client.get(f"{gateway.base_url}/sandbox/proofs")).json()
        return sum(proof["accepted"] and proof["address"] == self.owner for proof in proofs)
