"""Broadcasting signed bytes, and what is believed of a node that answers with an error: the chain, not the words.

The hash is known before anything is sent, so that after an error the chain is asked whether it has the transaction.
Nodes word the same fact in a dozen ways; a new wording belongs into `read_refusal` only where it names a reason why
the bytes are NOT taken. Everything else is on its way, and waiting for it decides.
"""

from __future__ import annotations

import re
from typing import Final, Literal, TypeAlias

from chains.errors import (
    ChainError,
    ContradictionError,
    FeeTooLowError,
    NodeError,
    NodeUnreachableError,
    NoGasError,
    NonceOccupiedError,
    RpcError,
    TransactionReplacedError,
)
from chains.evm.answers import is_method_missing, parse_data, parse_hash, parse_object
from chains.evm.codec.transactions import decode_transaction
from chains.evm.nonces import get_nonce
from chains.rpc import Rpc
from chains.types import SignedTransaction

Refusal: TypeAlias = Literal[
    "has it", "nonce occupied", "nonce used", "no gas", "fee too low", "rejected", "not served"
]
"""What a node's words say of bytes that it was sent."""

_INVALID_PARAMS: Final = -32602

# In this order: a node that speaks of a replacement does not have these bytes, and one that has them may go on about
# nonces. The words of geth, Nethermind, Besu, Erigon, reth, OpenEthereum, anvil, Hardhat and of those who resell them.
_WORDINGS: Final[tuple[tuple[Refusal, tuple[str, ...]], ...]] = (
    (
        "nonce occupied",
        (
            r"replacement",
            r"could not replace",
            r"(an|other) transaction with (the )?same nonce",
            r"same nonce .{0,40}(pool|queue|pending)",
        ),
    ),
    (
        "has it",
        (
            r"already ?known",
            r"\bknown ?transaction",
            r"already (is |been |present )?(in|added)\b",
            r"already (exists?|imported|pending|received|processed|submitted|mined|have)",
            r"\bsame hash",
            r"\bduplicate",
        ),
    ),
    (
        "nonce used",
        (
            r"nonce (is |value )?too (low|small|old)",
            r"nonce_too_low",
            r"\bold ?nonce",
            r"nonce (has |is |was )?(already )?(been )?used",
            r"(lower|less) than .{0,30}\bnonce",
            r"nonce .{0,60}(lower|less|smaller) than",
            r"nonce .{0,20}below",
        ),
    ),
    (
        "no gas",
        (
            r"insufficient ?(funds|balance)",
            r"(doesn't|does not|do not|don't|not) have enough (funds|balance)",
            r"not enough (funds|balance)",
            r"overdraft",
            r"(exceeds|greater than|more than) .{0,30}balance",
            r"balance .{0,30}(too low|insufficient|not enough)",
        ),
    ),
    (
        "rejected",
        (
            r"invalid (sender|signature|chain|transaction (signature|type|format|encoding)|raw|rlp|tx signature)",
            r"wrong chain",
            r"\brlp\b",
            r"intrinsic gas",
            r"(exceeds|above) .{0,20}gas limit",
            r"gas limit (is )?too (high|low)",
            r"exceeds the configured cap",
            r"transaction type (is )?not supported",
            r"(deny|black|prohibited) ?list",
        ),
    ),
    (
        "fee too low",
        (
            r"under ?priced",
            r"fee ?too ?low",
            r"gas ?price ?too ?low",
            r"(fee|gas ?price|tip)( cap| per gas)?( supplied)?( is)? (too low|(less|lower) than|below)",
            r"(below|less than|lower than) .{0,40}(base ?fee|minimum|min gas ?price)",
        ),
    ),
)


def read_refusal(error: RpcError) -> Refusal | None:
    """Return what an error answer to `eth_sendRawTransaction` says of the bytes, or None for words we do not know.

    | a node says, for example                               | that is          | if the chain lacks the bytes     |
    |--------------------------------------------------------|------------------|----------------------------------|
    | already known; known transaction: 0x..; AlreadyKnown;  | "has it"         | on its way                       |
    | ... same hash was already imported; already in mempool |                  |                                  |
    | replacement transaction underpriced; ... same nonce    | "nonce occupied" | `NonceOccupiedError`, or         |
    |                                                        |                  | `TransactionReplacedError` if so |
    | nonce too low; OldNonce; nonce has already been used   | "nonce used"     | `TransactionReplacedError` if so |
    | insufficient funds ...; upfront cost exceeds balance   | "no gas"         | `NoGasError`                     |
    | underpriced; FeeTooLow; max fee ... less than base fee | "fee too low"    | `FeeTooLowError`                 |
    | invalid sender; intrinsic gas too low; code -32602     | "rejected"       | `RpcError`                       |
    | method not found; code -32601                          | "not served"     | `RpcError`                       |
    | anything else, in whatever language                    | None             | on its way                       |

    Of the codes only those of JSON-RPC itself are read: -32003 is "rejected" at one vendor, "intrinsic gas" at another.
    """
    said = _words(error)
    for refusal, wordings in _WORDINGS:
        if any(re.search(wording, said) for wording in wordings):
            return refusal
    if is_method_missing(error):
        return "not served"
    return "rejected" if error.code == _INVALID_PARAMS else None


