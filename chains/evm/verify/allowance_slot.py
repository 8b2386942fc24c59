"""Where a token keeps an allowance in its storage: found by an access list, matched with formulas, and then tried.

A slot is claimed only if all of it fits (rule 21): reading the allowance touches it, a formula that
holds for two pairs gives it, a value put there for the length of one call is what `allowance` then answers, and what is
there is what `allowance` answers. Everything else is "not found", which says nothing against the approval.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Final, Literal

from chains.errors import NodeError, RpcError
from chains.evm.addresses import ZERO_ADDRESS, keccak256, to_checksum_address
from chains.evm.answers import parse_data, parse_list, parse_object
from chains.evm.codec.approval_logs import Pair
from chains.evm.codec.erc20 import address_word, encode_allowance
from chains.evm.simulation import call_contract
from chains.rpc import Rpc
from chains.types import Block

Order = Literal["solidity", "vyper"]

# ERC-7201 roots: OpenZeppelin 5's ERC20 keeps allowances one after its root, M0's tokens (mUSD) at theirs.
_OPENZEPPELIN_5: Final = 0x52C63247E1F47DB19D5CE0460030C497F067CA4CEBF71BA98EEADABE20BACE00 + 1
_M0: Final = 0xCBBE23EFB65C1EABA394256C463812C20ABDB5376E247EBA1D0E1E92054DA100
# The bases of the tokens that cards are paid with come first, because trying costs time.
_KNOWN_BASES: Final = (10, 5, 52, 1, 53, _OPENZEPPELIN_5, _M0)
_LAST_BASE: Final = 300

# EIP-1967, and the slot of OpenZeppelin's first proxies that Circle's FiatTokenProxy still uses.
_IMPLEMENTATION_SLOTS: Final = (
    bytes.fromhex("360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc"),
    bytes.fromhex("7050c9e0f4ca769c69bd3a8ef740bc37934f8e2c036e5a723fd8ee048ed3f8c3"),
)
_BEACON_SLOT: Final = bytes.fromhex("a3f0ad74e5423aebfd80d3ef4346578335a9a72aeaee59ff6cb3582b35133d50")
_IMPLEMENTATION_CALL: Final = bytes.fromhex("5c60da1b")

# All 256 bits matter, so that an allowance packed with something else is not taken for a slot of its own.
_SENTINEL: Final = bytes.fromhex("1234567890abcdef" * 4)


@dataclass(frozen=True, slots=True)
class SlotRecord:
    """Where `allowance[owner][spender]` lies, valid for as long as the code at `implementation` has `code_hash`.

    `slot` and `base` are 32-byte hex words; `implementation` is the token itself where it is no proxy.
    """

    slot: str
    base: str
    order: Order
    implementation: str
    code_hash: str

    @property
    def key(self) -> bytes:
        """The slot as bytes."""
        return bytes.fromhex(self.slot[2:])

    def as_json(self) -> dict[str, str]:
        """Return the record as JSON."""
        return asdict(self)


class _NotFoundError(Exception):
    """The slot cannot be claimed; never leaves this module."""


def allowance_slot(owner: str, spender: str, base: int, order: Order) -> bytes:
    """Return the storage slot of a nested mapping `base[owner][spender]`, 32 bytes.

    Solidity hashes key and slot, Vyper slot and key.
    """
    root, outer, inner = base.to_bytes(32, "big"), address_word(owner), address_word(spender)
    if order == "solidity":
        return keccak256(inner + keccak256(outer + root))
    return keccak256(keccak256(root + outer) + inner)


def candidate_bases() -> Iterator[int]:
    """Return the bases that are tried, the likely ones first."""
    yield from _KNOWN_BASES
    yield from (base for base in range(_LAST_BASE + 1) if base not in _KNOWN_BASES)


def match_slot(pair: Pair, keys: set[bytes]) -> tuple[int, Order] | None:
    """Return base and order of the formula that gives one of `keys` for a pair, or None."""
    for base in candidate_bases():
        for order in ("solidity", "vyper"):
            if allowance_slot(pair.owner, pair.spender, base, order) in keys:
                return base, order
    return None


async def find_slot(rpc: Rpc, pair: Pair, block: Block, allowance: int) -> tuple[SlotRecord | None, str]:
    """Return where the token keeps the allowance, or None and why that is not known.

    `allowance` is what the token answers at `block`. What the node does not serve is a reason, not an error.
    """
    try:
        return await _find(rpc, pair, block, allowance), ""
    except _NotFoundError as error:
        return None, str(error)
    except RpcError as error:
        return None, f"the node does not serve what it takes to find the storage slot: {error.message}"


async def get_implementation(rpc: Rpc, token: str, block: Block) -> tuple[str, str]:
    """Return the contract whose code the token runs and that code's hash; the token itself where it is no proxy.

    Raises `RpcError`.
    """
    implementation, _ = await _resolve(rpc, token, block)
    return implementation, await _code_hash(rpc, implementation, block)


async def has_value(rpc: Rpc, token: str, record: SlotRecord, block: Block, allowance: int) -> bool:
    """Return whether the slot holds `allowance` at `block`, as far as the node says; raises `RpcError`."""
    return await _read_slot(rpc, token, record.key, block) == allowance.to_bytes(32, "big")


async def _find(rpc: Rpc, pair: Pair, block: Block, allowance: int) -> SlotRecord:
    implementation, beacon = await _resolve(rpc, pair.token, block)
    found = match_slot(pair, await _touched(rpc, pair, block, beacon))
    if found is None:
        raise _NotFoundError("no known layout gives a slot that reading the allowance touches")
    base, order = found
    # Owner and spender the other way round are a second pair, which must follow the same formula.
    twin = Pair(pair.token, pair.spender, pair.owner)
    for each in (pair, twin):
        slot = allowance_slot(each.owner, each.spender, base, order)
        if each is twin and slot not in await _touched(rpc, each, block, beacon):
            raise _NotFoundError("the layout that fits this pair does not fit another one")
        if await _try(rpc, each, slot, block) != _SENTINEL:
            raise _NotFoundError("the token does not answer what is put into the slot")
    slot = allowance_slot(pair.owner, pair.spender, base, order)
    if await _read_slot(rpc, pair.token, slot, block) != allowance.to_bytes(32, "big"):
        raise _NotFoundError("the slot holds another number than the token answers")
    code_hash = await _code_hash(rpc, implementation, block)
    return SlotRecord("0x" + slot.hex(), f"0x{base:064x}", order, implementation, code_hash)


async def _resolve(rpc: Rpc, token: str, block: Block) -> tuple[str, str | None]:
    """Return the implementation behind a proxy, else the token; and the beacon where there is one."""
    for slot in _IMPLEMENTATION_SLOTS:
        implementation = _address(await _read_slot(rpc, token, slot, block))
        if implementation is not None:
            return implementation, None
    beacon = _address(await _read_slot(rpc, token, _BEACON_SLOT, block))
    if beacon is None:
        return token, None
    answer = await call_contract(rpc, beacon, _IMPLEMENTATION_CALL, hex(block.number))
    implementation = _address(answer.returned) if answer.success else None
    return (implementation, beacon) if implementation is not None else (token, None)


async def _touched(rpc: Rpc, pair: Pair, block: Block, beacon: str | None) -> set[bytes]:
    """Return the storage slots of the token that reading the allowance touches."""
    call = {"to": pair.token, "data": "0x" + encode_allowance(pair.owner, pair.spender).hex()}
    answer = parse_object("eth_createAccessList", await rpc.request("eth_createAccessList", [call, hex(block.number)]))
    keys: set[bytes] = set()
    for item in parse_list("eth_createAccessList", answer.get("accessList")):
        entry = parse_object("eth_createAccessList", item)
        touched = {
            parse_data("eth_createAccessList", key).rjust(32, b"\0")
            for key in parse_list("eth_createAccessList", entry.get("storageKeys"))
        }
        address = str(entry.get("address")).lower()
        if address == pair.token.lower():
            keys |= touched
        elif touched and (beacon is None or address != beacon.lower()):
            raise _NotFoundError(f"the token asks another contract for the allowance ({address[:42]})")
    return keys


async def _try(rpc: Rpc, pair: Pair, slot: bytes, block: Block) -> bytes:
    """Return what `allowance` answers while the slot holds the sentinel (the state override of the execution APIs)."""
    call = {"to": pair.token, "data": "0x" + encode_allowance(pair.owner, pair.spender).hex()}
    override = {pair.token: {"stateDiff": {"0x" + slot.hex(): "0x" + _SENTINEL.hex()}}}
    return parse_data("eth_call", await rpc.request("eth_call", [call, hex(block.number), override]))


async def _read_slot(rpc: Rpc, token: str, slot: bytes, block: Block) -> bytes:
    answer = await rpc.request("eth_getStorageAt", [token, "0x" + slot.hex(), hex(block.number)])
    word = parse_data("eth_getStorageAt", answer).rjust(32, b"\0")
    if len(word) != 32:
        raise NodeError("The node's answer for eth_getStorageAt is longer than a storage slot.", found=str(answer)[:80])
    return word


async def _code_hash(rpc: Rpc, address: str, block: Block) -> str:
    code = parse_data("eth_getCode", await rpc.request("eth_getCode", [address, hex(block.number)]))
    return "0x" + keccak256(code).hex()


def _address(word: bytes) -> str | None:
    """Return the address in a storage word, None where there is none."""
    if len(word) != 32 or any(word[:12]):
        return None
    address = to_checksum_address(word[12:])
    return None if address == ZERO_ADDRESS else address
