"""The door to one EVM network: what the chain holds, what an approval needs, and whether it took effect."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from chains.amounts import MAX_UINT256, format_amount, is_unlimited
from chains.errors import (
    InputError,
    InvalidAmountError,
    NoGasError,
    RpcError,
    SpenderRefusedError,
    TokenRefusedError,
    WillRevertError,
)
from chains.evm import settlement
from chains.evm.addresses import DELEGATED_CODE_SIZE, ZERO_ADDRESS, parse_address
from chains.evm.answers import parse_hash, parse_object, parse_quantity
from chains.evm.blocks import check_chain
from chains.evm.codec.erc20 import accepts_approve, decode_uint256, encode_approve
from chains.evm.fees import estimate_fee, will_revert
from chains.evm.simulation import CallResult, Simulation, Trial, read_allowance, simulate_approval
from chains.evm.transactions import build_approve
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
    SentTransaction,
    Settlement,
    SignedTransaction,
    Token,
    UnsignedTransaction,
)

# Uniswap's Permit2: an allowance for it can be passed on by signature alone.
PERMIT2: Final = "0x000000000022D473030F116dDEE9F6B43aC78BA3"

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
            allowance=self._token_number(token, "allowance", allowance),
            balance=self._token_number(token, "balanceOf", balance),
            native_balance=native_balance,
            block=block,
        )

    async def plan_approval(self, intent: AllowanceIntent) -> ApprovalPlan:
        """Return the steps from here to `intent`, found by trying them on the newest block, and warnings.

        Two steps, of which the first sets 0, where the token refuses to change one allowance into another (rule 6).
        Raises `SpenderRefusedError`, `TokenRefusedError`, `WillRevertError`, `FeeTooHighError` and `NoGasError`.
        """
        owner, spender, token = self._checked_addresses(intent)
        if not 0 <= intent.amount <= MAX_UINT256:
            raise InvalidAmountError(
                "The amount does not fit into 256 bits.", expected=MAX_UINT256, found=intent.amount
            )
        block, simulation = await self._ask_newest_block(
            lambda newest: simulate_approval(self.rpc, token, owner, spender, intent.amount, newest)
        )
        self._check_decimals(intent.token, simulation.decimals)
        state = AllowanceState(
            allowance=self._token_number(intent.token, "allowance", simulation.allowance),
            balance=self._token_number(intent.token, "balanceOf", simulation.balance),
            native_balance=simulation.native_balance,
            block=block,
        )
        if intent.amount > 0 and simulation.spender_code_size in {0, DELEGATED_CODE_SIZE}:
            raise SpenderRefusedError(
                f"The spender {spender} is not a contract on {self.chain.title} but a plain key.",
                hint="Nothing was signed. The platform's spender is a contract; check network and address.",
                found=spender,
            )
        amounts = _find_steps(intent, state.allowance, simulation)
        data = encode_approve(spender, amounts[0])
        fee = await estimate_fee(self.rpc, self._fees, owner, token, data, max_fee_cap=intent.options.max_fee_cap)
        cost = fee.max_cost
        if len(amounts) == 2:
            cost += (fee.gas_limit + _SET_AFTER_RESET_GAS) * fee.max_fee_per_gas
        self._check_gas(owner, cost, state.native_balance)
        steps = (ApproveStep(amounts[0], fee), *(ApproveStep(amount) for amount in amounts[1:]))
        return ApprovalPlan(state=state, steps=steps, warnings=tuple(_warnings(intent, state, len(steps))))

    async def prepare(self, intent: AllowanceIntent, step: ApproveStep) -> EvmTransaction:
        """Return the transaction of `step` with the owner's next nonce; estimates the fee where the step has none.

        Raises `WillRevertError`, `FeeTooHighError` and `NoGasError` where it estimates.
        """
        owner, spender, token = self._checked_addresses(intent)
        if isinstance(step.fee, EvmFee):
            fee = step.fee
        else:
            data = encode_approve(spender, step.amount)
            fee = await estimate_fee(self.rpc, self._fees, owner, token, data, max_fee_cap=intent.options.max_fee_cap)
            balance = await self.rpc.request("eth_getBalance", [owner, "latest"])
            self._check_gas(owner, fee.max_cost, parse_quantity("eth_getBalance", balance))
        count = await self.rpc.request("eth_getTransactionCount", [owner, "pending"])
        nonce = parse_quantity("eth_getTransactionCount", count)
        return build_approve(self._chain_id, token, owner, spender, step.amount, nonce, fee)

    async def send(self, signed: SignedTransaction) -> None:
        """Broadcast; sending the same bytes again is harmless and succeeds."""
        await settlement.send(self.rpc, signed)

    async def settle(
        self,
        intent: AllowanceIntent,
        step: ApproveStep,
        unsigned: UnsignedTransaction,
        sent: SignedTransaction | SentTransaction,
        *,
        timeout: float,  # noqa: ASYNC109 - the wait ends with an error that names the transaction
    ) -> Settlement:
        """Wait up to `timeout` seconds until a block holds the step's allowance, or raise a `TransactionError`."""
        return await settlement.settle(self.rpc, intent, step, _evm(unsigned), sent, timeout)

    async def find_approval(
        self, intent: AllowanceIntent, step: ApproveStep, unsigned: UnsignedTransaction
    ) -> str | None:
        """Return the hash of the transaction by which a sending wallet made this step, or None if it was not made."""
        return await settlement.find_approval(self.rpc, intent, step, _evm(unsigned))

    async def can_land(self, unsigned: UnsignedTransaction) -> bool:
        """Return whether the nonce of this transaction is still free in the newest block."""
        return await settlement.is_nonce_free(self.rpc, _evm(unsigned))

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

    def _checked_addresses(self, intent: AllowanceIntent) -> tuple[str, str, str]:
        """Return owner, spender and token, refusing spenders that must never be approved (rule 4)."""
        owner = parse_address(intent.owner)
        spender = parse_address(intent.spender)
        token = parse_address(intent.token.address)
        refused = {
            ZERO_ADDRESS: "the zero address",
            owner: "the owner's own address",
            token: "the token itself",
        }
        if intent.amount > 0:
            # Taking back what was once given to Permit2 is always right.
            refused[PERMIT2] = "Permit2, which passes allowances on by signature alone"
        if spender in refused:
            raise SpenderRefusedError(
                f"The spender {spender} is {refused[spender]}; it must never be approved.",
                hint="Nothing was signed. Take the spender from the platform's configuration.",
                found=spender,
            )
        return owner, spender, token

    def _token_number(self, token: Token, call: str, result: CallResult) -> int:
        if result.success:
            try:
                return decode_uint256(result.returned)
            except ValueError:
                pass
        raise TokenRefusedError(
            f"{token.address} is not the token {token.symbol} on {self.chain.title}: it does not answer {call}.",
            hint="Nothing was signed. Check the network and the token's address.",
            found="0x" + result.returned.hex(),
        )

    def _check_decimals(self, token: Token, result: CallResult) -> None:
        found = self._token_number(token, "decimals", result)
        if found != token.decimals:
            raise TokenRefusedError(
                f"{token.symbol} ({token.address}) has {found} decimals on {self.chain.title}, not {token.decimals}.",
                hint="Nothing was signed: the amount would be wrong by powers of ten.",
                expected=token.decimals,
                found=found,
            )

    def _check_gas(self, owner: str, cost: int, native_balance: int) -> None:
        if native_balance >= cost:
            return
        symbol, decimals = self.chain.native_symbol, self.chain.native_decimals
        raise NoGasError(
            f"The fee can take up to {format_amount(cost, decimals)} {symbol}, and {owner} has "
            f"{format_amount(native_balance, decimals)} {symbol} on {self.chain.title}.",
            hint=f"Nothing was signed. Send {symbol} to this address, or ask the platform's faucet for it.",
            expected=cost,
            found=native_balance,
        )


