"""Everything of one life, made from one integer, and what was seen to happen in it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from random import Random
from threading import RLock
from typing import Any, Final

import httpx
from solders.keypair import Keypair

import delegation.gateway.client as gateway_client
from chains import get_chain
from chains.evm.addresses import keccak256
from chains.evm.node import EvmNode
from chains.solana.node import SolanaNode
from delegation.context import Context, Replacement, StatementTerms
from delegation.databases import Rows, SqliteDatabase, Statement
from delegation.errors import DeclinedError
from delegation.gateway.client import Gateway
from delegation.intents import OutdatedPlan
from delegation.journal import Journal
from delegation.leases import BEAT
from delegation.models import Delegation, Plan

from .clock import StuckError, VirtualLoop
from .evm_chain import GWEI, EvmChain, Temper
from .faults import CrashError, Faults, Process
from .platform import Habits, Platform
from .solana_chain import SolanaChain, SolanaTemper, account_of
from .wallets import CARRIED, EVM_KEYS, SOLANA_KEYS, EvmWallet, Ledger, Owner, SolanaWallet, sign_spend
from .wire import ModelRpc, ModelTransport, PlatformDoor, ShortClient

CLIENT_KEY: Final = "client-key-of-the-simulation"
ACCESS_TOKEN: Final = "access-token-of-the-simulation"
BASE_URL: Final = "http://127.0.0.1:9"
SOLANA_SPENDER: Final = str(Keypair.from_seed(bytes([9] * 32)).pubkey())
SPENDER: Final = "0x9dd23A4a0845f10d65D293776B792af1131c7B30"
_MOST_CALLS: Final = 30_000
"""No life needs as many: who asks more asks for ever without getting on."""
TERMS: Final = StatementTerms("wallet.example")

# Of each network: seconds between blocks, base fee and tip in wei per gas, and whether they move.
_NETWORKS: Final = {
    "ethereum": (12.0, 8 * GWEI, True, GWEI, False),
    "linea": (2.0, 7, False, GWEI // 20, True),
    "base": (2.0, GWEI // 100, True, GWEI // 500, False),
}


@dataclass(frozen=True, slots=True)
class Violation:
    """An invariant that did not hold: its number, and what was seen."""

    invariant: int
    what: str


@dataclass(slots=True)
class Stay:
    """One call of the user's program: what it was for, how long it took, and how it ended."""

    what: str
    delegation: str
    process: str
    started: float
    ended: float = 0.0
    outcome: str = ""
    error: BaseException | None = None
    verifying_since: float | None = None
    calm: bool = False


class Watch:
    """What is seen to happen, and the invariants that are seen broken at that very moment."""

    def __init__(self, loop: VirtualLoop, ledger: Ledger, *, verbose: bool) -> None:
        self._loop = loop
        self.ledger = ledger
        self.verbose = verbose
        self.events: list[str] = []
        self.violations: list[Violation] = []
        self.words: list[str] = []
        self.calls = 0
        self.documents: dict[str, str] = {}
        self.versions: dict[str, Delegation] = {}
        self.unclear_posts: list[bytes] = []
        self.ended_with: list[str] = []
        self.judge_saved: Callable[[Delegation | None, Delegation], None] = lambda before, after: None

    def date(self) -> datetime:
        """Return the virtual time as a date."""
        return self._loop.now()

    def tell(self, words: str) -> None:
        """Note an event with its virtual time."""
        if self.verbose:
            self.events.append(f"{self._loop.virtual_time:10.3f}  {words}")

    def count_call(self, what: str) -> None:
        """Count a call to the outside; raises `StuckError` if the same goes on for ever."""
        self.calls += 1
        if self.calls > _MOST_CALLS:
            raise StuckError(f"{_MOST_CALLS} calls in one life, the last is {what}")

    def violate(self, invariant: int, what: str) -> None:
        """Note that an invariant does not hold."""
        self.tell(f"VIOLATION of invariant {invariant}: {what}")
        self.violations.append(Violation(invariant, what))

    def sees_sending(self, process: Process, raw: str) -> None:
        """Signed bytes leave for a node: they must be in the journal."""
        if not any(raw in document for document in self.documents.values()):
            self.violate(2, f"{process.name} sent bytes that are in no document of the journal: {raw[:40]}")

    def sees_posting(self, process: Process, body: bytes) -> None:
        """A proof leaves for the platform: the attempt must be in the journal."""
        token = json.loads(body)["token"]
        for document in self.documents.values():
            if token in document:
                saved = json.loads(document)
                if saved.get("submission") is not None and (saved.get("proof") or {}).get("token") == token:
                    return
        self.violate(2, f"{process.name} posted a proof whose attempt is not in the journal")

    def sees_refusal(self, raw: str, there: str) -> None:
        """A node would not swap bytes in for what waits on their nonce: what was made later must offer enough."""
        order = list(self.ledger.made)
        made = "0x" + keccak256(bytes.fromhex(raw[2:])).hex()
        if made in order and there in order and order.index(made) > order.index(there):
            self.violate(11, f"{made[:12]} was made to take the place of {there[:12]}, and offers too little")

    def asks_wallet(self, owner: str) -> None:
        """A wallet that sends by itself is asked: that must be in the journal."""
        saved = json.loads(self.documents.get(CARRIED.get(), "{}"))
        if not any(approval["handed_over"] and not approval["settlement"] for approval in saved.get("approvals", ())):
            self.violate(2, f"a wallet of {owner} that sends was asked, and the journal does not say so")


