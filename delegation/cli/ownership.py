"""`ownership sign|verify`: the statement that proves a wallet is its owner's, and the check of its signature."""

from __future__ import annotations

from pathlib import Path

import click

from delegation.cli.session import DONE, FAILED, Session, command


@click.group("ownership")
def ownership_command() -> None:
    """Sign an ownership statement, or check one; neither needs the platform or a node."""


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
@command
async def _verify(session: Session, /, *, message_file: Path, signature: str, address: str, network: str) -> int:
    """Check that an address signed exactly this text, and that the text is a statement by that address."""
    from chains import get_chain
    from chains.errors import InvalidStatementError, SignatureMismatchError
    from chains.family import parse_address, signature_scheme, verify_ownership
    from chains.ownership import parse_statement
    from chains.types import OwnershipSignature

    chain = get_chain(network)
    owner = parse_address(chain, address)
    message = _read_text(message_file)
    findings: list[dict[str, str]] = []
    try:
        verify_ownership(chain.family, owner, OwnershipSignature(message, signature, signature_scheme(chain.family)))
        findings.append({"rule": "signature", "verdict": "VERIFIED", "message": f"{owner} signed exactly this text."})
    except SignatureMismatchError as error:
        findings.append({"rule": "signature", "verdict": "REFUTED", "message": error.message})
    try:
        statement = parse_statement(message)
        for rule, expected, found in (
            ("address", owner, statement.address),
            ("chain-id", chain.statement_chain_id, statement.chain_id),
        ):
            verdict = "VERIFIED" if expected == found else "REFUTED"
            findings.append({"rule": rule, "verdict": verdict, "message": f"The text names {found}."})
    except InvalidStatementError as error:
        findings.append({"rule": "statement", "verdict": "REFUTED", "message": error.message})
    refuted = any(finding["verdict"] == "REFUTED" for finding in findings)
    verdict = "REFUTED" if refuted else "VERIFIED"
    if session.as_json:
        session.print_document({"verdict": verdict, "findings": findings})
    else:
        session.print_pairs([(finding["rule"], f"{finding['verdict']}: {finding['message']}") for finding in findings])
        click.echo(verdict)
    if refuted and message.endswith("\n"):
        session.insist("The file ends with a line break, which counts as a part of the text; no statement has one.")
    return FAILED if refuted else DONE


def _read_text(path: Path) -> str:
    from delegation.errors import InvalidRequestError

    try:
        # The original bytes: line ends must not be changed on the way.
        return path.read_bytes().decode()
    except OSError as error:
        reason = error.strerror or type(error).__name__
    except UnicodeDecodeError:
        reason = "it is not text in UTF-8"
    raise InvalidRequestError(
        f"The message file {path} cannot be read: {reason}.", hint="Name the file that holds exactly the text signed."
    )
