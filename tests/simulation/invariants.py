"""What must hold in every life, whatever happened in it: ten sentences, each a function.

Most are asked at the end; 2 is seen where something leaves (`world.Watch`), 5 and 9 at each save of the journal.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from chains.errors import (
    NodeError,
    SigningError,
    ToolkitError,
    TransactionReplacedError,
    TransactionRevertedError,
    UnexpectedAllowanceError,
)
from chains.types import Settlement
from delegation.cli.session import exit_status
from delegation.errors import ConflictError, DeclinedError, GatewayError, IllegalTransitionError, RejectedError
from delegation.lifecycle import states_before
from delegation.models import Delegation

from .wallets import EVM_KEYS, LostAnswerError
from .world import ACCESS_TOKEN, CLIENT_KEY, World

SENTENCES: Final = {
    0: "Every error is one of ours, and none says that it is a fault of this toolkit.",
    1: "There is at most one live approval per intent.",
    2: "Bytes are saved before they are sent, and attempts before they are made.",
    3: "Told if and only if exactly one proof of this transaction was accepted.",
    4: "The newest finished intent of (owner, network, token, spender) is what the chain holds, less what was spent.",
    5: "VERIFIED means that the chain holds the claim at the named block, and that this block is canonical.",
    6: "Once the faults have ended every life ends within three resumes.",
    7: "Every wait is bounded.",
    8: "No secret is in any log.",
    9: "What is saved is legal by the table of states before each write and after each read.",
    10: "The exit status is 1 only by a verdict.",
    11: "What is to take another's place offers enough for nodes to swap it in.",
}

_LONGEST_STAY: Final = 4_000.0
_LONGEST_CALM_STAY: Final = 600.0


def check_all(world: World) -> None:
    """Note every invariant that does not hold at the end of a life."""
    delegations = world.delegations()
    for check in (check_typed, check_one_live, check_told, check_newest):
        check(world, delegations)
    for last in (check_ended, check_bounded, check_secrets, check_reading, check_status):
        last(world, delegations)


def check_typed(world: World, delegations: tuple[Delegation, ...]) -> None:
    """Every error is one of ours, and none says that it is a fault of this toolkit."""
    for stay in world.stays:
        if stay.outcome.startswith("untyped") or isinstance(stay.error, IllegalTransitionError):
            world.watch.violate(0, f"{stay.what} {stay.delegation} ended with {stay.error!r}")


def check_one_live(world: World, delegations: tuple[Delegation, ...]) -> None:
    """There is at most one live approval per intent.

    The same approval twice is one too many, unless something else changed the allowance between the two, so that the
    owner was asked again. Nothing allowed twice is nothing. A wallet that takes a nonce of its own for what is to
    replace the first replaces nothing; that is said, and both are followed.
    """
    for d in delegations:
        if d.plan is None:
            continue
        chain = world.chains[d.request.network]
        seen: set[int] = set()
        for transaction, disturbed in chain.approvals(d.plan.token.address, d.plan.owner):
            made = world.ledger.made.get(transaction.hash)
            if made is None or made.delegation != d.id:
                seen.clear()
                continue
            if made.amount in seen:
                world.watch.violate(1, f"{d.id} approved {made.amount} twice, the second time by {transaction.hash}")
            if made.amount and not disturbed and not (_was_sped_up(world, d) and _takes_own_nonces(world, d)):
                seen.add(made.amount)


def check_told(world: World, delegations: tuple[Delegation, ...]) -> None:
    """Told if and only if exactly one proof of this transaction was accepted.

    A second one is the client's fault only where the platform refuses what it knows, or where every answer came back:
    the journal counts those that did not, also because the process died.
    """
    unclear = b"\n".join(world.watch.unclear_posts).decode()
    for d in delegations:
        settlement = d.approvals[-1].settlement if d.approvals else None
        # What left the chain after it was told of is on its way again, and stays told.
        hash_ = d.proof.tx_hash if d.told and d.proof is not None else settlement.hash if settlement else None
        accepted = [proof for proof in world.platform.accepted if proof.tx_hash == hash_]
        if d.told and not accepted:
            world.watch.violate(3, f"{d.id} says that it was told, and no proof of {hash_} was accepted")
        if accepted and not d.told and d.state == "done" and not d.request.chain_only:
            world.watch.violate(3, f"{d.id} was accepted and does not say so")
        in_one_era = len(accepted) - len({proof.era for proof in accepted})
        if in_one_era and str(hash_) not in unclear and not (world.crashes and d.lost_answers):
            world.watch.violate(3, f"{d.id}: {len(accepted)} proofs of {hash_} were accepted")


def check_newest(world: World, delegations: tuple[Delegation, ...]) -> None:
    """The newest finished intent of (owner, network, token, spender) is what the chain holds, less what was spent."""
    newest: dict[tuple[str, str, str], Delegation] = {}
    for d in delegations:
        if d.plan is None or d.station != "done":
            continue
        key = (d.request.network, d.plan.token.address, d.plan.owner)
        there = newest.get(key)
        if there is None or _agreed_at(d) > _agreed_at(there):
            newest[key] = d
    for (network, token, owner), d in newest.items():
        chain, settlement = world.chains[network], d.approvals[-1].settlement
        assert settlement is not None
        lost_at = chain.lost_at(settlement)
        if lost_at is not None and lost_at > world.done_at[d.id]:
            continue  # the chain took it back when nobody looked any more
        history = chain.approvals(token, owner)
        last = history[-1][0].hash if history else "nothing"
        if last in world.foreign or last == settlement.hash or _is_explained(world, d, last, delegations):
            continue
        made = world.ledger.made.get(last)
        of = "nothing" if made is None else f"{made.amount} of {made.delegation}"
        what = f"{d.id} finished last with {settlement.hash[:12]}, and the chain holds {of} ({last[:12]})"
        world.watch.violate(4, what)


def _is_explained(world: World, d: Delegation, last: str, delegations: tuple[Delegation, ...]) -> bool:
    """Return whether it is right that the chain holds another transaction than the one that `d` finished with.

    | what the chain holds                      | why that is right                                                   |
    |-------------------------------------------|---------------------------------------------------------------------|
    | something of one that is not finished     | halfway there; that it does not end is another sentence             |
    | the same of `d` once more                 | a wallet took a nonce of its own for it, and both are followed      |
    | the first of two steps, which sets 0      | the owner did not want the second any more                          |
    | a revocation that was to be replaced      | the wallet takes nonces of its own, so that it replaces nothing     |
    """
    made = world.ledger.made.get(last)
    if made is None or d.plan is None:
        return False
    unfinished = any(one.id == made.delegation and one.unfinished for one in delegations)
    if unfinished or (made.delegation, made.amount) == (d.id, d.plan.amount):
        return True
    return made.amount == 0 and (_has_settled(made.delegation, last, delegations) or _takes_own_nonces(world, d))


def _takes_own_nonces(world: World, d: Delegation) -> bool:
    return world.owner_of(d).wallet == "sends with its own nonce"


def _was_sped_up(world: World, d: Delegation) -> bool:
    return any(stay.what == "speed up" and stay.delegation == d.id for stay in world.stays)


def _has_settled(delegation_id: str, hash_: str, delegations: tuple[Delegation, ...]) -> bool:
    """Return whether a delegation holds this transaction as one that took effect."""
    return any(
        approval.settlement is not None and approval.settlement.hash == hash_
        for d in delegations
        if d.id == delegation_id
        for approval in d.approvals
    )


def _agreed_at(d: Delegation) -> datetime:
    """Return when the owner last said that this is wanted: an intent never comes back by itself."""
    return d.agreed_at or d.created_at


def check_ended(world: World, delegations: tuple[Delegation, ...]) -> None:
    """Once the faults have ended every life ends within three resumes."""
    for d in delegations:
        if d.unfinished:
            last = next((stay for stay in reversed(world.stays) if stay.delegation == d.id), None)
            why = "nobody carried it" if last is None else f"{last.outcome}: {last.error}"
            if "Transaction too old" in why:
                continue  # the platform does not take it any more, and says so: that is for its owner to end
            world.watch.violate(6, f"{d.id} still stands at {d.station} ({why})")


def check_bounded(world: World, delegations: tuple[Delegation, ...]) -> None:
    """Every wait is bounded."""
    for stay in world.stays:
        longest = _LONGEST_CALM_STAY if stay.calm else _LONGEST_STAY
        if stay.ended - stay.started > longest:
            world.watch.violate(7, f"{stay.what} {stay.delegation} took {stay.ended - stay.started:.0f} seconds")


def check_secrets(world: World, delegations: tuple[Delegation, ...]) -> None:
    """No secret is in any log."""
    secrets = [CLIENT_KEY, ACCESS_TOKEN, *world.platform.tokens, *(key.secret for key in EVM_KEYS)]
    said = "\n".join([*world.watch.words, *(str(stay.error) for stay in world.stays if stay.error is not None)])
    for secret in secrets:
        if secret in said:
            world.watch.violate(8, f"{secret[:8]}... stands in what was said")


def check_reading(world: World, delegations: tuple[Delegation, ...]) -> None:
    """What is saved is legal by the table of states, also as it is read again."""
    for d in delegations:
        problem = find_illegal(None, d)
        if problem is not None:
            world.watch.violate(9, f"{d.id} as it is read: {problem}")


_DECISIONS: Final = (
    SigningError,
    DeclinedError,
    RejectedError,
    ConflictError,
    TransactionRevertedError,
    TransactionReplacedError,
    UnexpectedAllowanceError,
)


def check_status(world: World, delegations: tuple[Delegation, ...]) -> None:
    """The exit status is 1 only by a verdict: what could not be asked, or is not decided yet, has another one."""
    for stay in world.stays:
        error = stay.error
        if not isinstance(error, ToolkitError) or isinstance(error, LostAnswerError):
            continue
        if (
            isinstance(error, NodeError | GatewayError)
            and not isinstance(error, _DECISIONS)
            and exit_status(error) == 1
        ):
            world.watch.violate(10, f"{type(error).__name__} has the exit status of a verdict")


def judge_saved(world: World) -> Callable[[Delegation | None, Delegation], None]:
    """Return what looks at each save: is the step legal (9), and does a VERIFIED stand on the chain (5)?"""

    def judge(before: Delegation | None, after: Delegation) -> None:
        problem = find_illegal(before, after)
        if problem is not None:
            world.watch.violate(9, f"{after.id}: {problem}")
        settled = [approval.settlement for approval in after.approvals]
        if settled and None not in settled:
            old = [] if before is None else [approval.settlement for approval in before.approvals]
            if old != settled:
                world.settled_at[after.id] = world.loop.time()
                for settlement in settled:
                    if settlement not in old:
                        _judge_depth(world, after, settlement)
        if after.verification is not None and (before is None or before.verification != after.verification):
            world.done_at[after.id] = _verifying_since(world, after) or world.loop.time()
            if after.verification.verdict == "VERIFIED":
                _judge_verified(world, after)

    return judge


def _judge_depth(world: World, d: Delegation, settlement: Settlement) -> None:
    """What settles has as many blocks on it as the network asks for."""
    chain = world.chains[d.request.network]
    if chain.chain.family == "evm":
        missing = settlement.block.number + chain.chain.settle_depth - 1 - chain.head.number
        if missing > 0:
            world.watch.violate(5, f"{d.id} settled in block {settlement.block.number}, {missing} blocks too early")


def _judge_verified(world: World, d: Delegation) -> None:
    """VERIFIED means that the chain holds the claim at the named block, and that this block is canonical."""
    plan, settlement, verification = d.plan, d.approvals[-1].settlement, d.verification
    assert plan is not None
    assert settlement is not None
    assert verification is not None
    chain = world.chains[d.request.network]
    since = _verifying_since(world, d)
    lost_at = chain.lost_at(settlement)
    if lost_at is not None and (since is None or lost_at < since):
        world.watch.violate(
            5, f"{d.id} is VERIFIED, and its block {settlement.block.number} left the chain at {lost_at:.1f}"
        )
    elif settlement.allowance > plan.amount:
        world.watch.violate(5, f"{d.id} is VERIFIED with {settlement.allowance} at its block instead of {plan.amount}")
    if verification.block is not None and verification.allowance is not None:
        held = chain.allowance_at(verification.block, plan.owner, plan.token.address)
        if held is not None and held != verification.allowance:
            world.watch.violate(
                5,
                f"{d.id} says that block {verification.block.number} holds {verification.allowance}: it holds {held}",
            )


def _verifying_since(world: World, d: Delegation) -> float | None:
    """Return when the process that verifies a delegation began to look."""
    return next((stay.verifying_since for stay in reversed(world.stays) if stay.delegation == d.id), None)


def find_illegal(before: Delegation | None, after: Delegation) -> str | None:
    """Return what is not legal in a saved delegation, or in the step from what was saved before it; None if all is."""
    if after.contradiction:
        return after.contradiction
    if any(approval.under_way and approval.unsigned is None for approval in after.approvals):
        return "something is on its way and nobody knows what was to be signed"
    if after.told and not (after.proof is not None and after.ownership is not None):
        return "told without a proof"
    if after.state == "failed" and any(approval.sent is not None for approval in after.approvals):
        return "failed, which is for what was never signed, with something signed"
    return None if before is None else _find_illegal_step(before, after)


def _find_illegal_step(before: Delegation, after: Delegation) -> str | None:
    if after.revision != before.revision + 1:
        return f"revision {after.revision} follows {before.revision}"
    if before.state not in states_before(after.state):
        return f"{after.state} follows {before.state}"
    return None if before.request == after.request else "the request changed"
