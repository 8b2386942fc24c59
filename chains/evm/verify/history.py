"""What became of an allowance since it was approved, as the token's logs tell it (rule 19).

Logs explain, they do not prove: a node can leave some out. The allowance itself is read, and proved, elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from chains.amounts import is_unlimited
from chains.claims import ApprovalClaim, State, show_amount
from chains.errors import RpcError
from chains.evm.answers import parse_hash, parse_list, parse_object
from chains.evm.codec.approval_logs import (
    TRANSFER_TOPIC,
    ApprovalLog,
    Execution,
    Log,
    Pair,
    moved_value,
    parse_log,
    topic_of,
    walk,
)
from chains.evm.codec.erc20 import APPROVAL_TOPIC
from chains.evm.codec.transactions import DecodedTransaction
from chains.rpc import Rpc

_WINDOW: Final = 10_000
_MOST_WINDOWS: Final = 20
_MOST_SPENDS: Final = 40


@dataclass(frozen=True, slots=True)
class History:
    """What the logs of the blocks in between tell.

    `approval` is the last that the owner made; `spends` are transactions to or by the spender after it and what each
    took from the owner, in base units. `problem` says why the logs do not tell all, "" where they do.
    """

    approval: ApprovalLog | None = None
    spends: tuple[tuple[str, int], ...] = ()
    problem: str = ""

    @property
    def spent(self) -> int:
        """What the spends took together, in base units."""
        return sum(amount for _, amount in self.spends)


async def get_history(rpc: Rpc, pair: Pair, after: int, until: int, allowance: int | None) -> History:
    """Return what logs tell of the blocks from `after` (exclusive) to `until` (inclusive).

    `allowance` is what block `after` left, in base units, None where that is unknown. The windows are asked newest
    first, so that the last approval is found where not all of them can be asked.
    """
    answers: list[Any] = []
    problem, high = "", until
    for _ in range(_MOST_WINDOWS):
        if high <= after:
            break
        low = max(after + 1, high - _WINDOW + 1)
        topics = [[APPROVAL_TOPIC, TRANSFER_TOPIC], topic_of(pair.owner)]
        question = {"address": pair.token, "fromBlock": hex(low), "toBlock": hex(high), "topics": topics}
        try:
            answers = parse_list("eth_getLogs", await rpc.request("eth_getLogs", [question])) + answers
        except RpcError as error:
            problem = f"the node does not serve the logs of blocks {low} to {high}: {error.message}"
            break
        high = low - 1
    if high > after and not problem:
        problem = f"the logs of blocks {after + 1} to {high} were not looked through"

    executions = _executions(answers)
    approvals = walk(pair, executions, None if problem else allowance).approvals
    last = await _find_last(rpc, pair, approvals, is_complete=not problem)
    spends, more = await _get_spends(rpc, pair, _later(executions, last))
    return History(last, spends, problem or more)


def find_state(claimed: int, authorised: int, now: int, history: History) -> State:
    """Return what has become of an approval of `authorised` base units, of which the chain allows `now`.

    An unlimited allowance is unlimited for as long as it is above the threshold (attack A12). That the owner revoked is
    said only where the logs show it (rule 36): otherwise nothing left is a reduction.
    """
    unlimited = is_unlimited("evm", claimed)
    if now > claimed and not unlimited:
        return "exceeds"
    if now == authorised or (unlimited and is_unlimited("evm", now)):
        return "active" if now else "revoked"
    if history.approval is not None:
        return "replaced" if now or history.approval.value else "revoked"
    return "reduced" if now < authorised else "replaced"


def describe_state(state: State, claim: ApprovalClaim, authorised: int, now: int, history: History) -> str:
    """Return in words what has become of an approval, and how far the logs explain it."""
    shown = show_amount(claim, now)
    if state == "active":
        return f"The allowance is still there: {shown}."
    if state == "revoked" and authorised == 0:
        return "The allowance is still zero, as this approval left it."
    headings = {
        "exceeds": f"WARNING: the chain now allows {shown}, more than was claimed.",
        "revoked": "The owner has revoked the allowance since; it is zero.",
        "replaced": f"Another approval has replaced this one; the allowance is {shown}.",
    }
    down = f"The allowance is down from {show_amount(claim, authorised)} to {shown}."
    return " ".join([headings.get(state, down), *_explain_difference(claim, authorised, now, history)])


def _explain_difference(claim: ApprovalClaim, authorised: int, now: int, history: History) -> list[str]:
    """Return in words by what the logs explain that the allowance is not what was authorised any more."""
    parts = []
    start = authorised
    if history.approval is not None:
        start = history.approval.value
        parts.append(f"The owner approved {show_amount(claim, start)} in {history.approval.transaction}.")
    if start > now:
        less = show_amount(claim, start - now)
        if history.spent == start - now:
            parts.append(f"The spender took {less} in {len(history.spends)} transaction(s).")
        else:
            parts.append(f"Of {less} less, the logs explain {show_amount(claim, history.spent)} as spent.")
    if history.problem:
        parts.append(f"Not all is explained: {history.problem}.")
    return parts


async def _find_last(
    rpc: Rpc, pair: Pair, approvals: Sequence[ApprovalLog], *, is_complete: bool
) -> ApprovalLog | None:
    """Return the last approval that the owner made.

    What is unclear is a spend if the spender was called: tokens that rebase round, so that the amounts differ. Without
    the allowance before them, logs of spends are unclear as well.
    """
    asked = 0
    for log in reversed(approvals):
        if log.kind == "approval":
            return log
        if log.kind == "unclear" and is_complete and asked < _MOST_SPENDS:
            asked += 1
            if not await _is_by_spender(rpc, pair, log.transaction):
                return log
    return None


def _executions(answers: Sequence[Any]) -> list[Execution]:
    """Return the logs by transaction; nobody looked at who made these, so that a spend is told by its amount alone."""
    read: list[tuple[str, Log]] = []
    for item in answers:
        answer = parse_object("a log", item)
        read.append((parse_hash("a log's transactionHash", answer.get("transactionHash")), parse_log(answer)))
    return [
        Execution(_stranger(hash_), tuple(log for _, log in logs))
        for hash_, logs in groupby(read, key=lambda at: at[0])
    ]


def _stranger(hash_: str) -> DecodedTransaction:
    return DecodedTransaction(
        type=0, hash=hash_, chain_id=None, nonce=0, to=None, value=0, data=b"", sender="", authorities=()
    )


def _later(executions: Sequence[Execution], last: ApprovalLog | None) -> list[Execution]:
    """Return what was logged after an approval."""
    if last is None:
        return list(executions)
    at = next(at for at, execution in enumerate(executions) if execution.transaction.hash == last.transaction)
    rest = Execution(executions[at].transaction, executions[at].logs[last.position + 1 :])
    return [rest, *executions[at + 1 :]]


async def _get_spends(rpc: Rpc, pair: Pair, executions: Sequence[Execution]) -> tuple[tuple[tuple[str, int], ...], str]:
    """Return the transactions by which the spender took something, and why that may not be all of them."""
    moved = [
        (execution, amount)
        for execution in executions
        if (amount := sum(moved_value(pair, log) or 0 for log in execution.logs))
    ]
    spends = []
    for execution, amount in moved[:_MOST_SPENDS]:
        hash_ = execution.transaction.hash
        if await _is_by_spender(rpc, pair, hash_):
            spends.append((hash_, amount))
    left = len(moved) - _MOST_SPENDS
    return tuple(spends), f"{left} more transactions moved tokens of the owner" if left > 0 else ""


async def _is_by_spender(rpc: Rpc, pair: Pair, hash_: str) -> bool:
    """Return whether a transaction was sent to or by the spender: USDC logs nothing else of a spend (rule 19)."""
    try:
        answer = await rpc.request("eth_getTransactionByHash", [hash_])
    except RpcError:
        return False
    ends = {str(answer.get(name)).lower() for name in ("from", "to")} if isinstance(answer, dict) else set()
    return pair.spender.lower() in ends