class ProcessDatabase:
    """The one database as one process has it: the process may die before and after each write."""

    def __init__(self, inner: SqliteDatabase, process: Process, watch: Watch) -> None:
        self._inner, self._process, self._watch = inner, process, watch

    def run(self, statement: str, values: Mapping[str, Any]) -> Rows:
        if statement.lstrip()[:6] in {"SELECT", "PRAGMA"}:
            return self._inner.run(statement, values)
        self._process.step()
        rows = self._inner.run(statement, values)
        if rows and "document" in values:
            # What comes after this write is the step of the journal, which looks at it first.
            self._watch.documents[values["id"]] = values["document"]
            return rows
        self._process.step()
        return rows

    def run_all(self, statements: Sequence[Statement]) -> bool:
        self._process.step()
        done = self._inner.run_all(statements)
        if done:
            for _, values in statements:
                self._watch.documents[values["id"]] = values["document"]
        return done

    def get_time(self) -> datetime:
        return self._watch.date()

    def get_version(self) -> int:
        return self._inner.get_version()

    def prepare(self) -> None:
        """It is ready."""

    def advance(self, version: int, step: Any) -> None:
        self._inner.advance(version, step)

    def close(self) -> None:
        """It outlives the process."""


class WatchedJournal(Journal):
    """The journal, each of whose saves is looked at."""

    def __init__(self, database: Any, process: Process, watch: Watch, heart: VirtualHeart) -> None:
        super().__init__(database, heart=heart, name=process.name_holder)
        self._process, self._watch = process, watch

    def save(self, delegation: Delegation, *, others: Sequence[Delegation] = ()) -> Delegation:
        saved = super().save(delegation, others=others)
        for one in (*(each.model_copy(update={"revision": each.revision + 1}) for each in others), saved):
            if one is not saved:
                self._watch.ended_with.append(self._watch.versions[one.id].state)
            self._watch.judge_saved(self._watch.versions.get(one.id), one)
            self._watch.versions[one.id] = one
        self._process.step()
        return saved


class VirtualHeart:
    """Renews the leases of one process on the virtual clock, while the process lives."""

    def __init__(self, loop: VirtualLoop, process: Process) -> None:
        self._loop, self._process = loop, process

    def start(self, beat: Callable[[], None]) -> Callable[[], None]:
        """Begin to call `beat`, and return what ends it."""
        stopped = False

        def tick() -> None:
            if stopped or not self._process.alive:
                return
            with suppress(CrashError):
                beat()
            timers.append(self._loop.call_later(BEAT.total_seconds(), tick))

        def stop() -> None:
            nonlocal stopped
            stopped = True
            timers[-1].cancel()

        timers = [self._loop.call_later(BEAT.total_seconds(), tick)]
        return stop


class _MemoryDatabase(SqliteDatabase):
    """SQLite in memory: what a process leaves behind, without the price of a disk."""

    def __init__(self, image: bytes | None) -> None:
        self._connection = sqlite3.connect(":memory:", isolation_level=None)
        self._turn = RLock()
        if image is not None:
            self._connection.deserialize(image)

    def image(self) -> bytes:
        return self._connection.serialize()


def _empty_journal() -> bytes:
    database = _MemoryDatabase(None)
    Journal(database)
    image = database.image()
    database.close()
    return image


_EMPTY: Final = _empty_journal()


