"""`resume`: finishing what was stopped, one delegation or all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from delegation.cli.session import DONE, STOPPED_MIDWAY, Session, command

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractAsyncContextManager

    from delegation.context import Context
    from delegation.journal import Journal, UnreadableRow
    from delegation.models import Delegation
    from delegation.profile import Profile
    from delegation.unfinished import Outcome


@click.command("resume")
@click.argument("delegation_id", metavar="[ID]", required=False)
@click.option(
    "--all", "every", is_flag=True, help="Everything that is not finished, the newest of each allowance first."
)
@click.option("--wallet", "wallet_source", help="Key file, or KIND:FILE; by default the profile's wallet.")
@click.option("--rpc", "rpc_url", help="The node to use instead of the profile's.")
@click.option("--yes", is_flag=True, help="Do not ask; a plan that has to be made again is still shown.")
@command
async def resume_command(
    session: Session,
    /,
    delegation_id: str | None,
    *,
    every: bool,
    wallet_source: str | None,
    rpc_url: str | None,
    yes: bool,
) -> int:
    """Finish a delegation that was stopped midway; without an ID, the only one that is not finished.

    An approval that was signed is never made a second time, and the platform is asked before it is told again. A plan
    of which nothing was signed yet is made again and shown; if the allowance has changed since, or a day has passed,
    you are asked again, also with --yes. One that was refused, or whose place a newer one has taken, is over. The
    wallet is needed only if something still has to be signed. A finished delegation is verified again, sent again if
    its block has left the chain, and told again if the platform has forgotten it.

    With --all, one that fails stops no other; the exit status is 4 while any is left.
    """
    from delegation.cli.line import carry_and_report, open_owners_context
    from delegation.cli.listing import tell_unreadable, unreadable_document
    from delegation.errors import InvalidRequestError
    from delegation.journal import open_journal
    from delegation.profile import journal_location

    if every and delegation_id is not None:
        raise InvalidRequestError("It is either one delegation or all of them.", hint="Leave out the ID, or --all.")
    profile = session.load_profile()
    journal = open_journal(journal_location(profile))
    try:
        unreadable = journal.unreadable() if delegation_id is None else ()
        tell_unreadable(session, unreadable)
        if every:
            return await _resume_all(
                session, profile, journal, unreadable, wallet_source=wallet_source, rpc_url=rpc_url, yes=yes
            )
        delegation = _only_unfinished(session, journal) if delegation_id is None else journal.load(delegation_id)
    finally:
        journal.close()
    if delegation is None:
        _say_nothing_to_resume(session, unreadable)
        if session.as_json:
            rows = [unreadable_document(row) for row in unreadable]
            session.print_document({"id": None, "station": "done", "unreadable": rows})
        return DONE
    request = delegation.request
    at = f"stopped at the {delegation.station}" if delegation.unfinished else f"is {delegation.station}"
    at = "is finished; verifying it again" if delegation.state == "done" else at
    session.say(
        f"Delegation {delegation.id} ({request.amount:f} {request.currency.upper()} on {request.network} from "
        f"{request.owner}) {at}."
    )
    async with open_owners_context(
        session, profile, delegation, wallet_source=wallet_source, rpc_url=rpc_url, yes=yes
    ) as context:
        return await carry_and_report(session, delegation, context)


def _say_nothing_to_resume(session: Session, unreadable: Sequence[UnreadableRow]) -> None:
    session.say(f"Nothing to resume: every {'other ' if unreadable else ''}delegation of the journal is finished.")


async def _resume_all(
    session: Session,
    profile: Profile,
    journal: Journal,
    unreadable: Sequence[UnreadableRow],
    *,
    wallet_source: str | None,
    rpc_url: str | None,
    yes: bool,
) -> int:
    from delegation.cli.line import open_owners_context, status_of, tell_outcome
    from delegation.cli.listing import unreadable_document
    from delegation.unfinished import carry_all

    def open_for(d: Delegation) -> AbstractAsyncContextManager[Context]:
        return open_owners_context(session, profile, d, wallet_source=wallet_source, rpc_url=rpc_url, yes=yes)

    def heard(outcome: Outcome) -> None:
        tell_outcome(session, outcome)

    outcomes = await carry_all(journal, open_for, heard=heard)
    # Asked of the journal: what one of them found can have set another on its way again.
    left = [d for d in journal.list() if d.unfinished]
    if session.as_json:
        rows = [unreadable_document(row) for row in unreadable]
        told = [_document(outcome) for outcome in outcomes]
        session.print_document({"outcomes": told, "left": len(left), "unreadable": rows})
    if left:
        again = session.command("resume", "--all")
        session.insist(f"{len(left)} of {max(len(outcomes), len(left))} are not finished; go on with: {again}")
        return STOPPED_MIDWAY
    if not outcomes:
        _say_nothing_to_resume(session, unreadable)
    # The worst verdict of all: REFUTED before UNDETERMINED.
    statuses = {status_of(outcome.delegation) for outcome in outcomes}
    return min(statuses - {DONE}, default=DONE)


def _document(outcome: Outcome) -> dict[str, object]:
    error = outcome.error
    told = None
    if error is not None:
        message, hint = getattr(error, "message", str(error)), getattr(error, "hint", "")
        told = {"type": type(error).__name__, "message": message, "hint": hint}
    return {"delegation": outcome.delegation.public_document(), "error": told}


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
        lines.append(f"Or carry them all: {session.command('resume', '--all')}")
        raise InvalidRequestError(
            f"{len(unfinished)} delegations are not finished.", hint="\n".join(["Name one:", *lines])
        )
    return unfinished[0] if unfinished else None
