"""Nonces of EVM accounts: how many are used, and what used one of them."""

from __future__ import annotations

from chains.errors import ContradictionError, NodeError
from chains.evm.answers import parse_list, parse_quantity
from chains.evm.blocks import find_block
from chains.evm.codec.transactions import DEPOSIT, decode_transaction, encode_transaction, transactions_root
from chains.rpc import Rpc


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
