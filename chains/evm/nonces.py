"""Nonces of EVM accounts: how many are used, and what used one of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from chains.errors import ContradictionError, NodeError, RpcError, TransactionPendingError
from chains.evm.addresses import parse_address
from chains.evm.answers import parse_hash, parse_list, parse_object, parse_quantity
from chains.evm.blocks import find_block
from chains.evm.codec.approval_logs import topic_of
from chains.evm.codec.erc20 import APPROVAL_TOPIC, encode_approve
from chains.evm.codec.transactions import DEPOSIT, decode_transaction, encode_transaction, transactions_root
from chains.rpc import Rpc
from chains.types import AllowanceIntent, ApproveStep, EvmTransaction, Rival, UnsignedTransaction

# An approval is looked for this far back at most, window by window.
_WINDOW: Final = 5_000
# The first windows are smaller: many nodes keep the state of the newest 128 blocks only, and most searches end there.
_FIRST_WINDOW: Final = 64
_WINDOWS: Final = 20
_SECOND_LOOK: Final = 0.5  # seconds
_LOOKS: Final = 6


async def get_nonce(rpc: Rpc, account: str, at: str) -> int:
    """Return the account's next nonce at a hexadecimal block number, `latest` or `pending`."""
    return parse_quantity("eth_getTransactionCount", await rpc.request("eth_getTransactionCount", [account, at]))


async def find_user_of_nonce(rpc: Rpc, account: str, nonce: int, newest: int) -> str | None:
    """Return the hash of what used a nonce up to block number `newest`; None if nothing in the block that did it shows.

    A nonce is used up by a transaction of the account, by an authorization that it signed (EIP-7702), and on the OP
    Stack by its deposit. Raises `ContradictionError` if the block's transactions are not those of its header,
    `RpcError` where the node's history does not reach far enough, and `NodeError` for a block that this version cannot
    read.
    """
    # Newest blocks first, in growing steps, because many nodes keep the state of the newest ones only.
    low, high, step = newest, newest, 1
    while low > 0 and await get_nonce(rpc, account, hex(low)) > nonce:
        low, high, step = max(0, low - step), low, 2 * step
    while high - low > 1:
        middle = (low + high) // 2
        if await get_nonce(rpc, account, hex(middle)) > nonce:
            high = middle
        else:
            low = middle
    found = await find_block(rpc, hex(high), with_transactions=True)
    if found is None:
        raise NodeError(f"The node does not have block {high}, which it says used the nonce.")
    block = found[1]
    transactions = parse_list("a block's transactions", block.get("transactions"))
    if "0x" + transactions_root(transactions).hex() != str(block["transactionsRoot"]).lower():
        raise ContradictionError(f"The transactions of block {high} are not those of its header.")
    for item in transactions:
        # `from` is the word of the node: a lie about it hides the transaction and does not show another one.
        if str(item.get("from")).lower() == account.lower() or item.get("authorizationList"):
            user = decode_transaction(encode_transaction(item))
            is_own = user.sender == account and (user.nonce == nonce or user.type == DEPOSIT)
            if is_own or account in user.authorities:
                return user.hash
    return None


async def is_nonce_free(rpc: Rpc, unsigned: EvmTransaction) -> bool:
    """Return whether no transaction in the chain has used the nonce yet."""
    return await get_nonce(rpc, unsigned.sender, "latest") <= unsigned.nonce


async def has_pending(rpc: Rpc, unsigned: EvmTransaction) -> bool:
    """Return whether the owner has a transaction in the mempool with this nonce or a later one."""
    mined, pending = [await get_nonce(rpc, unsigned.sender, block) for block in ("latest", "pending")]
    return pending > max(mined, unsigned.nonce)


async def find_approval(
    rpc: Rpc,
    intent: AllowanceIntent,
    step: ApproveStep,
    unsigned: EvmTransaction,
    rivals: Sequence[Rival] = (),
    *,
    nonce_used: bool = False,
) -> str | None:
    """Return the hash of the transaction by which a sending wallet made this step, or None if it was not made.

    That is a transaction of the owner that holds an `Approval` of this owner, spender and token, and either has the
    nonce of `unsigned`, or a later one and identical calldata; and none of the `rivals` that make another call. Looks
    back to where the nonce was still free, but at most 100,000 blocks.

    Raises `TransactionPendingError` while the owner has a pending transaction that may be it, and `NodeError` where the
    node's history does not reach far enough to tell.
    """
    while True:
        was_free = not nonce_used and await is_nonce_free(rpc, unsigned)
        if not was_free:
            found = await find_mined(rpc, intent, step, unsigned, rivals)
            if found is None:
                # The server that was asked for logs may be behind the one that knows the nonce as used.
                await asyncio.sleep(_SECOND_LOOK)
                found = await _find_by_nonce(rpc, unsigned) or await find_mined(rpc, intent, step, unsigned, rivals)
            if found is not None:
                return found
        if await has_pending(rpc, unsigned):
            raise TransactionPendingError(
                f"A transaction of {unsigned.sender} with nonce {unsigned.nonce} or later waits to be mined; it may be "
                "this one.",
                hint="Nothing is lost. Run it again to go on when it is mined; do not approve again meanwhile.",
            )
        # What waited may have been mined between the two questions.
        if not was_free or await is_nonce_free(rpc, unsigned):
            return None