class World:
    """One life's chains, platform, journal, owners and processes, all from one integer."""

    def __init__(self, seed: int, *, verbose: bool = False, real_http: bool = False) -> None:
        self.seed = seed
        self._real_http = real_http
        self.rng = rng = Random(seed)
        self.loop = VirtualLoop()
        self.ledger = Ledger()
        self.watch = Watch(self.loop, self.ledger, verbose=verbose)
        self.loop.set_exception_handler(self._hear_stray)
        self.faults = Faults(rng, rng.choice((0.0, 0.05, 0.05, 0.3)))
        self.crashes = rng.choice((0.0, 0.1, 0.3))
        self.stays: list[Stay] = []
        self.settled_at: dict[str, float] = {}
        self.done_at: dict[str, float] = {}
        self.foreign: set[str] = set()
        self.chains: dict[str, Any] = {}
        self.owners = [self._draw_owner(number) for number in range(rng.choice((1, 1, 2)))]
        family = rng.choice(("evm", "evm", "evm", "solana", "both"))
        if family != "solana":
            self._add_evm_chain(rng.choice(("ethereum", "linea", "linea", "base")))
        if family != "evm":
            self._add_solana()
        self.platform = Platform(
            chains=self.chains,
            habits=Habits(
                repeated=rng.choice(("refuses", "refuses", "takes")),
                list_lag=rng.choice((0.0, 0.0, 2.0, 8.0)),
                oldest=rng.choice((1e9, 1e9, 1e9, 120.0)),
                forgets=rng.choice((0.0, 0.0, 0.03)),
                drops_revoked=rng.random() < 0.3,
            ),
            faults=self.faults,
            rng=rng,
            now=self.loop.time,
            date=self.loop.now,
            tell=self.watch.tell,
        )
        self._database = _MemoryDatabase(_EMPTY)
        self.processes = [Process("one"), Process("two")]
        self._gateways = {process.name: self._open_gateway(process) for process in self.processes}
        self.watch.tell(
            f"seed {seed}: faults {self.faults.rate:.0%}, crashes {self.crashes:.0%}, {self.platform.habits}, "
            f"{[chain.temper for chain in self.chains.values()]}, wallets {[owner.wallet for owner in self.owners]}"
        )

    def _add_evm_chain(self, network: str) -> None:
        self.chains[network] = EvmChain(
            get_chain(network),
            self._draw_temper(network),
            self.faults,
            self.rng,
            self.loop.time,
            SPENDER,
            sign_spend,
            self.watch.tell,
        )

    def _add_solana(self) -> None:
        rng, chain = self.rng, get_chain("solana")
        addresses = [str(owner.solana.pubkey()) for owner in self.owners]
        missing = {account_of(addresses[0], chain.tokens[0].address)} if rng.random() < 0.3 else set()
        temper = SolanaTemper(
            lost=rng.choice((0.0, 0.3, 0.8)),
            fork=rng.choice((0.0, 0.0, 0.2)),
            spend=rng.choice((0.0, 0.01)),
            slow=rng.choice((3, 10, 170)),
        )
        self.chains["solana"] = SolanaChain(
            chain, temper, self.faults, rng, self.loop.time, SOLANA_SPENDER, addresses, missing, self.watch.tell
        )

    def _hear_stray(self, loop: Any, told: dict[str, Any]) -> None:
        """What nobody waited for: the questions of a dead process end so, and nothing else may."""
        error = told.get("exception")
        if not isinstance(error, CrashError):
            self.watch.violate(0, f"{told['message']}: {error!r}")

    def _draw_temper(self, network: str) -> Temper:
        rng = self.rng
        interval, base_fee, base_fee_moves, tip, tip_moves = _NETWORKS[network]
        return Temper(
            interval=interval,
            base_fee=base_fee,
            base_fee_moves=base_fee_moves,
            tip=tip,
            tip_moves=tip_moves,
            overrides=rng.random() < 0.8,
            rejects_low_fees=rng.random() < 0.3,
            refuses=rng.choice((0.0, 0.0, 0.2)),
            reorg=rng.choice((0.0, 0.0, 0.03, 0.1)),
            idle=rng.choice((0.0, 0.0, 0.2, 0.2, 0.6, 1.0)),
            forget=rng.choice((0.0, 0.0, 0.05)),
            spend=rng.choice((0.0, 0.01, 0.05)),
        )

    def _draw_owner(self, number: int) -> Owner:
        rng = self.rng
        return Owner(
            evm=EVM_KEYS[number],
            solana=SOLANA_KEYS[number],
            wallet=rng.choice(("signs", "signs", "signs", "sends", "sends with its own nonce")),
            loses=rng.choice((0.0, 0.2)),
            refuses=rng.choice((0.0, 0.0, 0.1)),
        )

    def _open_gateway(self, process: Process) -> Gateway:
        door = PlatformDoor(self.platform, process, self.faults, self.watch)
        with _client_over(door, real_http=self._real_http):
            return Gateway(BASE_URL, CLIENT_KEY, ACCESS_TOKEN, now=self.loop.now, chance=self.rng.random)

    def open_context(self, process: Process, network: str, owner: Owner, *, wallet: bool = True) -> Context:
        """Return what one process needs to carry delegations of an owner on a network."""
        chain = self.chains[network]
        rpc = ModelRpc(chain, network, process, self.faults, self.watch)

        def hear(station: str, words: str) -> None:
            self.watch.words.append(words)
            if self.watch.verbose:
                self.watch.tell(f"{process.name}: {CARRIED.get()} {station}: {words}")
            if station == "verification":
                stay = next((one for one in reversed(self.stays) if one.delegation == CARRIED.get()), None)
                if stay is not None:
                    stay.verifying_since = self.loop.time()

        return Context(
            gateway=self._gateways[process.name],
            node=SolanaNode(chain.chain, rpc) if network == "solana" else EvmNode(chain.chain, rpc),
            journal=self.open_journal(process),
            terms=TERMS,
            wallet=self._open_wallet(process, network, owner) if wallet else None,
            agree=self._agree,
            agree_again=self._agree_again,
            agree_replacement=self._agree_replacement,
            progress=hear,
            now=self.loop.now,
            settle_timeout=120.0,
        )

    def _open_wallet(self, process: Process, network: str, owner: Owner) -> EvmWallet | SolanaWallet:
        chain = self.chains[network]
        rest: dict[str, Any] = {
            "sends": owner.wallet != "signs",
            "own_nonce": owner.wallet == "sends with its own nonce",
            "loses": owner.loses if self.faults.on else 0.0,
            "refuses": owner.refuses if self.faults.on else 0.0,
            "slow": 0.01 if self.faults.on else 0.0,
        }
        common = (chain, process, self.ledger, self.rng, self.watch.asks_wallet)
        if network == "solana":
            # Of a wallet that puts in a blockhash of its own and whose answer is lost, the line asks the same again
            # while the first can still land. It has to wait for that to end; until it does, no life has such a wallet.
            return SolanaWallet(owner.solana, *common, **rest | {"own_nonce": False})
        return EvmWallet(owner.evm, *common, **rest)

    def _agree(self, plan: Plan) -> None:
        """Agree to a plan."""

    def _agree_again(self, outdated: OutdatedPlan) -> None:
        """Agree again, or not: the owner may have changed their mind, until they want it all to end."""
        if self.faults.happens(0.3):
            raise DeclinedError("The plan was not agreed to again.", hint="Nothing was signed.")
        self.watch.tell(f"agreed to again: {outdated.reason}")

    def _agree_replacement(self, replacement: Replacement) -> None:
        """Agree to a replacement."""

    def open_journal(self, process: Process) -> WatchedJournal:
        """Return the journal as one process has it."""
        heart = VirtualHeart(self.loop, process)
        return WatchedJournal(ProcessDatabase(self._database, process, self.watch), process, self.watch, heart)

    def new_id(self) -> str:
        """Return an id for a delegation, from the seed as everything is."""
        return f"{self.rng.getrandbits(48):012x}"

    def delegations(self) -> tuple[Delegation, ...]:
        """Return what the journal holds, the oldest first."""
        return Journal(self._database).list()

    def known(self) -> list[Delegation]:
        """Return what was saved last of each delegation, the oldest first, without reading the journal."""
        return list(self.watch.versions.values())

    def load(self, delegation_id: str) -> Delegation:
        """Return what the journal holds of one delegation."""
        return Journal(self._database).load(delegation_id)

    def address(self, owner: Owner, network: str) -> str:
        """Return an owner's address on a network."""
        return str(owner.solana.pubkey()) if network == "solana" else owner.evm.address

    def owner_of(self, d: Delegation) -> Owner:
        """Return the owner of a delegation."""
        return next(one for one in self.owners if self.address(one, d.request.network) == d.request.owner)

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()


def human(base_units: int) -> Decimal:
    """Return base units of a token of six decimals in human units."""
    return Decimal(base_units).scaleb(-6)


@contextmanager
def _client_over(door: PlatformDoor, *, real_http: bool) -> Iterator[None]:
    """Let the platform's client be opened over a door of ours; the seam is where it would open its sockets."""

    def open_client(url: str, *, headers: Mapping[str, str], **settings: object) -> object:
        return httpx.AsyncClient(transport=ModelTransport(door), headers=headers) if real_http else ShortClient(door)

    original = gateway_client.open_http_client
    gateway_client.open_http_client = open_client  # type: ignore[assignment]
    try:
        yield
    finally:
        gateway_client.open_http_client = original
