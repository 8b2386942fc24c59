"""`list` and `show`: what the journal holds, and which delegation says what the chain allows now."""

from __future__ import annotations

import re
import shutil
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import click

from delegation.cli.progress import is_terminal
from delegation.cli.session import DONE, Session, command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from delegation.journal import UnreadableRow
    from delegation.models import Delegation

_AGO: Final = re.compile(r"([1-9][0-9]{0,5})([dhm])", re.ASCII)
_ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]{40}|[1-9A-HJ-NP-Za-km-z]{32,44}", re.ASCII)
_UNITS: Final = {"d": "days", "h": "hours", "m": "minutes"}
_ROOM_FOR_ALL: Final = 140  # columns
_NEVER: Final = datetime.min.replace(tzinfo=UTC)


class _Since(click.ParamType[datetime]):
    """A date, a date with a time, or how long ago: 2026-11-25, 2026-11-25T08:00, 7d, 12h, 30m."""

    name = "WHEN"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        ago = _AGO.fullmatch(str(value))
        if ago:
            return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail("give a date such as 2026-11-25, or how long ago: 7d, 12h, 30m", param, ctx)
        return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


@click.command("list")
@click.option("--network", help="Only those on this network.")
@click.option("--owner", help="Only those of this owner's address.")
@click.option("--state", help="Only those in this state: unfinished, in-force, done, failed, superseded, ...")
@click.option("--since", type=_Since(), help="Only those made since: 2026-11-25, or 7d, 12h, 30m ago (UTC).")
@click.option("--limit", type=click.IntRange(min=1), help="Only so many, the newest.")
@command
async def list_command(
    session: Session,
    /,
    *,
    network: str | None,
    owner: str | None,
    state: str | None,
    since: datetime | None,
    limit: int | None,
) -> int:
    """List the delegations of the journal, the oldest first.

    A star marks the one that set its allowance last, by this journal, for each owner, network, token and spender.
    """
    from delegation.intents import find_in_force
    from delegation.journal import open_journal
    from delegation.profile import journal_location

    _require_state(state)
    _require_address(owner)
    profile = session.load_profile()
    journal = open_journal(journal_location(profile))
    try:
        delegations, unreadable = journal.read_all()
    finally:
        journal.close()
    in_force = {d.id for d in find_in_force(delegations).values()}
    chain = None if network is None else profile.chain(network).name
    shown = [
        d
        for d in delegations
        if chain in (None, d.request.network)
        and (owner is None or _same_address(owner, d.request.owner))
        and _is_in(state, d, in_force)
        and d.created_at >= (since or _NEVER)
    ]
    shown = shown[-limit:] if limit is not None else shown
    filtered = any(given is not None for given in (network, owner, state, since, limit))
    if session.as_json:
        session.print_document(
            {
                "delegations": [d.public_document() | {"in_force": d.id in in_force} for d in shown],
                "unreadable": [unreadable_document(row) for row in unreadable],
            }
        )
        return DONE
    if shown or (unreadable and not filtered):
        _print_table(session, shown, delegations, () if filtered else unreadable, in_force)
    else:
        session.say("There is none like this." if filtered and delegations else "The journal is empty.")
    tell_unreadable(session, unreadable)
    return DONE


def _require_state(state: str | None) -> None:
    from delegation.errors import InvalidRequestError
    from delegation.lifecycle import MEANINGS

    possible = ("unfinished", "in-force", *MEANINGS)
    if state is not None and state not in possible:
        raise InvalidRequestError("There is no such state.", hint=f"It is one of {', '.join(possible)}.")


def _require_address(owner: str | None) -> None:
    from delegation.errors import InvalidRequestError

    if owner is not None and not _ADDRESS.fullmatch(owner):
        raise InvalidRequestError("This is not the address of an owner.", hint="Give the whole of it.")


def _is_in(state: str | None, d: Delegation, in_force: set[str]) -> bool:
    if state == "unfinished":
        return d.unfinished
    if state == "in-force":
        return d.id in in_force
    return state in (None, d.state)


def _same_address(given: str, owner: str) -> bool:
    return given.lower() == owner.lower() if owner.startswith("0x") else given == owner


def _print_table(
    session: Session,
    delegations: Sequence[Delegation],
    everything: Sequence[Delegation],
    unreadable: Sequence[UnreadableRow],
    in_force: set[str],
) -> None:
    # What is piped into another program is shown whole.
    columns = shutil.get_terminal_size().columns if is_terminal(sys.stdout) else _ROOM_FOR_ALL
    roomy = columns >= _ROOM_FOR_ALL
    reasons = is_terminal(sys.stdout) and roomy
    rows = [
        (
            "*" if d.id in in_force else "",
            d.id,
            _minute(d.created_at, short=not roomy),
            d.request.network,
            f"{d.request.amount:f} {d.request.currency.upper()}",
            d.request.owner if roomy else _short(d.request.owner),
            _state(d, everything, reasons=reasons),
        )
        for d in delegations
    ]
    rows += [
        (
            "",
            row.id,
            _minute(row.created_at, short=not roomy),
            row.network or "?",
            "?",
            (row.owner or "?") if roomy else _short(row.owner or "?"),
            "unreadable",
        )
        for row in unreadable
    ]
    session.print_table(("", "ID", "MADE (UTC)", "NETWORK", "ALLOWANCE", "OWNER", "STATE"), rows)
    if in_force:
        session.say("* set its allowance last, by this journal; verify ID asks the chain.")


def _state(d: Delegation, everything: Sequence[Delegation], *, reasons: bool) -> str:
    """Return in a word or two where a delegation stands; with `reasons` also why it ended."""
    from delegation.intents import find_newer

    if d.ended is not None:
        return f"{d.ended.kind}: {d.ended.reason}" if reasons else d.ended.kind
    if d.verification is not None:
        state = d.verification.state
        return d.verification.verdict + (f" ({state})" if reasons and state is not None else "")
    newer = find_newer(d, everything)
    return d.station if newer is None else f"over: {newer.id}"


def _short(address: str) -> str:
    return address if len(address) <= 12 else f"{address[:6]}…{address[-4:]}"


@click.command("show")
@click.argument("delegation_id", metavar="ID")
@command
async def show_command(session: Session, /, delegation_id: str) -> int:
    """Show one delegation, by its id or the beginning of its id."""
    from delegation.cli.line import delegation_pairs

    delegation = session.load_delegation(session.load_profile(), delegation_id)
    if session.as_json:
        session.print_document(delegation.public_document())
    else:
        session.print_pairs(delegation_pairs(session, delegation))
    return DONE


def _minute(time: datetime | None, *, short: bool) -> str:
    if time is None:
        return "?"
    return f"{time.astimezone(UTC):{'%m-%d %H:%M' if short else '%Y-%m-%d %H:%M'}}"


def tell_unreadable(session: Session, unreadable: Sequence[UnreadableRow]) -> None:
    """Say of each row that cannot be read why, and what to do; rows of one kind are told together."""
    advice: dict[tuple[str, str], list[str]] = {}
    for row in unreadable:
        advice.setdefault((row.problem, row.hint), []).append(row.id)
    for (problem, hint), ids in advice.items():
        session.insist(f"Cannot be read: {', '.join(ids)}. {problem}\n{hint}")


def unreadable_document(row: UnreadableRow) -> dict[str, Any]:
    """Return a row that cannot be read as JSON."""
    return {
        "id": row.id,
        "created_at": None if row.created_at is None else row.created_at.isoformat(),
        "network": row.network,
        "owner": row.owner,
        "in_flight": row.in_flight,
        "problem": row.problem,
        "hint": row.hint,
    }
