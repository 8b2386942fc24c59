"""Figures, one JSON line each: {name, value, unit, peer, peer_value, ratio}; the peer is measured in the same run."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from multiprocessing import get_context
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from statistics import median
from typing import Any, TypeVar

from chains.evm.node import EvmNode
from chains.rpc import HttpRpc, Params
from chains.solana.node import SolanaNode
from chains.types import Node
from chains.wallets import EvmKeyWallet, SolanaKeyWallet, load_wallet, write_secret_file
from delegation import Context, DelegationRequest, Profile, carry, new_delegation, open_context, open_journal
from delegation.sandbox import Sandbox, open_sandbox
from delegation.sandbox.profile import profile_of

Door = TypeVar("Door")

STARTS = 15
GRANTS = 7
ALONE = 12
CROWD = 200
APPROVE_ABI = [
    {
        "type": "function",
        "name": "approve",
        "stateMutability": "nonpayable",
        "inputs": [{"name": "spender", "type": "address"}, {"name": "value", "type": "uint256"}],
        "outputs": [{"name": "", "type": "bool"}],
    }
]


class Outside:
    """A stopwatch of the time in which something outside of our own code is being waited for."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._waiting = 0
        self._since = 0.0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time inside; overlapping waits count once."""
        if self._waiting == 0:
            self._since = time.perf_counter()
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1
            if self._waiting == 0:
                self.seconds += time.perf_counter() - self._since


class TimedRpc(HttpRpc):
    """JSON-RPC whose waiting is timed."""

    def __init__(self, url: str, outside: Outside) -> None:
        super().__init__(url)
        self._outside = outside

    async def request(self, method: str, params: Params = ()) -> Any:
        """Return the result of a call."""
        with self._outside.waiting():
            return await super().request(method, params)


class CallsAt:
    """How many RPC calls were made when each station began, from the progress that it hears."""

    def __init__(self, rpc: TimedRpc) -> None:
        self.station: dict[str, int] = {}
        self._rpc = rpc

    def __call__(self, station: str, _words: str) -> None:
        self.station.setdefault(station, self._rpc.calls)


def timed(door: Door, outside: Outside, *names: str) -> Door:
    """Return a door to the outside whose async calls of these names are timed."""
    for name in names:
        setattr(door, name, _timed(getattr(door, name), outside))
    return door


def _timed(call: Callable[..., Any], outside: Outside) -> Callable[..., Any]:
    async def timed_call(*args: Any, **kwargs: Any) -> Any:
        with outside.waiting():
            return await call(*args, **kwargs)

    return timed_call


def report(name: str, value: float, unit: str, peer: str, peer_value: float | None) -> None:
    """Print one figure."""
    ratio = None if not peer_value else round(value / peer_value, 2)
    shown = None if peer_value is None else round(peer_value, 4)
    figure = {"name": name, "value": round(value, 4), "unit": unit, "peer": peer, "peer_value": shown, "ratio": ratio}
    print(json.dumps(figure), flush=True)


def time_processes(commands: Sequence[Sequence[str]]) -> list[float]:
    """Return the median wall time of each command in seconds, run in turns so that all see the same machine."""
    times: list[list[float]] = [[] for _ in commands]
    for _ in range(STARTS):
        for command, taken in zip(commands, times, strict=True):
            started = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            taken.append(time.perf_counter() - started)
    return [median(taken) for taken in times]


def bench_starts() -> None:
    """How long a person waits before anything happens."""
    command = str(Path(sys.executable).with_name("delegation"))
    bare, help_, imports = time_processes(
        [
            [sys.executable, "-c", "pass"],
            [command, "--help"],
            [sys.executable, "-c", "import chains, delegation"],
        ]
    )
    report("start of delegation --help", help_, "s", "python -c pass", bare)
    report("import chains, delegation", imports, "s", "python -c pass", bare)


async def bench_grants() -> None:
    """What a grant costs beyond what chain and platform need, and how much it asks of them."""
    async with open_sandbox() as sandbox:
        with tempfile.TemporaryDirectory() as directory:
            for network, currency in (("linea", "usdc"), ("ethereum", "usdc"), ("solana", "usdc")):
                await bench_grant(sandbox, Path(directory), network, currency)


async def bench_grant(sandbox: Sandbox, directory: Path, network: str, currency: str) -> None:
    """Measure grants of fresh wallets on one network."""
    own, approval_calls, calls, requests = [], [], [], []
    for number in range(GRANTS):
        journal = directory / f"{network}-{number}.sqlite"
        profile = profile_of(sandbox.document, journal=journal)
        chain = profile.chain(network)
        key_file = directory / f"{network}-{number}.key"
        write_secret_file(key_file, (await sandbox.new_wallet(chain.family)).private_key)
        wallet = load_wallet(str(key_file))
        outside = Outside()
        rpc = TimedRpc(chain.rpc_url, outside)
        calls_at = CallsAt(rpc)
        node: Node = EvmNode(chain, rpc) if chain.family == "evm" else SolanaNode(chain, rpc)
        gateway = profile.gateway_door()
        asked = ("get_networks", "get_external_wallets", "get_delegation_token", "submit_proof")
        context = Context(
            gateway=timed(gateway, outside, *asked),
            node=timed(node, outside, "settle"),
            journal=open_journal(journal),
            terms=profile.statement_terms(),
            wallet=wallet,
            progress=calls_at,
        )
        request = DelegationRequest(network=network, currency=currency, amount=Decimal(5000), owner=wallet.address)
        started = time.perf_counter()
        finished = await carry(new_delegation(request, context), context)
        wall = time.perf_counter() - started
        if finished.verification is None or finished.verification.verdict != "VERIFIED":
            sys.exit(f"the grant on {network} was not verified")
        if number:  # the first one pays for the imports
            own.append(wall - outside.seconds)
            # The ownership station begins when the approval has settled.
            approval_calls.append(calls_at.station["ownership"])
            calls.append(rpc.calls)
            requests.append(gateway.requests)
        context.journal.close()
        await gateway.aclose()
        await rpc.aclose()
    peer_calls = await web3_approve_calls(sandbox, network, currency) if network != "solana" else None
    peer = "web3.py approve and wait" if peer_calls is not None else ""
    report(f"own time of a grant on {network}", median(own), "s", "goal", 0.1)
    report(f"RPC calls of an approval on {network}", median(approval_calls), "calls", "goal (EVM)", 10)
    report(f"RPC calls of a grant on {network}, verification included", median(calls), "calls", peer, peer_calls)
    report(f"platform requests of a grant on {network}", median(requests), "requests", "", None)


@dataclass(frozen=True)
class Crowd:
    """What grants of many owners cost one process: CPU seconds each, and MiB each that it grew by."""

    alone: float
    at_once: float
    memory: float


async def bench_crowd() -> None:
    """What each of 200 grants at once costs the process that carries them; chains and platform are in another."""
    async with open_sandbox() as sandbox:
        networks = ("ethereum", "linea", "base", "solana")
        wanted = [networks[number % len(networks)] for number in range(len(networks) + ALONE + CROWD)]
        keys = await asyncio.gather(
            *(sandbox.new_wallet("solana" if name == "solana" else "evm", network=name) for name in wanted)
        )
        owners = [(name, key.private_key) for name, key in zip(wanted, keys, strict=True)]
        with tempfile.TemporaryDirectory() as directory:
            profile = profile_of(sandbox.document, journal=Path(directory) / "crowd.sqlite")
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                loop = asyncio.get_running_loop()
                crowd = await loop.run_in_executor(pool, measure_crowd, profile, owners)
    report(f"own time of a grant, {CROWD} at once", crowd.at_once, "s", "one at a time", crowd.alone)
    report(f"memory of a grant, {CROWD} at once", crowd.memory, "MiB", "", None)


def measure_crowd(profile: Profile, owners: Sequence[tuple[str, str]]) -> Crowd:
    """Grant for these owners (network and key), the last ones all at once, and return what it took."""
    return asyncio.run(_measure_crowd(profile, owners))


async def _measure_crowd(profile: Profile, owners: Sequence[tuple[str, str]]) -> Crowd:
    first, alone, crowd = owners[: -ALONE - CROWD], owners[-ALONE - CROWD : -CROWD], owners[-CROWD:]
    for owner in first:  # they pay for the imports
        await grant_for(profile, *owner)
    started = time.process_time()
    for owner in alone:
        await grant_for(profile, *owner)
    alone_seconds = time.process_time() - started
    started, kib = time.process_time(), getrusage(RUSAGE_SELF).ru_maxrss
    await asyncio.gather(*(grant_for(profile, *owner) for owner in crowd))
    seconds = time.process_time() - started
    grown = getrusage(RUSAGE_SELF).ru_maxrss - kib
    return Crowd(alone_seconds / len(alone), seconds / len(crowd), grown / 1024 / len(crowd))


async def grant_for(profile: Profile, network: str, key: str) -> None:
    """Carry a grant of one owner to its end, with a context of its own."""
    wallet = SolanaKeyWallet(key) if network == "solana" else EvmKeyWallet(key)
    async with open_context(profile, network, wallet=wallet) as context:
        request = DelegationRequest(network=network, currency="usdc", amount=Decimal(5000), owner=wallet.address)
        finished = await carry(new_delegation(request, context), context)
    if finished.verification is None or finished.verification.verdict != "VERIFIED":
        sys.exit(f"the grant on {network} was not verified")


async def web3_approve_calls(sandbox: Sandbox, network: str, currency: str) -> int:
    """Count the RPC calls of the plainest approve with web3.py: no check before, one receipt after."""
    from eth_account import Account
    from web3 import AsyncHTTPProvider, AsyncWeb3, Web3

    known = sandbox.document.networks[network]
    account = Account.from_key((await sandbox.new_wallet("evm")).private_key)
    provider = AsyncHTTPProvider(known.rpc_url)
    count = 0
    ask: Callable[..., Any] = provider.make_request

    async def counted(method: Any, params: Any) -> Any:
        nonlocal count
        count += 1
        return await ask(method, params)

    provider.make_request = counted  # type: ignore[method-assign]
    w3 = AsyncWeb3(provider)
    contract = w3.eth.contract(address=Web3.to_checksum_address(known.tokens[currency].address), abi=APPROVE_ABI)
    transaction = await contract.functions.approve(known.delegation_contract, 5000 * 10**6).build_transaction(
        {"from": account.address, "nonce": await w3.eth.get_transaction_count(account.address)}
    )
    sent = await w3.eth.send_raw_transaction(account.sign_transaction(transaction).raw_transaction)
    await w3.eth.wait_for_transaction_receipt(sent)
    await provider.disconnect()
    return count


if __name__ == "__main__":
    # The starts are measured as a person meets them: compiled once, not every time.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    bench_starts()
    asyncio.run(bench_grants())
    asyncio.run(bench_crowd())
