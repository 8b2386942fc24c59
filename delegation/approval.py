"""The approval station: sign, save, send, and read the state; never two for one intent (rule 1 of the line)."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

from chains.errors import (
    NonceOccupiedError,
    SignatureMismatchError,
    TransactionDroppedError,
    TransactionExpiredError,
    TransactionPendingError,
    TransactionReplacedError,
    TransactionRevertedError,
    UnexpectedAllowanceError,
    WalletRefusedError,
)
from chains.family import verify_signed
from chains.types import AllowanceIntent, ApproveStep, SentTransaction, SignedTransaction, UnsignedTransaction
from delegation.context import Context, check_context
from delegation.errors import InvalidRequestError
from delegation.intents import require_not_over
from delegation.models import Approval, Delegation, filled
from delegation.plan import intent_of

_REBUILDS: Final = 3


async def approve(d: Delegation, index: int, context: Context) -> Delegation:
    """Carry one step until it has taken effect, or until it must be signed and there is no wallet.

    Raises the ground floor's errors. After a `TransactionError` that leaves the transaction no way to land, the next
    call makes a new one: that is a person's decision (attack A18). Only one that was signed just now and has expired
    is rebuilt at once.
    """
    rebuilds = 0
    signed_now = False
    while d.approvals[index].settlement is None:
        if d.approvals[index].sent is None:
            d = await _authorise(d, index, context)
            signed_now = True
            if d.approvals[index].sent is None:
                return d
        try:
            d = await _settle(d, index, context)
        except TransactionExpiredError:
            d = _forget(d, index, context, judged=True)
            rebuilds += 1
            if rebuilds == _REBUILDS or not signed_now:
                raise
        except (TransactionRevertedError, TransactionReplacedError, UnexpectedAllowanceError):
            _forget(d, index, context, judged=True)
            raise
        except (TransactionDroppedError, SignatureMismatchError):
            if isinstance(d.approvals[index].sent, SentTransaction):
                _forget(d, index, context, judged=False)
            raise
    return d


async def discard_request(d: Delegation, context: Context) -> Delegation:
    """Give up a transaction that was handed to a wallet and never came back, so that the owner is free for another.

    Returns the saved delegation, which can still be carried on with a new plan. On EVM networks its nonce is used
    again, so that only one of the two can take effect should the wallet send it after all. Raises
    `InvalidRequestError` if nothing was handed out or if it has been made, and `TransactionPendingError` while it may
    still take effect.
    """
    check_context(d, context)
    await context.node.check_chain()
    index = next((i for i, a in enumerate(d.approvals) if a.handed_over and a.sent is None), None)
    if index is None:
        raise InvalidRequestError(f"Delegation {d.id} has no transaction that a wallet was asked for and did not make.")
    approval = d.approvals[index]
    unsigned = _unsigned(approval)
    can_land, made = await _look_for(approval, _intent(d), context)
    if made is not None:
        _keep_approval(d, index, context, sent=made)
        raise InvalidRequestError(
            f"The wallet did make this approval: {made.hash}.",
            hint=f"Carry delegation {d.id} on to its end. To take it back, revoke afterwards.",
            found=made.hash,
        )
    if can_land and unsigned.kind == "solana":
        raise TransactionPendingError(
            "The wallet can still sign and send this transaction, beside any other one.",
            hint="It expires within two minutes; discard the request then.",
        )
    return _keep_approval(d, index, context, unsigned=None, handed_over=False)


async def _authorise(d: Delegation, index: int, context: Context) -> Delegation:
    """Have one step signed; afterwards `sent` is set, unless there is no wallet to ask."""
    approval, wallet, label = d.approvals[index], context.wallet, _label(d, index)
    can_land = False
    if approval.handed_over:
        context.progress("approval", f"{label}: looking for what the wallet sent")
        can_land, made = await _look_for(approval, _intent(d), context)
        if made is not None:
            return _keep_approval(d, index, context, sent=made)
    if can_land:
        # The same again: of two with one nonce, or of one Solana message signed twice, only one can take effect.
        unsigned = _unsigned(approval)
    else:
        # Asked right before a transaction is made, because another process may have settled since the plan was agreed.
        require_not_over(d, context.journal.list())
        context.progress("approval", f"{label}: preparing the transaction")
        # The fee of a step that was asked for before is out of date.
        step = ApproveStep(approval.step.amount) if approval.handed_over else approval.step
        unsigned = await context.node.prepare(_intent(d), step)
        if wallet is None or wallet.sends:
            # Whoever is asked now may send by himself: remember that before he can.
            d = _keep_approval(d, index, context, unsigned=unsigned, handed_over=True)
    if wallet is None:
        return d
    context.progress("approval", f"{label}: asking the wallet to sign")
    try:
        sent = await wallet.authorise(unsigned)
    except WalletRefusedError:
        if wallet.sends:
            _keep_approval(d, index, context, unsigned=None, handed_over=False)
        raise
    if isinstance(sent, SignedTransaction):
        verify_signed(unsigned, sent)
    return _keep_approval(d, index, context, unsigned=unsigned, sent=sent)


async def _look_for(
    approval: Approval, intent: AllowanceIntent, context: Context
) -> tuple[bool, SentTransaction | None]:
    """Return whether what was handed out can still land, and the transaction that the wallet made of it, if it did."""
    unsigned = _unsigned(approval)
    # In this order: what lands between the two questions is found by the second.
    can_land = await context.node.can_land(unsigned)
    made = await context.node.find_approval(intent, approval.step, unsigned)
    return can_land, None if made is None or made in approval.discarded else SentTransaction(made)


async def _settle(d: Delegation, index: int, context: Context) -> Delegation:
    approval = d.approvals[index]
    sent = _sent(approval)
    unsigned = _unsigned(approval)
    context.progress("approval", f"{_label(d, index)}: waiting for {sent.hash}")
    if isinstance(sent, SignedTransaction):
        # If its nonce is used, or about to be, it is for `settle` to see whether by this very approval.
        with suppress(TransactionReplacedError, NonceOccupiedError):
            await context.node.send(sent)
    settlement = await context.node.settle(_intent(d), approval.step, unsigned, sent, timeout=context.settle_timeout)
    return _keep_approval(d, index, context, settlement=settlement)


def _forget(d: Delegation, index: int, context: Context, *, judged: bool) -> Delegation:
    """Take back what was sent; `judged` if that very transaction can do nothing more.

    Signed bytes are then gone for good. A wallet that sends by itself may have sent something else than it said, so
    that what it was asked for stays, to be looked for on the chain before it is asked again.
    """
    approval = d.approvals[index]
    sent = _sent(approval)
    gone: dict[str, Any] = {"unsigned": None, "handed_over": False} if isinstance(sent, SignedTransaction) else {}
    if judged:
        gone["discarded"] = (*approval.discarded, sent.hash)
    # Its fee is out of date as well.
    return _keep_approval(d, index, context, step=ApproveStep(approval.step.amount), sent=None, **gone)


def _keep_approval(d: Delegation, index: int, context: Context, **changes: Any) -> Delegation:
    approvals = list(d.approvals)
    approvals[index] = approvals[index].model_copy(update=changes)
    return context.keep(d, approvals=tuple(approvals))


def _unsigned(approval: Approval) -> UnsignedTransaction:
    return approval.unsigned or filled(None, "transaction to sign")


def _sent(approval: Approval) -> SignedTransaction | SentTransaction:
    return approval.sent or filled(None, "signed approval")


def _intent(d: Delegation) -> AllowanceIntent:
    return intent_of(d.request, filled(d.plan, "plan"))


def _label(d: Delegation, index: int) -> str:
    return f"approval {index + 1} of {len(d.approvals)}"
