"""Ownership statements: the EIP-4361 text of Ethereum accounts and its twin for Solana accounts; build, write, read.

Everything here is pure. A text is never repaired: what was signed is what is kept and sent, byte for byte.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, TypeAlias

from chains.errors import InvalidAddressError, InvalidStatementError
from chains.types import Chain

Blockchain: TypeAlias = Literal["Ethereum", "Solana"]

OWNERSHIP_SENTENCE: Final = "Prove address ownership"
"""The sentence that wallet apps have their users sign to prove that an address is theirs."""


@dataclass(frozen=True, slots=True)
class Statement:
    """The fields of one ownership statement, each exactly as the text spells it.

    Absent and empty differ where the grammar knows both: `statement`, `request_id` and `resources`.
    """

    blockchain: Blockchain
    domain: str
    address: str
    statement: str | None
    uri: str
    version: str
    chain_id: str
    nonce: str
    issued_at: str
    expiration_time: str | None = None
    not_before: str | None = None
    request_id: str | None = None
    resources: tuple[str, ...] | None = None
    scheme: str | None = None


# RFC 3986 appendix A, as bodies of character classes; `%` stands only in front of two hex digits.
_UNRESERVED: Final = r"A-Za-z0-9._~\-"
_SUB_DELIMS: Final = r"!$&'()*+,;="


def _many(characters: str) -> str:
    """Return the pattern of any number of these characters and percent-encoded octets; it never backtracks far."""
    return rf"[{characters}]*(?:%[0-9A-Fa-f]{{2}}[{characters}]*)*"


_HOST: Final = (
    rf"(?:\[(?:(?P<ipv6>[0-9A-Fa-f:.]+)|v[0-9A-Fa-f]+\.[{_UNRESERVED}{_SUB_DELIMS}:]+)\]"
    rf"|{_many(_UNRESERVED + _SUB_DELIMS)})"
)
_PORT: Final = r"(?::[0-9]*)?"
_SCHEME: Final = r"[A-Za-z][A-Za-z0-9+.\-]*"
_PATH: Final = _many(_UNRESERVED + _SUB_DELIMS + ":@/")
_QUERY: Final = _many(_UNRESERVED + _SUB_DELIMS + ":@/?")


def _uri(userinfo: str) -> re.Pattern[str]:
    authority = rf"//{userinfo}{_HOST}{_PORT}(?:/{_PATH})?"
    return re.compile(rf"{_SCHEME}:(?:{authority}|(?!//){_PATH})(?:\?{_QUERY})?(?:#{_QUERY})?")


# A userinfo (`good.example@evil.example`) is in the grammar of a domain and of a URI, and serves only to deceive: it is
# refused in both (RFC 3986 section 7.6; attack A23). Resources only name things, so they may be any URI.
_DOMAIN: Final = re.compile(rf"(?=[^:]){_HOST}{_PORT}")
_SUBJECT_URI: Final = _uri(userinfo="")
_RESOURCE_URI: Final = _uri(userinfo=rf"(?:{_many(_UNRESERVED + _SUB_DELIMS + ':')}@)?")
_STATEMENT: Final = re.compile(rf"[:/?#\[\]@{_SUB_DELIMS}{_UNRESERVED} ]*")
_REQUEST_ID: Final = re.compile(_many(_UNRESERVED + _SUB_DELIMS + ":@"))
_OPTIONAL_SCHEME: Final = re.compile(_SCHEME)

# EIP-155 ids are positive integers of one spelling; `0` and `059144` are in the grammar and name no chain (attack A27).
# Solana names its clusters as in the Sign In With Solana specification; shipping clients write 1.
_CHAIN_IDS: Final = {
    "Ethereum": re.compile(r"[1-9][0-9]{0,77}"),
    "Solana": re.compile(r"[1-9][0-9]{0,77}|(?:solana:)?(?:mainnet|testnet|devnet|localnet)"),
}
# On Solana a nonce goes in as it came from whoever asks for the proof, and real ones have been base64.
_NONCES: Final = {"Ethereum": re.compile(r"[A-Za-z0-9]{8,}"), "Solana": re.compile(r"[A-Za-z0-9+/=_\-]+")}
_NONCE_RULES: Final = {
    "Ethereum": "eight or more letters and digits (EIP-4361)",
    "Solana": "letters, digits and + / = _ -",
}

_DATE_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt](?:[01][0-9]|2[0-3]):[0-9]{2}:(?P<second>[0-9]{2})(?:\.[0-9]+)?"
    r"(?P<zone>[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)

_FIRST_LINE: Final = re.compile(
    r"(?:(?P<scheme>[^:/ ]*)://)?(?P<domain>[^ ]*) wants you to sign in with your (?P<chain>Ethereum|Solana) account:"
)
_LABELS: Final = (
    ("uri", "URI: ", True),
    ("version", "Version: ", True),
    ("chain_id", "Chain ID: ", True),
    ("nonce", "Nonce: ", True),
    ("issued_at", "Issued At: ", True),
    ("expiration_time", "Expiration Time: ", False),
    ("not_before", "Not Before: ", False),
    ("request_id", "Request ID: ", False),
)


def make_statement(
    chain: Chain,
    owner: str,
    *,
    domain: str,
    nonce: str,
    issued_at: datetime,
    lifetime: timedelta | None,
    uri: str | None = None,
) -> Statement:
    """Return the statement that proves `owner` on `chain` to be its signer's, with times in UTC and milliseconds.

    `uri` is `https://{domain}` unless given. Shipping clients give EVM statements a lifetime of two minutes and
    Solana statements none. Raises `InvalidStatementError` if a value is outside the grammar or `issued_at` has no zone.
    """
    blockchain: Blockchain = "Ethereum" if chain.family == "evm" else "Solana"
    if issued_at.tzinfo is None:
        raise _invalid("issued_at", issued_at.isoformat(), "it must be an aware time, for example in UTC")
    if lifetime is not None and lifetime < timedelta(milliseconds=1):
        raise _invalid("expiration_time", str(lifetime), "a lifetime is a millisecond or longer")
    try:
        address = _parse_address(blockchain, owner)
    except InvalidAddressError as error:
        raise _invalid("address", owner, error.message.rstrip(".")) from error
    try:
        expiration_time = None if lifetime is None else _format_time(issued_at + lifetime)
    except OverflowError as error:
        raise _invalid("expiration_time", str(lifetime), "the calendar ends before it") from error
    statement = Statement(
        blockchain=blockchain,
        domain=domain,
        address=address,
        statement=OWNERSHIP_SENTENCE,
        uri=f"https://{domain}" if uri is None else uri,
        version="1",
        chain_id=chain.statement_chain_id,
        nonce=nonce,
        issued_at=_format_time(issued_at),
        expiration_time=expiration_time,
    )
    _check(statement)
    return statement


def format_statement(statement: Statement) -> str:
    """Return the text to sign: lines ended by LF, and none after the last.

    Raises `InvalidStatementError` if a field is outside the grammar, so no field can forge another's line.
    Source: EIP-4361; the Solana text has the same layout (attack A24).
    """
    _check(statement)
    scheme = "" if statement.scheme is None else f"{statement.scheme}://"
    lines = [
        f"{scheme}{statement.domain} wants you to sign in with your {statement.blockchain} account:",
        statement.address,
        "",
    ]
    if statement.statement is not None:
        lines.append(statement.statement)
    lines.append("")
    for field, label, _ in _LABELS:
        value = getattr(statement, field)
        if value is not None:
            lines.append(label + value)
    if statement.resources is not None:
        lines.append("Resources:")
        lines.extend(f"- {resource}" for resource in statement.resources)
    return "\n".join(lines)


def parse_statement(text: str) -> Statement:
    """Return the fields of a statement; `format_statement` gives back exactly the same text.

    Raises `InvalidStatementError` for everything that EIP-4361's grammar, or its twin for Solana, does not allow, and
    for a userinfo in domain or URI, an address without its EIP-55 checksum, a chain id that names no chain, and a time
    that never was.
    """
    lines = text.split("\n")
    first = _FIRST_LINE.fullmatch(lines[0])
    if first is None:
        raise _invalid(
            "domain", lines[0], "the first line must be '<domain> wants you to sign in with your Ethereum account:'"
        )
    lines += [""] * (5 - len(lines))
    # [statement LF] LF: without a statement there are two empty lines after the address, with an empty one three.
    has_statement = lines[3] != "" or lines[4] == ""
    at = 5 if has_statement else 4
    if lines[2] != "" or (has_statement and lines[4] != ""):
        raise _invalid("statement", lines[2] or lines[4], "it is one line, between two empty lines")

    values: dict[str, str] = {}
    for field, label, required in _LABELS:
        line = lines[at] if at < len(lines) else ""
        if line.startswith(label):
            values[field] = line[len(label) :]
            at += 1
        elif required:
            raise _invalid(field, line, f"line {at + 1} must begin with {label!r}")
    resources: tuple[str, ...] | None = None
    if at < len(lines) and lines[at] == "Resources:":
        entries = lines[at + 1 :]
        for entry in entries:
            if not entry.startswith("- "):
                raise _invalid("resources", entry, "each line after 'Resources:' must begin with '- '")
        resources = tuple(entry[2:] for entry in entries)
        at = len(lines)
    if at != len(lines):
        raise _invalid("text", lines[at], f"line {at + 1} is not a line of a statement, or not at its place")

    statement = Statement(
        blockchain="Ethereum" if first["chain"] == "Ethereum" else "Solana",
        domain=first["domain"],
        address=lines[1],
        statement=lines[3] if has_statement else None,
        uri=values["uri"],
        version=values["version"],
        chain_id=values["chain_id"],
        nonce=values["nonce"],
        issued_at=values["issued_at"],
        expiration_time=values.get("expiration_time"),
        not_before=values.get("not_before"),
        request_id=values.get("request_id"),
        resources=resources,
        scheme=first["scheme"],
    )
    _check(statement)
    return statement


def parse_time(text: str) -> datetime:
    """Return the UTC moment of an RFC 3339 date-time; digits of a second beyond the sixth are cut off.

    A leap second is the moment after the last full second. Raises `InvalidStatementError` if the text is not an
    RFC 3339 date-time, has no zone, or names a moment that never was.
    """
    return _parse_time("time", text)


def expires_at(statement: Statement) -> datetime | None:
    """Return the UTC moment from which the statement is no longer valid, or None if it has no expiration time."""
    return None if statement.expiration_time is None else _parse_time("expiration_time", statement.expiration_time)


def _format_time(moment: datetime) -> str:
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def _check(statement: Statement) -> None:
    """Raise `InvalidStatementError` unless every field is inside the grammar."""
    blockchain = statement.blockchain
    if blockchain not in _CHAIN_IDS:
        raise _invalid("blockchain", blockchain, "it must be Ethereum or Solana")
    if statement.scheme is not None:
        if blockchain == "Solana":
            raise _invalid("scheme", statement.scheme, "a Solana statement has none")
        _require("scheme", statement.scheme, _OPTIONAL_SCHEME, "an RFC 3986 scheme")
    _require_host("domain", statement.domain, _DOMAIN, "an RFC 3986 host with an optional port, without userinfo")
    _check_address(blockchain, statement.address)
    if statement.statement is not None:
        _require(
            "statement",
            statement.statement,
            _STATEMENT,
            "one line of letters, digits, spaces and -._~:/?#[]@!$&'()*+,;=",
        )
    _require_host("uri", statement.uri, _SUBJECT_URI, "an RFC 3986 URI without userinfo")
    if statement.version != "1":
        raise _invalid("version", statement.version, "it must be 1")
    _require("chain_id", statement.chain_id, _CHAIN_IDS[blockchain], "a positive decimal number without leading zeros")
    _require("nonce", statement.nonce, _NONCES[blockchain], _NONCE_RULES[blockchain])
    _parse_time("issued_at", statement.issued_at)
    if statement.expiration_time is not None:
        _parse_time("expiration_time", statement.expiration_time)
    if statement.not_before is not None:
        _parse_time("not_before", statement.not_before)
    if statement.request_id is not None:
        _require("request_id", statement.request_id, _REQUEST_ID, "characters of an RFC 3986 path segment")
    for resource in statement.resources or ():
        _require_host("resources", resource, _RESOURCE_URI, "RFC 3986 URIs")


def _parse_address(blockchain: Blockchain, address: str) -> str:
    if blockchain == "Ethereum":
        from chains.evm.addresses import parse_address
    else:
        from chains.solana.addresses import parse_address
    return parse_address(address)


def _check_address(blockchain: Blockchain, address: str) -> None:
    try:
        canonical = _parse_address(blockchain, address)
    except InvalidAddressError as error:
        raise _invalid("address", address, error.message.rstrip(".")) from error
    if canonical != address:
        raise _invalid("address", address, f"it must be written as {canonical}")


def _parse_time(field: str, text: str) -> datetime:
    match = _DATE_TIME.fullmatch(text)
    if match is None:
        raise _invalid(field, text, "it must be an RFC 3339 date-time with its zone, like 2026-01-01T00:00:00.000Z")
    leap = match["second"] == "60"
    written = text.upper()
    try:
        if leap:
            # `datetime` has no leap seconds: the moment after 59 is the same. A fraction of one is cut off.
            last = datetime.fromisoformat(f"{written[:17]}59{match['zone'].upper()}")
            moment = last.astimezone(UTC) + timedelta(seconds=1)
        else:
            moment = datetime.fromisoformat(written).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise _invalid(field, text, "there was no such moment") from error
    # Leap seconds are put in at the end of the last day of a month, UTC (RFC 3339 section 5.7).
    if leap and (moment.day, moment.hour, moment.minute, moment.second) != (1, 0, 0, 0):
        raise _invalid(field, text, "there was no leap second at this moment")
    return moment


def _require(field: str, text: str, pattern: re.Pattern[str], rule: str) -> re.Match[str]:
    match = pattern.fullmatch(text)
    if match is None:
        raise _invalid(field, text, f"it must be {rule}")
    return match


def _require_host(field: str, text: str, pattern: re.Pattern[str], rule: str) -> None:
    ipv6 = _require(field, text, pattern, rule)["ipv6"]
    if ipv6 is not None:
        try:
            ipaddress.IPv6Address(ipv6)
        except ValueError as error:
            raise _invalid(field, text, f"it must be {rule}") from error


def _invalid(field: str, text: str, reason: str) -> InvalidStatementError:
    shown = text if len(text) <= 80 else text[:80] + "…"
    return InvalidStatementError(f"{field}: {shown!r} cannot stand in an ownership statement: {reason}.", found=shown)
