"""Approvals as a token's log tells them, and how to tell them from the log that a spend leaves behind.

OpenZeppelin 4 emits `Approval(owner, spender, REMAINING)` in every `transferFrom`, so an `Approval` log alone does not
show that an owner approved anything (rule 14, attack A5). Everything here is pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, Final, Literal, TypeAlias

from chains.evm.addresses import to_checksum_address
from chains.evm.answers import nonsense, parse_data, parse_hash, parse_list, parse_object
from chains.evm.codec.erc20 import APPROVAL_TOPIC, APPROVE, address_word, decode_approve
from chains.evm.codec.transactions import DecodedTransaction

# The keccak-256 of each event's signature: EIP-20, Safe, ERC-4337.
TRANSFER_TOPIC: Final = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
SAFE_SUCCESS_TOPIC: Final = "0x442e715f626346e8c54381002da614f62bee8d27386535b2521ec8540898556e"
SAFE_FAILURE_TOPIC: Final = "0x23428b18acfb3ea64b08dc0c1d296ea9c09702c09083ca5272e64d115b687d23"
USER_OPERATION_TOPIC: Final = "0x49628fd1471006c1482da88028e9ce4dbb080b815c9b0344d39e5a8e6ec1419f"

# permit of EIP-2612, and Circle's that takes the signature as bytes.
_PERMITS: Final = (bytes.fromhex("d505accf"), bytes.fromhex("9fd5a6cf"))
_CHANGES: Final = {bytes.fromhex("39509351"): "increase-allowance", bytes.fromhex("a457c2d7"): "decrease-allowance"}

# A spending contract takes from at most 256 accounts at once; sums over more transfers than that would take too long.
_MOST_TRANSFERS: Final = 256

# A selector, one word for the amount, and a signature of 65 bytes.
_SHORTEST_PERMIT: Final = 4 + 32 + 65

Kind: TypeAlias = Literal["approval", "spend", "unclear"]


@dataclass(frozen=True, slots=True)
class Pair:
    """Whose allowance for whom: token, owner and spender, spelt as EIP-55 asks."""

    token: str
    owner: str
    spender: str


@dataclass(frozen=True, slots=True)
class Log:
    """One log of a receipt; the address and the topics are lower-case hex."""

    address: str
    topics: tuple[str, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class Execution:
    """A transaction that a block executed, and the logs it left."""

    transaction: DecodedTransaction
    logs: tuple[Log, ...]


@dataclass(frozen=True, slots=True)
class ApprovalLog:
    """One `Approval` of a pair: its place among the logs of its transaction, its value in base units, what it is.

    `unclear` is what looks like a spend inside a transaction of the owner's own account.
    """

    transaction: str
    position: int
    value: int
    kind: Kind


@dataclass(frozen=True, slots=True)
class Walk:
    """What the transactions of a block did to a pair, in their order.

    `before` is the allowance that they found, None where that is unknown or not needed; `allowance` is what the logs
    leave at the end, None where no log says it; `moved` is what left the owner's account after that was logged, in base
    units: as much may have been taken from the allowance without a log. `is_silent` says that the allowance after them
    shows a token that logs no spends, so that each of its logs is an approval.
    """

    approvals: tuple[ApprovalLog, ...]
    before: int | None
    allowance: int | None
    moved: int
    is_silent: bool = False


def topic_of(address: str) -> str:
    """Return an address as an indexed topic, lower-case hex."""
    return "0x" + address_word(address).hex()


def parse_logs(receipt: Mapping[str, Any]) -> tuple[Log, ...]:
    """Return the logs of a JSON-RPC receipt; raises `NodeError` for nonsense."""
    return tuple(parse_log(answer) for answer in parse_list("a receipt's logs", receipt.get("logs")))


def parse_log(answer: object) -> Log:
    """Return one JSON-RPC log; raises `NodeError` for nonsense."""
    log = parse_object("a log", answer)
    address = parse_data("a log's address", log.get("address"))
    if len(address) != 20:
        raise nonsense("a log's address", log.get("address"))
    topics = parse_list("a log's topics", log.get("topics"))
    return Log(
        "0x" + address.hex(),
        tuple(parse_hash("a log's topic", topic) for topic in topics),
        parse_data("a log's data", log.get("data")),
    )


def approval_of(log: Log) -> tuple[Pair, int] | None:
    """Return pair and value of an ERC-20 `Approval`: three topics and one word of data, nothing else (rule 13)."""
    if len(log.topics) != 3 or log.topics[0] != APPROVAL_TOPIC or len(log.data) != 32:
        return None
    owner, spender = (bytes.fromhex(topic[2:]) for topic in log.topics[1:])
    if any(owner[:12]) or any(spender[:12]):
        return None
    token = to_checksum_address(bytes.fromhex(log.address[2:]))
    pair = Pair(token, to_checksum_address(owner[12:]), to_checksum_address(spender[12:]))
    return pair, int.from_bytes(log.data, "big")


def approved_value(pair: Pair, log: Log) -> int | None:
    """Return the value of an `Approval` of exactly this pair, else None."""
    expected = (APPROVAL_TOPIC, topic_of(pair.owner), topic_of(pair.spender))
    if log.address != pair.token.lower() or log.topics != expected or len(log.data) != 32:
        return None
    return int.from_bytes(log.data, "big")


def moved_value(pair: Pair, log: Log) -> int | None:
    """Return how much a `Transfer` of the token took from the owner, None where the log is no such transfer."""
    if log.address != pair.token.lower() or len(log.topics) != 3 or len(log.data) != 32:
        return None
    if log.topics[0] != TRANSFER_TOPIC or log.topics[1] != topic_of(pair.owner):
        return None
    return int.from_bytes(log.data, "big")


def read_direct(transaction: DecodedTransaction) -> tuple[str, int, int] | None:
    """Return spender, amount and the number of bytes too many if the calldata is that of `approve`, else None."""
    if transaction.to is None or transaction.data[:4] != APPROVE:
        return None
    try:
        return *decode_approve(transaction.data[:68]), max(0, len(transaction.data) - 68)
    except ValueError:
        return None


def needs_allowance_before(pair: Pair, executions: Iterable[Execution]) -> bool:
    """Return whether telling approvals from spends takes the allowance that was there before the block."""
    return any(
        any(approved_value(pair, log) is not None for log in execution.logs)
        and (
            pair.spender in {execution.transaction.sender, execution.transaction.to}
            or any(moved_value(pair, log) is not None for log in execution.logs)
        )
        for execution in executions
    )


def walk(
    pair: Pair,
    executions: Iterable[Execution],
    before: int | None,
    after: int | None = None,
    *,
    delegated: bool = False,
) -> Walk:
    """Return what transactions, in the order of the chain, did to the allowance of a pair.

    `before` is the allowance that the first one found and `after` what the last one left, None where unknown;
    `delegated` says that the owner's account runs code (EIP-7702).
    """
    approvals: list[ApprovalLog] = []
    allowance, moved = before, 0
    for execution in executions:
        carried = _carried(pair.owner, execution, delegated=delegated)
        events = _events(pair, execution)
        has_transfers = any(taken is not None for _, _, taken in events)
        passed: list[int] = []
        for at, (position, value, taken) in enumerate(events):
            if value is None:
                passed.append(taken or 0)
                moved += taken or 0
                continue
            coming = _taken_from(events, at + 1)
            fits = allowance is not None and any(_adds_up(allowance - value, near) for near in (coming, passed[::-1]))
            passed = []
            kind = _kind(
                pair, execution.transaction, value, allowance, has_transfers, fits=fits, carried=carried[position]
            )
            approvals.append(ApprovalLog(execution.transaction.hash, position, value, kind))
            allowance, moved = value, 0
    walked = Walk(tuple(approvals), before, allowance if approvals else None, moved)
    if after is None or walked.allowance is None or not 0 < walked.allowance - after <= moved:
        return walked
    # Less is left than the last log says: this token logs no spends, and all of its logs are approvals.
    return replace(walked, approvals=tuple(replace(log, kind="approval") for log in approvals), is_silent=True)


_Event: TypeAlias = tuple[int, int | None, int | None]
"""The place of a log of the pair's token, what it approves for the pair, and what it takes from the owner."""