async def _get_block_that_knows(rpc: Rpc, unsigned: EvmTransaction) -> int:
    """Return the newest block of a server that shows the nonce as used; `NodeError` if only servers behind answer."""
    for _ in range(_LOOKS):
        newest = parse_quantity("eth_blockNumber", await rpc.request("eth_blockNumber"))
        if await get_nonce(rpc, unsigned.sender, hex(newest)) > unsigned.nonce:
            return newest
        await asyncio.sleep(_SECOND_LOOK)
    raise NodeError(
        f"Nonce {unsigned.nonce} of {unsigned.sender} is used, and the node is behind and cannot say by what.",
        hint="Nothing was lost. Run it again in a minute, or name another node.",
    )


async def _find_by_nonce(rpc: Rpc, unsigned: EvmTransaction) -> str | None:
    """Return the hash of what used the nonce if it makes the same call; None also where that cannot be found out."""
    newest = await _get_block_that_knows(rpc, unsigned)
    try:
        user = await find_user_of_nonce(rpc, unsigned.sender, unsigned.nonce, newest)
    except NodeError:
        return None
    answer = None if user is None else await rpc.request("eth_getTransactionByHash", [user])
    if answer is None:
        return None
    made = parse_object("eth_getTransactionByHash", answer)
    called = str(made.get("to")).lower(), str(made.get("input")).lower()
    return user if called == _calls(unsigned) else None


async def find_mined(
    rpc: Rpc, intent: AllowanceIntent, step: ApproveStep, unsigned: EvmTransaction, rivals: Sequence[Rival] = ()
) -> str | None:
    """Search the chain for the approval from its newest block back to where the nonce was still free."""
    newest = parse_quantity("eth_blockNumber", await rpc.request("eth_blockNumber"))
    last = newest - _WINDOW * _WINDOWS
    window, widest = min(_FIRST_WINDOW, _WINDOW), _WINDOW
    while newest > last:
        oldest = max(0, newest - window + 1)
        try:
            found = await _find_in_window(rpc, intent, step, unsigned, rivals, oldest, newest)
        except RpcError:
            # Nodes limit how many blocks, or how many logs, one question may span, each in its own words.
            if window == 1:
                raise
            window = widest = max(1, window // 4)
            continue
        if found is not None or oldest == 0:
            return found
        if await _was_nonce_free(rpc, unsigned, oldest):
            return None
        newest, window = oldest - 1, min(4 * window, widest)
    raise NodeError(
        f"Nonce {unsigned.nonce} of {unsigned.sender} was used more than {_WINDOW * _WINDOWS} blocks ago; "
        "by what, could not be found.",
        hint="Look the address up in a block explorer and give the hash of its approval.",
    )


async def _was_nonce_free(rpc: Rpc, unsigned: EvmTransaction, block: int) -> bool:
    """Return whether a block shows the nonce as free; False also where the node keeps no state so far back."""
    try:
        return await get_nonce(rpc, unsigned.sender, hex(block)) <= unsigned.nonce
    except RpcError:
        return False


async def _find_in_window(
    rpc: Rpc,
    intent: AllowanceIntent,
    step: ApproveStep,
    unsigned: EvmTransaction,
    rivals: Sequence[Rival],
    oldest: int,
    newest: int,
) -> str | None:
    owner, spender = parse_address(intent.owner), parse_address(intent.spender)
    wanted = {
        "address": intent.token.address,
        "topics": [APPROVAL_TOPIC, topic_of(owner), topic_of(spender)],
        "fromBlock": hex(oldest),
        "toBlock": hex(newest),
    }
    calldata = encode_approve(spender, step.amount)
    logs = parse_list("eth_getLogs", await rpc.request("eth_getLogs", [wanted]))
    hashes = [parse_hash("transactionHash", parse_object("log", log).get("transactionHash")) for log in logs]
    others = [rival for rival in rivals if _calls(rival.unsigned) != _calls(unsigned)]
    other_hashes = [rival.hash for rival in others]
    other_calls = [_calls(rival.unsigned) for rival in others]
    # Spending can emit Approval too, so the transaction and not the log decides.
    for hash_ in dict.fromkeys(reversed(hashes)):
        answer = await rpc.request("eth_getTransactionByHash", [hash_])
        if answer is None or hash_ in other_hashes:
            continue
        transaction = parse_object("eth_getTransactionByHash", answer)
        if str(transaction.get("from")).lower() != owner.lower():
            continue
        nonce = parse_quantity("nonce", transaction.get("nonce"))
        called = str(transaction.get("to")).lower(), str(transaction.get("input")).lower()
        if called in other_calls:
            continue
        same_call = called[1] == "0x" + calldata.hex()
        if nonce == unsigned.nonce or (nonce > unsigned.nonce and same_call):
            return hash_
    return None


def _calls(unsigned: UnsignedTransaction) -> tuple[str, str] | None:
    """Return what a transaction calls, and with which data, as a node spells them."""
    return (unsigned.to.lower(), unsigned.data.lower()) if isinstance(unsigned, EvmTransaction) else None
