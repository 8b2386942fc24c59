"""A model EVM chain, asked at the level of JSON-RPC: real signed bytes, a mempool, a base fee, blocks, reorganisations.

Blocks are mined when the chain is looked at: all that were due since the last time. Every block keeps its state, so
that old state can be read. Headers are real: they hash to what the block is called. Of two tokens one sets whatever is
approved (as USDC does), and one refuses to change one allowance into another (as USDT on Ethereum does, zero first).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, Final

from chains.errors import ContradictionError, NodeError, RpcError
from chains.evm.addresses import keccak256
from chains.evm.codec.erc20 import APPROVAL_TOPIC
from chains.evm.codec.rlp import decode as decode_rlp
from chains.evm.codec.rlp import encode_integer
from chains.evm.codec.transactions import decode_transaction
from chains.evm.codec.trie import BLANK_ROOT, ordered_trie_root
from chains.types import Block as NamedBlock
from chains.types import Chain, Settlement

from .faults import Faults

GWEI: Final = 10**9
GAS_USED: Final = 48_000
BALANCE: Final = 10**13
NATIVE_BALANCE: Final = 10**19
FIRST: Final = 20_000_000
"""The number of the oldest block that is a block of its own; before it nothing ever happened."""

_TRANSFER_TOPIC: Final = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
_APPROVE: Final = bytes.fromhex("095ea7b3")
_ALLOWANCE: Final = bytes.fromhex("dd62ed3e")
_BALANCE_OF: Final = bytes.fromhex("70a08231")
_DECIMALS: Final = bytes.fromhex("313ce567")
SPEND: Final = bytes.fromhex("5be4d001")
"""The spender's own `spend(token, owner, amount)`: it takes from an allowance."""
_MOST_BLOCKS_AT_ONCE: Final = 160
_BLOOM: Final = bytes(256)
_EMPTY_OMMERS: Final = "0x1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347"


@dataclass(frozen=True, slots=True)
class Transaction:
    """A signed transaction as the chain reads it; fees are in wei per gas."""

    raw: bytes
    hash: str
    sender: str
    nonce: int
    to: str
    data: bytes
    tip: int
    max_fee: int
    gas: int

    @property
    def approval(self) -> tuple[str, int] | None:
        """Spender (lower case) and amount if this approves something."""
        if self.data[:4] != _APPROVE or len(self.data) != 68:
            return None
        return "0x" + self.data[16:36].hex(), int.from_bytes(self.data[36:], "big")


@dataclass(slots=True)
class State:
    """What a block leaves: nonces by account, allowances and what was taken by (token, owner, spender)."""

    nonces: dict[str, int] = field(default_factory=dict)
    allowances: dict[tuple[str, str, str], int] = field(default_factory=dict)
    spent: dict[tuple[str, str, str], int] = field(default_factory=dict)

    def copy(self) -> State:
        return State(dict(self.nonces), dict(self.allowances), dict(self.spent))


@dataclass(slots=True)
class Block:
    """One block with the state after it; `succeeded` tells for each transaction whether it did."""

    number: int
    hash: str
    parent: str
    timestamp: int
    base_fee: int
    root: bytes
    transactions: tuple[Transaction, ...]
    succeeded: tuple[bool, ...]
    state: State
    salt: int
    orphaned_at: float | None = None


@dataclass(frozen=True, slots=True)
class Temper:
    """How this network and its node behave in one life; fees are in wei per gas.

    `overrides`: the node serves the state override of `eth_call`. `rejects_low_fees`: it refuses what is below the base
    fee instead of keeping it. `reorg`, `idle`, `forget`, `spend` are chances per block while there are faults: the last
    blocks are replaced, nothing is included, the mempool is emptied, the spender takes some of an allowance.
    """

    interval: float
    base_fee: int
    base_fee_moves: bool
    tip: int
    tip_moves: bool
    overrides: bool
    rejects_low_fees: bool
    refuses: float
    reorg: float
    idle: float
    forget: float
    spend: float