def _find_steps(intent: AllowanceIntent, current: int, simulation: Simulation) -> tuple[int, ...]:
    """Return the amounts to approve in order, from what approving was seen to do."""
    if _took_effect(intent, simulation.direct, intent.amount):
        return (intent.amount,)
    after_reset = simulation.after_reset
    if (
        current
        and intent.amount
        and _took_effect(intent, simulation.reset, 0)
        and (after_reset is None or _took_effect(intent, after_reset, intent.amount))
    ):
        return (0, intent.amount)
    raise _refusal(simulation.direct)


def _took_effect(intent: AllowanceIntent, trial: Trial, amount: int) -> bool:
    if not (trial.approve.success and accepts_approve(trial.approve.returned)):
        return False
    if trial.allowance is not None and trial.allowance.returned != amount.to_bytes(32, "big"):
        raise TokenRefusedError(
            f"After approving {amount} base units {intent.token.symbol} says 0x{trial.allowance.returned.hex()}.",
            hint="Nothing was signed. This token does not keep allowances as ERC-20 asks; do not use it.",
            expected=amount,
            found="0x" + trial.allowance.returned.hex(),
        )
    return True


def _refusal(trial: Trial) -> WillRevertError:
    if not trial.approve.success:
        return will_revert(trial.approve.returned)
    return WillRevertError(
        f"The token's approve answers 0x{trial.approve.returned.hex()}, which is not success.",
        hint="Nothing was signed and no fee was paid. The token itself refuses.",
        found="0x" + trial.approve.returned.hex(),
    )


def _warnings(intent: AllowanceIntent, state: AllowanceState, steps: int) -> list[str]:
    symbol, decimals = intent.token.symbol, intent.token.decimals
    wanted = f"{format_amount(intent.amount, decimals)} {symbol}"
    current = f"{format_amount(state.allowance, decimals)} {symbol}"
    warnings = []
    if state.allowance == intent.amount:
        warnings.append(f"The allowance is already {current}; approving it again changes nothing.")
    elif is_unlimited("evm", state.allowance):
        warnings.append("This replaces an unlimited allowance.")
    elif state.allowance > 0:
        warnings.append(f"This replaces an allowance of {current}.")
    if steps == 2:
        warnings.append(
            f"{symbol} takes two transactions: the allowance is first set to 0 and then to {wanted}. "
            "Between the two the card cannot spend."
        )
    if is_unlimited("evm", intent.amount):
        warnings.append(f"This allowance is unlimited: the spender can take all {symbol} that the wallet ever holds.")
    elif intent.amount > state.balance:
        warnings.append(f"The wallet holds {format_amount(state.balance, decimals)} {symbol}, less than the allowance.")
    return warnings


def _evm(unsigned: UnsignedTransaction) -> EvmTransaction:
    if not isinstance(unsigned, EvmTransaction):
        raise InputError("This is not a transaction of an EVM network.")
    return unsigned
