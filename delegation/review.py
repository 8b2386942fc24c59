"""Looking again at what has settled: a block can leave the chain, and an allowance in it was then never given."""

from __future__ import annotations

from chains.errors import TransactionPendingError, TransactionReplacedError
from chains.types import Review
from delegation.attempts import RENEWED, intent_of_step
from delegation.context import Context
from delegation.intents import find_newer, supersede
from delegation.models import Delegation


async def look_again(
    d: Delegation,
    context: Context,
    *,
    timeout: float = 0.0,  # noqa: ASYNC109 - how long to wait for finality, which is no error
) -> tuple[Delegation, Review | None]:
    """Return the delegation as it stands now, and what its last step that took effect is worth.

    What the chain does not hold any more is on its way again: the bytes that were signed are sent once more, and the
    platform, unless it was offered the proof of this very transaction, is told anew. If a newer delegation has taken
    its place, it ends instead. The review is None if no step has settled.
    `timeout` is how many seconds to wait for a finality that the network has yet to reach (Solana). Raises `NodeError`
    where a node cannot say it.
    """
    approvals = list(d.approvals)
    review = None
    for index in reversed(range(len(approvals))):
        settlement = approvals[index].settlement
        if settlement is None:
            continue
        review = await context.node.review(intent_of_step(d), settlement, timeout=timeout)
        if review.canonical:
            break
        context.progress("approval", f"the block that held {settlement.hash} is not part of the chain any more")
        approvals[index] = approvals[index].model_copy(update={"settlement": None})
        review = None
    if tuple(approvals) == d.approvals:
        return d, review
    newer = find_newer(d, context.journal.read_all(d)[0])
    if newer is not None:
        # Sent again it would take back what its owner wanted last.
        ended = supersede(d, newer, context.now()).ended
        return context.keep(d, "supersede", ended=ended, verification=None), None
    stations = RENEWED if d.submission is None else {"verification": None}
    return context.keep(d, "lose", approvals=tuple(approvals), **stations), None


async def look_at_cancelled(d: Delegation, context: Context) -> Delegation:
    """Return a cancelled delegation as it stands now: on its way again, unless its nonce is used up by nothing still.

    Its block may have left the chain, and what was cancelled may then take effect after all. Raises `NodeError` where a
    node cannot say it.
    """
    index = d.next_step
    approval = None if index is None else d.approvals[index]
    if d.state != "cancelled" or approval is None or approval.unsigned is None or approval.sent is None:
        return d
    if not approval.cancelling:
        return d
    try:
        winner = await context.node.settle_cancellation(
            approval.unsigned, approval.sent, timeout=0.0, rivals=approval.rivals
        )
    except TransactionReplacedError:
        return d  # by something that is neither, as it may have been from the beginning
    except TransactionPendingError:
        winner = ""
    if winner == approval.sent.hash:
        return d
    context.progress("approval", f"what used up the nonce of delegation {d.id} is not part of the chain any more")
    return context.keep(d, "lose", ended=None)
