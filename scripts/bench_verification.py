"""Figures of verification, in the lines of bench.py: statements beside other programs, evidence with its costs."""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from itertools import cycle
from pathlib import Path
from statistics import median
from types import CodeType, FrameType
from typing import Any

from bench import report
from peers.install import PeerMissingError, install_siwe, install_viem
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.signature import Signature

from chains import get_chain
from chains.evm.addresses import keccak256
from chains.evm.codec.headers import check_header
from chains.evm.codec.receipts import receipts_root
from chains.evm.codec.signatures import verify_message
from chains.evm.codec.state_proofs import prove_answer
from chains.evm.codec.transactions import transactions_root
from chains.ownership import format_statement, make_statement, parse_statement
from chains.types import Wallet
from chains.wallets import EvmKeyWallet, SolanaKeyWallet, load_wallet, write_secret_file
from delegation import (
    DelegationRequest,
    carry,
    new_delegation,
    open_context,
    utc_now,
    verify_evidence,
    verify_with_evidence,
)
from delegation.audit import claim_of
from delegation.sandbox import Sandbox, open_sandbox
from delegation.sandbox.profile import profile_of

STATEMENTS = 1000
KEYS = 20
ROUNDS = 7
ROUND_SECONDS = 0.5
DOMAIN = "card.example.com"
SIWE, SIWE_REGEX, VIEM = "siwe 4.4.0", "siwe 4.4.0, abnf=False", "viem 2.57.20"
TOOLKIT = [sys.executable, str(Path(__file__).parent / "peers" / "toolkit_peer.py")]

Case = dict[str, Any]


