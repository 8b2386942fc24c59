"""Killed at any point, a delegation is finished by `resume`: one approval per step, one accepted proof, one nonce.

Every save of the journal is walked, with the power failing just before it is on the disk (so after everything that was
done since the last one) and just after it.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from chains.evm.codec.erc20 import encode_approve
from chains.http import open_http_client
from chains.rpc import HttpRpc
from chains.wallets import load_wallet, write_secret_file
from delegation import carry, open_context
from delegation.models import Delegation
from delegation.sandbox import Sandbox, open_sandbox
from delegation.sandbox.profile import profile_of

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

    async def run(self, **job: Any) -> int:
        number = len(self._ends)
        self._ends[number] = asyncio.get_running_loop().create_future()
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"job": number, **job}).encode() + b"\n")
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
            rpc = HttpRpc(known.rpc_url)
            await rpc.request("anvil_impersonateAccount", [self.owner])
            await rpc.request("eth_sendTransaction", [approve])
            await rpc.aclose()

    def job(self, amount: int) -> dict[str, Any]:
        return {
            "profile": self.profile.model_dump(mode="json"),
            "key_file": str(self.key_file),
            "network": self.network,
            "currency": self.currency,
            "amount": str(amount),
        }

    async def resume(self) -> Delegation | None:
        """Finish what the journal holds; None if it holds nothing."""
        async with open_context(self.profile, self.network, wallet=load_wallet(str(self.key_file))) as context:
            saved = context.journal.list()
            return await carry(saved[0], context) if saved else None

    async def saved(self) -> Delegation | None:
        async with open_context(self.profile, self.network) as context:
            return next(iter(context.journal.list()), None)

    async def count_signed(self) -> int:
        """Count the transactions that the owner has signed and that are on the chain, read without our own node."""
        rpc = HttpRpc(self.sandbox.document.networks[self.network].rpc_url)
        try:
            if self.network != "solana":
                return int(await rpc.request("eth_getTransactionCount", [self.owner, "pending"]), 16)
            signatures = await rpc.request("getSignaturesForAddress", [self.owner, {"commitment": "confirmed"}])
            count = 0
            for entry in signatures:
                found = await rpc.request("getTransaction", [entry["signature"], {"commitment": "confirmed"}])
                count += found["transaction"]["message"]["accountKeys"][0] == self.owner
            return count
        finally:
            await rpc.aclose()

    async def count_accepted_proofs(self) -> int:
        gateway = self.sandbox.document.gateway
        async with open_http_client(gateway.base_url, headers={"x-client-key": gateway.client_key}) as client:
            proofs = (await client.get(f"{gateway.base_url}/sandbox/proofs")).json()
        return sum(proof["accepted"] and proof["address"] == self.owner for proof in proofs)
