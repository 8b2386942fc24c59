"""The door to one Solana network: reads, plans, prepares, sends and settles approvals over raw JSON-RPC."""

from __future__ import annotations

import asyncio
from base64 import b64decode, b64encode
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from chains.errors import (
    NodeError,
    RpcError,
    SignatureMismatchError,
    TokenRefusedError,
    TransactionExpiredError,
    TransactionPendingError,
    TransactionRevertedError,
    UnexpectedAllowanceError,
    WillRevertError,
)
from chains.rpc import Rpc
from chains.solana.addresses import SYSTEM_PROGRAM, TOKEN_PROGRAMS, get_associated_token_address
from chains.solana.answers import MIN_CONTEXT_SLOT_NOT_REACHED, account_data, data_bytes, nonsense, take
from chains.solana.blocks import check_chain
from chains.solana.fees import SIGNATURE_LAMPORTS, SIMULATED_LIMIT, choose_limit, choose_price
from chains.solana.refusals import (
    OwnerAccounts,
    check_approval,
    check_gas,
    check_mint,
    check_owner,
    find_warnings,
)
from chains.solana.token import decode_mint, decode_token_account
from chains.solana.transactions import (
    build_instructions,
    build_message,
    check_message,
    decode_message,
    describe_error,
    parse_wire,
    read_message,
    read_token_instructions,
)
from chains.types import (
    AllowanceIntent,
    AllowanceState,
    ApprovalPlan,
    ApproveStep,
    Block,
    Chain,
    SentTransaction,
    Settlement,
    SignedTransaction,
    SolanaFee,
    SolanaTransaction,
    Token,
    UnsignedTransaction,
)

if TYPE_CHECKING:
    from solders.message import VersionedMessage

_BLOCKHASH_LIFETIME: Final = 150  # blocks; MAX_PROCESSING_AGE of the runtime
_RESEND_AFTER: Final = 2.0
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 1.0
_LAG_ATTEMPTS: Final = 25
_LAG_PAUSE: Final = 0.4  # seconds: one slot
_HISTORY: Final = 25  # transactions of a token account looked through for an approval


