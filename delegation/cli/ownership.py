"""`ownership sign|verify`: the statement that proves a wallet is its owner's, and the check of its signature."""

from __future__ import annotations

from pathlib import Path

import click

from delegation.cli.inputs import read_signed_text, require_no_key
from delegation.cli.session import (
    DONE,
    Session,
    checking_command,
    command,
)


@click.group("ownership")
def ownership_command() -> None:
    """Sign an ownership statement, or check one; neither needs the platform, and plain keys need no node."""


@ownership_command.command("sign")
@click.option("--network", required=True, help="linea, ethereum, base or solana.")
@click.option("--wallet", "wallet_source", help="Key file, or KIND:FILE; by default the profile's wallet.")
@click.option("--domain", required=True, help="Who asks for the signature, for example card.example.com.")
@click.option("--nonce", required=True, help="The nonce the platform gave.")
@click.option("--uri", help="By default https://DOMAIN.")
@click.option("--lifetime", type=click.IntRange(30, 3600), default=120, show_default=True, help="Seconds (EVM only).")
@command
async def _sign(
    session: Session,
    /,
    *,
    network: str,
    wallet_source: str | None,
    domain: str,
    nonce: str,
    uri: str | None,
    lifetime: int,
) -> int:
    """Sign an ownership statement and print it with its signature."""
    from datetime import UTC, datetime, timedelta

    from chains import get_chain
    from chains.family import signature_scheme
    from chains.ownership import format_statement, make_statement

    chain = get_chain(network)
    if wallet_source is None:
        wallet = session.load_wallet(session.load_profile(), chain.family, None)
    else:
        wallet = session.open_wallet(wallet_source, chain.family)
    message = format_statement(
        make_statement(
            chain,
            wallet.address,
            domain=domain,
            uri=uri,
            nonce=nonce,
            issued_at=datetime.now(UTC),
            lifetime=timedelta(seconds=lifetime) if chain.family == "evm" else None,
        )
    )
    session.say(f"Signing as {wallet.address}:\n\n{message}\n")
    signature = await wallet.sign_message(message)
    if session.as_json:
        session.print_document(
            {
                "address": wallet.address,
                "network": chain.name,
                "scheme": signature_scheme(chain.family),
                "message": message,
                "signature": signature,
            }
        )
    else:
        click.echo(signature)
    return DONE


@ownership_command.command("verify")
@click.option("--message", "message_file", required=True, type=click.Path(path_type=Path), help="File with the text.")
@click.option("--signature", required=True, help="0x + 130 hex digits, or base58.")
@click.option("--address", required=True, help="Who is said to have signed.")
@click.option("--network", required=True, help="linea, ethereum, base or solana.")
@click.option("--domain", help="Whose statement it must be, for example card.example.com.")
@click.option("--uri", help="The statement's URI; by default any of the domain.")
@click.option("--nonce", help="The nonce that the statement must have.")
@click.option("--at", "at_time", help="When it had to be valid, like 2026-01-01T00:00:00Z; by default now.")
@click.option("--rpc", "rpc_url", help="A node, which the signatures of contract wallets need.")
@checking_command
async def _verify(
    session: Session,
    /,
    *,
    message_file: Path,
    signature: str,
    address: str,
    network: str,
    domain: str | None,
    uri: str | None,
    nonce: str | None,
    at_time: str | None,
    rpc_url: str | None,
) -> int:
    """Check that an address signed exactly this text, and that the text is a valid statement by that address."""
    from chains import get_chain
    from chains.claims import Expectations, OwnershipClaim
    from chains.family import parse_address
    from chains.ownership import parse_time
    from delegation.audit import verify_statement
    from delegation.cli.verify import tell_report
    from delegation.models import utc_now

    chain = get_chain(network)
    now = utc_now()
    expectations = Expectations(domain=domain, uri=uri, nonce=nonce, at=now if at_time is None else parse_time(at_time))
    require_no_key(signature, hex_too=True)
    message = read_signed_text(message_file)
    claim = OwnershipClaim(chain, parse_address(chain, address), message, signature, expectations)
    report = await verify_statement(claim, rpc_url, now=lambda: now)
    if report.verdict == "REFUTED" and message.endswith("\n"):
        session.insist("The file ends with a line break, which counts as a part of the text; no statement has one.")
    if at_time is None and any(found.rule == "time" and found.verdict == "REFUTED" for found in report.findings):
        session.insist("It is not valid NOW. Say with --at when it had to be, for example when it was submitted.")
    return tell_report(session, report)