class EvmChain:
    """The chain and its node. `now` are seconds; `sign_spend` signs what the spender sends."""

    def __init__(
        self,
        chain: Chain,
        temper: Temper,
        faults: Faults,
        rng: Any,
        now: Callable[[], float],
        spender: str,
        sign_spend: Callable[[EvmChain, bytes], Transaction],
        tell: Callable[[str], None],
    ) -> None:
        self.chain = chain
        self.temper = temper
        self.spender = spender.lower()
        self._faults, self._rng, self._now, self._tell = faults, rng, now, tell
        self._sign_spend = sign_spend
        self._tokens = {token.address.lower(): token for token in chain.tokens}
        self._base_fee, self._tip = temper.base_fee, temper.tip
        self._salt = 0
        self._next = temper.interval
        self.refusing = False
        self._dropped: list[Transaction] = []
        self.pool: dict[str, dict[int, Transaction]] = {}
        self.known: dict[str, Transaction] = {}
        self.places: dict[str, tuple[Block, int]] = {}
        self.orphans: dict[str, Block] = {}
        genesis = Block(FIRST, "", "0x" + "00" * 32, 0, self._base_fee, BLANK_ROOT, (), (), State(), 0)
        genesis.hash = _hash_block(genesis)
        self.blocks = [genesis]

    # --- the chain itself ---------------------------------------------------------------------------------------

    @property
    def head(self) -> Block:
        """The newest block."""
        return self.blocks[-1]

    def advance(self) -> None:
        """Mine every block that was due until now."""
        now = self._now()
        if now < self._next:
            return
        due = int((now - self._next) / self.temper.interval) + 1
        if due > _MOST_BLOCKS_AT_ONCE:  # a long time nobody looked: slots without a block
            self._next += (due - _MOST_BLOCKS_AT_ONCE) * self.temper.interval
        while self._next <= now:
            self._tick()
            self._next += self.temper.interval

    def _tick(self) -> None:
        temper, faults = self.temper, self._faults
        if faults.on:
            self._move_fees()
            if temper.refuses:
                self.refusing = self._rng.random() < temper.refuses if self._rng.random() < 0.2 else self.refusing
            if faults.happens(temper.forget) and self.pool:
                self._tell(f"{self.chain.name}: the mempool is emptied")
                self.pool.clear()
            if faults.happens(temper.reorg):
                self._reorganise(self._rng.randint(1, 3))
                return
            if faults.happens(temper.spend):
                self._spend()
            self._mine(None if faults.happens(temper.idle) else self._choose())
        else:
            # Never twice as dear as it was when something was signed: with the headroom that it needs, it lands.
            self._base_fee = temper.base_fee * 4 // 5 if temper.base_fee_moves else temper.base_fee
            self._tip, self.refusing = temper.tip, False
            self._mine(self._choose())

    def _move_fees(self) -> None:
        if self.temper.base_fee_moves:
            factor = 0.875 + 0.25 * self._rng.random()
            low, high = self.temper.base_fee // 2, 8 * self.temper.base_fee
            self._base_fee = max(low, min(int(self._base_fee * factor), high))
        if self.temper.tip_moves:
            factor = 0.8 + 0.5 * self._rng.random()
            low, high = self.temper.tip // 2, 6 * self.temper.tip
            self._tip = max(low, min(int(self._tip * factor), high))

    def _choose(self) -> list[Transaction] | None:
        if not self.pool:
            return None
        chosen = []
        nonces = self.head.state.nonces
        for sender, waiting in self.pool.items():
            nonce = nonces.get(sender, 0)
            while (transaction := waiting.get(nonce)) is not None and self._pays(transaction):
                chosen.append(transaction)
                nonce += 1
        return chosen

    def _pays(self, transaction: Transaction) -> bool:
        tip = min(transaction.tip, transaction.max_fee - self._base_fee)
        return tip >= (self._tip // 2 if self.temper.tip_moves else 0)

    def _mine(self, chosen: Sequence[Transaction] | None) -> None:
        parent = self.head
        state, succeeded, root = parent.state, [], BLANK_ROOT
        if chosen:
            state = parent.state.copy()
            for transaction in chosen:
                state.nonces[transaction.sender] = transaction.nonce + 1
                succeeded.append(self._execute(state, transaction.sender, transaction.to, transaction.data) is None)
                waiting = self.pool.get(transaction.sender, {})
                waiting.pop(transaction.nonce, None)
                if not waiting:
                    self.pool.pop(transaction.sender, None)
            root = ordered_trie_root([transaction.raw for transaction in chosen])
        block = Block(
            parent.number + 1,
            "",
            parent.hash,
            int(self._next),
            self._base_fee,
            root,
            tuple(chosen or ()),
            tuple(succeeded),
            state,
            self._salt,
        )
        block.hash = _hash_block(block)
        for index, transaction in enumerate(block.transactions):
            self.places[transaction.hash] = (block, index)
            self._tell(
                f"{self.chain.name}: block {block.number} takes {transaction.hash[:12]} nonce {transaction.nonce}"
                f"{'' if succeeded[index] else ', which fails'}"
            )
        self.blocks.append(block)

    def _reorganise(self, depth: int) -> None:
        """Replace the newest blocks by as many others and one more; what was in them may come again, or not."""
        depth = min(depth, len(self.blocks) - 1)
        dropped = self.blocks[len(self.blocks) - depth :]
        del self.blocks[len(self.blocks) - depth :]
        self._salt += 1
        back = [transaction for block in dropped for transaction in block.transactions]
        for block in dropped:
            block.orphaned_at = self._now()
            self.orphans[block.hash] = block
        self._tell(f"{self.chain.name}: {depth} blocks are replaced, {len(back)} transactions with them")
        lost = self._rng.random() < 0.3
        for transaction in back:
            del self.places[transaction.hash]
            self._dropped.append(transaction)
            rivals = [
                other
                for other in self.known.values()
                if other.sender == transaction.sender and other.nonce == transaction.nonce and other is not transaction
            ]
            if rivals and self._rng.random() < 0.3:
                transaction = rivals[int(self._rng.random() * len(rivals))]
            elif lost:
                continue
            self.pool.setdefault(transaction.sender, {}).setdefault(transaction.nonce, transaction)
        for _ in range(depth + 1):
            self._mine(None if self._rng.random() < 0.5 else self._choose())

    def remember(self, foreign: Set[str]) -> None:
        """Give back to the mempool what reorganisations took out of the chain, and what the owner's other apps sent.

        Some node still has the first, and those apps look after theirs: without them a later nonce could never land.
        """
        lost = [transaction for hash_, transaction in self.known.items() if hash_ in foreign]
        for transaction in (*self._dropped, *lost):
            if transaction.nonce >= self.head.state.nonces.get(transaction.sender, 0):
                self.pool.setdefault(transaction.sender, {}).setdefault(transaction.nonce, transaction)

    def _spend(self) -> None:
        held = [(key, amount) for key, amount in self.head.state.allowances.items() if amount > 3]
        if not held:
            return
        (token, owner, spender), amount = held[int(self._rng.random() * len(held))]
        if spender != self.spender:
            return
        taken = 1 + int(self._rng.random() * min(amount // 3, 10**9))
        data = SPEND + bytes(12) + bytes.fromhex(token[2:]) + bytes(12) + bytes.fromhex(owner[2:]) + taken.to_bytes(32)
        transaction = self._sign_spend(self, data)
        self._tell(f"{self.chain.name}: the spender takes {taken} of {owner[:8]}")
        self.known[transaction.hash] = transaction
        self.pool.setdefault(transaction.sender, {})[transaction.nonce] = transaction

    def _execute(self, state: State, sender: str, to: str, data: bytes) -> bytes | None:
        """Do what a call does to the state; returns None if it succeeded, else what it reverts with."""
        if to == self.spender and data[:4] == SPEND:
            token, owner = "0x" + data[16:36].hex(), "0x" + data[48:68].hex()
            key, taken = (token, owner, self.spender), int.from_bytes(data[68:100], "big")
            if state.allowances.get(key, 0) < taken:
                return b""
            state.allowances[key] -= taken
            state.spent[key] = state.spent.get(key, 0) + taken
            return None
        if to not in self._tokens or data[:4] != _APPROVE:
            return None
        key, amount = (to, sender, "0x" + data[16:36].hex()), int.from_bytes(data[36:68], "big")
        if self._tokens[to].symbol == "USDT" and amount and state.allowances.get(key, 0):
            return b""
        state.allowances[key] = amount
        return None

    # --- the node -----------------------------------------------------------------------------------------------

    def answer(self, method: str, params: Sequence[Any] | Mapping[str, Any], *, behind: int = 0) -> Any:
        """Return what the node answers, `behind` blocks late; raises `RpcError`."""
        self.advance()
        handler = _METHODS.get(method)
        if handler is None:
            raise RpcError(f"{method} failed: the method {method} does not exist/is not available", code=-32601)
        return handler(self, list(params), self._view(behind))

    def _view(self, behind: int) -> Block:
        return self.blocks[max(0, len(self.blocks) - 1 - behind)]

    def find(self, at: Any, newest: Block) -> Block:
        """Return the block of a block parameter, as far as this node has got; raises `RpcError`."""
        if isinstance(at, Mapping):
            hash_ = at["blockHash"]
            for block in reversed(self.blocks):
                if block.hash == hash_:
                    if block.number > newest.number:
                        break
                    return block
            if hash_ in self.orphans and at.get("requireCanonical"):
                raise RpcError("eth_call failed: hash is not currently canonical", code=-32000)
            raise RpcError("eth_call failed: header not found", code=-32000)
        if at in {"latest", "pending"}:
            return newest
        if at in {"safe", "finalized"}:
            return self.blocks[max(0, newest.number - FIRST - (16 if at == "safe" else 32))]
        number = int(at, 16)
        if number > newest.number:
            raise RpcError("header not found", code=-32000)
        return self.blocks[max(0, number - FIRST)]

    def _chain_id(self, params: list[Any], newest: Block) -> str:
        return hex(self.chain.chain_id or 0)

    def _block_number(self, params: list[Any], newest: Block) -> str:
        return hex(newest.number)

    def _get_block(self, params: list[Any], newest: Block) -> Any:
        tag, full = params[0], params[1]
        if tag.startswith("0x") and not FIRST <= int(tag, 16) <= newest.number:
            return None
        return _show_block(self, self.find(tag, newest), full=full)

    def _get_block_by_hash(self, params: list[Any], newest: Block) -> Any:
        for block in (*reversed(self.blocks), *self.orphans.values()):
            if block.hash == params[0] and (block.number <= newest.number or block.orphaned_at is not None):
                return _show_block(self, block, full=params[1])
        return None

    def _count(self, params: list[Any], newest: Block) -> str:
        account = params[0].lower()
        if params[1] == "pending":
            return hex(self.next_nonce(account))
        return hex(self.find(params[1], newest).state.nonces.get(account, 0))

    def next_nonce(self, account: str) -> int:
        """Return the first nonce of an account (lower case) that neither the chain nor the mempool has."""
        nonce, waiting = self.head.state.nonces.get(account, 0), self.pool.get(account, {})
        while nonce in waiting:
            nonce += 1
        return nonce

    def _balance(self, params: list[Any], newest: Block) -> str:
        self.find(params[1], newest)
        return hex(NATIVE_BALANCE)

    def _code(self, params: list[Any], newest: Block) -> str:
        self.find(params[1], newest)
        account = params[0].lower()
        return "0x6001600155" if account == self.spender or account in self._tokens else "0x"

    def _call(self, params: list[Any], newest: Block) -> str:
        call, at = params[0], params[1]
        block = self.find(at, newest)
        if len(params) > 2 and params[2]:
            if not self.temper.overrides:
                raise RpcError("eth_call failed: state overrides are not supported", code=-32602)
            ((owner, override),) = params[2].items()
            return "0x" + self._run_program(block.state, owner.lower(), bytes.fromhex(override["code"][2:])).hex()
        sender = call.get("from", "0x" + "00" * 20).lower()
        ok, returned = self._call_token(block.state.copy(), sender, call["to"].lower(), bytes.fromhex(call["data"][2:]))
        if not ok:
            raise RpcError("eth_call failed: execution reverted", code=3, data="0x" + returned.hex())
        return "0x" + returned.hex()

    def _call_token(self, state: State, sender: str, to: str, data: bytes) -> tuple[bool, bytes]:
        token = self._tokens.get(to)
        selector = data[:4]
        if token is None:
            return True, b""
        if selector == _ALLOWANCE:
            key = (to, "0x" + data[16:36].hex(), "0x" + data[48:68].hex())
            return True, state.allowances.get(key, 0).to_bytes(32)
        if selector == _BALANCE_OF:
            return True, BALANCE.to_bytes(32)
        if selector == _DECIMALS:
            return True, token.decimals.to_bytes(32)
        reverted = self._execute(state, sender, to, data)
        if reverted is not None:
            return False, reverted
        return True, b"" if token.symbol == "USDT" else (1).to_bytes(32)

    def _run_program(self, state: State, owner: str, code: bytes) -> bytes:
        """Do what the straight line of code does that is put in the owner's place: balance, size of code, calls."""
        state = state.copy()
        spender = "0x" + code[6:26].hex()
        size = 5 if spender == self.spender or spender in self._tokens else 0
        answer = NATIVE_BALANCE.to_bytes(32) + size.to_bytes(32)
        at = 31
        while code[at] == 0x61 and code[at + 9] == 0x39:
            length, offset = int.from_bytes(code[at + 1 : at + 3]), int.from_bytes(code[at + 4 : at + 6])
            token = "0x" + code[at + 26 : at + 46].hex()
            ok, returned = self._call_token(state, owner, token, code[offset : offset + length])
            answer += int(ok).to_bytes(32) + len(returned).to_bytes(32) + returned[:256].ljust(256, b"\0")
            at += 60
        return answer

    def _estimate(self, params: list[Any], newest: Block) -> str:
        call = params[0]
        ok, returned = self._call_token(
            newest.state.copy(), call["from"].lower(), call["to"].lower(), bytes.fromhex(call["data"][2:])
        )
        if not ok:
            raise RpcError("eth_estimateGas failed: execution reverted", code=3, data="0x" + returned.hex())
        return hex(GAS_USED)

    def _fee_history(self, params: list[Any], newest: Block) -> Any:
        return {
            "oldestBlock": hex(newest.number),
            "baseFeePerGas": [hex(newest.base_fee), hex(self._base_fee)],
            "gasUsedRatio": [0.5],
            "reward": [[hex(self._tip)]],
        }

    def _linea_estimate(self, params: list[Any], newest: Block) -> Any:
        if self.chain.fees is None or self.chain.fees.method != "linea_estimateGas":
            raise RpcError("linea_estimateGas failed: the method does not exist/is not available", code=-32601)
        gas = self._estimate(params, newest)
        return {"gasLimit": gas, "baseFeePerGas": hex(self._base_fee), "priorityFeePerGas": hex(self._tip)}

    def _send(self, params: list[Any], newest: Block) -> str:
        if self.refusing:
            raise RpcError("eth_sendRawTransaction failed: service temporarily degraded", code=-32050)
        return self.accept(params[0])

    def accept(self, raw: str) -> str:
        """Take signed bytes into the mempool and return their hash; raises `RpcError` as geth does."""
        self.advance()
        try:
            transaction = read_transaction(raw)
        except (ContradictionError, NodeError) as error:
            raise RpcError(f"eth_sendRawTransaction failed: invalid sender: {error}", code=-32000) from error
        waiting = self.pool.get(transaction.sender, {})
        there = waiting.get(transaction.nonce)
        if there is not None and there.hash == transaction.hash:
            raise RpcError("eth_sendRawTransaction failed: already known", code=-32000)
        if transaction.nonce < self.head.state.nonces.get(transaction.sender, 0):
            raise RpcError("eth_sendRawTransaction failed: nonce too low", code=-32000)
        if self.temper.rejects_low_fees and transaction.max_fee < self._base_fee + transaction.tip // 2:
            raise RpcError("eth_sendRawTransaction failed: max fee per gas less than block base fee", code=-32000)
        if there is not None and (
            10 * transaction.tip < 11 * there.tip or 10 * transaction.max_fee < 11 * there.max_fee
        ):
            raise RpcError(
                "eth_sendRawTransaction failed: replacement transaction underpriced", code=-32000, data=there.hash
            )
        self.known[transaction.hash] = transaction
        self.pool.setdefault(transaction.sender, {})[transaction.nonce] = transaction
        return transaction.hash

    def _get_transaction(self, params: list[Any], newest: Block) -> Any:
        place = self.places.get(params[0])
        if place is not None and place[0].number <= newest.number:
            return _show_transaction(self, place[0].transactions[place[1]], place)
        transaction = self.known.get(params[0])
        if transaction is None or self.pool.get(transaction.sender, {}).get(transaction.nonce) is not transaction:
            return None
        return _show_transaction(self, transaction, None)

    def _receipt(self, params: list[Any], newest: Block) -> Any:
        place = self.places.get(params[0])
        if place is None or place[0].number > newest.number:
            return None
        return _show_receipt(place)

    def _logs(self, params: list[Any], newest: Block) -> Any:
        wanted = params[0]
        first, last = int(wanted["fromBlock"], 16), min(int(wanted["toBlock"], 16), newest.number)
        found = []
        for block in self.blocks[max(0, first - FIRST) : max(0, last - FIRST + 1)]:
            for index in range(len(block.transactions)):
                found += [
                    log
                    for log in _show_receipt((block, index))["logs"]
                    if log["address"].lower() == wanted["address"].lower() and _match(wanted["topics"], log["topics"])
                ]
        return found

    # --- what really happened, for whoever judges ---------------------------------------------------------------

    def allowance(self, token: str, owner: str, spender: str, block: Block | None = None) -> int:
        """Return what a block's state holds, by default the newest block's."""
        key = (token.lower(), owner.lower(), spender.lower())
        return (block or self.head).state.allowances.get(key, 0)

    def approved(self, hash_: str, owner: str, token: str) -> tuple[int, float] | None:
        """Return the amount that a transaction of the chain approved for the spender, and its age in seconds."""
        self.advance()
        place = self.places.get(hash_)
        if place is None or not place[0].succeeded[place[1]]:
            return None
        transaction = place[0].transactions[place[1]]
        approval = transaction.approval
        if transaction.sender != owner.lower() or transaction.to != token.lower() or approval is None:
            return None
        return (approval[1], self._now() - place[0].timestamp) if approval[0] == self.spender else None

    def allowance_before(self, seconds: float, owner: str, token: str) -> int:
        """Return the allowance that the chain held this many seconds ago."""
        self.advance()
        behind = int(seconds / self.temper.interval)
        return self.allowance(token, owner, self.spender, self._view(behind))

    def lost_at(self, settlement: Settlement) -> float | None:
        """Return when the block of a settlement left the chain, None if it is in it; 0 if it never was."""
        index = settlement.block.number - FIRST
        if 0 <= index < len(self.blocks) and self.blocks[index].hash == settlement.block.hash:
            return None
        orphan = self.orphans.get(settlement.block.hash)
        return 0.0 if orphan is None else orphan.orphaned_at

    def allowance_at(self, named: NamedBlock, owner: str, token: str) -> int | None:
        """Return what a block holds that somebody named by number and hash; None if there never was such a block."""
        block = self.orphans.get(named.hash) or self.blocks[max(0, min(named.number - FIRST, len(self.blocks) - 1))]
        return self.allowance(token, owner, self.spender, block) if block.hash == named.hash else None

    def approvals(self, token: str, owner: str) -> list[tuple[Transaction, bool]]:
        """Return the approvals for the spender that the chain holds and that succeeded, the oldest first.

        With each, whether something else in its block touched an allowance.
        """
        token, owner = token.lower(), owner.lower()
        found = []
        for block in self.blocks:
            for transaction, succeeded in zip(block.transactions, block.succeeded, strict=True):
                approval = transaction.approval
                if not succeeded or approval is None or approval[0] != self.spender:
                    continue
                if transaction.sender == owner and transaction.to == token:
                    found.append((transaction, len(block.transactions) > 1))
        return found


_METHODS: Final[dict[str, Callable[[EvmChain, list[Any], Block], Any]]] = {
    "eth_chainId": EvmChain._chain_id,
    "eth_blockNumber": EvmChain._block_number,
    "eth_getBlockByNumber": EvmChain._get_block,
    "eth_getBlockByHash": EvmChain._get_block_by_hash,
    "eth_getTransactionCount": EvmChain._count,
    "eth_getBalance": EvmChain._balance,
    "eth_getCode": EvmChain._code,
    "eth_call": EvmChain._call,
    "eth_estimateGas": EvmChain._estimate,
    "eth_feeHistory": EvmChain._fee_history,
    "linea_estimateGas": EvmChain._linea_estimate,
    "eth_sendRawTransaction": EvmChain._send,
    "eth_getTransactionByHash": EvmChain._get_transaction,
    "eth_getTransactionReceipt": EvmChain._receipt,
    "eth_getLogs": EvmChain._logs,
}


def read_transaction(raw: str) -> Transaction:
    """Return what signed bytes (0x hex, EIP-1559) say; its sender is recovered from the signature."""
    data = bytes.fromhex(raw[2:])
    decoded = decode_transaction(data)
    fields = decode_rlp(data[1:])
    return Transaction(
        raw=data,
        hash=decoded.hash,
        sender=decoded.sender.lower(),
        nonce=decoded.nonce,
        to=(decoded.to or "").lower(),
        data=decoded.data,
        tip=int.from_bytes(fields[2]),
        max_fee=int.from_bytes(fields[3]),
        gas=int.from_bytes(fields[4]),
    )


# The header of Cancun without its changing fields, as RLP; the salt of a fork stands in the extra data.
_ROOT: Final = b"\xa0" + bytes(31) + b"\x01"
_HEAD: Final = b"\xa0" + bytes.fromhex(_EMPTY_OMMERS[2:]) + b"\x94" + bytes(20) + _ROOT
_BODY: Final = b"\xb9\x01\x00" + _BLOOM + b"\x80"
_TAIL: Final = b"\xa0" + bytes(32) + b"\x88" + bytes(8)
_END: Final = b"\xa0" + bytes(32) + b"\x80\x80\xa0" + bytes(32)
_GAS_LIMIT: Final = 30_000_000


def _hash_block(block: Block) -> str:
    payload = b"".join(
        (
            b"\xa0" + bytes.fromhex(block.parent[2:]),
            _HEAD,
            b"\xa0" + block.root,
            _ROOT,
            _BODY,
            encode_integer(block.number),
            encode_integer(_GAS_LIMIT),
            encode_integer(GAS_USED * len(block.transactions)),
            encode_integer(block.timestamp),
            b"\x84" + block.salt.to_bytes(4),
            _TAIL,
            encode_integer(block.base_fee),
            _END,
        )
    )
    return "0x" + keccak256(b"\xf9" + len(payload).to_bytes(2) + payload).hex()


def _show_block(chain: EvmChain, block: Block, *, full: bool) -> dict[str, Any]:
    zero, one = "0x" + "00" * 32, "0x" + "00" * 31 + "01"
    return {
        "number": hex(block.number),
        "hash": block.hash,
        "parentHash": block.parent,
        "sha3Uncles": _EMPTY_OMMERS,
        "miner": "0x" + "00" * 20,
        "stateRoot": one,
        "transactionsRoot": "0x" + block.root.hex(),
        "receiptsRoot": one,
        "logsBloom": "0x" + "00" * 256,
        "difficulty": "0x0",
        "gasLimit": hex(_GAS_LIMIT),
        "gasUsed": hex(GAS_USED * len(block.transactions)),
        "timestamp": hex(block.timestamp),
        "extraData": "0x" + block.salt.to_bytes(4).hex(),
        "mixHash": zero,
        "nonce": "0x" + "00" * 8,
        "baseFeePerGas": hex(block.base_fee),
        "withdrawalsRoot": zero,
        "blobGasUsed": "0x0",
        "excessBlobGas": "0x0",
        "parentBeaconBlockRoot": zero,
        "uncles": [],
        "withdrawals": [],
        "transactions": [
            _show_transaction(chain, transaction, (block, index)) if full else transaction.hash
            for index, transaction in enumerate(block.transactions)
        ],
    }


def _show_transaction(chain: EvmChain, transaction: Transaction, place: tuple[Block, int] | None) -> dict[str, Any]:
    fields = decode_rlp(transaction.raw[1:])
    parity, r, s = (hex(int.from_bytes(item)) for item in fields[9:])
    block = None if place is None else place[0]
    return {
        "type": "0x2",
        "hash": transaction.hash,
        "from": transaction.sender,
        "nonce": hex(transaction.nonce),
        "to": transaction.to,
        "value": "0x0",
        "input": "0x" + transaction.data.hex(),
        "gas": hex(transaction.gas),
        "maxFeePerGas": hex(transaction.max_fee),
        "maxPriorityFeePerGas": hex(transaction.tip),
        "chainId": hex(chain.chain.chain_id or 0),
        "accessList": [],
        "yParity": parity,
        "v": parity,
        "r": r,
        "s": s,
        "blockHash": None if block is None else block.hash,
        "blockNumber": None if block is None else hex(block.number),
        "transactionIndex": None if place is None else hex(place[1]),
    }


def _logged(transaction: Transaction) -> list[tuple[str, str, tuple[str, str], int]]:
    """Return address, topic, accounts and amount of what a successful transaction logs."""
    data = transaction.data
    if transaction.approval is not None:
        spender, amount = transaction.approval
        return [(transaction.to, APPROVAL_TOPIC, (transaction.sender, spender), amount)]
    if data[:4] == SPEND:
        token, owner, amount = "0x" + data[16:36].hex(), "0x" + data[48:68].hex(), int.from_bytes(data[68:100])
        return [(token, _TRANSFER_TOPIC, (owner, transaction.to), amount)]
    return []


def _match(wanted: Sequence[Any], topics: Sequence[str]) -> bool:
    """Return whether the topics of a log are those of a filter: one, one of several, or any."""
    return len(wanted) <= len(topics) and all(
        given is None or (topic in given if isinstance(given, list) else topic == given)
        for given, topic in zip(wanted, topics, strict=False)
    )


def _show_receipt(place: tuple[Block, int]) -> dict[str, Any]:
    block, index = place
    transaction, succeeded = block.transactions[index], block.succeeded[index]
    logs = [
        {
            "address": address,
            "topics": [topic, *("0x" + "00" * 12 + account[2:] for account in accounts)],
            "data": "0x" + amount.to_bytes(32).hex(),
            "blockHash": block.hash,
            "blockNumber": hex(block.number),
            "transactionHash": transaction.hash,
            "transactionIndex": hex(index),
            "logIndex": hex(index),
            "removed": False,
        }
        for address, topic, accounts, amount in (_logged(transaction) if succeeded else ())
    ]
    return {
        "type": "0x2",
        "transactionHash": transaction.hash,
        "transactionIndex": hex(index),
        "blockHash": block.hash,
        "blockNumber": hex(block.number),
        "from": transaction.sender,
        "to": transaction.to,
        "contractAddress": None,
        "status": hex(int(succeeded)),
        "gasUsed": hex(GAS_USED),
        "cumulativeGasUsed": hex(GAS_USED * (index + 1)),
        "effectiveGasPrice": hex(min(transaction.max_fee, block.base_fee + transaction.tip)),
        "logsBloom": "0x" + "00" * 256,
        "logs": logs,
    }