class SolanaNode:
    """A `Node` of one Solana network.

    `commitment` is the level at which `get_allowance` reads: `finalized`, unless fresher but revocable state will do.
    Plans and transactions are made from `confirmed` state, and a settled approval is always read at `finalized`.
    """

    def __init__(self, chain: Chain, rpc: Rpc, *, commitment: str = "finalized") -> None:
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
        check_approval(intent, accounts)
        fee = await self._estimate_fee(intent, intent.amount, accounts)
        return ApprovalPlan(
            state=accounts.to_state(intent.spender),
            steps=(ApproveStep(intent.amount, fee),),
            warnings=find_warnings(intent, accounts, fee),
        )

    async def prepare(self, intent: AllowanceIntent, step: ApproveStep) -> SolanaTransaction:
        """Return the transaction of `step` with a fresh blockhash; the accounts are checked once more."""
        accounts = await self._get_accounts(intent.token, intent.owner, "confirmed")
        check_approval(intent, accounts)
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

        Raises `WillRevertError` if the preflight fails. A blockhash that the node does not know is left to `settle`:
        the node may be behind, or the transaction expired.
        """
        try:
            await self._broadcast(signed, preflight=True)
        except RpcError as error:
            reason = error.data.get("err") if isinstance(error.data, dict) else None
            if reason in ("AlreadyProcessed", "BlockhashNotFound"):
                return
            if await self._get_status(signed.hash):
                return
            if reason is None:
                raise
            _signatures, message = parse_wire(b64decode(signed.raw))
            raise WillRevertError(
                f"The network refused the transaction beforehand: {describe_error(reason, message)}.",
                hint="It was not sent and cost nothing. Plan the approval again to see what changed.",
                found=reason,
                transaction_hash=signed.hash,
            ) from error

    async def settle(
        self,
        intent: AllowanceIntent,
        step: ApproveStep,
        unsigned: UnsignedTransaction,
        sent: SignedTransaction | SentTransaction,
        *,
        timeout: float,  # noqa: ASYNC109 - the seam's name
    ) -> Settlement:
        """Wait until the transaction is finalized and the state holds the amount; re-send the same bytes until then.

        `timeout` is in seconds. Raises `TransactionRevertedError`, `TransactionExpiredError` (only once no fork can
        take it any more), `TransactionPendingError` or `UnexpectedAllowanceError`, and `SignatureMismatchError` if a
        sending wallet gave the signature of another transaction.
        """
        unsigned = _solana(unsigned)
        message = b64decode(unsigned.message)
        check_message(message, intent, step.amount)
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout
        last_height = await self._last_valid_height(unsigned, sent)
        retry_at, pause, refusal = clock() + _RESEND_AFTER, _FIRST_PAUSE, ""
        while True:
            status = await self._get_status(sent.hash)
            if status is None and clock() >= min(retry_at, deadline):
                if await self._has_expired(sent.hash, last_height):
                    raise TransactionExpiredError(
                        "The transaction was not taken by the network in time, and can never be taken now.",
                        hint="Nothing was approved and nothing was paid. Build it anew and sign again.",
                        found=refusal or None,
                        transaction_hash=sent.hash,
                    )
                if isinstance(sent, SignedTransaction):
                    refusal = await self._resend(sent)
                retry_at = clock() + _RESEND_AFTER
            if status is not None and status.get("confirmationStatus") == "finalized":
                if isinstance(sent, SentTransaction):
                    await self._require_made(unsigned, sent.hash, take(status, int, "slot"))
                if status.get("err") is not None:
                    raise TransactionRevertedError(
                        f"The transaction failed: {describe_error(status['err'], message)}.",
                        hint="Its fee is paid and nothing was approved. Plan the approval again to see what changed.",
                        found=status["err"],
                        transaction_hash=sent.hash,
                    )
                return await self._get_settlement(intent, step, unsigned, sent.hash, take(status, int, "slot"))
            if clock() >= deadline:
                raise TransactionPendingError(
                    f"The transaction is not final after {timeout:g} seconds; it may still take effect.",
                    hint="Nothing is lost: run it again to go on waiting. Do not sign another one meanwhile.",
                    found=refusal or None,
                    transaction_hash=sent.hash,
                )
            await asyncio.sleep(min(pause, max(deadline - clock(), 0)))
            pause = min(pause * 1.5, _LONGEST_PAUSE)

    async def find_approval(
        self, intent: AllowanceIntent, step: ApproveStep, unsigned: UnsignedTransaction
    ) -> str | None:
        """Return the newest successful transaction that made this step since it was prepared, or None.

        A wallet that sends by itself may have changed the blockhash and the fee or added instructions of its own, so
        the same approval in a later block counts too. Raises `RpcError` if a transaction could not be read: whether the
        approval was made is then not known.
        """
        unsigned = _solana(unsigned)
        source = decode_message(b64decode(unsigned.message)).instructions[0].source
        listed = await self._rpc.request(
            "getSignaturesForAddress", [source, {"limit": _HISTORY, "commitment": "confirmed"}]
        )
        unread: RpcError | None = None
        for entry in take(listed, list):
            if take(entry, dict).get("err") is not None:
                continue
            signature, slot = take(entry, str, "signature"), take(entry, int, "slot")
            try:
                message = await self._get_message(signature)
            except RpcError as error:
                unread = error
                continue
            if _makes_approval(message, unsigned):
                if await self._is_newer(message, slot, unsigned):
                    return signature
                break
        if unread is not None:
            raise unread
        return None

    async def can_land(self, unsigned: UnsignedTransaction) -> bool:
        """Return whether a fork can still take this transaction: the finalized height has not passed its last one."""
        epoch = await self._rpc.request("getEpochInfo", [{"commitment": "finalized"}])
        return take(epoch, int, "blockHeight") <= _solana(unsigned).last_valid_block_height

    async def aclose(self) -> None:
        """Close the connections."""
        await self._rpc.aclose()

    async def _get_accounts(self, token: Token, owner: str, commitment: str, *, min_slot: int = 0) -> OwnerAccounts:
        """Return the owner's accounts of one slot in one call: under both token programs, whichever the mint is of."""
        sources = {program: get_associated_token_address(owner, token.address, program) for program in TOKEN_PROGRAMS}
        slot, (native, mint_account, *held) = await self._read(
            [owner, token.address, *sources.values()], commitment, min_slot
        )
        if mint_account is None:
            raise TokenRefusedError(
                f"There is no token at {token.address} on {self.chain.title}.",
                hint="Nothing was signed. Check the token's address and the network.",
                found=token.address,
            )
        mint = decode_mint(take(mint_account, str, "owner"), account_data(mint_account))
        check_mint(token, mint)
        address = sources[mint.program]
        found = dict(zip(sources, held, strict=True))[mint.program]
        # Anybody can send lamports to the address of an account that does not exist yet; it is then the system's.
        exists = found is not None and take(found, str, "owner") != SYSTEM_PROGRAM
        account = decode_token_account(take(found, str, "owner"), account_data(found)) if exists else None
        if account is not None:
            check_owner(token, owner, address, account)
        lamports = 0 if native is None else take(native, int, "lamports")
        return OwnerAccounts(slot, lamports, mint, address, account)

    async def _read(self, addresses: list[str], commitment: str, min_slot: int) -> tuple[int, list[Any]]:
        """Return a slot and the accounts at it, which is not older than `min_slot`; waits for a node that is behind."""
        config = {"encoding": "base64", "commitment": commitment, "minContextSlot": min_slot}
        for _attempt in range(_LAG_ATTEMPTS):
            try:
                answer = await self._rpc.request("getMultipleAccounts", [addresses, config])
            except RpcError as error:
                if error.code != MIN_CONTEXT_SLOT_NOT_REACHED:
                    raise
            else:
                slot, accounts = take(answer, int, "context", "slot"), take(answer, list, "value")
                if len(accounts) != len(addresses):
                    raise nonsense(answer)
                if slot >= min_slot:
                    return slot, accounts
            await asyncio.sleep(_LAG_PAUSE)
        raise NodeError(
            f"The node is behind: it has not reached slot {min_slot} yet.",
            hint="Nothing was lost. Try again in a minute, or name another node.",
            expected=min_slot,
        )

    async def _estimate_fee(self, intent: AllowanceIntent, amount: int, accounts: OwnerAccounts) -> SolanaFee:
        """Return the fee by simulation and recent prices; raise `WillRevertError` or `NoGasError`."""
        create = accounts.account is None
        keep = await self._get_rent(0)
        rent = await self._get_rent(accounts.account_size) if create else 0
        fee = SolanaFee(SIGNATURE_LAMPORTS, rent, compute_unit_limit=SIMULATED_LIMIT, compute_unit_price=0)
        check_gas(accounts.lamports, fee, keep)
        instructions = build_instructions(intent, amount, accounts.mint.program, create=create)
        units = await self._simulate(
            build_message(intent.owner, instructions, SYSTEM_PROGRAM, price=0, limit=SIMULATED_LIMIT)
        )
        recent = await self._rpc.request("getRecentPrioritizationFees", [[accounts.address, intent.owner]])
        fee = replace(
            fee,
            compute_unit_limit=choose_limit(units),
            compute_unit_price=choose_price(
                [take(entry, int, "prioritizationFee") for entry in take(recent, list)], intent.options.max_fee_cap
            ),
        )
        check_gas(accounts.lamports, fee, keep)
        return fee

    async def _get_rent(self, size: int) -> int:
        return take(await self._rpc.request("getMinimumBalanceForRentExemption", [size]), int)

    async def _simulate(self, message: bytes) -> int:
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
        return take(answer, int, "value", "unitsConsumed")

    async def _broadcast(self, signed: SignedTransaction, *, preflight: bool) -> None:
        config = {
            "encoding": "base64",
            "skipPreflight": not preflight,
            "preflightCommitment": "confirmed",
            "maxRetries": 0,
        }
        await self._rpc.request("sendTransaction", [signed.raw, config])

    async def _resend(self, signed: SignedTransaction) -> str:
        """Send the same bytes again; return the node's refusal, which decides nothing: status and block height do."""
        try:
            await self._broadcast(signed, preflight=False)
        except RpcError as error:
            return error.message
        return ""

    async def _get_status(self, signature: str, *, min_slot: int = 0) -> dict[str, Any] | None:
        """Return the status of a signature, however old, or None if the node does not know it.

        Raises `NodeError` if it does not and the node has not seen `min_slot` yet.
        """
        answer = await self._rpc.request("getSignatureStatuses", [[signature], {"searchTransactionHistory": True}])
        statuses = take(answer, list, "value")
        if len(statuses) != 1:
            raise nonsense(answer)
        if statuses[0] is not None:
            return take(statuses[0], dict)
        if take(answer, int, "context", "slot") < min_slot:
            raise NodeError(
                "The node is behind and cannot say whether the transaction was taken.",
                hint="Nothing was lost. Run it again in a minute, or name another node.",
                expected=min_slot,
            )
        return None

    async def _last_valid_height(self, unsigned: SolanaTransaction, sent: SignedTransaction | SentTransaction) -> int:
        """Return the last block height at which the transaction can land.

        A wallet that sends by itself may have put in a newer blockhash, but none that is newer than now.
        """
        if isinstance(sent, SignedTransaction):
            return unsigned.last_valid_block_height
        answer = await self._rpc.request("getLatestBlockhash", [{"commitment": "processed"}])
        return max(unsigned.last_valid_block_height, take(answer, int, "value", "lastValidBlockHeight"))

    async def _has_expired(self, signature: str, last_height: int) -> bool:
        """Return whether no fork can take the transaction any more and none has.

        The height at `finalized` and its slot come from one answer, and the status must be of a node that has seen that
        slot: behind one URL there may be several nodes, and one that is behind knows nothing.
        """
        epoch = await self._rpc.request("getEpochInfo", [{"commitment": "finalized"}])
        if take(epoch, int, "blockHeight") <= last_height:
            return False
        slot = take(epoch, int, "absoluteSlot")
        return await self._get_status(signature, min_slot=slot) is None

    async def _require_made(self, unsigned: SolanaTransaction, signature: str, slot: int) -> None:
        """Raise `SignatureMismatchError` unless this is the approval that the wallet was asked for."""
        message = await self._get_message(signature)
        if not _makes_approval(message, unsigned) or not await self._is_newer(message, slot, unsigned):
            raise SignatureMismatchError(
                f"The transaction {signature} is not the approval that the wallet was asked for.",
                hint="Nothing is lost. Take the signature of the approval from the wallet, then resume.",
                found=signature,
            )

    async def _is_newer(self, message: VersionedMessage, slot: int, unsigned: SolanaTransaction) -> bool:
        """Return whether a transaction at `slot` was made after `unsigned` was prepared."""
        built_at = unsigned.last_valid_block_height - _BLOCKHASH_LIFETIME
        return str(message.recent_blockhash) == unsigned.blockhash or await self._get_height(slot) > built_at

    async def _get_settlement(
        self, intent: AllowanceIntent, step: ApproveStep, unsigned: SolanaTransaction, signature: str, slot: int
    ) -> Settlement:
        accounts = await self._get_accounts(intent.token, intent.owner, "finalized", min_slot=slot)
        state = accounts.to_state(intent.spender)
        # The state is newer than the transaction: part of the allowance may have been spent since. A Solana transaction
        # that succeeded did what its message says, which was checked.
        if state.allowance != step.amount and not 0 < state.allowance < step.amount:
            raise UnexpectedAllowanceError(
                f"The transaction succeeded, but the allowance is {state.allowance} base units, not {step.amount}.",
                hint="It was changed or spent since. Check the wallet's recent transactions before you approve again.",
                expected=step.amount,
                found=state.allowance,
                transaction_hash=signature,
            )
        return Settlement(
            hash=signature,
            block=state.block,
            allowance=state.allowance,
            fee_paid=await self._get_fee_paid(signature, unsigned.fee),
            finality="finalized",
        )

    async def _get_fee_paid(self, signature: str, planned: SolanaFee) -> int:
        """Return the fee in lamports without rent, or its planned maximum where the node does not serve it."""
        transaction = await self._get_transaction(signature, "finalized")
        fee = transaction.get("meta", {}).get("fee") if transaction else None
        return fee if isinstance(fee, int) else planned.max_cost - planned.rent_lamports

    async def _get_transaction(self, signature: str, commitment: str) -> dict[str, Any] | None:
        config = {"encoding": "base64", "commitment": commitment, "maxSupportedTransactionVersion": 0}
        answer = await self._rpc.request("getTransaction", [signature, config])
        return None if answer is None else take(answer, dict)

    async def _get_message(self, signature: str) -> VersionedMessage:
        """Return the message of a transaction that the node has listed."""
        answer = await self._get_transaction(signature, "confirmed")
        if answer is None:
            raise RpcError(f"The node lists the transaction {signature} but does not serve it.", code=0)
        return read_message(parse_wire(data_bytes(take(answer, list, "transaction")))[1])

    async def _get_height(self, slot: int) -> int:
        config = {"transactionDetails": "none", "rewards": False, "maxSupportedTransactionVersion": 0}
        return take(await self._rpc.request("getBlock", [slot, config]), int, "blockHeight")


def _makes_approval(message: VersionedMessage, unsigned: SolanaTransaction) -> bool:
    """Return whether a message holds the approval of `unsigned`, whatever else a wallet put in."""
    shown = decode_message(b64decode(unsigned.message)).instructions
    try:
        return read_token_instructions(message, shown[0].source) == shown
    except SignatureMismatchError:
        return False


def _solana(unsigned: UnsignedTransaction) -> SolanaTransaction:
    if not isinstance(unsigned, SolanaTransaction):
        raise SignatureMismatchError("This transaction is for an EVM network, not for Solana.", found=unsigned.kind)
    return unsigned