def _events(pair: Pair, execution: Execution) -> list[_Event]:
    """Return the approvals of a pair and the transfers from its owner, in their order."""
    read = (
        (position, approved_value(pair, log), moved_value(pair, log)) for position, log in enumerate(execution.logs)
    )
    return [event for event in read if event[1:] != (None, None)]


def _taken_from(events: Sequence[_Event], start: int) -> list[int]:
    """Return what the transfers that follow each other from a place on take, up to the next approval."""
    taken = []
    for _, value, amount in events[start : start + _MOST_TRANSFERS]:
        if value is not None:
            break
        taken.append(amount or 0)
    return taken


def _kind(
    pair: Pair,
    transaction: DecodedTransaction,
    value: int,
    before: int | None,
    has_transfers: bool,
    *,
    fits: bool,
    carried: bool,
) -> Kind:
    """Tell an owner's approval from the log of a spend, where both readings are possible as neither.

    A spend moves the owner's tokens right beside its log, never raises the allowance, and lowers it by exactly what it
    moved: `fits`. That is a spend unless the owner's own account made the transaction, as a batch may approve and pay
    at once, or its calldata may hold the owner's permit of this very number.
    """
    by_spender = pair.spender in {transaction.sender, transaction.to}
    if transaction.to == pair.token and (
        transaction.data[:4] in _PERMITS or (not by_spender and transaction.sender == pair.owner)
    ):
        return "approval"
    if not has_transfers:
        # What lowers it without moving anything may be the spender's doing as well as the owner's will.
        return "unclear" if by_spender and (before is None or value < before) else "approval"
    if before is None:
        return "unclear"
    if value > before:
        return "approval"
    carried = (carried and not by_spender) or _may_hold_permit(transaction.data, value)
    if not fits:
        return "approval" if carried else "unclear"
    return "unclear" if carried else "spend"