class Peer:
    """One of the programs in peers/ in a process of its own, which tells the genuine statements from the forged."""

    def __init__(self, name: str, command: Sequence[str], file: Path) -> None:
        self._name = name
        self._process = subprocess.Popen(
            [*command, str(file), str(ROUND_SECONDS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        said = self._read()
        if said != {"genuine": STATEMENTS, "forged": 0}:
            sys.exit(f"{name} verifies {said['genuine']} of {STATEMENTS} statements, and {said['forged']} forged ones.")

    def round(self, task: str) -> float:
        """Return how often it does a task in a second."""
        print(task, file=self._process.stdin, flush=True)
        said = self._read()
        if said["yes"] != said["done"]:
            sys.exit(f"{self._name} says yes to {said['yes']} of {said['done']} genuine statements.")
        return float(said["done"] / said["seconds"])

    def stop(self) -> None:
        """End the process."""
        self._process.communicate()

    def _read(self) -> dict[str, Any]:
        line = next(iter(self._process.stdout or ()), None)
        if line is None:
            sys.exit(f"{self._name} stopped with exit status {self._process.wait()}.")
        said: dict[str, Any] = json.loads(line)
        return said


def in_turns(rounds: Mapping[Any, Callable[[], float]]) -> dict[Any, float]:
    """Return the median of each kind of round, run in turns so that all see the same machine."""
    seen = defaultdict(list)
    for _ in range(ROUNDS):
        for kind, round_ in rounds.items():
            seen[kind].append(round_())
    return {kind: median(values) for kind, values in seen.items()}


def rate(task: Callable[[], object]) -> float:
    """Return how often a task is done in a second, in one round."""
    done = 0
    started = time.perf_counter()
    while (seconds := time.perf_counter() - started) < ROUND_SECONDS:
        task()
        done += 1
    return done / seconds


async def make_cases(network: str) -> dict[str, list[Case]]:
    """Return distinct statements of several keys, signed, with what is expected of them; and three forged ones."""
    chain = get_chain(network)
    seeds = [bytes([number]) * 32 for number in range(1, KEYS + 1)]
    wallets: list[Wallet] = [
        EvmKeyWallet(seed) if chain.family == "evm" else SolanaKeyWallet(bytes(Keypair.from_seed(seed)))
        for seed in seeds
    ]
    genuine = [await make_case(network, wallets[number % KEYS], number) for number in range(STATEMENTS)]
    first = genuine[0]
    message, nonce = (first[name].replace("1234567890", "1234567891") for name in ("message", "nonce"))
    expired = (datetime.fromisoformat(first["at"]) + timedelta(minutes=2)).isoformat()
    forged = [
        {**first, "message": message, "nonce": nonce},
        {**first, "domain": "evil.example"},
        {**first, "at": expired},
    ]
    return {"genuine": genuine, "forged": forged}


async def make_case(network: str, wallet: Wallet, number: int) -> Case:
    """Return one signed statement, as it is verified ten seconds later."""
    issued_at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(milliseconds=number)
    statement = make_statement(
        get_chain(network),
        wallet.address,
        domain=DOMAIN,
        nonce=f"1234567890{number:010x}",
        issued_at=issued_at,
        lifetime=timedelta(minutes=2),
    )
    message = format_statement(statement)
    return {
        "network": network,
        "owner": wallet.address,
        "message": message,
        "signature": await wallet.sign_message(message),
        "domain": DOMAIN,
        "uri": statement.uri,
        "nonce": statement.nonce,
        "chain_id": int(statement.chain_id),
        "at": (issued_at + timedelta(seconds=10)).isoformat(),
    }


def find_peers() -> dict[str, list[str]]:
    """Return the commands of those peers that this machine has or can install."""
    found = {}
    for name, install in ((SIWE, install_siwe), (VIEM, install_viem)):
        try:
            found[name] = install()
        except PeerMissingError as error:
            print(f"{name} cannot be installed, so its figures are missing: {error}", file=sys.stderr)
    if SIWE in found:
        found[SIWE_REGEX] = [*found[SIWE], "regex"]
    return found


def bench_statements(directory: Path) -> None:
    """How many statements are parsed, and how many parsed and verified, in a second."""
    cases = asyncio.run(make_cases("linea"))
    file = directory / "linea.json"
    file.write_text(json.dumps(cases))
    endless = cycle(cases["genuine"])

    def verify_signature() -> None:
        case = next(endless)
        parse_statement(case["message"])
        verify_message(case["owner"], case["message"], case["signature"])

    with ExitStack() as stack:
        peers = {}
        for name, command in {"": TOOLKIT, **find_peers()}.items():
            peers[name] = Peer(name or "the toolkit", command, file)
            stack.callback(peers[name].stop)
        tasks = ("verify", "parse")
        rounds = {(task, name): partial(peers[name].round, task) for task in tasks for name in peers}
        seen = in_turns({**rounds, ("signature", ""): lambda: rate(verify_signature)})
    report("statements parsed and their signatures verified", seen["signature", ""], "1/s", "goal", 10_000)
    for task, figure in zip(
        tasks, ("statements verified whole, with all expectations", "statements parsed only"), strict=True
    ):
        if task == "verify":
            report(figure, seen[task, ""], "1/s", "goal", 10_000)
        for name in (SIWE, SIWE_REGEX, VIEM):
            report(figure, seen[task, ""], "1/s", name, seen.get((task, name)))


def bench_solana_statements(directory: Path) -> None:
    """How many Solana statements are verified in a second, beside nothing but their signatures."""
    cases = asyncio.run(make_cases("solana"))
    file = directory / "solana.json"
    file.write_text(json.dumps(cases))
    signatures = [
        (Signature.from_string(case["signature"]), Pubkey.from_string(case["owner"]), case["message"].encode())
        for case in cases["genuine"]
    ]

    def check_signatures() -> None:
        for signature, key, message in signatures:
            if not signature.verify(key, message):
                sys.exit("A genuine signature is not one.")

    peer = Peer("the toolkit", TOOLKIT, file)
    seen = in_turns(
        {
            "toolkit": partial(peer.round, "verify"),
            "ed25519": lambda: rate(check_signatures) * STATEMENTS,
        }
    )
    peer.stop()
    report("Solana statements parsed and verified", seen["toolkit"], "1/s", "Ed25519 alone", seen["ed25519"])


async def make_evidence(sandbox: Sandbox, network: str, directory: Path) -> bytes:
    """Return the evidence file of a grant by a new wallet, with its statement."""
    profile = profile_of(sandbox.document, journal=directory / f"{network}.sqlite")
    key_file = directory / f"{network}.key"
    chain = profile.chain(network)
    write_secret_file(key_file, (await sandbox.new_wallet(chain.family)).private_key)
    wallet = load_wallet(str(key_file))
    request = DelegationRequest(network=network, currency="usdc", amount=Decimal(5000), owner=wallet.address)
    async with open_context(profile, network, wallet=wallet) as context:
        done = await carry(new_delegation(request, context), context)
        claim = claim_of(done, chain, domain=context.terms.domain, now=utc_now())
        _, file = await verify_with_evidence(claim, [chain.rpc_url])
    check_evidence(network, file)
    return file


def check_evidence(network: str, file: bytes) -> None:
    """End the run unless the file verifies, and no longer does with another digit in it."""
    verified = verify_evidence(file)
    if verified.verdict != "VERIFIED":
        sys.exit(f"The evidence of {network} is {verified.verdict}: {verified.findings}")
    if verify_evidence(file.replace(b"5000000000", b"5000000001")).verdict == "VERIFIED":
        sys.exit(f"Forged evidence of {network} is VERIFIED.")


async def make_all_evidence(directory: Path) -> dict[str, bytes]:
    """Return evidence files of grants on the embedded sandbox, by their network."""
    async with open_sandbox() as sandbox:
        return {network: await make_evidence(sandbox, network, directory) for network in ("linea", "solana")}


def bench_evidence(directory: Path) -> None:
    """How many evidence files are verified again in a second, and what hashes and proofs cost of that."""
    files = asyncio.run(make_all_evidence(directory))
    linea = files["linea"]
    hashed = recorded(partial(verify_evidence, linea), keccak256)
    proofs = recorded(partial(verify_evidence, linea), prove_answer, transactions_root, receipts_root, check_header)
    kilobyte = bytes(1000)
    seen = in_turns(
        {
            "linea": lambda: rate(partial(verify_evidence, linea)),
            "solana": lambda: rate(partial(verify_evidence, files["solana"])),
            "hashed": lambda: rate(hashed),
            "proofs": lambda: rate(proofs),
            "keccak": lambda: rate(lambda: keccak256(kilobyte)),
            "sha3": lambda: rate(lambda: hashlib.sha3_256(kilobyte).digest()),
        }
    )
    for network in files:
        report(f"evidence files of {network} verified again", seen[network], "1/s", "goal", 1000)
    whole = 1000 / seen["linea"]
    report("keccak-256 of a file of linea", 1000 / seen["hashed"], "ms", "the whole of it", whole)
    report("proofs and roots of a file of linea", 1000 / seen["proofs"], "ms", "the whole of it", whole)
    report("keccak-256 of 1 kB", 1e6 / seen["keccak"], "us", "hashlib.sha3_256", 1e6 / seen["sha3"])


def recorded(task: Callable[[], object], *functions: Callable[..., object]) -> Callable[[], None]:
    """Return what does again nothing but the calls of these functions that a task makes."""
    known: dict[CodeType, Callable[..., object]] = {function.__code__: function for function in functions}
    calls: list[partial[object]] = []

    def listen(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code in known:
            names = frame.f_code.co_varnames[: frame.f_code.co_argcount]
            calls.append(partial(known[frame.f_code], *(frame.f_locals[name] for name in names)))

    sys.setprofile(listen)
    try:
        task()
    finally:
        sys.setprofile(None)
    missing = [function.__name__ for function in functions if not any(call.func is function for call in calls)]
    if missing:
        sys.exit(f"Evidence is verified without {', '.join(missing)}, so that its cost cannot be told.")

    def again() -> None:
        for call in calls:
            call()

    return again


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        bench_statements(Path(scratch))
        bench_solana_statements(Path(scratch))
        bench_evidence(Path(scratch))
