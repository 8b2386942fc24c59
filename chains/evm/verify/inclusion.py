"""Finding a transaction in the chain, and proving that it is there: its bytes, its block's header, both of its roots.

What a node says is believed as far as it hashes to what it should: the transaction to its own hash, the header to the
block's, all transactions and all receipts of the block to the roots in that header (rules 13, 22 and 23).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from chains.claims import NODES_WORD, Basis, proved_under
from chains.errors import ContradictionError, NodeError, RpcError
from chains.evm.answers import parse_hash, parse_list, parse_object, parse_quantity
from chains.evm.blocks import find_block, find_block_by_hash, header_of
from chains.evm.codec.receipts import encode_receipt, receipts_root
from chains.evm.codec.transactions import (
    DecodedTransaction,
    decode_transaction,
    encode_transaction,
    transactions_root,
)
from chains.rpc import Rpc
from chains.types import Block

# Where a node does not serve all receipts of a block at once, this many are asked for one by one.
_MOST_SINGLE_RECEIPTS: Final = 300


@dataclass(frozen=True, slots=True)
class Inclusion:
    """A transaction in a block of the chain.

    `receipts` are those of the whole block, `transactions` too; or only its own where the node did not serve all, and
    then `problem` says why. `proved` says whether both roots of the header were rebuilt.
    """

    block: Block
    header: Mapping[str, Any]
    receipt: Mapping[str, Any]
    transactions: tuple[Mapping[str, Any], ...]
    receipts: tuple[Mapping[str, Any], ...]
    proved: bool
    problem: str = ""

    @property
    def basis(self) -> Basis:
        """What it rests on that the block holds the transaction with this receipt."""
        return proved_under(self.block) if self.proved else NODES_WORD


@dataclass(frozen=True, slots=True)
class OffChain:
    """A transaction whose block is not part of the chain any more: the chain has another block of that number."""

    block: Block
    now: Block


def read_transaction(hash_: str, answer: object) -> tuple[bytes, DecodedTransaction]:
    """Return the bytes of a JSON-RPC transaction, and what they say.

    Raises `ContradictionError` if its fields do not hash to `hash_` or its `from` did not sign it.
    """
    fields = parse_object("eth_getTransactionByHash", answer)
    raw = encode_transaction(fields)
    decoded = decode_transaction(raw)
    if decoded.hash != hash_:
        raise ContradictionError(
            f"The fields that the node gives for {hash_} hash to {decoded.hash}.",
            expected=hash_,
            found=decoded.hash,
        )
    named = str(fields.get("from"))
    if named.lower() != decoded.sender.lower():
        raise ContradictionError(
            f"The node names {named[:42]} as the sender of {hash_}, which {decoded.sender} signed.",
            expected=decoded.sender,
            found=named[:42],
        )
    return raw, decoded


async def get_inclusion(rpc: Rpc, hash_: str, transaction: Mapping[str, Any]) -> Inclusion | OffChain:
    """Return the block of the chain that holds a mined transaction, with what proves it.

    `transaction` is what the node said of it, its hash being checked. Raises `ContradictionError` if transaction,
    receipt, block and roots do not fit together, and `NodeError` if the node lacks one of them.
    """
    answer = await rpc.request("eth_getTransactionReceipt", [hash_])
    if answer is None:
        raise NodeError(
            f"The node names a block for {hash_} and has no receipt of it.",
            hint="It may have dropped old receipts, or be behind. Ask another node, or this one again.",
        )
    receipt = parse_object("eth_getTransactionReceipt", answer)
    _agree("transaction hash", parse_hash("a receipt's transactionHash", receipt.get("transactionHash")), hash_)
    number = parse_quantity("a receipt's blockNumber", receipt.get("blockNumber"))
    named = Block(number, parse_hash("a receipt's blockHash", receipt.get("blockHash")))
    _agree("block number", parse_quantity("a transaction's blockNumber", transaction.get("blockNumber")), number)
    _agree("block hash", parse_hash("a transaction's blockHash", transaction.get("blockHash")), named.hash)

    found = await find_block(rpc, hex(number), with_transactions=True)
    if found is None:
        raise NodeError(
            f"The node says that block {number} holds {hash_} and does not have that block.",
            hint="It may be behind, or have dropped old blocks. Ask another node, or this one again.",
        )
    block, fields = found
    if block.hash != named.hash:
        return await _off_chain(rpc, hash_, named, block)

    transactions = tuple(
        parse_object("a block's transaction", item)
        for item in parse_list("a block's transactions", fields.get("transactions"))
    )
    hashes = [str(item.get("hash")).lower() for item in transactions]
    if hash_ not in hashes:
        raise ContradictionError(f"Block {number} does not list {hash_}, which is said to be in it.")
    index = hashes.index(hash_)
    _agree("index", parse_quantity("a receipt's transactionIndex", receipt.get("transactionIndex")), index)

    receipts = await _get_receipts(rpc, block, hashes)
    try:
        problem = _check_roots(fields, transactions, receipts, index, receipt)
    except ContradictionError:
        raise
    except NodeError as error:
        # A neighbour in the block of a type that is newer than this version, for example.
        problem = error.message
    if problem or receipts is None:
        # The bloom is checked all the same.
        encode_receipt(receipt)
        return Inclusion(block, header_of(fields), receipt, (transactions[index],), (receipt,), False, problem)
    return Inclusion(block, header_of(fields), receipt, transactions, tuple(receipts), True)


def _check_roots(
    block: Mapping[str, Any],
    transactions: Sequence[Mapping[str, Any]],
    receipts: Sequence[Mapping[str, Any]] | None,
    index: int,
    receipt: Mapping[str, Any],
) -> str:
    """Return "" if the block's lists are those of its header, else why that could not be checked."""
    if "transactionsRoot" not in block:
        return "its header cannot be reproduced"
    _agree("transactions root", _hex(transactions_root(transactions)), block["transactionsRoot"])
    if receipts is None:
        return "the node does not serve the receipts of the whole block"
    _agree("number of receipts", len(receipts), len(transactions))
    _agree("receipts root", _hex(receipts_root(receipts)), block["receiptsRoot"])
    if receipt != receipts[index]:
        _agree("receipt", _hex(encode_receipt(receipt)), _hex(encode_receipt(receipts[index])))
    return ""


