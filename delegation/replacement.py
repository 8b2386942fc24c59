"""A way out for a transaction that is stuck: the same intent at a higher fee, or its nonce used up by nothing.

Both are a new transaction with the nonce of the old one. Whichever a block takes first takes effect, and the others
never can; so nothing is given up before the chain has decided, and all hashes stay in the delegation.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from chains.types import AllowanceIntent, SignedTransaction
from delegation.approval import send, sign, watch
from delegation.attempts import intent_of_step, keep_approval, unsigned_of
from delegation.carrying import carrying, require_not_lent
from delegation.context import Context, Replacement, check_context
from delegation.errors import InvalidRequestError
from delegation.models import Attempt, Delegation


async def speed_up(d: Delegation, context: Context, *, max_fee: int | None = None) -> Delegation:
    """Replace the transaction in flight by the same one at a higher fee, and send it; `carry` then waits for it.

    Both fees rise by an eighth, or to what the network asks for now if that is more, never above `max_fee` (wei per
    gas) or the network's cap. Without a wallet it is returned as soon as the replacement must be signed. If the nonce
    is used already it is returned as it is. Raises `InvalidRequestError` if nothing is in flight, `FeeTooHighError`
    and the other errors of `carry`, and on Solana, where nothing can be replaced, `TransactionPendingError`.
    """
    return await _replace(d, context, max_fee=max_fee, cancels=False)


async def cancel(d: Delegation, context: Context, *, max_fee: int | None = None) -> Delegation:
    """Use up the nonce of the transaction in flight by one that does nothing, and wait until the chain has decided.

    The delegation that is returned is `cancelled`; or its approval was mined first and stands, and the platform was not
    told; or, without a wallet, the cancellation must be signed. Raises as `speed_up` does.
    """
    d = await _replace(d, context, max_fee=max_fee, cancels=True)
    index = d.next_step
    if index is None or d.approvals[index].sent is None:
        return d
    with carrying(d, context, force=True):
        return await watch(d, index, context)


async def _replace(d: Delegation, context: Context, *, max_fee: int | None, cancels: bool) -> Delegation:
    check_context(d, context)
    require_not_lent(d, context)
    await context.node.check_chain()
    index = d.next_step
    if not d.in_flight or index is None:
        raise InvalidRequestError(
            f"Delegation {d.id} has no transaction in flight; it is {d.state}.",
            hint="There is nothing to replace. Look where it stands.",
            found=d.state,
        )
    approval = d.approvals[index]
    old = unsigned_of(approval)
    with carrying(d, context, force=True):
        if not await context.node.can_land(old) and old.kind == "evm":
            return d  # the chain has decided; what it decided is for the settling to find out
        step = None if cancels else approval.step
        new = await context.node.replace(_intent(d, max_fee), step, old)
        context.agree_replacement(Replacement(delegation=d, old=old, new=new, cancels=cancels))
        earlier = (*approval.earlier, Attempt(unsigned=old, sent=approval.sent))
        if context.wallet is None or context.wallet.sends:
            # Whoever is asked now may send by himself: remember that before he can.
            changes: dict[str, Any] = {
                "unsigned": new,
                "handed_over": True,
                "sent": None,
                "earlier": earlier,
                "another_nonce": None,
                "last_seen_at": None,
            }
            d = keep_approval(d, index, context, "hand_out", **changes)
            return await sign(d, index, new, context)
        d = await sign(d, index, new, context, earlier=earlier)
        sent = d.approvals[index].sent
        if isinstance(sent, SignedTransaction):
            await send(sent, context)
        return d


def _intent(d: Delegation, max_fee: int | None) -> AllowanceIntent:
    intent = intent_of_step(d)
    if max_fee is None:
        return intent
    return replace(intent, options=replace(intent.options, max_fee_cap=max_fee))
