"""The ownership statement as the simulated platform reads it: EIP-4361, and the same text for Solana accounts.

Written apart from `chains.ownership` on purpose, so that neither hides an error of the other.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Literal

from delegation.sandbox.platform.errors import Refused

MAXIMUM_CLOCK_SKEW = timedelta(seconds=60)

_URI = r"[A-Za-z][A-Za-z0-9+.\-]*:(?:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})+"
# The authority of RFC 3986 without userinfo: `good.com@evil.com` reads like the good name and is the evil one.
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9\-]*[A-Za-z0-9])?"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{{1,5}})?"
_TEXT = re.compile(
    rf"(?:[A-Za-z][A-Za-z0-9+.\-]*://)?(?P<domain>{_DOMAIN})"
    r" wants you to sign in with your (?P<ledger>Ethereum|Solana) account:\n"
    r"(?P<address>[A-Za-z0-9]+)\n"
    r"\n"
    r"(?:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;= ]*\n)?"
    r"\n"
    rf"URI: {_URI}\n"
    r"Version: (?P<version>[^\n]+)\n"
    r"Chain ID: (?P<chain_id>[0-9]+)\n"
    r"Nonce: (?P<nonce>[A-Za-z0-9]{8,})\n"
    r"Issued At: (?P<issued_at>[^\n]+)"
    r"(?:\nExpiration Time: (?P<expiration_time>[^\n]+))?"
    r"(?:\nNot Before: (?P<not_before>[^\n]+))?"
    r"(?:\nRequest ID: (?:[A-Za-z0-9\-._~:@!$&'()*+,;=]|%[0-9A-Fa-f]{2})*)?"
    rf"(?:\nResources:(?:\n- {_URI})*)?"
)
_RFC_3339 = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:Z|[+-][0-9]{2}:[0-9]{2})")


def check_statement(
    text: str, *, ledger: Literal["Ethereum", "Solana"], address: str, chain_id: str, nonce: str, now: datetime
) -> None:
    """Raise `Refused` unless the text is a statement by this address, for this chain and nonce, in force now."""
    parts = _TEXT.fullmatch(text)
    if parts is None:
        raise _invalid("not an EIP-4361 statement")
    _expect("account kind", ledger, parts["ledger"])
    _expect("address", address, parts["address"])
    _expect("version", "1", parts["version"])
    _expect("chain id", chain_id, parts["chain_id"])
    _expect("nonce", nonce, parts["nonce"])
    issued_at = _parse_time("issued-at", parts["issued_at"])
    if issued_at > now + MAXIMUM_CLOCK_SKEW:
        raise _invalid("issued in the future")
    if parts["expiration_time"] is not None and _parse_time("expiration-time", parts["expiration_time"]) <= now:
        raise _invalid("expired")
    if parts["not_before"] is not None and _parse_time("not-before", parts["not_before"]) > now:
        raise _invalid("not valid yet")


def _expect(what: str, expected: str, found: str) -> None:
    if found != expected:
        raise _invalid(f"{what} is {found}, expected {expected}")


def _parse_time(what: str, text: str) -> datetime:
    if _RFC_3339.fullmatch(text) is None:
        raise _invalid(f"{what} is not an RFC 3339 time")
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise _invalid(f"{what} is not an RFC 3339 time") from None


def _invalid(reason: str) -> Refused:
    return Refused(400, f"Invalid sigMessage: {reason}")
