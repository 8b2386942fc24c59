"""Carrying a delegation from the command line: the plan is shown and agreed to; whatever stops it can be resumed."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

import click

from delegation.cli.session import (
    BAD_INPUT,
    DONE,
    FAILED,
    STOPPED_MIDWAY,
    UNDETERMINED,
    Session,
    exit_status,
    tell_error,
)

if TYPE_CHECKING:
    from delegation.flow import Doors
    from delegation.models import Delegation, Plan

_VERDICT_STATUS = {"VERIFIED": DONE, "REFUTED": FAILED, "UNDETERMINED": UNDETERMINED}


def agree_on_terminal(session: Session, progress: Any, *, yes: bool) -> Any:
    """Return the function that shows the plan and, unless `yes`, asks whether to go on."""

    def agree(plan: Plan) -> None:
        from delegation.errors import DeclinedError, InvalidRequestError
        from delegation.plan import describe_plan

        progress.pause()
        if not session.quiet or not yes:
            session.print_pairs(describe_plan(plan), to_stderr=True)
        if yes:
            return
        if not sys.stdin.isatty():
            raise InvalidRequestError(
                "Nobody is there to agree to this plan; nothing was signed.",
                hint="Check it, then run it again with --yes; or only look at it with --dry-run.",
            )
        if not click.confirm("Sign and send this?", err=True):
            raise DeclinedError("You declined; nothing was signed and nothing was sent.")

    return agree


async def carry_and_report(session: Session, /, delegation: Delegation, doors: Doors) -> int:
    """Carry a delegation as far as it goes, print it, and return the exit status."""
    from chains.errors import ChainError
    from delegation.errors import DelegationError
    from delegation.flow import carry

    try:
        finished = await carry(delegation, doors)
    except (ChainError, DelegationError) as error:
        return _report_stop(session, error, _last_saved(delegation, doors))
    except asyncio.CancelledError:
        # Ctrl-C: everything up to the last station is in the journal.
        saved = _last_saved(delegation, doors)
        if saved is None:
            session.say("\nInterrupted before anything was signed; nothing was sent.")
            return FAILED
        session.say(
            f"\nInterrupted at the {saved.station}. Nothing is lost; finish it with: delegation resume {saved.id}"
        )
        if session.as_json:
            session.print_document(delegation_document(saved))
        return STOPPED_MIDWAY
    if session.as_json:
        session.print_document(delegation_document(finished))
    else:
        session.print_pairs(delegation_pairs(finished))
    if finished.verification is None:
        session.say(f"A signature is awaited. Name the owner's wallet: delegation resume {finished.id} --wallet FILE")
        return STOPPED_MIDWAY
    return _VERDICT_STATUS[finished.verification.verdict]


def _last_saved(delegation: Delegation, doors: Doors) -> Delegation | None:
    from delegation.errors import UnknownDelegationError

    try:
        return doors.journal.load(delegation.id)
    except UnknownDelegationError:
        return None


def _report_stop(session: Session, error: Any, saved: Delegation | None) -> int:
    tell_error(session, error, saved)
    if saved is None:
        return exit_status(error)
    if not saved.touched_chain:
        session.say(f"Nothing was signed. Try again with: delegation resume {saved.id}")
        return exit_status(error) if exit_status(error) == BAD_INPUT else FAILED
    session.say(f"Stopped at the {saved.station}. Nothing is lost; finish it with: delegation resume {saved.id}")
    return STOPPED_MIDWAY


def delegation_document(d: Delegation) -> dict[str, Any]:
    """Return a delegation as JSON for people and programs, without the secrets that are still alive."""
    document: dict[str, Any] = d.model_dump(mode="json", by_alias=True, exclude={"token"})
    for approval, shown in zip(d.approval, document["approval"], strict=True):
        shown["hash"] = approval.hash
    used = d.submission is not None and d.submission.outcome is not None
    if document["proof"] is not None and not used:
        # Until the platform has taken it, the token lets its holder submit in the owner's name.
        document["proof"]["token"] = None
    return {"id": d.id, "station": d.station, **document}


def delegation_pairs(d: Delegation) -> list[tuple[str, str]]:
    """Return a delegation as (label, words), station by station."""
    request = d.request
    pairs = [
        ("Delegation", d.id),
        ("Request", f"{request.amount:f} {request.currency.upper()} on {request.network} from {request.owner}"),
    ]
    if d.plan is not None:
        pairs.append(("Spender", d.plan.spender))
    for approval in d.approval:
        settlement = approval.settlement
        state = "not signed yet" if approval.hash is None else f"{approval.hash} (waiting)"
        if settlement is not None:
            state = f"{settlement.hash} ({settlement.finality}, block {settlement.block.number})"
        pairs.append(("Approval", state))
        pairs += [("Discarded", dead) for dead in approval.discarded]
    if d.ownership is not None:
        pairs.append(("Ownership", f"signed ({d.ownership.scheme})"))
    if d.submission is not None:
        pairs.append(("Submission", d.submission.outcome or "the answer was lost; resume asks the platform"))
    if d.verification is not None:
        pairs.append(("Verification", d.verification.verdict))
        pairs += [(f"  {finding.rule}", f"{finding.verdict}: {finding.message}") for finding in d.verification.findings]
    if d.station != "done":
        pairs.append(("Next", f"{d.station}; finish it with: delegation resume {d.id}"))
    return pairs


def plan_document(plan: Plan) -> dict[str, Any]:
    """Return a plan as JSON."""
    document: dict[str, Any] = plan.model_dump(mode="json")
    return document
