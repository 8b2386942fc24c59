"""What a statement must say: every expectation is compared as a whole, and every moment has a defined answer."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains import get_chain
from chains.claims import Expectations, Finding, OwnershipClaim, verdict_of
from chains.errors import ChainError, InputError
from chains.statement_check import check_statement

OWNER = "0x3a11a86Cf218C448bE519728cd3Ac5c741FB3424"
SOLANA_OWNER = "HAgk14JpMQLgt6rVgv7cBQFJWFto5Dqxi472uT3DKpqk"
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
LINES = {
    "first": "card.example.com wants you to sign in with your Ethereum account:",
    "address": OWNER,
    "blank": "",
    "statement": "Prove address ownership",
    "blank2": "",
    "uri": "URI: https://card.example.com",
    "version": "Version: 1",
    "chain": "Chain ID: 59144",
    "nonce": "Nonce: 5f8a9b2c4d3e1a7b",
    "issued": "Issued At: 2026-01-01T00:00:00.000Z",
    "expires": "Expiration Time: 2026-01-01T00:02:00.000Z",
}
EXPECTED = Expectations("card.example.com", "https://card.example.com", "5f8a9b2c4d3e1a7b", NEW_YEAR)


def text(**changes: str | None) -> str:
    """Return the statement with some of its lines changed, left out (None) or added."""
    return "\n".join(line for line in (LINES | changes).values() if line is not None)


def claim(
    message: str, expected: Expectations = EXPECTED, network: str = "linea", owner: str = OWNER
) -> OwnershipClaim:
    return OwnershipClaim(get_chain(network), owner, message, "0x", expected)


def check(
    message: str, expected: Expectations = EXPECTED, network: str = "linea", owner: str = OWNER
) -> dict[str, Finding]:
    """Return the findings by rule."""
    findings, _ = check_statement(claim(message, expected, network, owner), owner)
    by_rule = {finding.rule: finding for finding in findings}
    assert len(by_rule) == len(findings)
    return by_rule


def refuted(message: str, expected: Expectations = EXPECTED, network: str = "linea") -> set[str]:
    """Return the rules that refute a statement."""
    return {rule for rule, finding in check(message, expected, network).items() if finding.verdict == "REFUTED"}


def test_a_statement_that_says_what_it_must_is_verified_rule_by_rule() -> None:
    findings, not_checked = check_statement(claim(text()), OWNER)
    assert [finding.rule for finding in findings] == [
        "statement",
        "version",
        "address",
        "chain-id",
        "domain",
        "uri",
        "nonce",
        "time",
    ]
    assert verdict_of(findings) == "VERIFIED"
    assert not_checked == ()


def test_what_nobody_expects_is_not_checked_and_named() -> None:
    findings, not_checked = check_statement(claim(text(), Expectations(None, None, None, NEW_YEAR)), OWNER)
    assert not_checked == ("domain", "uri", "nonce")
    assert {finding.rule for finding in findings} == {"statement", "version", "address", "chain-id", "time"}
    _, not_checked = check_statement(claim("", Expectations("a.b", None, None, NEW_YEAR)), OWNER)
    assert not_checked == ("nonce",)


def test_a_text_that_is_no_statement_has_that_one_finding_with_the_reason() -> None:
    findings = check(text(version="Version: 2"))
    assert list(findings) == ["statement"]
    assert findings["statement"].verdict == "REFUTED"
    assert findings["statement"].message.startswith("version: ")


def test_a_statement_of_another_address_says_both_addresses() -> None:
    other = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
    finding = check(text(address=other))["address"]
    assert (finding.verdict, finding.expected, finding.found) == ("REFUTED", OWNER, other)


def test_a_statement_of_another_kind_of_account_is_refuted() -> None:
    message = text(
        first="card.example.com wants you to sign in with your Solana account:",
        address=SOLANA_OWNER,
        chain="Chain ID: 1",
    )
    assert refuted(message, network="ethereum") == {"statement", "address"}
    assert verdict_of(check(message, network="solana", owner=SOLANA_OWNER).values()) == "VERIFIED"


# A23


@pytest.mark.parametrize(
    "domain",
    [
        "card.example.com.",
        "card.example.com:443",
        "CARD.example.com",
        "xn--crd-qla.example.com",
        "card.example.com.evil.example",
        "evil.example",
        "card.example.co",
        "ard.example.com",
    ],
)
def test_a23_another_spelling_of_the_domain_is_refuted(domain: str) -> None:
    assert "domain" in refuted(text(first=f"{domain} wants you to sign in with your Ethereum account:"))


@pytest.mark.parametrize("domain", ["card.example.com@evil.example", "cаrd.example.com"])  # noqa: RUF001 - homoglyph
def test_a23_a_deceiving_domain_is_no_statement_at_all(domain: str) -> None:
    assert refuted(text(first=f"{domain} wants you to sign in with your Ethereum account:")) == {"statement"}


@pytest.mark.parametrize(
    "uri",
    [
        "https://card.example.com/",
        "https://card.example.com:443",
        "http://card.example.com",
        "https://evil.example/?https://card.example.com",
        "https://card.example.com.evil.example",
    ],
)
def test_a23_another_uri_than_the_expected_one_is_refuted(uri: str) -> None:
    assert refuted(text(uri=f"URI: {uri}")) == {"uri"}


@pytest.mark.parametrize(
    ("uri", "accepted"),
    [
        ("https://card.example.com", True),
        ("https://card.example.com/path?query#fragment", True),
        ("https://card.example.com?a=//evil.example", True),
        ("https://evil.example", False),
        ("https://card.example.com:8443/", False),
        ("https://card.example.com.", False),
        ("https://evil.example/card.example.com", False),
        ("https://evil.example?x://card.example.com", False),
        ("https:card.example.com", False),
        ("urn:x://card.example.com", False),
        ("card.example.com:443", False),
    ],
)
def test_a23_without_an_expected_uri_it_must_be_one_of_the_domain(uri: str, accepted: bool) -> None:
    expected = replace(EXPECTED, uri=None)
    assert refuted(text(uri=f"URI: {uri}"), expected) == (set() if accepted else {"uri"})


# A24


@pytest.mark.parametrize("line", ["nonce", "statement", "uri", "first"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r", "\u2028"])
def test_a24_forged_lines_are_refuted_as_no_statement(line: str, line_end: str) -> None:
    assert refuted(text(**{line: f"{LINES[line]}{line_end}Chain ID: 1"})) == {"statement"}


def test_a24_a_field_inside_the_statement_line_counts_for_nothing() -> None:
    assert refuted(text(statement="Chain ID: 59144", chain="Chain ID: 1")) == {"chain-id"}


# A25


@pytest.mark.parametrize(
    ("line", "at", "verdict"),
    [
        ("Issued At: 2026-01-01T00:00:30Z", NEW_YEAR, "VERIFIED"),
        ("Issued At: 2026-01-01T00:00:30.000001Z", NEW_YEAR, "REFUTED"),
        ("Issued At: 2026-01-01T00:00:30.123456789Z", NEW_YEAR + timedelta(microseconds=123456), "VERIFIED"),
        ("Issued At: 2025-12-31T23:59:60Z", NEW_YEAR, "VERIFIED"),
        ("Issued At: 2016-12-31T23:59:60Z", datetime(2016, 12, 31, 23, 59, 30, tzinfo=UTC), "VERIFIED"),
        ("Issued At: 2016-12-31T23:59:60Z", datetime(2016, 12, 31, 23, 59, 29, tzinfo=UTC), "REFUTED"),
        ("Issued At: 2026-01-01T01:00:00+01:00", NEW_YEAR, "VERIFIED"),
        ("Issued At: 2098-01-01T00:00:00Z", NEW_YEAR, "REFUTED"),
        ("Issued At: 0001-01-01T00:00:00Z", NEW_YEAR, "VERIFIED"),
    ],
)
def test_a25_a_statement_may_be_issued_up_to_the_skew_ahead(line: str, at: datetime, verdict: str) -> None:
    finding = check(text(issued=line, expires=None), replace(EXPECTED, at=at))["time"]
    assert finding.verdict == verdict
    assert "30 seconds" in finding.message, "the bound is stated (rule 40)"


@pytest.mark.parametrize("skew", [timedelta(0), timedelta(minutes=5), timedelta.max])
def test_a25_the_skew_is_the_callers(skew: timedelta) -> None:
    edge = NEW_YEAR - min(skew, timedelta(days=365))
    assert refuted(text(), replace(EXPECTED, at=edge, skew=skew)) == set()
    if skew < timedelta.max:
        assert refuted(text(), replace(EXPECTED, at=edge - timedelta(microseconds=1), skew=skew)) == {"time"}


@pytest.mark.parametrize(
    ("ahead", "verdict"),
    [(timedelta(seconds=120) - timedelta(microseconds=1), "VERIFIED"), (timedelta(seconds=120), "REFUTED")],
)
def test_a25_a_statement_ends_at_its_expiration_time_without_any_skew(ahead: timedelta, verdict: str) -> None:
    finding = check(text(), replace(EXPECTED, at=NEW_YEAR + ahead))["time"]
    assert finding.verdict == verdict
    assert ("has expired" in finding.message) == (verdict == "REFUTED")


@pytest.mark.parametrize(("behind", "verdict"), [(timedelta(0), "VERIFIED"), (timedelta(microseconds=1), "REFUTED")])
def test_a25_a_statement_begins_at_its_not_before_without_any_skew(behind: timedelta, verdict: str) -> None:
    message = text(before="Not Before: 2026-01-01T00:01:00Z")
    finding = check(message, replace(EXPECTED, at=NEW_YEAR + timedelta(minutes=1) - behind))["time"]
    assert finding.verdict == verdict
    assert ("not valid yet" in finding.message) == (verdict == "REFUTED")


@pytest.mark.parametrize("moment", ["2026-01-01T00:00:00", "2026-02-30T00:00:00Z", "2026-01-01T24:00:00Z", "now"])
@pytest.mark.parametrize("label", ["Issued At", "Expiration Time"])
def test_a25_a_moment_without_a_zone_or_that_never_was_is_no_statement(label: str, moment: str) -> None:
    line = "issued" if label == "Issued At" else "expires"
    assert refuted(text(**{line: f"{label}: {moment}"})) == {"statement"}


def test_a25_everything_wrong_with_the_times_is_said_at_once() -> None:
    message = text(issued="Issued At: 2030-01-01T00:00:00Z", before="Not Before: 2030-01-01T00:00:00Z")
    finding = check(message, replace(EXPECTED, at=NEW_YEAR + timedelta(hours=1)))["time"]
    assert all(words in finding.message for words in ("30 seconds later", "not valid yet", "has expired"))


@pytest.mark.parametrize("hours", [-23, 0, 23])
def test_a25_the_ends_of_the_calendar_have_answers_too(hours: int) -> None:
    zone = timezone(timedelta(hours=hours))
    for moment in (datetime.min.replace(tzinfo=zone), datetime.max.replace(tzinfo=zone)):
        assert refuted(text(), replace(EXPECTED, at=moment)) == {"time"}


def test_a_moment_without_a_zone_is_bad_input() -> None:
    with pytest.raises(InputError, match="no time zone"):
        check(text(), replace(EXPECTED, at=datetime(2026, 1, 1)))  # noqa: DTZ001 - the missing zone is the point
    with pytest.raises(InputError, match="negative"):
        check(text(), replace(EXPECTED, skew=-SECOND))


# A26, A27, A46


@pytest.mark.parametrize(
    "changes",
    [
        {"nonce": "Nonce: 5f8a9b2c4d3e1a7c"},
        {"nonce": "Nonce: 5F8A9B2C4D3E1A7B"},
        {"nonce": "Nonce: 5f8a9b2c4d3e1a7b0"},
        {"nonce": "Nonce: aaaaaaaaaaaa", "statement": "Nonce: 5f8a9b2c4d3e1a7b"},
        {"nonce": "Nonce: aaaaaaaaaaaa", "request": "Request ID: 5f8a9b2c4d3e1a7b"},
        {"nonce": "Nonce: aaaaaaaaaaaa", "resources": "Resources:\n- nonce:5f8a9b2c4d3e1a7b"},
    ],
)
def test_a26_a_nonce_of_another_session_or_at_another_place_is_refuted(changes: dict[str, str]) -> None:
    assert refuted(text(**changes)) == {"nonce"}


@pytest.mark.parametrize("chain_id", ["59141", "1", "8453", "591440"])
def test_a27_another_chain_is_refuted(chain_id: str) -> None:
    finding = check(text(chain=f"Chain ID: {chain_id}"))["chain-id"]
    assert (finding.verdict, finding.expected, finding.found) == ("REFUTED", "59144", chain_id)


@pytest.mark.parametrize("chain_id", ["0", "059144", "0xe708", "59144.0", " 59144", "٥٩١٤٤"])
def test_a27_a_chain_id_that_names_no_chain_is_no_statement(chain_id: str) -> None:
    assert refuted(text(chain=f"Chain ID: {chain_id}")) == {"statement"}


@pytest.mark.parametrize("address", [OWNER.lower(), OWNER.upper().replace("0X", "0x"), OWNER.replace("a86C", "A86C")])
def test_a46_an_address_without_its_checksum_is_no_statement(address: str) -> None:
    assert refuted(text(address=address)) == {"statement"}


# Whatever the input


@given(
    message=st.text(max_size=40) | st.text(max_size=20).map(lambda part: text(statement=part)) | st.just(text()),
    domain=st.none() | st.text(max_size=5) | st.just("card.example.com"),
    uri=st.none() | st.text(max_size=5),
    nonce=st.none() | st.text(max_size=5),
    at=st.datetimes(timezones=st.none() | st.timezones()),
    skew=st.timedeltas(),
)
def test_no_claim_ends_in_another_error(
    message: str, domain: str | None, uri: str | None, nonce: str | None, at: datetime, skew: timedelta
) -> None:
    try:
        findings, _ = check_statement(claim(message, Expectations(domain, uri, nonce, at, skew)), OWNER)
    except ChainError:
        assert at.utcoffset() is None or skew < timedelta(0)
    else:
        assert findings
