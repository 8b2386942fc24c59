"""`list`, `show` and `resume`: what the journal holds, and finishing what was stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from delegation.cli.session import DONE, Session, command

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from delegation.journal import Journal, UnreadableRow
    from delegation.models import Delegation


@click.command("list")
@command
async def list_command(session: Session) -> int:
    """List the delegations of the journal, the oldest first."""
    from delegation.journal import open_journal
    from delegation.profile import journal_location

    journal = open_journal(journal_location(session.load_profile()))
    try:
        delegations, unreadable = journal.read_all()
    finally:
        journal.close()
    if session.as_json:
        session.print_document(
            {
                "delegations": [d.public_document() for d in delegations],
                "unreadable": [_unreadable_document(row) for row in unreadable],
            }
        )
        return DONE
    rows = [
        (
            d.id,
            _minute(d.created_at),
            d.request.network,
            f"{d.request.amount:f} {d.request.currency.upper()}",
            d.request.owner,
            _state(d, delegations),
        )
        for d in delegations
    ]
    rows += [
        (row.id, _minute(row.created_at), row.network or "?", "?", row.owner or "?", "cannot be read")
        for row in unreadable
    ]
    if rows:
        session.print_table(("ID", "MADE (UTC)", "NETWORK", "ALLOWANCE", "OWNER", "STATE"), rows)
    else:
        session.say("The journal is empty.")
    _tell_unreadable(session, unreadable)
    return DONE


def _state(d: Delegation, delegations: tuple[Delegation, ...]) -> str:
    """Return in words where a delegation stands."""
    from delegation.intents import find_newer

    if d.ended is not None:
        return f"{d.ended.kind}: {d.ended.reason}"
    if d.verification is not None:
        return d.verification.verdict
    newer = find_newer(d, delegations)
    return f"stopped at the {d.station}" if newer is None else f"over: {newer.id} has taken its place"


@click.command("show")
@click.argument("delegation_id", metavar="ID")
@command
async def show_command(session: Session, /, delegation_id: str) -> int:
    """Show one delegation, by its id or the beginning of its id."""
    from delegation.cli.line import delegation_pairs
    from delegation.journal import open_journal
    from delegation.profile import journal_location

    journal = open_journal(journal_location(session.load_profile()))
    try:
        delegation = journal.load(delegation_id)
    finally:
        journal.close()
    if session.as_json:
        session.print_document(delegation.public_document())
    else:
        session.print_pairs(delegation_pairs(session, delegation))
    return DONE


@click.command("resume")
@click.argument("delegation_id", metavar="[ID]", required=False)
@click.option("--wallet", "wallet_source", help="Key file, or KIND:FILE; by default the profile's wallet.")
@click.option("--rpc", "rpc_url", help="The node to use instead of the profile's.")
@click.option("--yes", is_flag=True, help="Do not ask; a plan that has to be made again is still shown.")
@command
async def resume_command(
    session: Session, /, delegation_id: str | None, *, wallet_source: str | None, rpc_url: str | None, yes: bool
) -> int:
    """Finish a delegation that was stopped midway; without an ID, the only one that is not finished.

    An approval that was signed is never made a second time, and the platform is asked before it is told again. A plan
    of which nothing was signed yet is made again and shown; if the allowance has changed since, or a day has passed,
    you are asked again, also with --yes. One that was refused, or whose place a newer one has taken, is over. The
    wallet is needed only if something still has to be signed. A finished delegation is only verified again.
    """
    from delegation.cli.line import OwnersWallet, carry_and_report, open_session_context
    from delegation.journal import open_journal
    from delegation.profile import journal_location

    profile = session.load_profile()
    journal = open_journal(journal_location(profile))
    try:
        unreadable = journal.unreadable() if delegation_id is None else ()
        _tell_unreadable(session, unreadable)
        delegation = _only_unfinished(session, journal) if delegation_id is None else journal.load(delegation_id)
    finally:
        journal.close()
    if delegation is None:
        session.say(f"Nothing to resume: every {'other ' if unreadable else ''}delegation of the journal is finished.")
        if session.as_json:
            rows = [_unreadable_document(row) for row in unreadable]
            session.print_document({"id": None, "station": "done", "unreadable": rows})
        return DONE
    request = delegation.request
    states = {"done": "is finished; verifying it again", "failed": "has failed"}
    state = states.get(delegation.station, f"stopped at the {delegation.station}")
    session.say(
        f"Delegation {delegation.id} ({request.amount:f} {request.currency.upper()} on {request.network} from "
        f"{request.owner}) {state}."
    )
    chain = profile.chain(request.network)
    wallet = OwnersWallet(
        request.owner, chain.family, lambda: session.load_wallet(profile, chain.family, wallet_source)
    )
    async with open_session_context(session, profile, chain.name, wallet=wallet, rpc_url=rpc_url, yes=yes) as context:
        return await carry_and_report(session, delegation, context)


def _minute(time: datetime | None) -> str:
    return "?" if time is None else f"{time:%Y-%m-%d %H:%M}"


def _tell_unreadable(session: Session, unreadable: Sequence[UnreadableRow]) -> None:
    """Say of each row that cannot be read why, and what to do; rows of one kind are told together."""
    advice: dict[tuple[str, str], list[str]] = {}
    for row in unreadable:
        advice.setdefault((row.problem, row.hint), []).append(row.id)
    for (problem, hint), ids in advice.items():
        session.insist(f"Cannot be read: {', '.join(ids)}. {problem}\n{hint}")


def _unreadable_document(row: UnreadableRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "created_at": None if row.created_at is None else row.created_at.isoformat(),
        "network": row.network,
        "owner": row.owner,
        "in_flight": row.in_flight,
        "problem": row.problem,
        "hint": row.hint,
    }


def _only_unfinished(session: Session, journal: Journal) -> Delegation | None:
    """Return the delegation that is not finished, or None; raises `InvalidRequestError` if there are several.

    Those that cannot be read are left out.
    """
    from delegation.errors import InvalidRequestError
    from delegation.intents import find_newer

    delegations = journal.list()
    unfinished = [d for d in delegations if d.unfinished and find_newer(d, delegations) is None]
    if len(unfinished) > 1:
        lines = [
            f"  {session.command('resume', d.id)}   ({d.request.network}, stopped at the {d.station})"
            for d in unfinished
        ]
        raise InvalidRequestError(
            f"{len(unfinished)} delegations are not finished.", hint="\n".join(["Name one:", *lines])
        )
    return unfinished[0] if unfinished else None
