"""`verify`, `evidence` and `schema`: claims checked on chain, and evidence that can be checked again offline."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from delegation.cli.inputs import read_file, read_signed_text, require_no_key
from delegation.cli.session import (
    DONE,
    FAILED,
    UNDETERMINED,
    Session,
    checking_command,
    command,
)

if TYPE_CHECKING:
    from chains.types import Chain
    from delegation.audit import Claim, ClaimedStatement, Policy, Report
    from delegation.models import Delegation
    from delegation.profile import Profile

_SPELLINGS = {"message_file": "message", "at_time": "at", "rpc_urls": "rpc", "at_block": "block"}
# Transaction hashes have 66 characters, and signatures of Solana 86 or more; the ids of delegations have 12.
_SHORTEST_HASH = 64
_BLOCK_HASH = re.compile(r"0x[0-9a-fA-F]{64}", re.ASCII)

_CLAIM = (
    click.option("--network", help="linea, ethereum, base or solana."),
    click.option("--currency", help="The token's symbol, for example usdc; its address comes from the pins."),
    click.option("--owner", help="Who is said to have approved."),
    click.option("--amount", help="How much in whole tokens, for example 5000 or 0.50; or: unlimited."),
    click.option("--token", help="The token's address, where it is not pinned."),
    click.option("--spender", help="The spender's address, where it is not pinned."),
    click.option("--region", type=click.Choice(["international", "us"]), help="Of the pins; by default the profile's."),
    click.option("--raw", help="The signed transaction, where it is known: 0x hex, or base64 on Solana."),
    click.option("--message", "message_file", type=click.Path(path_type=Path), help="File with the signed statement."),
    click.option("--signature", help="The statement's signature: 0x hex, or base58 on Solana."),
    click.option("--domain", help="Whose statement it must be, for example card.example.com."),
    click.option("--uri", help="The statement's URI; by default any of the domain."),
    click.option("--nonce", help="The nonce that the statement must have."),
    click.option("--at", "at_time", help="When the statement had to be valid, like 2026-01-01T00:00:00Z; default now."),
    click.option("--rpc", "rpc_urls", multiple=True, help="A node to ask; may be repeated. By default the profile's."),
    click.option("--quorum", type=click.IntRange(min=1), help="How many operators must agree; by default a majority."),
    click.option("--block", "at_block", default="latest", show_default=True, help="A number, latest, safe, finalized."),
    click.option(
        "--tier", type=click.Choice(["T0", "T1", "T2", "T3"]), default="T0", help="The least trust to accept."
    ),
    click.option("--trust-block", "trusted_blocks", multiple=True, help="A block hash you know to be authentic."),
    click.option("--active", is_flag=True, help="Refute an approval that no longer stands."),
)


def _claim_options(function: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_CLAIM):
        function = option(function)
    return function


@click.command("verify")
@click.argument("subject", metavar="[TXHASH|ID]", required=False)
@click.option("--bundle", "bundle", type=click.Path(path_type=Path), help="An evidence file; nothing else is asked.")
@_claim_options
@checking_command
async def verify_command(session: Session, /, *, subject: str | None, bundle: Path | None, **options: Any) -> int:
    """Check on chain that an owner approved a spender by a transaction, and what became of it since.

    TXHASH needs --network, --currency (or --token), --owner and --amount; the ID or the transaction of a delegation of
    the journal needs nothing more. With --bundle an evidence file is checked again, without any network.
    """
    from delegation.audit import verify_claim
    from delegation.errors import InvalidRequestError

    if (subject is None) == (bundle is None):
        raise InvalidRequestError(
            "What to verify must be said: a transaction's hash, a delegation's ID, or --bundle and a file.",
            hint="One of them, and only one.",
        )
    if bundle is not None:
        from delegation.audit import verify_evidence

        _refuse_options(
            options,
            [name for name in options if name not in {"trusted_blocks", "tier", "active"}],
            "An evidence file holds its whole claim, and is checked without any node.",
            hint="Of the other options only --trust-block, --tier and --active go with --bundle.",
        )
        _require_block_hashes(options["trusted_blocks"])
        report = verify_evidence(
            read_file(bundle),
            trusted_blocks=options["trusted_blocks"],
            least_tier=options["tier"],
            active=options["active"],
        )
        return tell_report(session, report)
    claim, nodes, policy = await _read_question(session, str(subject), options)
    return tell_report(session, await verify_claim(claim, nodes, policy))


@click.command("evidence")
@click.argument("subject", metavar="TXHASH|ID")
@click.option("-o", "--output", "output", required=True, type=click.Path(path_type=Path), help="The file to write.")
@_claim_options
@checking_command
async def evidence_command(session: Session, /, *, subject: str, output: Path, **options: Any) -> int:
    """Verify, and write a file from which anybody can verify again offline: `delegation verify --bundle FILE`.

    Takes what `verify` takes. The file is written whatever the verdict is; an existing file is not overwritten.
    """
    from delegation.audit import verify_with_evidence
    from delegation.files import write_new_file

    _require_new(output)
    claim, nodes, policy = await _read_question(session, subject, options)
    report, file = await verify_with_evidence(claim, nodes, policy)
    write_new_file(output, file)
    again = session.command("verify", "--bundle", str(output))
    session.say(f"Evidence written to {output} ({len(file)} bytes). Check it with: {again}")
    return tell_report(session, report)


def _require_new(output: Path) -> None:
    from delegation.errors import InvalidRequestError
    from delegation.files import require_new_file

    if str(output) == "-":
        raise InvalidRequestError("Evidence is written to a file, not to stdout.", hint="Name a new file with -o.")
    require_new_file(output)


@click.command("schema")
@click.argument("document", type=click.Choice(["report", "evidence"]))
@command
async def schema_command(session: Session, /, document: str) -> int:
    """Print the JSON Schema of what `verify --json` prints, or of an evidence file."""
    from delegation.audit import evidence_schema, report_schema

    session.print_document(report_schema() if document == "report" else evidence_schema())
    return DONE


def tell_report(session: Session, report: Report) -> int:
    """Print a report and return the exit status of its verdict."""
    from delegation.audit import describe_report

    signatures = [each for each in report.findings if each.rule.endswith("signature")]
    if any(each.verdict == "UNDETERMINED" and "archive node" in each.message for each in signatures):
        session.insist("Name an archive node with --rpc, or another block with --block.")
    if session.as_json:
        session.print_document(report.model_dump(mode="json"))
    else:
        session.print_pairs(describe_report(report))
        click.echo(report.verdict)
    return {"VERIFIED": DONE, "REFUTED": FAILED, "UNDETERMINED": UNDETERMINED}[report.verdict]


def _refuse_options(options: dict[str, Any], names: Iterable[str], message: str, hint: str = "") -> None:
    """Raise `InvalidRequestError` if one of the options is given: what would not be checked is not passed over."""
    from delegation.errors import InvalidRequestError

    silent = {"at_block": "latest", "tier": "T0"}
    given = [name for name in names if options[name] and options[name] != silent.get(name)]
    if given:
        spelled = ", ".join("--" + _SPELLINGS.get(name, name) for name in given)
        raise InvalidRequestError(f"{message} That leaves no use for {spelled}.", hint=hint, found=spelled)


def _require_block_hashes(texts: tuple[str, ...]) -> None:
    from delegation.errors import InvalidRequestError

    for text in texts:
        if not _BLOCK_HASH.fullmatch(text):
            raise InvalidRequestError(
                f"{text[:80]!r} is no block hash.", hint="--trust-block takes 0x and 64 hexadecimal digits."
            )


async def _read_question(
    session: Session, subject: str, options: dict[str, Any]
) -> tuple[Claim, tuple[str, ...], Policy]:
    """Return what is claimed, the nodes to ask, and what it takes to believe it."""
    from delegation.audit import Policy

    _require_block_hashes(options["trusted_blocks"])
    policy = Policy(
        at=options["at_block"],
        quorum=options["quorum"],
        least_tier=options["tier"],
        trusted_blocks=options["trusted_blocks"],
        active=options["active"],
    )
    claim, nodes = await _find_claim(session, session.find_profile(), subject, options)
    return claim, nodes, policy


async def _find_claim(
    session: Session, profile: Profile | None, subject: str, options: dict[str, Any]
) -> tuple[Claim, tuple[str, ...]]:
    """Return the claim and the nodes to ask, from the options or from the journal."""
    from delegation.audit import claim_of
    from delegation.errors import InvalidRequestError
    from delegation.models import utc_now

    require_no_key(subject, hex_too=False)
    required = {"--network": options["network"], "--owner": options["owner"], "--amount": options["amount"]}
    missing = [name for name, value in required.items() if value is None]
    delegation = _find_delegation(session, profile, subject) if len(missing) == len(required) else None
    if delegation is not None and profile is not None:
        _refuse_options(
            options,
            ("currency", "token", "spender", "region", "raw", "message_file", "signature", "uri", "nonce", "at_time"),
            "A delegation of the journal holds its whole claim.",
            hint="Name --network, --owner and --amount as well to check a claim of your own about a transaction.",
        )
        chain = profile.chain(delegation.request.network)
        urls = options["rpc_urls"] or (chain.rpc_url,)
        domain = options["domain"] or profile.statement_terms().domain
        return claim_of(delegation, chain, domain=domain, now=utc_now()), urls
    if missing:
        raise InvalidRequestError(
            f"The claim is not whole: {', '.join(missing)} is missing.",
            hint="A transaction is verified against who is said to have approved how much of what, and where.",
        )
    return await _claim_from_options(profile, subject, options)


def _find_delegation(session: Session, profile: Profile | None, subject: str) -> Delegation | None:
    """Return the delegation of the journal with this transaction or id; None for a transaction that is not in it.

    Raises `UnknownDelegationError` for an id that is not in it.
    """
    from delegation.journal import open_journal
    from delegation.profile import journal_location

    if profile is None:
        return None
    journal = open_journal(journal_location(profile))
    try:
        delegations, unreadable = journal.read_all()
        found = next((d for d in reversed(delegations) if d.approvals and d.approvals[-1].hash == subject), None)
        if found is None and len(subject) < _SHORTEST_HASH:
            found = journal.load(subject)
    finally:
        journal.close()
    if found is None and unreadable:
        ids = ", ".join(row.id for row in unreadable)
        session.insist(f"This transaction may be of a delegation of the journal that cannot be read: {ids}.")
    return found


async def _claim_from_options(
    profile: Profile | None, subject: str, options: dict[str, Any]
) -> tuple[Claim, tuple[str, ...]]:
    from chains import get_chain
    from chains.amounts import parse_amount
    from chains.family import parse_address
    from chains.rpc import require_node_url
    from delegation.audit import Claim, claim_approval, find_claimed_asset

    chain: Chain = get_chain(options["network"]) if profile is None else profile.chain(options["network"])
    parse_address(chain, options["owner"])
    amount = None if options["amount"].lower() == "unlimited" else parse_amount(options["amount"])
    statement = _read_statement(options)
    urls = options["rpc_urls"] or (chain.rpc_url,)
    for url in urls:
        require_node_url(url)
    asset = await find_claimed_asset(
        chain,
        options["currency"],
        rpc_urls=urls,
        profile=profile,
        region=options["region"],
        token=options["token"],
        spender=options["spender"],
    )
    approval = claim_approval(chain, asset, subject, owner=options["owner"], amount=amount, raw=options["raw"])
    return Claim(approval=approval, statement=statement), urls


def _read_statement(options: dict[str, Any]) -> ClaimedStatement | None:
    from chains.ownership import parse_time
    from delegation.audit import ClaimedStatement
    from delegation.errors import InvalidRequestError
    from delegation.models import utc_now

    if (options["message_file"] is None) != (options["signature"] is None):
        raise InvalidRequestError("A statement is checked with both: --message FILE and --signature.")
    require_no_key(options["signature"] or "", hex_too=True)
    if options["message_file"] is None:
        _refuse_options(
            options,
            ("domain", "uri", "nonce", "at_time"),
            "What a statement must say is only checked together with one: --message FILE and --signature.",
        )
        return None
    return ClaimedStatement(
        message=read_signed_text(options["message_file"]),
        signature=options["signature"],
        domain=options["domain"],
        uri=options["uri"],
        nonce=options["nonce"],
        at=utc_now() if options["at_time"] is None else parse_time(options["at_time"]),
    )
