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
from chains.evm.answers import is_method_missing, parse_hash, parse_list, parse_object
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

# Blocks asked for at once, at first; nodes that take fewer refuse, in any words.
_WINDOW: Final = 10_000
# Questions for logs in all: enough for 100,000 blocks of a node that takes 500 at once.
_MOST_QUESTIONS: Final = 200
# As many logs of one owner and token are what a node has cut off, rather than what there is.
_CUT_OFF: Final = 1_000
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

    `allowance` is what block `after` left, in base units, None where that is unknown.
    """
    answers, problem = await _get_logs(rpc, pair, after, until)
    executions = _executions(answers)
    approvals = walk(pair, executions, None if problem else allowance).approvals
    last = await _find_last(rpc, pair, approvals, is_complete=not problem)
    spends, more = await _get_spends(rpc, pair, _later(executions, last))
    return History(last, spends, problem or more)


async def _get_logs(rpc: Rpc, pair: Pair, after: int, until: int) -> tuple[list[Any], str]:
    """Return the logs of a range of blocks in their order, and why these may not be all of them.

    The newest are asked for first, so that the last approval is found where not all can be had. Whatever a node
    refuses is asked for again in halves: nodes limit ranges to 500 or 1,000 blocks, or results, each in its own words.
    """
    answers: list[Any] = []
    high, window = until, _WINDOW
    for _ in range(_MOST_QUESTIONS):
        if high <= after:
            return answers, ""
        low = max(after + 1, high - window + 1)
        try:
            logs = await _ask_logs(rpc, pair, low, high)
        except RpcError as error:
            if low == high or is_method_missing(error):
                return answers, f"the node does not serve the logs of blocks {after + 1} to {high}"
            window = (high - low + 1) // 2
            continue
        if len(logs) >= _CUT_OFF and low < high:
            window = (high - low + 1) // 2
            continue
        answers = logs + answers
        high, window = low - 1, min(window * 2, _WINDOW)
    if high <= after:
        return answers, ""
    return (
        answers,
        f"the logs of blocks {after + 1} to {high} were not looked through, after {_MOST_QUESTIONS} questions",
    )


async def _ask_logs(rpc: Rpc, pair: Pair, low: int, high: int) -> list[Any]:
    topics = [[APPROVAL_TOPIC, TRANSFER_TOPIC], topic_of(pair.owner)]
    question = {"address": pair.token, "fromBlock": hex(low), "toBlock": hex(high), "topics": topics}
    return parse_list("eth_getLogs", await rpc.request("eth_getLogs", [question]))


@dataclass(frozen=True, slots=True)
class Became:
    """What has become of an approval: its state, None where that is not known, and whether the amounts alone say so."""

    state: State | None
    by_amount: bool


def find_state_by_amount(claimed: int, authorised: int, now: int) -> State | None:
    """Return what has become of an approval where the amounts alone tell it, None where only its history can.

    | now, beside what was approved | state |
    |---|---|
    | more than was claimed | `exceeds` |
    | as much; or unlimited, as was claimed (attack A12) | `active`, or `revoked` if that was 0 |
    | more, and no more than was claimed | `replaced`: spending only lowers |
    | less | history must tell |
    """
    unlimited = is_unlimited("evm", claimed)
    if now > claimed and not unlimited:
        return "exceeds"
    if now == authorised or (unlimited and is_unlimited("evm", now)):
        return "active" if now else "revoked"
    return "replaced" if now > authorised else None


def find_state(claimed: int, authorised: int, left: int, now: int, history: History) -> Became:
    """Return what has become of an approval of `authorised` base units, of which the chain allows `now`.

    `left` is what the rest of its own block left of it, which is in no history.

    That the owner revoked or replaced it is said only where the logs show it (rule 36), and that it was spent from only
    where spends explain exactly what is gone: history that is incomplete is never a reduction.
    """
    state = find_state_by_amount(claimed, authorised, now)
    if state is not None:
        return Became(state, by_amount=True)
    if history.approval is not None:
        return Became("replaced" if now or history.approval.value else "revoked", by_amount=False)
    if not history.problem and history.spent == left - now:
        return Became("reduced", by_amount=False)
    return Became(None, by_amount=False)


def describe_state(state: State | None, claim: ApprovalClaim, authorised: int, now: int, history: History) -> str:
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
    if state is None:
        down += " What it was lowered by is not known."
    heading = down if state is None else headings.get(state, down)
    return " ".join([heading, *_explain_difference(claim, authorised, now, history)])


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