async def _get_receipts(rpc: Rpc, block: Block, hashes: Sequence[str]) -> list[Mapping[str, Any]] | None:
    """Return the receipts of a block in its order, or None where the node does not serve them."""
    try:
        answer = await rpc.request("eth_getBlockReceipts", [block.hash])
        if answer is not None:
            return [parse_object("a receipt", item) for item in parse_list("eth_getBlockReceipts", answer)]
        if len(hashes) > _MOST_SINGLE_RECEIPTS:
            return None
    except RpcError:
        if len(hashes) > _MOST_SINGLE_RECEIPTS:
            return None
    receipts = []
    for hash_ in hashes:
        try:
            answer = await rpc.request("eth_getTransactionReceipt", [hash_])
        except RpcError:
            return None
        if answer is None:
            return None
        receipts.append(parse_object("eth_getTransactionReceipt", answer))
    return receipts


async def _off_chain(rpc: Rpc, hash_: str, named: Block, now: Block) -> OffChain:
    """Return the block that held the transaction once; raises `ContradictionError` if the node cannot show it."""
    found = await find_block_by_hash(rpc, named.hash)
    if found is not None:
        listed = parse_list("a block's transactions", found[1].get("transactions"))
        if found[0] == named and hash_ in listed:
            return OffChain(named, now)
    raise ContradictionError(
        f"The node says that {hash_} is in block {named.number} {named.hash}, and that this block is {now.hash}.",
        hint="This node lies, or the chain changed while it was asked. Ask again, or ask another node.",
        expected=now.hash,
        found=named.hash,
    )


def _agree(what: str, one: object, other: object) -> None:
    if str(one).lower() != str(other).lower():
        raise ContradictionError(
            f"What the node says of the transaction does not fit together: {what}.",
            expected=str(other)[:200],
            found=str(one)[:200],
        )


def _hex(data: bytes) -> str:
    return "0x" + data.hex()
