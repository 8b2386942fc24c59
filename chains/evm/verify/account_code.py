"""The code that an account runs at a block: proved by its hash in the state, else as the node says it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chains.claims import NODES_WORD, Basis, proved_under
from chains.errors import ContradictionError, RpcError
from chains.evm.addresses import keccak256
from chains.evm.answers import parse_data, parse_object
from chains.evm.blocks import Found, state_root_of
from chains.evm.codec.state_proofs import EMPTY_CODE_HASH, ProvenAccount, prove_answer
from chains.evm.simulation import at_block
from chains.rpc import Rpc
from chains.types import Block


@dataclass(frozen=True, slots=True)
class AccountCode:
    """The code of an account at a block, empty where it has none, and what that rests on; `problem` is why no proof."""

    code: bytes
    basis: Basis
    problem: str = ""


async def get_code(rpc: Rpc, address: str, found: Found) -> AccountCode:
    """Return the code at `address` (EIP-55) in the state of a block, proved where the node serves a proof.

    Raises `RpcError` if the node has neither proof nor code there, and `ContradictionError` if they do not agree.
    """
    block, _ = found
    try:
        account, _, _ = await prove_account_at(rpc, address, found)
    except NotProvedError as error:
        return AccountCode(await _ask_code(rpc, address, block), NODES_WORD, error.reason)
    if account.code_hash == EMPTY_CODE_HASH:
        return AccountCode(b"", proved_under(block))
    try:
        code = await _ask_code(rpc, address, block)
    except RpcError as error:
        raise RpcError(f"the node proves that code is at {address} and does not show it", code=error.code) from error
    if keccak256(code) != account.code_hash:
        raise ContradictionError(
            f"The code that the node shows at {address} is not the one that its proof names.",
            expected="0x" + account.code_hash.hex(),
            found="0x" + keccak256(code).hex(),
        )
    return AccountCode(code, proved_under(block))


class NotProvedError(Exception):
    """A node does not prove what it was asked for, for the reason `reason`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


async def prove_account_at(
    rpc: Rpc, address: str, found: Found, slots: Sequence[bytes] = ()
) -> tuple[ProvenAccount, Mapping[str, Any], tuple[int, ...]]:
    """Return an account at a block, the node's proof of it, and the numbers in 32-byte storage `slots`.

    Raises `NotProvedError` where the node serves no proof or the block's header is not bound to its hash, and
    `ContradictionError` if a proof fails.
    """
    block, header = found
    root = state_root_of(header)
    if root is None:
        raise NotProvedError(f"the header of block {block.number} cannot be reproduced")
    keys = ["0x" + slot.hex() for slot in slots]
    try:
        answer = await _ask_proof(rpc, address, keys, block)
    except RpcError as error:
        raise NotProvedError(f"the node does not serve the proof: {error.message}") from error
    proof = parse_object("eth_getProof", answer)
    account, values = prove_answer(root, proof, address, slots)
    return account, proof, values


async def _ask_proof(rpc: Rpc, address: str, keys: Sequence[str], block: Block) -> Any:
    """Ask by hash, so that a chain that changes meanwhile is not taken for a lie; some nodes take numbers only."""
    try:
        return await rpc.request("eth_getProof", [address, list(keys), at_block(block)])
    except RpcError:
        return await rpc.request("eth_getProof", [address, list(keys), hex(block.number)])


async def _ask_code(rpc: Rpc, address: str, block: Block) -> bytes:
    try:
        answer = await rpc.request("eth_getCode", [address, at_block(block)])
    except RpcError:
        answer = await rpc.request("eth_getCode", [address, hex(block.number)])
    return parse_data("eth_getCode", answer)
