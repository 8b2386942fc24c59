"""The chain a node answers for, and its blocks, believed as far as their headers hash to what they are called.

A header that cannot be reproduced, because a fork has given it fields that are not known here, comes without its roots:
then nothing is proved under its hash, and all else is the node's word.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from chains.errors import ContradictionError, InputError, NodeError, RpcError, WrongChainError
from chains.evm.answers import is_method_missing, parse_data, parse_hash, parse_object, parse_quantity
from chains.evm.codec.headers import ROOTS, check_header, is_reproduced
from chains.rpc import Rpc
from chains.types import Block, Chain

Found: TypeAlias = tuple[Block, Mapping[str, Any]]
"""A block's number and hash, and the fields that the node gives of it; without roots that its hash does not bind."""

_NUMBER: Final = re.compile(r"[0-9]{1,18}", re.ASCII)
_TAGS: Final = ("latest", "safe", "finalized")


async def check_chain(chain: Chain, rpc: Rpc) -> None:
    """Raise `WrongChainError` unless the node answers for `chain`."""
    try:
        found = parse_quantity("eth_chainId", await rpc.request("eth_chainId"))
    except RpcError as error:
        if not is_method_missing(error):
            raise
        raise WrongChainError(
            f"The node is not one of {chain.title}, nor of any EVM network: it does not know eth_chainId.",
            hint=f"Nothing was signed. Name a node of {chain.title}.",
            expected=chain.chain_id,
        ) from None
    if found != chain.chain_id:
        raise WrongChainError(
            f"The node answers for chain {found} and not for {chain.title} ({chain.chain_id}).",
            hint=f"Nothing was signed. Name a node of {chain.title}.",
            expected=chain.chain_id,
            found=found,
        )


async def get_head(chain: Chain, rpc: Rpc, at: str) -> Block:
    """Return the block that a node of `chain` gives for `latest`, `safe`, `finalized` or a decimal number.

    Raises `WrongChainError`, `InputError` for another `at`, `ContradictionError` if the header does not hash to the
    block's hash, and `NodeError` if the node does not have the block.
    """
    if at not in _TAGS and not _NUMBER.fullmatch(at):
        raise InputError(
            f"{at[:40]!r} is no block.", hint=f"Give {', '.join(_TAGS)} or a block number in decimal digits."
        )
    await check_chain(chain, rpc)
    block, _ = await get_header(rpc, at if at in _TAGS else hex(int(at)))
    return block


async def find_block(rpc: Rpc, tag: str, *, with_transactions: bool = False) -> Found | None:
    """Return the block at `latest`, `safe`, `finalized` or a hexadecimal number; None where the node has none.

    Raises `ContradictionError` if its header does not hash to its hash, or it is of another number.
    """
    answer = await rpc.request("eth_getBlockByNumber", [tag, with_transactions])
    if answer is None:
        return None
    block, fields = _checked(parse_object("eth_getBlockByNumber", answer))
    if tag.startswith("0x") and block.number != int(tag, 16):
        raise ContradictionError(
            f"The node gave block {block.number} for block {int(tag, 16)}.", expected=int(tag, 16), found=block.number
        )
    return block, fields


async def find_block_by_hash(rpc: Rpc, hash_: str) -> Found | None:
    """Return the block of a hash; None where the node does not have it.

    Raises `ContradictionError` if its header does not hash to that.
    """
    answer = await rpc.request("eth_getBlockByHash", [hash_, False])
    if answer is None:
        return None
    block, fields = _checked(parse_object("eth_getBlockByHash", answer))
    if block.hash != hash_:
        raise ContradictionError(f"The node gave block {block.hash} for {hash_}.", expected=hash_, found=block.hash)
    return block, fields


async def get_header(rpc: Rpc, tag: str) -> Found:
    """Return a block with its header's fields alone; as `find_block`, and `NodeError` if there is none."""
    found = await find_block(rpc, tag)
    if found is None:
        raise NodeError(
            f"The node does not have block {tag}.", hint="It may be behind, or not offer this tag. Ask another node."
        )
    return found[0], header_of(found[1])


async def get_parent(rpc: Rpc, header: Mapping[str, Any]) -> Found | None:
    """Return the block before the one of a header, which names its hash; None where the node does not show it."""
    try:
        found = await find_block_by_hash(rpc, parse_hash("a block's parentHash", header["parentHash"]))
    except RpcError:
        return None
    return None if found is None else (found[0], header_of(found[1]))


def check_lineage(blocks: Sequence[Found]) -> None:
    """Raise `ContradictionError` if two blocks with their headers cannot be of one chain.

    That shows only in blocks of the same number and in neighbours.
    """
    (low, _), (high, header) = sorted(blocks, key=lambda each: each[0].number)
    above = high.number - low.number
    expected = high.hash if above == 0 else parse_hash("a block's parentHash", header["parentHash"])
    if above < 2 and low.hash != expected:
        raise ContradictionError(
            f"The node gave block {low.number} {low.hash}, and another one that is not of the same chain, "
            f"block {high.number} {high.hash}.",
            hint="This node lies, or the chain changed while it was asked. Ask again, or ask another node.",
            expected=expected,
            found=low.hash,
        )


def state_root_of(header: Mapping[str, Any]) -> bytes | None:
    """Return the root under which a block's state can be proved, None where its hash does not bind it."""
    root = header.get("stateRoot")
    return None if root is None else parse_data("a block's stateRoot", root)


def _checked(fields: Mapping[str, Any]) -> Found:
    block = check_header(fields)
    if is_reproduced(fields):
        return block, fields
    return block, {name: field for name, field in fields.items() if name not in ROOTS}


def header_of(block: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a JSON-RPC block without its lists of transactions, uncles and withdrawals."""
    return {name: field for name, field in block.items() if not isinstance(field, list)}