async def send(rpc: Rpc, signed: SignedTransaction) -> str:
    """Broadcast signed bytes; returns if the chain has them or may still take them, and the same again is harmless.

    Returns "", or what the node had to say where the chain does not show the bytes and no reason was named. Raises
    `NoGasError`, `FeeTooLowError`, `NonceOccupiedError`, `TransactionReplacedError` or `RpcError` where the node named
    the reason why it does not take them and the chain does not show them, and `ContradictionError` for another hash.
    """
    try:
        answer = await rpc.request("eth_sendRawTransaction", [signed.raw])
    except NodeUnreachableError:
        if await is_on_chain(rpc, signed.hash):
            return ""
        raise
    except RpcError as error:
        if await is_on_chain(rpc, signed.hash):
            return ""
        problem = await _explain(rpc, signed, error)
        if problem is None:
            return error.message
        raise problem from error
    try:
        taken = parse_hash("eth_sendRawTransaction", answer)
    except NodeError as error:
        return "" if await is_on_chain(rpc, signed.hash) else error.message
    if taken != signed.hash:
        raise ContradictionError(
            "The node took the transaction under another hash than its own bytes have.",
            hint="Do not trust this node. Name another one and run it again to go on.",
            expected=signed.hash,
            found=answer,
        )
    return ""


async def is_on_chain(rpc: Rpc, hash_: str) -> bool | None:
    """Return whether the node knows a transaction, in its mempool or in a block; None if that could not be asked."""
    could_ask = True
    for method, name in (("eth_getTransactionByHash", "hash"), ("eth_getTransactionReceipt", "transactionHash")):
        try:
            answer = await rpc.request(method, [hash_])
            if answer is not None and parse_hash(name, parse_object(method, answer).get(name)) == hash_:
                return True
        except NodeError:
            # An index that is still being built, or a node that went away: this is not "no".
            could_ask = False
    return False if could_ask else None


async def _explain(rpc: Rpc, signed: SignedTransaction, error: RpcError) -> ChainError | None:
    """Return the error for a refusal that names its reason, or None where the transaction may be on its way."""
    said = error.message.rstrip(". ")
    match read_refusal(error):
        case None | "has it":
            return None
        case "nonce used":
            return replaced(signed.hash, None) if await _is_replaced(rpc, signed) else None
        case "nonce occupied":
            # A node's mempool still holds for a moment what a block has taken already.
            if await _is_replaced(rpc, signed):
                return replaced(signed.hash, None)
            return NonceOccupiedError(
                "Another transaction of the owner with the same nonce waits to be mined, and the node took nothing of "
                f"{signed.hash}: {said}.",
                hint="Nothing is approved by this transaction and nothing is lost. Wait until the other one is mined, "
                "or cancel it in the wallet that made it; then run it again to go on.",
                found=said,
                transaction_hash=signed.hash,
            )
        case "no gas":
            return NoGasError(
                f"The owner cannot pay the network's fee: {said}.",
                hint="Nothing was approved. Send some of the network's own coin to the owner's address, then run it "
                "again to go on.",
                found=said,
                transaction_hash=signed.hash,
            )
        case "fee too low":
            return FeeTooLowError(
                f"The network asks for a higher fee than this transaction offers: {said}.",
                hint="Nothing was approved and nothing was paid. Run it again to go on when the network is calmer: the "
                "same signed bytes are sent again.",
                found=said,
                transaction_hash=signed.hash,
            )
        case "rejected" | "not served":
            return RpcError(
                f"The node does not take the transaction: {said}.",
                code=error.code,
                data=error.data,
                hint="Nothing was approved and nothing is lost. Name another node and run it again to go on.",
            )


async def _is_replaced(rpc: Rpc, signed: SignedTransaction) -> bool:
    """Return whether the chain shows the nonce as used and does not know the transaction, asked in this order.

    What cannot be asked is not shown; then it is for the waiting to find out what used the nonce.
    """
    transaction = decode_transaction(parse_data("the signed transaction", signed.raw))
    try:
        if await get_nonce(rpc, transaction.sender, "latest") <= transaction.nonce:
            return False
    except NodeError:
        return False
    return await is_on_chain(rpc, signed.hash) is False


def replaced(hash_: str, other: str | None) -> TransactionReplacedError:
    """Return the error for a transaction whose nonce was used by another one, which is named where it is known."""
    return TransactionReplacedError(
        f"Another transaction of the owner used the nonce of {hash_}{f': {other}' if other else ''}.",
        hint="This approval can no longer land. See what the wallet did instead, then plan the approval anew.",
        expected=hash_,
        found=other,
        transaction_hash=hash_,
    )


def _words(error: RpcError) -> str:
    """Return all that the node says in words; some put the node's own error behind theirs into `data`."""
    data = error.data
    inner = [str(data.get(name, "")) for name in ("message", "reason")] if isinstance(data, dict) else []
    said = [error.message, data if isinstance(data, str) else "", *inner]
    return " ".join(said).lower()
