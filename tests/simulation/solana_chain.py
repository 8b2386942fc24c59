"""A model of Solana, asked at the level of JSON-RPC: slots, blockhashes that expire, forks that drop transactions.

A slot is a point in time, so that nothing has to be made while nobody looks. A transaction lands some slots after it
was sent, or is lost on its way and has to be sent again; it can land until its blockhash is 150 blocks old.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from typing import Any, Final, Literal

from solders.hash import Hash
from solders.pubkey import Pubkey
from solders.signature import Signature

from chains.errors import RpcError, SignatureMismatchError
from chains.solana.addresses import SYSTEM_PROGRAM, TOKEN_PROGRAM, get_associated_token_address
from chains.solana.transactions import decode_message, parse_wire
from chains.types import Block as NamedBlock
from chains.types import Chain, Settlement

from .faults import Faults

SLOT: Final = 0.4
FIRST: Final = 300_000_000
_SKIPPED: Final = 20_000_000
"""How many slots had no block before this life; in it every slot has one."""
LIFETIME: Final = 150
_DEPTHS: Final = {"processed": 0, "confirmed": 2, "finalized": 32}
_BALANCE: Final = 10**13
_LAMPORTS: Final = 10**10
_FEE: Final = 5_000
_SUPPLY: Final = 10**15


@dataclass(frozen=True, slots=True)
class SolanaTemper:
    """How this network behaves in one life, while there are faults.

    `lost`: the chance that what was sent never lands. `fork`: the chance that what has landed is dropped before it is
    final. `spend`: the chance, each time somebody looks, that the delegate takes some. `slow`: slots until it lands.
    """

    lost: float
    fork: float
    spend: float
    slow: int


@dataclass(slots=True)
class Landed:
    """A transaction in the chain; `drops_at` is the slot in which a fork drops it again, if one will."""

    hash: str
    raw: bytes
    slot: int
    source: str
    owner: str
    amount: int
    delegate: str | None
    drops_at: int | None


@dataclass(frozen=True, slots=True)
class _Waiting:
    raw: bytes
    lands_at: int
    last_slot: int


@dataclass(frozen=True, slots=True)
class _Spend:
    source: str
    slot: int
    taken: int


class SolanaChain:
    """The chain and its node. `now` are seconds; `missing` are token accounts that nobody has created yet."""

    def __init__(
        self,
        chain: Chain,
        temper: SolanaTemper,
        faults: Faults,
        rng: Any,
        now: Callable[[], float],
        spender: str,
        owners: Sequence[str],
        missing: set[str],
        tell: Callable[[str], None],
    ) -> None:
        self.chain = chain
        self.temper = temper
        self.spender = spender
        self._faults, self._rng, self._now, self._tell = faults, rng, now, tell
        self._mints = {token.address: token.decimals for token in chain.tokens}
        self._owners = set(owners)
        self._sources = {account_of(owner, mint): (owner, mint) for owner in owners for mint in self._mints}
        self.missing = missing
        self._waiting: dict[str, _Waiting] = {}
        self.landed: dict[str, Landed] = {}
        self._lost_at: dict[str, float] = {}
        self._spends: list[_Spend] = []

    # --- the chain itself ---------------------------------------------------------------------------------------

    @property
    def slot(self) -> int:
        """The newest slot."""
        return FIRST + int(self._now() / SLOT)

    def remember(self, foreign: Set[str]) -> None:
        """Nothing comes back by itself: what a fork dropped is sent again, or expires."""

    def advance(self) -> None:
        """Let happen what was due until now: landings, forks, and perhaps the delegate spends."""
        slot = self.slot
        for hash_, waiting in list(self._waiting.items()):
            if waiting.lands_at > slot:
                continue
            del self._waiting[hash_]
            if waiting.lands_at <= waiting.last_slot and hash_ not in self.landed:
                self._land(hash_, waiting)
        for hash_, landed in list(self.landed.items()):
            if landed.drops_at is not None and landed.drops_at <= slot:
                self._tell(f"solana: a fork drops {hash_[:12]}")
                del self.landed[hash_]
                self._lost_at[hash_] = self._now()
        if self._faults.happens(self.temper.spend):
            self._spend(slot)

    def _land(self, hash_: str, waiting: _Waiting) -> None:
        done = decode_message(waiting.raw[65:])
        last = done.instructions[-1]
        drops_at = None
        if self._faults.happens(self.temper.fork):
            drops_at = waiting.lands_at + self._rng.randint(1, 31)
        self.landed[hash_] = Landed(
            hash_,
            waiting.raw,
            waiting.lands_at,
            last.source,
            done.signer,
            0 if last.kind == "revoke" else last.amount,
            None if last.kind == "revoke" else last.delegate,
            drops_at,
        )
        self.missing.discard(last.source)
        self._tell(f"solana: slot {waiting.lands_at} takes {hash_[:12]}, which sets {self.landed[hash_].amount}")

    def _spend(self, slot: int) -> None:
        for source in self._sources:
            amount, delegate = self._delegated(source, slot)
            if delegate == self.spender and amount > 3:
                taken = 1 + int(self._rng.random() * min(amount // 3, 10**9))
                self._spends.append(_Spend(source, slot, taken))
                self._tell(f"solana: the delegate takes {taken}")
                return

    def _delegated(self, source: str, slot: int) -> tuple[int, str | None]:
        """Return the allowance and the delegate of a token account as of a slot."""
        amount, delegate = 0, None
        events: list[Landed | _Spend] = [one for one in (*self.landed.values(), *self._spends) if one.source == source]
        for event in sorted(events, key=lambda one: one.slot):
            if event.slot > slot:
                break
            if isinstance(event, Landed):
                amount, delegate = event.amount, event.delegate
            elif event.taken <= amount:
                amount -= event.taken
                delegate = delegate if amount else None
        return amount, delegate

    def accept(self, raw: str) -> str:
        """Take signed bytes (base64) and return their signature; raises `RpcError` as a node does without preflight."""
        self.advance()
        data = b64decode(raw)
        try:
            signatures, message = parse_wire(data)
            done = decode_message(message)
        except SignatureMismatchError as error:
            raise RpcError(f"sendTransaction failed: failed to deserialize: {error.message}", code=-32602) from error
        hash_ = str(Signature.from_bytes(signatures[0]))
        born = next((slot for slot in range(self.slot, self.slot - 400, -1) if blockhash_of(slot) == done.blockhash), 0)
        lost = self._faults.happens(self.temper.lost)
        if hash_ not in self._waiting and hash_ not in self.landed and born + LIFETIME >= self.slot and not lost:
            lands_at = self.slot + 1 + int(self._rng.random() * (self.temper.slow if self._faults.on else 3))
            self._waiting[hash_] = _Waiting(data, lands_at, born + LIFETIME)
        return hash_

    # --- the node -----------------------------------------------------------------------------------------------

    def answer(self, method: str, params: Sequence[Any] | Mapping[str, Any], *, behind: int = 0) -> Any:
        """Return what the node answers, some slots late if `behind`; raises `RpcError`."""
        self.advance()
        handler = _METHODS.get(method)
        if handler is None:
            raise RpcError(f"{method} failed: Method not found", code=-32601)
        return handler(self, list(params), self.slot - 4 * behind)

    def _genesis(self, params: list[Any], slot: int) -> str:
        return self.chain.genesis_hash or ""

    def _latest_blockhash(self, params: list[Any], slot: int) -> Any:
        seen = _view(slot, params[0])
        value = {"blockhash": blockhash_of(seen), "lastValidBlockHeight": seen - _SKIPPED + LIFETIME}
        return {"context": {"slot": seen}, "value": value}

    def _epoch(self, params: list[Any], slot: int) -> Any:
        seen = _view(slot, params[0])
        return {"absoluteSlot": seen, "blockHeight": seen - _SKIPPED, "epoch": 700, "slotIndex": 0, "slotsInEpoch": 1}

    def _get_slot(self, params: list[Any], slot: int) -> int:
        return _view(slot, params[0] if params else {})

    def _get_height(self, params: list[Any], slot: int) -> int:
        return self._get_slot(params, slot) - _SKIPPED

    def _accounts(self, params: list[Any], slot: int) -> Any:
        addresses, config = params
        seen = _view(slot, config)
        if seen < config.get("minContextSlot", 0):
            raise RpcError("getMultipleAccounts failed: Minimum context slot has not been reached", code=-32016)
        return {"context": {"slot": seen}, "value": [self._account(address, seen) for address in addresses]}

    def _account(self, address: str, slot: int) -> Any:
        if address in self._owners:
            return _show_account(SYSTEM_PROGRAM, b"", _LAMPORTS)
        if address in self._mints:
            return _show_account(TOKEN_PROGRAM, _mint(self._mints[address]), 1_461_600)
        if address not in self._sources or address in self.missing:
            return None
        owner, mint = self._sources[address]
        amount, delegate = self._delegated(address, slot)
        return _show_account(TOKEN_PROGRAM, _token_account(mint, owner, amount, delegate), 2_039_280)

    def _rent(self, params: list[Any], slot: int) -> int:
        return (params[0] + 128) * 6_960

    def _prices(self, params: list[Any], slot: int) -> Any:
        return [{"slot": slot - 1, "prioritizationFee": 100}]

    def _simulate(self, params: list[Any], slot: int) -> Any:
        return {"context": {"slot": slot}, "value": {"err": None, "logs": [], "unitsConsumed": 4_700}}

    def _send(self, params: list[Any], slot: int) -> str:
        raw, config = params
        data = b64decode(raw)
        signature = str(Signature.from_bytes(data[1:65]))
        if not config.get("skipPreflight"):
            if signature in self.landed:
                raise _refused("AlreadyProcessed", "This transaction has already been processed")
            asked = decode_message(data[65:]).blockhash
            seen = slot - _DEPTHS["confirmed"]
            if all(blockhash_of(one) != asked for one in range(seen, seen - LIFETIME - 1, -1)):
                raise _refused("BlockhashNotFound", "Blockhash not found")
        return self.accept(raw)

    def _statuses(self, params: list[Any], slot: int) -> Any:
        found = [self.landed.get(signature) for signature in params[0]]
        return {
            "context": {"slot": slot},
            "value": [None if one is None or one.slot > slot else _show_status(one, slot) for one in found],
        }

    def _transaction(self, params: list[Any], slot: int) -> Any:
        landed = self.landed.get(params[0])
        if landed is None or landed.slot > _view(slot, params[1]):
            return None
        meta = {"err": None, "fee": _FEE, "innerInstructions": [], "loadedAddresses": {"writable": [], "readonly": []}}
        return {
            "slot": landed.slot,
            "blockTime": 1_767_225_600 + int((landed.slot - FIRST) * SLOT),
            "transaction": [b64encode(landed.raw).decode(), "base64"],
            "meta": meta,
            "version": 0,
        }

    def _signatures(self, params: list[Any], slot: int) -> Any:
        seen = _view(slot, params[1])
        found = [one for one in self.landed.values() if params[0] in {one.source, one.owner} and one.slot <= seen]
        found.sort(key=lambda one: -one.slot)
        names = [one.hash for one in found]
        if params[1].get("before") in names:
            found = found[names.index(params[1]["before"]) + 1 :]
        elif params[1].get("until") in names:
            found = found[: names.index(params[1]["until"])]
        return [
            {"signature": one.hash, "slot": one.slot, "err": None, "memo": None, "confirmationStatus": "confirmed"}
            for one in found[: params[1].get("limit", 1_000)]
        ]

    def _first_block(self, params: list[Any], slot: int) -> int:
        return FIRST - 10_000

    def _block(self, params: list[Any], slot: int) -> Any:
        return {
            "blockHeight": params[0] - _SKIPPED,
            "blockhash": blockhash_of(params[0]),
            "previousBlockhash": blockhash_of(params[0] - 1),
            "parentSlot": params[0] - 1,
            "blockTime": 1_767_225_600 + int((params[0] - FIRST) * SLOT),
        }

    # --- what really happened, for whoever judges ---------------------------------------------------------------

    def approved(self, hash_: str, owner: str, token: str) -> tuple[int, float] | None:
        """Return the amount that a transaction of the chain approved for the spender, and its age in seconds."""
        self.advance()
        landed = self.landed.get(hash_)
        if landed is None or landed.slot > self.slot - _DEPTHS["confirmed"]:
            return None
        if landed.source != account_of(owner, token) or landed.delegate not in {None, self.spender}:
            return None
        return landed.amount, (self.slot - landed.slot) * SLOT

    def allowance_before(self, seconds: float, owner: str, token: str) -> int:
        """Return the allowance that the chain, as finalized, held this many seconds ago."""
        self.advance()
        slot = self.slot - _DEPTHS["finalized"] - int(seconds / SLOT)
        amount, delegate = self._delegated(account_of(owner, token), slot)
        return amount if delegate == self.spender else 0

    def allowance(self, token: str, owner: str, spender: str) -> int:
        """Return the allowance of the newest slot."""
        amount, delegate = self._delegated(account_of(owner, token), self.slot)
        return amount if delegate == spender else 0

    def lost_at(self, settlement: Settlement) -> float | None:
        """Return when a fork dropped the transaction of a settlement, None if it is in the chain; 0 if it never was."""
        return None if settlement.hash in self.landed else self._lost_at.get(settlement.hash, 0.0)

    def allowance_at(self, named: NamedBlock, owner: str, token: str) -> int | None:
        """Return what a slot holds."""
        amount, delegate = self._delegated(account_of(owner, token), named.number)
        return amount if delegate == self.spender else 0

    def approvals(self, token: str, owner: str) -> list[tuple[Landed, bool]]:
        """Return the approvals of this token account that the chain holds, the oldest first, each undisturbed."""
        source = account_of(owner, token)
        found = [one for one in self.landed.values() if one.source == source]
        return [(one, False) for one in sorted(found, key=lambda one: one.slot)]


_METHODS: Final[dict[str, Callable[[SolanaChain, list[Any], int], Any]]] = {
    "getGenesisHash": SolanaChain._genesis,
    "getLatestBlockhash": SolanaChain._latest_blockhash,
    "getEpochInfo": SolanaChain._epoch,
    "getSlot": SolanaChain._get_slot,
    "getBlockHeight": SolanaChain._get_height,
    "getMultipleAccounts": SolanaChain._accounts,
    "getMinimumBalanceForRentExemption": SolanaChain._rent,
    "getRecentPrioritizationFees": SolanaChain._prices,
    "simulateTransaction": SolanaChain._simulate,
    "sendTransaction": SolanaChain._send,
    "getSignatureStatuses": SolanaChain._statuses,
    "getTransaction": SolanaChain._transaction,
    "getSignaturesForAddress": SolanaChain._signatures,
    "getBlock": SolanaChain._block,
    "getFirstAvailableBlock": SolanaChain._first_block,
}


@cache
def account_of(owner: str, mint: str) -> str:
    """Return the associated token account of an owner."""
    return get_associated_token_address(owner, mint, TOKEN_PROGRAM)


@cache
def blockhash_of(slot: int) -> str:
    """Return the blockhash of a slot."""
    return str(Hash(sha256(slot.to_bytes(8, "big")).digest()))


def _view(slot: int, config: Mapping[str, Any]) -> int:
    return slot - _DEPTHS[config.get("commitment", "finalized")]


def _show_status(landed: Landed, slot: int) -> dict[str, Any]:
    age = slot - landed.slot
    level: Literal["processed", "confirmed", "finalized"] = (
        "finalized" if age >= 32 else "confirmed" if age >= 2 else "processed"
    )
    return {
        "slot": landed.slot,
        "confirmations": None if age >= 32 else age,
        "err": None,
        "status": {"Ok": None},
        "confirmationStatus": level,
    }


def _show_account(program: str, data: bytes, lamports: int) -> dict[str, Any]:
    return {
        "data": [b64encode(data).decode(), "base64"],
        "executable": False,
        "lamports": lamports,
        "owner": program,
        "rentEpoch": 2**64 - 1,
        "space": len(data),
    }


@cache
def _mint(decimals: int) -> bytes:
    return bytes(36) + _SUPPLY.to_bytes(8, "little") + bytes([decimals, 1]) + bytes(36)


@cache
def _token_account(mint: str, owner: str, allowance: int, delegate: str | None) -> bytes:
    who = bytes(36) if delegate is None else b"\1\0\0\0" + bytes(Pubkey.from_string(delegate))
    return b"".join(
        (
            bytes(Pubkey.from_string(mint)),
            bytes(Pubkey.from_string(owner)),
            _BALANCE.to_bytes(8, "little"),
            who,
            b"\1",
            bytes(12),
            (allowance if delegate is not None else 0).to_bytes(8, "little"),
            bytes(36),
        )
    )


def _refused(name: str, words: str) -> RpcError:
    return RpcError(
        f"sendTransaction failed: Transaction simulation failed: {words}", code=-32002, data={"err": name, "logs": []}
    )