def _may_hold_permit(calldata: bytes, value: int) -> bool:
    """Return whether calldata names `value` and is long enough to hold the owner's signature of it (EIP-2612)."""
    word = value.to_bytes(32, "big")
    # Arguments lie in words after a selector, or after two in a call that is handed on.
    words = (at for selectors in (4, 8) for at in range(selectors, len(calldata) - 31, 32))
    return len(calldata) >= _SHORTEST_PERMIT and any(calldata.startswith(word, at) for at in words)


def _adds_up(amount: int, transfers: Sequence[int]) -> bool:
    """Return whether the first of these transfers add up to `amount`: one, or several where a fee is taken."""
    return amount in accumulate(transfers[:_MOST_TRANSFERS])


def _carried(account: str, execution: Execution, *, delegated: bool) -> list[bool]:
    """Return of each log whether it comes from what an account itself did.

    That is as the sender, the called contract, an account that runs code (EIP-7702), a Safe, or an ERC-4337 user.
    """
    transaction = execution.transaction
    if delegated or account in {transaction.sender, transaction.to}:
        return [True] * len(execution.logs)
    carried, safe, operation = [], False, False
    user, address = topic_of(account), account.lower()
    # An EntryPoint logs UserOperationEvent after the operation's own logs, so the next one is that of this operation.
    for log in reversed(execution.logs):
        carried.append(safe or operation)
        safe = safe or (log.address == address and log.topics[:1] == (SAFE_SUCCESS_TOPIC,))
        sender = _operation_sender(log)
        operation = sender == user if sender is not None else operation
    return carried[::-1]


def operation_failed(account: str, logs: Iterable[Log]) -> bool:
    """Return whether a contract wallet logged that what it was to execute failed, in a transaction that succeeded."""
    return any(
        (_operation_sender(log) == topic_of(account) and log.data[32:64] == bytes(32))
        or (log.address == account.lower() and log.topics[:1] == (SAFE_FAILURE_TOPIC,))
        for log in logs
    )


def _operation_sender(log: Log) -> str | None:
    """Return the sender topic of a `UserOperationEvent(userOpHash, sender, paymaster, nonce, success, …)`."""
    is_operation = log.topics[:1] == (USER_OPERATION_TOPIC,) and len(log.topics) == 4 and len(log.data) == 128
    return log.topics[2] if is_operation else None


def name_carrier(pair: Pair, execution: Execution, position: int, *, delegated: bool) -> str:
    """Return what carried an indirect approval (rule 15): who let it happen, as far as the transaction shows."""
    transaction = execution.transaction
    later = execution.logs[position + 1 :]
    if transaction.to == pair.token and transaction.data[:4] in _PERMITS:
        return "permit"
    if transaction.to == pair.token and transaction.data[:4] in _CHANGES:
        return _CHANGES[transaction.data[:4]]
    if any(log.address == pair.owner.lower() and log.topics[:1] == (SAFE_SUCCESS_TOPIC,) for log in later):
        return "safe"
    operation = next((log for log in later if _operation_sender(log) is not None), None)
    if operation is not None and _operation_sender(operation) == topic_of(pair.owner):
        return "erc4337"
    if delegated or pair.owner in transaction.authorities:
        return "eip7702"
    return "batch" if pair.owner == transaction.to else "contract"
