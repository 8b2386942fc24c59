"""What the tests of a transaction's fate share: a chain that is told when to mine, with a token and an owner."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from eth_account import Account

from chains import get_chain
from chains.evm.addresses import parse_address
from chains.evm.node import EvmNode
from chains.rpc import HttpRpc, Params
from chains.types import AllowanceIntent, ApproveStep, EvmFee, EvmTransaction, SentTransaction, SignedTransaction, Token
from delegation.sandbox.artifacts import encode_creation
from delegation.sandbox.evm_network import transact

# A local chain mines what is sent to it and no more, so that no block would ever lie on the last approval.
ETHEREUM = replace(get_chain("ethereum"), settle_depth=1)
UNKNOWN_HASH = "0x" + "ab" * 32
FEE = EvmFee(gas_limit=100_000, max_fee_per_gas=20 * 10**9, max_priority_fee_per_gas=10**9)


class Between:
    """A real connection on which something happens just before some questions."""

    def __init__(self, rpc: HttpRpc, **before: Callable[[Params], Awaitable[None]]) -> None:
        self._rpc = rpc
        self._before = before
        self.asked: list[str] = []
        self.calls = 0

    async def request(self, method: str, params: Params = ()) -> Any:
        self.calls += 1
        self.asked.append(method)
        if method in self._before:
            await self._before[method](params)
        return await self._rpc.request(method, params)

    async def aclose(self) -> None:
        await self._rpc.aclose()


@dataclass
class Lab:
    """A chain of our own with a token, and an owner with gas."""

    rpc: HttpRpc
    node: EvmNode
    token: Token
    spender: str
    owner: str
    key: str

    def intent(self, amount: int = 5000) -> AllowanceIntent:
        return AllowanceIntent(self.token, self.owner, self.spender, amount)

    def sign(self, unsigned: EvmTransaction) -> SignedTransaction:
        return sign(unsigned, self.key)

    async def prepare(self, amount: int = 5000, fee: EvmFee = FEE) -> EvmTransaction:
        return await self.node.prepare(self.intent(amount), ApproveStep(amount, fee))

    async def settle(self, unsigned: EvmTransaction, sent: Any, amount: int = 5000, timeout: float = 20) -> Any:  # noqa: ASYNC109
        return await self.node.settle(self.intent(amount), ApproveStep(amount, FEE), unsigned, sent, timeout=timeout)

    async def settle_sent(self, unsigned: EvmTransaction, hash_: str, *, unseen_for: float) -> Any:
        """Look once at what a wallet says it sent; no node has known it for so many seconds."""
        return await self.node.settle(
            self.intent(),
            ApproveStep(5000, FEE),
            unsigned,
            SentTransaction(hash_),
            timeout=0,
            unseen_for=unseen_for,
        )

    async def mined(self, signed: SignedTransaction) -> str:
        """Wait until a block holds the transaction, and return the block's hash."""
        for _ in range(500):
            receipt = await self.rpc.request("eth_getTransactionReceipt", [signed.hash])
            if receipt is not None:
                return str(receipt["blockHash"])
            await asyncio.sleep(0.01)
        raise AssertionError("the node did not mine a transaction of the test's own")

    async def mine(self) -> None:
        await self.rpc.request("evm_mine")

    async def hold_mining(self, hold: bool = True) -> None:
        await self.rpc.request("evm_setAutomine", [not hold])


def sign(unsigned: EvmTransaction, key: str, **changes: Any) -> SignedTransaction:
    signed = Account.sign_transaction(
        {
            "type": 2,
            "chainId": unsigned.chain_id,
            "nonce": unsigned.nonce,
            "to": unsigned.to,
            "value": 0,
            "data": unsigned.data,
            "gas": unsigned.fee.gas_limit,
            "maxFeePerGas": unsigned.fee.max_fee_per_gas,
            "maxPriorityFeePerGas": unsigned.fee.max_priority_fee_per_gas,
        }
        | changes,
        key,
    )
    return SignedTransaction("0x" + signed.raw_transaction.hex(), "0x" + signed.hash.hex())


async def deploy_contracts(url: str) -> tuple[str, str]:
    """Put a token with the zero-first rule on the chain, and another contract to be the spender."""
    rpc = HttpRpc(url)
    accounts = await rpc.request("eth_accounts")
    receipts = [
        await transact(rpc, {"from": accounts[0], "data": encode_creation(name, "constructor()")})
        for name in ("TetherLike", "UsdcLike")
    ]
    await rpc.aclose()
    token, spender = (parse_address(receipt["contractAddress"]) for receipt in receipts)
    return token, spender


@asynccontextmanager
async def open_lab(url: str, contracts: tuple[str, str]) -> AsyncIterator[Lab]:
    """Open the chain for an owner of its own; it mines at once until it is told otherwise."""
    rpc = HttpRpc(url)
    account = Account.create()
    await rpc.request("anvil_setBalance", [account.address, hex(10**18)])
    token, spender = contracts
    owner_key = "0x" + account.key.hex()
    yield Lab(rpc, EvmNode(ETHEREUM, rpc), Token("USDT", token, 6), spender, account.address, owner_key)
    await rpc.request("anvil_dropAllTransactions")
    await rpc.request("evm_setAutomine", [True])
    await rpc.aclose()
