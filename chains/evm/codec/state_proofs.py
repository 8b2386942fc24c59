"""Accounts and storage as a block's `stateRoot` proves them: `eth_getProof` (EIP-1186), of which only proofs count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from chains.errors import ContradictionError
from chains.evm.addresses import keccak256
from chains.evm.answers import parse_data, parse_list, parse_object, parse_quantity
from chains.evm.codec.rlp import decode
from chains.evm.codec.trie import BLANK_ROOT, prove

EMPTY_CODE_HASH: Final = bytes.fromhex("c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470")
"""The code hash of an account without code: keccak-256 of nothing."""

_ZERO_HASH: Final = bytes(32)


@dataclass(frozen=True, slots=True)
class ProvenAccount:
    """An account as its leaf in the state trie holds it; `balance` is in wei."""

    nonce: int
    balance: int
    storage_root: bytes
    code_hash: bytes


_ABSENT: Final = ProvenAccount(nonce=0, balance=0, storage_root=BLANK_ROOT, code_hash=EMPTY_CODE_HASH)


def prove_account(state_root: bytes, address: str, account_proof: Sequence[bytes]) -> ProvenAccount | None:
    """Return the account at `address` (EIP-55), or None where the proof proves that there is none.

    Raises `ContradictionError` if the proof proves neither.
    """
    leaf = prove(state_root, keccak256(bytes.fromhex(address[2:])), account_proof)
    if not leaf:
        return None
    fields = _decode(leaf)
    if not isinstance(fields, list) or len(fields) != 4 or not all(isinstance(field, bytes) for field in fields):
        raise _malformed("an account is not a list of four fields")
    nonce, balance, storage_root, code_hash = fields
    if len(storage_root) != 32 or len(code_hash) != 32:
        raise _malformed("an account's storage root or code hash is not 32 bytes")
    return ProvenAccount(_integer(nonce), _integer(balance), storage_root, code_hash)


def prove_storage(storage_root: bytes, slot: bytes, storage_proof: Sequence[bytes]) -> int:
    """Return the integer in a 32-byte storage slot: 0 where the proof proves that the slot is absent.

    Raises `ContradictionError` if the proof proves neither (attack A16).
    """
    leaf = prove(storage_root, keccak256(slot), storage_proof)
    if not leaf:
        return 0
    value = _decode(leaf)
    # Clients remove slots that become zero from the trie; anvil keeps them with an empty value, which proves the same.
    if not isinstance(value, bytes):
        raise _malformed("a slot holds no number")
    return _integer(value)


def prove_answer(
    state_root: bytes, answer: Mapping[str, Any], address: str, slots: Sequence[bytes]
) -> tuple[ProvenAccount, tuple[int, ...]]:
    """Return what an `eth_getProof` answer proves of `address` (EIP-55) and its storage `slots`, in that order.

    Values are taken from the proofs alone (rule 20); an account that does not exist is an empty one. Raises
    `ContradictionError` if a proof fails or if what the answer says beside its proofs differs from what they prove, and
    `NodeError` for nonsense.
    """
    account = prove_account(state_root, address, _read_proof(answer.get("accountProof")))
    # Of an account that does not exist nodes say either the hashes of an empty one or zero hashes.
    blank = (_ZERO_HASH,) if account is None else ()
    account = account or _ABSENT
    _compare("address", _data(answer, "address"), bytes.fromhex(address[2:]))
    _compare("nonce", _quantity(answer, "nonce"), account.nonce)
    _compare("balance", _quantity(answer, "balance"), account.balance)
    _compare("storageHash", _data(answer, "storageHash"), account.storage_root, *blank)
    _compare("codeHash", _data(answer, "codeHash"), account.code_hash, *blank)

    entries = parse_list("eth_getProof", answer.get("storageProof"))
    _compare("number of slots", len(entries), len(slots))
    values = []
    for slot, item in zip(slots, entries, strict=True):
        entry = parse_object("eth_getProof", item)
        _compare("slot", _quantity(entry, "key"), int.from_bytes(slot, "big"))
        value = prove_storage(account.storage_root, slot, _read_proof(entry.get("proof")))
        _compare("value", _quantity(entry, "value"), value)
        values.append(value)
    return account, tuple(values)


def _read_proof(answer: object) -> list[bytes]:
    return [parse_data("eth_getProof", node) for node in parse_list("eth_getProof", answer)]


def _data(answer: Mapping[str, Any], name: str) -> bytes:
    return parse_data(f"eth_getProof: {name}", answer.get(name))


def _quantity(answer: Mapping[str, Any], name: str) -> int:
    return parse_quantity(f"eth_getProof: {name}", answer.get(name))


def _compare(name: str, said: object, *proven: object) -> None:
    if said not in proven:
        raise ContradictionError(
            f"The node says another {name} beside its Merkle proof than the proof proves.",
            expected=_readable(proven[0]),
            found=_readable(said),
        )


def _readable(value: object) -> str:
    return "0x" + value.hex() if isinstance(value, bytes) else str(value)


def _decode(leaf: bytes) -> Any:
    try:
        return decode(leaf)
    except ValueError as error:
        raise _malformed(f"a value is not RLP, {error}") from error


def _integer(data: bytes) -> int:
    if len(data) > 32 or data[:1] == b"\0":
        raise _malformed("an integer has leading zeros or more than 32 bytes")
    return int.from_bytes(data, "big")


def _malformed(why: str) -> ContradictionError:
    return ContradictionError(
        f"What the node's Merkle proof proves cannot be read: {why}.",
    )
