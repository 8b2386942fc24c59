"""What an ownership statement says, held against what it must say; pure, and the same for every family (rule 26)."""

from __future__ import annotations

import re
from typing import Final

from chains.claims import NEEDS_NOBODY, Expectations, Finding, OwnershipClaim
from chains.errors import InputError, InvalidStatementError
from chains.ownership import Blockchain, Statement, parse_statement, parse_time

# RFC 3986 appendix B; the parser has let neither a userinfo nor anything outside the grammar through.
_AUTHORITY: Final = re.compile(r"[^:/?#]+://([^/?#]*)")


def check_statement(claim: OwnershipClaim, owner: str) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
    """Return the findings on the text of a claim, and the names of what no expectation was given for.

    `owner` is the claim's owner in its canonical spelling. A text that is no statement gives the one finding
    `statement`. Raises `InputError` if the claim's moment has no zone or its skew is negative.
    """
    expected = claim.expectations
    if expected.at.utcoffset() is None:
        raise InputError(
            "The moment at which the statement must be valid has no time zone.",
            hint="Give it with its zone, for example 2026-01-01T00:00:00Z.",
        )
    if expected.skew.total_seconds() < 0:
        raise InputError("The skew of the signer's clock cannot be negative.", hint="Give 0 or more seconds.")
    blockchain: Blockchain = "Ethereum" if claim.chain.family == "evm" else "Solana"
    try:
        statement = parse_statement(claim.message)
    except InvalidStatementError as error:
        return (Finding("statement", "REFUTED", error.message, basis=NEEDS_NOBODY),), _not_checked(expected)
    findings = (
        _equal("statement", f"for an account of {blockchain}", blockchain, statement.blockchain),
        _equal("version", "in the version there is", "1", statement.version),
        _equal("address", "by the owner", owner, statement.address),
        _equal("chain-id", f"for {claim.chain.title}", claim.chain.statement_chain_id, statement.chain_id),
        *_subject(expected, statement),
        _time(expected, statement),
    )
    return findings, _not_checked(expected)


def _not_checked(expected: Expectations) -> tuple[str, ...]:
    unknown = {
        "domain": expected.domain is None,
        "uri": expected.uri is None and expected.domain is None,
        "nonce": expected.nonce is None,
    }
    return tuple(name for name, is_unknown in unknown.items() if is_unknown)


def _subject(expected: Expectations, statement: Statement) -> list[Finding]:
    """Return the findings on domain, URI and nonce: whole strings are compared, never parts (attacks A23, A26)."""
    findings = []
    if expected.domain is not None:
        findings.append(_equal("domain", "for the expected domain", expected.domain, statement.domain))
    if expected.uri is not None:
        findings.append(_equal("uri", "for the expected URI", expected.uri, statement.uri))
    elif expected.domain is not None:
        authority = _AUTHORITY.match(statement.uri)
        found = statement.uri if authority is None else authority[1]
        findings.append(_equal("uri", "for a URI of the expected domain", expected.domain, found))
    if expected.nonce is not None:
        findings.append(_equal("nonce", "with the nonce that was given out", expected.nonce, statement.nonce))
    return findings


def _equal(rule: str, what: str, expected: str, found: str) -> Finding:
    if expected == found:
        return Finding(rule, "VERIFIED", f"The statement is one {what}.", expected, found, NEEDS_NOBODY)
    return Finding(rule, "REFUTED", f"The statement is not one {what}.", expected, found, NEEDS_NOBODY)


def _time(expected: Expectations, statement: Statement) -> Finding:
    """Return whether the statement is valid at the expected moment (attack A25).

    It is from its issue, or `skew` earlier, and from `Not Before` on, until just before its expiration time (EIP-4361).
    """
    at, skew = expected.at, expected.skew
    moment, ahead = at.isoformat(), f"{skew.total_seconds():g} seconds"
    found = f"issued at {statement.issued_at}"
    wrong = []
    # Differences, unlike sums, exist for all moments of the calendar.
    if parse_time(statement.issued_at) - at > skew:
        wrong.append(f"it was issued more than {ahead} later")
    if statement.not_before is not None:
        found += f", valid from {statement.not_before}"
        if parse_time(statement.not_before) > at:
            wrong.append("it is not valid yet")
    if statement.expiration_time is not None:
        found += f", expires at {statement.expiration_time}"
        if parse_time(statement.expiration_time) <= at:
            wrong.append("it has expired")
    if wrong:
        message = f"It is not valid at {moment}: {' and '.join(wrong)}."
        return Finding("time", "REFUTED", message, moment, found, NEEDS_NOBODY)
    message = f"It is valid at {moment}; the signer's clock may be up to {ahead} ahead."
    return Finding("time", "VERIFIED", message, moment, found, NEEDS_NOBODY)
