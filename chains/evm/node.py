"""The door to one EVM network: what the chain holds, what an approval needs, and whether it took effect."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Final, TypeVar

from chains.errors import InputError, RpcError
from chains.evm import nonces, sending, settlement
from chains.evm.addresses import parse_address
from chains.evm.answers import parse_hash, parse_object, parse_quantity
from chains.evm.blocks import check_chain
from chains.evm.codec.erc20 import encode_approve
from chains.evm.fees import estimate_fee
from chains.evm.refusals import (
    find_steps,
    find_warnings,
    require_addresses,
    require_amount,
    require_contract,
    require_decimals,
    require_gas,
    require_number,
)
from chains.evm.replacement import replace_transaction
from chains.evm.simulation import read_allowance, simulate_approval
from chains.evm.transactions import build_approve
from chains.evm.verify.review import is_still_canonical, make_review
from chains.evm.watch import ask_transaction
from chains.rpc import Rpc
from chains.types import (
    AllowanceIntent,
    AllowanceState,
    ApprovalPlan,
    ApproveStep,
    Block,
    Chain,
    EvmFee,
    EvmTransaction,
    Review,
    Rival,
    SentTransaction,
    Settlement,
    SignedTransaction,
    Token,
    UnsignedTransaction,
)

# What a first approve costs more than a reset to zero: a slot set instead of cleared (EIP-2929, EIP-3529: 20,000 -
# 2,900 gas) and 32 calldata bytes that are not zero (EIP-2028: 12 gas each), with the estimate's margin of a fifth.
_SET_AFTER_RESET_GAS: Final = (20_000 - 2_900 + 32 * 12) * 6 // 5

_NEWEST_BLOCK_PAUSES: Final = (0.25, 0.5)

_Answer = TypeVar("_Answer")


class EvmNode:
    """One EVM network behind one JSON-RPC connection; implements `chains.types.Node`."""

    def __init__(self, chain: Chain, rpc: Rpc) -> None:
        if chain.chain_id is None or chain.fees is None:
            raise InputError(f"{chain.title} lacks a chain id or a fee policy, so it cannot be used as an EVM network.")
        self.chain = chain
        self.rpc = rpc
        self._chain_id = chain.chain_id
        self._fees = chain.fees
        self._chain_checked = False

    async def check_chain(self) -> None:
        """Raise `WrongChainError` unless the node answers for `chain`; asked once per connection."""
        if self._chain_checked:
            return
        await check_chain(self.chain, self.rpc)
        self._chain_checked = True

    async def get_allowance(
        self, token: Token, owner: str, spender: str, *, block: Block | None = None
    ) -> AllowanceState:
        """Return allowance, balance (base units) and native balance (wei), all of one block; the newest by default.

        Raises `TokenRefusedError` if there is no such token on this network.
        """
        addresses = parse_address(token.address), parse_address(owner), parse_address(spender)
        if block is None:
            block, reading = await self._ask_newest_block(lambda newest: read_allowance(self.rpc, *addresses, newest))
        else:
            reading = await read_allowance(self.rpc, *addresses, block)
        allowance, balance, native_balance = reading
        return AllowanceState(
            allowance=require_number(self.chain, token, "allowance", allowance),
            balance=require_number(self.chain, token, "balanceOf", balance),
            native_balance=native_balance,
            block=block,
        )

    async def plan_approval(self, intent: AllowanceIntent) -> ApprovalPlan:
        """Return the steps from here to `intent`, found by trying them on the newest block, and warnings.

        Two steps, of which the first sets 0, where the token refuses to change one allowance into another.
        Raises `SpenderRefusedError`, `TokenRefusedError`, `WillRevertError`, `FeeTooHighError` and `NoGasError`.
        """
        owner, spender, token = require_addresses(intent)
        require_amount(intent)
        block, simulation = await self._ask_newest_block(
            lambda newest: simulate_approval(self.rpc, token, owner, spender, intent.amount, newest)
        )
        require_decimals(self.chain, intent.token, simulation.decimals)
        state = AllowanceState(
            allowance=require_number(self.chain, intent.token, "allowance", simulation.allowance),
            balance=require_number(self.chain, intent.token, "balanceOf", simulation.balance),
            native_balance=simulation.native_balance,
            block=block,
        )
        require_contract(self.chain, intent, spender, simulation.spender_code_size)
        amounts = find_steps(intent, state.allowance, simulation)
        data = encode_approve(spender, amounts[0])
        fee = await estimate_fee(self.rpc, self._fees, owner, token, data, max_fee_cap=intent.options.max_fee_cap)
        cost = fee.max_cost
        if len(amounts) == 2:
            cost += (fee.gas_limit + _SET_AFTER_RESET_GAS) * fee.max_fee_per_gas
        require_gas(self.chain, owner, cost, state.native_balance)
        steps = (ApproveStep(amounts[0], fee), *(ApproveStep(amount) for amount in amounts[1:]))
        return ApprovalPlan(state=state, steps=steps, warnings=find_warnings(intent, state, len(steps)))

    async def prepare(self, intent: AllowanceIntent, step: ApproveStep) -> EvmTransaction:
        """Return the transaction of `step` with the owner's next nonce; estimates the fee where the step has none.

        Raises `WillRevertError`, `FeeTooHighError` and `NoGasError` where it estimates.
        """
        owner, spender, token = require_addresses(intent)
        if isinstance(step.fee, EvmFee):
            fee = step.fee
        else:
            data = encode_approve(spender, step.amount)
            fee = await estimate_fee(self.rpc, self._fees, owner, token, data, max_fee_cap=intent.options.max_fee_cap)
            balance = await self.rpc.request("eth_getBalance", [owner, "latest"])
            require_gas(self.chain, owner, fee.max_cost, parse_quantity("eth_getBalance", balance))
        count = await self.rpc.request("eth_getTransactionCount", [owner, "pending"])
        nonce = parse_quantity("eth_getTransactionCount", count)
        return build_approve(self._chain_id, token, owner, spender, step.amount, nonce, fee)

    async def send(self, signed: SignedTransaction) -> None:
        """Broadcast; sending the same bytes again is harmless and succeeds.

        Raises `NoGasError`, `FeeTooLowError`, `NonceOccupiedError`, `TransactionReplacedError` or `RpcError` where the
        node names the reason why it does not take the bytes; whatever else it says is left to `settle`.
        """
        await sending.send(self.rpc, signed)

    async def settle(
        self,
        intent: AllowanceIntent,
        step: ApproveStep,
        unsigned: UnsignedTransaction,
        sent: SignedTransaction | SentTransaction,
        *,
        timeout: float,  # noqa: ASYNC109 - the wait ends with an error that names the transaction
        rivals: Sequence[Rival] = (),
        unseen_for: float = 0.0,
    ) -> Settlement:
        """Wait up to `timeout` seconds until a block holds the step's allowance, as deep as the chain asks.

        Raises a `TransactionError` otherwise.
        """
        return await settlement.settle(
            self.rpc,
            self.chain.settle_depth,
            intent,
            step,
            _evm(unsigned),
            sent,
            timeout=timeout,
            rivals=rivals,
            unseen_for=unseen_for,
        )

    async def replace(
        self, intent: AllowanceIntent, step: ApproveStep | None, unsigned: UnsignedTransaction
    ) -> EvmTransaction:
        """Return the transaction that takes the place of `unsigned`, with both fees raised, or cancels it.

        Raises `FeeTooHighError` above a cap, `NoGasError` and `WillRevertError`.
        """
        return await replace_transaction(self.rpc, self.chain, self._fees, intent, step, _evm(unsigned))

    async def settle_cancellation(
        self,
        unsigned: UnsignedTransaction,
        sent: SignedTransaction | SentTransaction,
        *,
        timeout: float,  # noqa: ASYNC109 - the wait ends with an error that names the transaction
        rivals: Sequence[Rival] = (),
        unseen_for: float = 0.0,
    ) -> str:
        """Wait up to `timeout` seconds until the nonce is used; return the hash of the cancellation or rival that did.

        Raises a `TransactionError` otherwise.
        """
        return await settlement.settle_cancellation(
            self.rpc,
            self.chain.settle_depth,
            _evm(unsigned),
            sent,
            timeout=timeout,
            rivals=rivals,
            unseen_for=unseen_for,
        )

    async def review(
        self,
        intent: AllowanceIntent,
        settlement: Settlement,
        *,
        timeout: float = 0.0,  # noqa: ARG002, ASYNC109 - finality takes hours on some networks and is not waited for
    ) -> Review:
        """Return whether the settled block is canonical now, and what became of the approval at the newest block.

        Raises `NodeError` if the node is behind that block.
        """
        if not await is_still_canonical(self.rpc, settlement):
            return Review(canonical=False, finality="reorganised", state="reorganised", now=None)
        now = await self.get_allowance(intent.token, intent.owner, intent.spender)
        if now.block.number < settlement.block.number:
            # Another server behind the same URL: this block is there, and its state is not older than itself.
            now = await self.get_allowance(intent.token, intent.owner, intent.spender, block=settlement.block)
        return await make_review(self.rpc, self.chain, intent, settlement, now)

    async def get_nonce(self, hash_: str) -> int | None:
        """Return the nonce of a transaction that the node knows, else None."""
        made = await ask_transaction(self.rpc, hash_)
        return None if made is None else made.nonce

    async def get_time_left(self, unsigned: UnsignedTransaction) -> timedelta | None:
        """Return None: a transaction can land for as long as its nonce is free."""
        _evm(unsigned)
        return None

    async def find_approval(
        self,
        intent: AllowanceIntent,
        step: ApproveStep,
        unsigned: UnsignedTransaction,
        *,
        rivals: Sequence[Rival] = (),
        nonce_used: bool = False,
    ) -> str | None:
        """Return the hash of the transaction by which a sending wallet made this step, or None if it was not made."""
        return await nonces.find_approval(self.rpc, intent, step, _evm(unsigned), rivals, nonce_used=nonce_used)

    async def can_land(self, unsigned: UnsignedTransaction) -> bool:
        """Return whether the nonce of this transaction is still free in the newest block."""
        return await nonces.is_nonce_free(self.rpc, _evm(unsigned))

    async def aclose(self) -> None:
        """Close the connection."""
        await self.rpc.aclose()

    async def _ask_newest_block(self, ask: Callable[[Block], Awaitable[_Answer]]) -> tuple[Block, _Answer]:
        """Return the newest block and what it says; tried again, as the servers behind one URL can be a block apart."""
        for pause in _NEWEST_BLOCK_PAUSES:
            block = await self._get_newest_block()
            try:
                return block, await ask(block)
            except RpcError:
                await asyncio.sleep(pause)
        block = await self._get_newest_block()
        return block, await ask(block)

    async def _get_newest_block(self) -> Block:
        answer = await self.rpc.request("eth_getBlockByNumber", ["latest", False])
        block = parse_object("eth_getBlockByNumber", answer)
        return Block(parse_quantity("block number", block.get("number")), parse_hash("block hash", block.get("hash")))


def _evm(unsigned: UnsignedTransaction) -> EvmTransaction:
    if not isinstance(unsigned, EvmTransaction):
        raise InputError("This is not a transaction of an EVM network.")
    return unsigned
