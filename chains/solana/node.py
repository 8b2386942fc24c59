"""The door to one Solana network: reads, plans, prepares, sends and settles approvals over raw JSON-RPC."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from chains.errors import InputError, RpcError, SignatureMismatchError, WillRevertError
from chains.rpc import Rpc
from chains.solana import sending, settlement
from chains.solana.accounts import OwnerAccounts, get_owner_accounts
from chains.solana.addresses import SYSTEM_PROGRAM
from chains.solana.answers import take
from chains.solana.blocks import check_chain
from chains.solana.fees import SIGNATURE_LAMPORTS, SIMULATED_LIMIT, choose_limit, choose_price
from chains.solana.refusals import find_warnings, require_gas, require_safe_approval
from chains.solana.transactions import build_instructions, build_message, check_message, describe_error
from chains.solana.verify.review import review
from chains.types import (
    AllowanceIntent,
    AllowanceState,
    ApprovalPlan,
    ApproveStep,
    Block,
    Chain,
    Review,
    Rival,
    SentTransaction,
    Settlement,
    SignedTransaction,
    SolanaFee,
    SolanaTransaction,
    Token,
    UnsignedTransaction,
)


class SolanaNode:
    """A `Node` of one Solana network.

    `commitment` is the level at which `get_allowance` reads. It is `confirmed`, at which plans are made and approvals
    settle, so that what has settled is seen; `finalized` is about 13 seconds older.
    """

    def __init__(self, chain: Chain, rpc: Rpc, *, commitment: str = "confirmed") -> None:
        self.chain = chain
        self._rpc = rpc
        self._commitment = commitment

    async def check_chain(self) -> None:
        """Raise `WrongChainError` unless the node's genesis hash is that of `chain`."""
        await check_chain(self.chain, self._rpc)

    async def get_allowance(
        self, token: Token, owner: str, spender: str, *, block: Block | None = None
    ) -> AllowanceState:
        """Return what the chain says at a slot that is not older than `block`; Solana keeps no older states."""
        accounts = await self._get_accounts(token, owner, self._commitment, min_slot=block.number if block else 0)
        return accounts.to_state(spender)

    async def plan_approval(self, intent: AllowanceIntent) -> ApprovalPlan:
        """Return the one step from the newest confirmed state to `intent`; raise `RefusedError` if it is refused."""
        accounts = await self._get_accounts(intent.token, intent.owner, "confirmed")
        require_safe_approval(intent, accounts)
        fee = await self._estimate_fee(intent, intent.amount, accounts)
        return ApprovalPlan(
            state=accounts.to_state(intent.spender),
            steps=(ApproveStep(intent.amount, fee),),
            warnings=find_warnings(intent, accounts, fee),
        )

    async def prepare(self, intent: AllowanceIntent, step: ApproveStep) -> SolanaTransaction:
        """Return the transaction of `step` with a fresh blockhash; the accounts are checked once more."""
        accounts = await self._get_accounts(intent.token, intent.owner, "confirmed")
        require_safe_approval(intent, accounts)
        create = accounts.account is None
        fee = step.fee if isinstance(step.fee, SolanaFee) else await self._estimate_fee(intent, step.amount, accounts)
        if create and not fee.rent_lamports:
            raise WillRevertError(
                "The token account was closed after the approval was planned.",
                hint="Nothing was signed. Plan it again; the plan will show the cost of a new account.",
                found=accounts.address,
            )
        answer = await self._rpc.request("getLatestBlockhash", [{"commitment": "confirmed"}])
        blockhash = take(answer, str, "value", "blockhash")
        instructions = build_instructions(intent, step.amount, accounts.mint.program, create=create)
        message = build_message(
            intent.owner, instructions, blockhash, price=fee.compute_unit_price, limit=fee.compute_unit_limit
        )
        check_message(message, intent, step.amount)
        return SolanaTransaction(
            sender=intent.owner,
            message=b64encode(message).decode(),
            blockhash=blockhash,
            last_valid_block_height=take(answer, int, "value", "lastValidBlockHeight"),
            fee=fee if create else replace(fee, rent_lamports=0),
        )

    async def send(self, signed: SignedTransaction) -> None:
        """Broadcast after a preflight; bytes that the network has already are a success.

        Raises `NoGasError`, `WillRevertError` or `RpcError` where the node names the reason why it does not take the
        bytes; whatever else it says is left to `settle`.
        """
        await sending.send(self._rpc, signed)

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
        """Wait up to `timeout` seconds until the step is confirmed, or raise a `TransactionError`.

        Nothing rivals a transaction here, and what a wallet sent expires by itself: both are left unread.
        """
        del rivals, unseen_for
        return await settlement.settle(self._rpc, self.chain, intent, step, _solana(unsigned), sent, timeout)

    async def replace(
        self, intent: AllowanceIntent, step: ApproveStep | None, unsigned: UnsignedTransaction
    ) -> SolanaTransaction:
        """Raise the `TransactionPendingError` that says until about when to wait: nothing can be replaced here."""
        del intent, step
        raise await settlement.explain_no_replacement(self._rpc, _solana(unsigned))

    async def settle_cancellation(
        self,
        unsigned: UnsignedTransaction,
        sent: SignedTransaction | SentTransaction,
        *,
        timeout: float,  # noqa: ASYNC109 - the wait ends with an error that names the transaction
        rivals: Sequence[Rival] = (),
        unseen_for: float = 0.0,
    ) -> str:
        """Raise `InputError`: a transaction here has no nonce that another one could use up; it expires."""
        del unsigned, timeout, rivals, unseen_for
        raise InputError(
            f"There is nothing on {self.chain.title} by which {sent.hash} could be cancelled.",
            hint="Nothing is lost. Wait until it has landed or has expired, which takes about two minutes.",
        )

    async def review(
        self,
        intent: AllowanceIntent,
        settlement: Settlement,
        *,
        timeout: float = 0.0,  # noqa: ASYNC109 - finality that is not reached in time is told, and is no error
    ) -> Review:
        """Return whether the chain still holds a settled approval, and what became of it, read at `confirmed`.

        `timeout` seconds are waited for `finalized`. Raises `NodeError` if the node cannot say it.
        """
        return await review(self._rpc, self.chain, intent, settlement, timeout)

    async def get_nonce(self, hash_: str) -> int | None:
        """Return None: a transaction here has no nonce."""
        del hash_
        return None

    async def get_time_left(self, unsigned: UnsignedTransaction) -> timedelta | None:
        """Return about how long a fork can still take this transaction."""
        return await settlement.get_time_left(self._rpc, _solana(unsigned))

    async def find_approval(
        self,
        intent: AllowanceIntent,
        step: ApproveStep,
        unsigned: UnsignedTransaction,
        *,
        rivals: Sequence[Rival] = (),
        nonce_used: bool = False,
    ) -> str | None:
        """Return the newest successful transaction that made this step since it was prepared, or None."""
        del rivals, nonce_used
        return await settlement.find_approval(self._rpc, intent, step, _solana(unsigned))

    async def can_land(self, unsigned: UnsignedTransaction) -> bool:
        """Return whether a fork can still take this transaction: the finalized height has not passed its last one."""
        return await settlement.can_land(self._rpc, _solana(unsigned))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._rpc.aclose()

    async def _get_accounts(self, token: Token, owner: str, commitment: str, *, min_slot: int = 0) -> OwnerAccounts:
        return await get_owner_accounts(self._rpc, self.chain, token, owner, commitment, min_slot=min_slot)

    async def _estimate_fee(self, intent: AllowanceIntent, amount: int, accounts: OwnerAccounts) -> SolanaFee:
        """Return the fee by simulation and recent prices; raise `WillRevertError` or `NoGasError`."""
        create = accounts.account is None
        keep = await self._get_rent(0)
        rent = await self._get_rent(accounts.account_size) if create else 0
        fee = SolanaFee(SIGNATURE_LAMPORTS, rent, compute_unit_limit=SIMULATED_LIMIT, compute_unit_price=0)
        require_gas(accounts.lamports, fee, keep)
        instructions = build_instructions(intent, amount, accounts.mint.program, create=create)
        units = await self._simulate(
            build_message(intent.owner, instructions, SYSTEM_PROGRAM, price=0, limit=SIMULATED_LIMIT)
        )
        recent = await self._get_recent_prices([accounts.address, intent.owner])
        fee = replace(
            fee,
            compute_unit_limit=SIMULATED_LIMIT if units is None else choose_limit(units),
            compute_unit_price=choose_price(recent, intent.options.max_fee_cap),
        )
        require_gas(accounts.lamports, fee, keep)
        return fee

    async def _get_rent(self, size: int) -> int:
        return take(await self._rpc.request("getMinimumBalanceForRentExemption", [size]), int)

    async def _get_recent_prices(self, written: list[str]) -> list[int]:
        """Return the recent fees of accounts, none where the node does not serve them: there is a floor."""
        try:
            recent = await self._rpc.request("getRecentPrioritizationFees", [written])
        except RpcError:
            return []
        return [take(entry, int, "prioritizationFee") for entry in take(recent, list)]

    async def _simulate(self, message: bytes) -> int | None:
        """Return the compute units that a message takes, None where the node does not say."""
        unsigned = b64encode(bytes([1]) + bytes(64) + message).decode()
        config = {
            "encoding": "base64",
            "sigVerify": False,
            "replaceRecentBlockhash": True,
            "commitment": "confirmed",
        }
        answer = await self._rpc.request("simulateTransaction", [unsigned, config])
        error = take(answer, dict, "value").get("err")
        if error is not None:
            raise WillRevertError(
                f"The network says that the approval would fail: {describe_error(error, message)}.",
                hint="Nothing was signed. Check the wallet's token account; the reason is the network's.",
                found=error,
            )
        units = take(answer, dict, "value").get("unitsConsumed")
        return None if units is None else take(units, int)


def _solana(unsigned: UnsignedTransaction) -> SolanaTransaction:
    if not isinstance(unsigned, SolanaTransaction):
        raise SignatureMismatchError("This transaction is for an EVM network, not for Solana.", found=unsigned.kind)
    return unsigned
