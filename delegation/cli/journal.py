"""`list`, `show` and `resume`: what the journal holds, and finishing what was stopped."""

from __future__ import annotations

import click

from delegation.cli.session import BAD_INPUT, DONE, Session, command


@click.command("list")
@command
async def list_command(session: Session) -> int:
    """List the delegations of the journal, the oldest first."""
    from delegation.cli.line import delegation_document
    from delegation.journal import open_journal
    from delegation.profile import journal_location

    journal = open_journal(journal_location(session.profile_name, session.load_profile()))
    delegations = journal.list()
    journal.close()
    if session.as_json:
        session.print_document({"delegations": [delegation_document(d) for d in delegations]})
        return DONE
    rows = [
        (
            d.id,
            f"{d.created_at:%Y-%m-%d %H:%M}",
            d.request.network,
            f"{d.request.amount:f} {d.request.currency.upper()}",
            d.request.owner,
            d.verification.verdict if d.verification is not None else f"stopped at {d.station}",
        )
        for d in delegations
    ]
    if rows:
        session.print_table(("ID", "MADE (UTC)", "NETWORK", "ALLOWANCE", "OWNER", "STATE"), rows)
    else:
        session.say("The journal is empty.")
    return DONE


@click.command("show")
@click.argument("delegation_id", metavar="ID")
@command
async def show_command(session: Session, /, delegation_id: str) -> int:
    """Show one delegation, by its id or the beginning of its id."""
    from delegation.cli.line import delegation_document, delegation_pairs
    from delegation.journal import open_journal
    from delegation.profile import journal_location

    journal = open_journal(journal_location(session.profile_name, session.load_profile()))
    delegation = journal.load(delegation_id)
    journal.close()
    if session.as_json:
        session.print_document(delegation_document(delegation))
    else:
        session.print_pairs(delegation_pairs(delegation))
    return DONE


@click.command("resume")
@click.argument("delegation_id", metavar="[ID]", required=False)
@click.option("--wallet", "wallet_source", help="Key file, or KIND:FILE; by default the profile's wallet.")
@click.option("--rpc", "rpc_url", help="The node to use instead of the profile's.")
@command
async def resume_command(
    session: Session, /, delegation_id: str | None, *, wallet_source: str | None, rpc_url: str | None
) -> int:
    """Finish a delegation that was stopped midway; without an ID, the only one that is not finished.

    An approval that was signed is never made a second time, and the platform is asked before it is told again.
    """
    from delegation.cli.line import carry_and_report
    from delegation.cli.progress import Progress
    from delegation.journal import open_journal
    from delegation.profile import journal_location, open_doors

    profile = session.load_profile()
    journal = open_journal(journal_location(session.profile_name, profile))
    if delegation_id is None:
        unfinished = [d for d in journal.list() if d.station != "done"]
        journal.close()
        if not unfinished:
            session.say("Nothing to resume: every delegation of the journal is finished.")
            if session.as_json:
                session.print_document({"delegations": []})
            return DONE
        if len(unfinished) > 1:
            click.echo("Error: more than one delegation is not finished; name one:", err=True)
            for d in unfinished:
                click.echo(f"  delegation resume {d.id}   ({d.request.network}, stopped at {d.station})", err=True)
            return BAD_INPUT
        delegation = unfinished[0]
    else:
        delegation = journal.load(delegation_id)
        journal.close()
    chain = profile.chain(delegation.request.network)
    wallet = session.load_wallet(profile, chain.family, wallet_source)
    with Progress(quiet=session.quiet) as progress:
        async with open_doors(
            profile, chain.name, name=session.profile_name, wallet=wallet, rpc_url=rpc_url, progress=progress
        ) as doors:
            return await carry_and_report(session, delegation, doors)
