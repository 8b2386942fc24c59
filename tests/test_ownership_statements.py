"""Ownership statements: the platform's text byte for byte, EIP-4361 read strictly, and nothing that can be forged.

A22 to A27 and A46 are attacks of `tests/ATTACKS.md`, and rules those of `chains/RULES.md`.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from needs import NO_VECTORS, VECTORS

from chains import get_chain
from chains.errors import InvalidStatementError
from chains.ownership import (
    Statement,
    expires_at,
    format_statement,
    make_statement,
    parse_statement,
    parse_time,
)

OWNER = "0x3a11a86Cf218C448bE519728cd3Ac5c741FB3424"
SOLANA_OWNER = "HAgk14JpMQLgt6rVgv7cBQFJWFto5Dqxi472uT3DKpqk"
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)

EVM_TEXT = """\
metamask.app.link wants you to sign in with your Ethereum account:
0x3a11a86Cf218C448bE519728cd3Ac5c741FB3424

Prove address ownership

URI: https://metamask.app.link
Version: 1
Chain ID: 59144
Nonce: 5f8a9b2c4d3e1a7b9c6d8e2f
Issued At: 2026-01-01T00:00:00.000Z
Expiration Time: 2026-01-01T00:02:00.000Z"""

SOLANA_TEXT = """\
metamask.app.link wants you to sign in with your Solana account:
HAgk14JpMQLgt6rVgv7cBQFJWFto5Dqxi472uT3DKpqk

Prove address ownership

URI: https://metamask.app.link
Version: 1
Chain ID: 1
Nonce: q+7/Zw==
Issued At: 2026-01-01T00:00:00.000Z"""

EVM = Statement(
    blockchain="Ethereum",
    domain="metamask.app.link",
    address=OWNER,
    statement="Prove address ownership",
    uri="https://metamask.app.link",
    version="1",
    chain_id="59144",
    nonce="5f8a9b2c4d3e1a7b9c6d8e2f",
    issued_at="2026-01-01T00:00:00.000Z",
    expiration_time="2026-01-01T00:02:00.000Z",
)
SOLANA = replace(EVM, blockchain="Solana", address=SOLANA_OWNER, chain_id="1", nonce="q+7/Zw==", expiration_time=None)
FULL = replace(
    EVM,
    not_before="2026-01-01T00:00:00Z",
    request_id="order-7",
    resources=("https://example.com/terms", "ipfs://bafybeiemxf5abjwjbikoz4mc3a3dla6ual3jsgpdr4cjr3oz3evfyavhwq/"),
    scheme="https",
)


def evm_statement(**changes: object) -> Statement:
    """Return the platform's Linea statement with some arguments of the builder changed."""
    arguments: dict[str, object] = {
        "domain": "metamask.app.link",
        "nonce": "5f8a9b2c4d3e1a7b9c6d8e2f",
        "issued_at": NEW_YEAR,
        "lifetime": timedelta(minutes=2),
    }
    owner = changes.pop("owner", OWNER)
    return make_statement(get_chain("linea"), owner, **{**arguments, **changes})  # type: ignore[arg-type]


def refusal(text: str) -> str:
    """Return the message with which a text is refused."""
    with pytest.raises(InvalidStatementError) as refused:
        parse_statement(text)
    return refused.value.message


# The platform's text


def test_the_evm_statement_is_that_of_the_shipping_client_byte_for_byte() -> None:
    text = format_statement(evm_statement())
    assert text == EVM_TEXT
    assert len(text.encode()) == 303


def test_the_evm_statement_has_the_recorded_eip_191_hash() -> None:
    from eth_utils.crypto import keccak

    digest = keccak(b"\x19Ethereum Signed Message:\n303" + format_statement(evm_statement()).encode())
    assert digest.hex() == "4af27568746cb6e62e6f5f0918cdf7b5aeacd920c582bfbc1a39e26459d225f5"


def test_the_solana_statement_names_chain_1_keeps_the_nonce_verbatim_and_does_not_expire() -> None:
    statement = make_statement(
        get_chain("solana"),
        SOLANA_OWNER,
        domain="metamask.app.link",
        nonce="q+7/Zw==",
        issued_at=NEW_YEAR,
        lifetime=None,
    )
    assert format_statement(statement) == SOLANA_TEXT
    assert expires_at(statement) is None


@pytest.mark.parametrize(("network", "chain_id"), [("ethereum", "1"), ("linea", "59144"), ("base", "8453")])
def test_an_evm_statement_names_its_network(network: str, chain_id: str) -> None:
    chain = get_chain(network)
    statement = make_statement(chain, OWNER, domain="a.b", nonce="12345678", issued_at=NEW_YEAR, lifetime=None)
    assert statement.chain_id == chain_id


def test_times_are_written_in_utc_with_milliseconds() -> None:
    issued = datetime(2026, 1, 1, 1, 30, 0, 123_999, tzinfo=timezone(timedelta(hours=2)))
    statement = evm_statement(issued_at=issued)
    assert statement.issued_at == "2025-12-31T23:30:00.123Z"
    assert statement.expiration_time == "2025-12-31T23:32:00.123Z"
    assert expires_at(statement) == datetime(2025, 12, 31, 23, 32, 0, 123_000, tzinfo=UTC)


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(InvalidStatementError, match=r"^issued_at: .*aware"):
        evm_statement(issued_at=datetime(2026, 1, 1))  # noqa: DTZ001


@pytest.mark.parametrize("lifetime", [timedelta(0), timedelta(seconds=-1), timedelta(days=9_999_999)])
def test_a_lifetime_without_a_usable_end_is_refused(lifetime: timedelta) -> None:
    with pytest.raises(InvalidStatementError, match=r"^expiration_time: "):
        evm_statement(lifetime=lifetime)


def test_a46_an_owner_in_lower_case_is_written_with_its_checksum() -> None:
    assert evm_statement(owner=OWNER.lower()).address == OWNER


def test_a46_an_owner_whose_checksum_is_wrong_is_refused() -> None:
    with pytest.raises(InvalidStatementError, match=r"^address: .*EIP-55"):
        evm_statement(owner=OWNER.replace("3a11a86C", "3A11a86C"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("domain", ""),
        ("domain", "good.com\nevil.com"),
        ("domain", "good.com@evil.com"),
        ("domain", "gооd.com"),  # noqa: RUF001 - Cyrillic letters are the point (A23)
        ("domain", "Website x"),
        ("uri", "websitex.example.com"),
        ("uri", "https://good.com@evil.com"),
        ("uri", "https://good.com/\r\nChain ID: 1"),
        ("nonce", "1234567"),
        ("nonce", "nonce-with-dashes"),
        ("nonce", "12345678\nChain ID: 1"),
        ("nonce", "１２３４５６７８"),  # noqa: RUF001 - full-width digits are the point
    ],
)
def test_rule_25_the_builder_refuses_what_the_grammar_does_not_hold(field: str, value: str) -> None:
    with pytest.raises(InvalidStatementError, match=f"^{field}: "):
        evm_statement(**{field: value})


# Reading


@pytest.mark.parametrize(("text", "statement"), [(EVM_TEXT, EVM), (SOLANA_TEXT, SOLANA)])
def test_a_statement_is_read_field_by_field(text: str, statement: Statement) -> None:
    assert parse_statement(text) == statement
    assert format_statement(statement) == text


def test_every_optional_field_is_read_and_written_again() -> None:
    text = format_statement(FULL)
    assert parse_statement(text) == FULL
    assert text.endswith(
        "Expiration Time: 2026-01-01T00:02:00.000Z\nNot Before: 2026-01-01T00:00:00Z\nRequest ID: order-7\nResources:\n"
        "- https://example.com/terms\n- ipfs://bafybeiemxf5abjwjbikoz4mc3a3dla6ual3jsgpdr4cjr3oz3evfyavhwq/"
    )
    assert text.startswith("https://metamask.app.link wants you")


@pytest.mark.parametrize(("statement", "blank_lines"), [(None, "\n\n\n"), ("", "\n\n\n\n")])
def test_no_statement_and_an_empty_statement_are_two_texts(statement: str | None, blank_lines: str) -> None:
    text = format_statement(replace(EVM, statement=statement))
    assert f"{OWNER}{blank_lines}URI: " in text
    assert parse_statement(text).statement == statement


@pytest.mark.parametrize("resources", [None, ()])
def test_no_resources_and_an_empty_list_are_two_texts(resources: tuple[str, ...] | None) -> None:
    text = format_statement(replace(EVM, resources=resources))
    assert text.endswith("\nResources:") == (resources is not None)
    assert parse_statement(text).resources == resources


def test_an_empty_request_id_is_in_the_grammar() -> None:
    assert parse_statement(EVM_TEXT + "\nRequest ID: ").request_id == ""


def test_a_statement_that_looks_like_a_field_stays_the_statement() -> None:
    forged = replace(EVM, statement="URI: https://evil.example")
    assert parse_statement(format_statement(forged)) == forged


@pytest.mark.parametrize("chain_id", ["mainnet", "devnet", "solana:mainnet"])
def test_a_solana_statement_may_name_its_cluster(chain_id: str) -> None:
    statement = replace(SOLANA, chain_id=chain_id)
    assert parse_statement(format_statement(statement)) == statement


def test_a_solana_statement_may_expire_as_the_first_clients_had_it() -> None:
    assert expires_at(
        parse_statement(SOLANA_TEXT + "\nExpiration Time: 2026-01-01T00:02:00.000Z")
    ) == NEW_YEAR + timedelta(minutes=2)


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("Ethereum account", "Bitcoin account", "domain"),
        ("Ethereum account:", "ethereum account:", "domain"),
        ("account:\n", "account:\r\n", "domain"),
        ("metamask.app.link wants", " wants", "domain"),
        ("metamask.app.link wants", ":443 wants", "domain"),
        ("metamask.app.link wants", "[::g] wants", "domain"),
        ("metamask.app.link wants", "[1::2::3] wants", "domain"),
        ("metamask.app.link wants", "metamask.app.link:port wants", "domain"),
        ("metamask.app.link wants", "%zz wants", "domain"),
        ("metamask.app.link wants", "1https://metamask.app.link wants", "scheme"),
        (OWNER, OWNER.lower(), "address"),
        (OWNER, OWNER.replace("0x", "0X"), "address"),
        (OWNER, OWNER[:-1], "address"),
        (OWNER, SOLANA_OWNER, "address"),
        (OWNER, f" {OWNER}", "address"),
        ("Prove address ownership", "Prove\naddress ownership", "statement"),
        ("Prove address ownership", 'Prove "address" ownership', "statement"),
        ("Prove address ownership", "Prove address ownership 100%", "statement"),
        ("Prove address ownership", "Prove address owne\u200brship", "statement"),
        ("Prove address ownership", "Prove address ownership\r", "statement"),
        ("URI: https", "Uri: https", "uri"),
        ("URI: https://metamask.app.link", "URI: //metamask.app.link", "uri"),
        ("URI: https://metamask.app.link", "URI: https://metamask.app.link/a b", "uri"),
        ("URI: https://metamask.app.link", "URI: https://metamask.app.link/%2", "uri"),
        ("URI: https://metamask.app.link", "URI: https://user:secret@metamask.app.link", "uri"),
        ("URI: https://metamask.app.link", "URI: https://[::1", "uri"),
        ("Version: 1", "Version: 2", "version"),
        ("Version: 1", "Version: 1 ", "version"),
        ("Version: 1", "version: 1", "version"),
        ("Nonce: 5f8a9b2c4d3e1a7b9c6d8e2f", "Nonce: short12", "nonce"),
        ("Nonce: 5f8a9b2c4d3e1a7b9c6d8e2f", "Nonce: q+7/Zw==q+7/Zw==", "nonce"),
        ("Nonce: 5f8a9b2c4d3e1a7b9c6d8e2f\n", "", "nonce"),
        ("Issued At: 2026-01-01T00:00:00.000Z\n", "", "issued_at"),
    ],
)
def test_a_changed_line_is_refused_by_the_name_of_its_field(old: str, new: str, field: str) -> None:
    assert old in EVM_TEXT
    assert refusal(EVM_TEXT.replace(old, new, 1)).startswith(f"{field}: ")


@pytest.mark.parametrize("text", ["", "\n", "\n\n\n\n\n\n", EVM_TEXT[: EVM_TEXT.index("URI")], EVM_TEXT.split("\n")[0]])
def test_a_text_that_stops_early_is_refused(text: str) -> None:
    assert refusal(text)


@pytest.mark.parametrize("tail", ["\n", " ", "\r", "\n\n", "\nAnything: else", "\nNonce: 12345678"])
def test_nothing_may_follow_the_last_line(tail: str) -> None:
    assert refusal(EVM_TEXT + tail)


def test_fields_out_of_order_are_refused() -> None:
    late = "\nNot Before: 2026-01-01T00:00:00Z"
    assert refusal(EVM_TEXT.replace("\nExpiration Time", f"{late}\nExpiration Time"))
    assert refusal(EVM_TEXT + "\nRequest ID: a" + late)
    assert refusal(EVM_TEXT + "\nResources:\n- https://a.example" + late)


@pytest.mark.parametrize("resource", ["", "no-scheme", "https://a b", "- https://a.example", "https://a.example\n"])
def test_a_resource_is_a_uri(resource: str) -> None:
    with pytest.raises(InvalidStatementError, match=r"^resources: "):
        format_statement(replace(EVM, resources=("https://a.example", resource)))


def test_a_resource_may_name_a_user() -> None:
    statement = replace(EVM, resources=("ssh://git@example.com/repository", "mailto:a@example.com", "urn:x:y"))
    assert parse_statement(format_statement(statement)) == statement


def test_an_error_shows_only_the_beginning_of_a_long_field() -> None:
    assert len(refusal("x" * 1_000_000)) < 400


@pytest.mark.parametrize("scheme", ["", "1https", "ht tp", "https\n"])
def test_a_scheme_is_one_of_rfc_3986(scheme: str) -> None:
    with pytest.raises(InvalidStatementError, match=r"^scheme: "):
        format_statement(replace(EVM, scheme=scheme))


def test_a_solana_statement_has_no_scheme() -> None:
    with pytest.raises(InvalidStatementError, match=r"^scheme: "):
        parse_statement("https://" + SOLANA_TEXT)


# The attack list


@pytest.mark.parametrize("domain", ["good.com@evil.com", "user:word@evil.com", "@evil.com", "good.com%40x@evil.com"])
def test_a23_a_domain_with_userinfo_is_refused(domain: str) -> None:
    assert refusal(EVM_TEXT.replace("metamask.app.link wants", f"{domain} wants")).startswith("domain: ")


@pytest.mark.parametrize("domain", ["gооd.com", "good。com", "good.com\u202e"])  # noqa: RUF001 - homoglyphs
def test_a23_a_domain_outside_ascii_is_refused(domain: str) -> None:
    assert refusal(EVM_TEXT.replace("metamask.app.link wants", f"{domain} wants")).startswith("domain: ")


@pytest.mark.parametrize("domain", ["metamask.app.link.", "xn--mtamask-cva.app.link", "metamask.app.link:8443"])
def test_a23_another_spelling_of_a_domain_never_reads_as_the_same_domain(domain: str) -> None:
    assert parse_statement(EVM_TEXT.replace("metamask.app.link wants", f"{domain} wants")).domain == domain


FORGED = "\nChain ID: 1\nNonce: 99999999"


@pytest.mark.parametrize("line_end", ["\n", "\r", "\r\n", "\u2028", "\u0085", "\x0b", "\x0c"])
@pytest.mark.parametrize(
    "field",
    [
        "domain",
        "address",
        "statement",
        "uri",
        "version",
        "chain_id",
        "nonce",
        "issued_at",
        "expiration_time",
        "not_before",
        "request_id",
        "scheme",
        "resources",
    ],
)
def test_a24_no_field_can_write_another_line(field: str, line_end: str) -> None:
    value = getattr(FULL, field)
    forged: Any = (value[0] + line_end + "Chain ID: 1",) if field == "resources" else f"{value}{line_end}Chain ID: 1"
    with pytest.raises(InvalidStatementError, match=f"^{field}: "):
        format_statement(replace(FULL, **{field: forged}))


@pytest.mark.parametrize("field", ["Prove address ownership", "URI: https://metamask.app.link"])
def test_a24_forged_lines_in_a_text_are_refused(field: str) -> None:
    assert refusal(EVM_TEXT.replace(field, field + FORGED))


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-01T00:00:00Z", NEW_YEAR),
        ("2026-01-01t00:00:00z", NEW_YEAR),
        ("2026-01-01T00:00:00.5Z", NEW_YEAR + timedelta(milliseconds=500)),
        ("2026-01-01T00:00:00.123456789Z", NEW_YEAR + timedelta(microseconds=123456)),
        ("2026-01-01T02:00:00+02:00", NEW_YEAR),
        ("2025-12-31T22:30:00-01:30", NEW_YEAR),
        ("2026-01-01T00:00:00-00:00", NEW_YEAR),
        ("2016-12-31T23:59:60Z", datetime(2017, 1, 1, tzinfo=UTC)),
        ("1990-12-31T15:59:60-08:00", datetime(1991, 1, 1, tzinfo=UTC)),
        ("2024-02-29T12:00:00Z", datetime(2024, 2, 29, 12, tzinfo=UTC)),
    ],
)
def test_a25_a_time_of_rfc_3339_is_read(text: str, moment: datetime) -> None:
    assert parse_time(text) == moment
    issued = parse_statement(EVM_TEXT.replace("Issued At: 2026-01-01T00:00:00.000Z", f"Issued At: {text}")).issued_at
    assert issued == text


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-01T00:00:00",
        "2026-01-01 00:00:00Z",
        "2026-01-01",
        "2026-01-01T00:00Z",
        "2026-01-01T00:00:00.Z",
        "2026-01-01T00:00:00,5Z",
        "2026-01-01T00:00:00+0200",
        "2026-01-01T00:00:00+24:00",
        "2026-01-01T00:00:00+02:60",
        "2026-1-1T0:0:0Z",
        "２026-01-01T00:00:00Z",  # noqa: RUF001 - a full-width digit
        "2025-02-29T00:00:00Z",
        "2026-04-31T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-00-01T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T00:60:00Z",
        "2026-01-01T00:00:61Z",
        "2026-01-01T12:30:60Z",
        "2016-12-31T23:59:60+01:00",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:60Z",
        "+2026-01-01T00:00:00Z",
        "Wed Oct 05 2011 16:48:00 GMT+0200 (CEST)",
        "",
    ],
)
def test_a25_a_time_that_never_was_or_has_no_zone_is_refused(text: str) -> None:
    with pytest.raises(InvalidStatementError, match=r"^time: "):
        parse_time(text)
    for label in ("Issued At", "Expiration Time"):
        changed = re.sub(f"{label}: .*", f"{label}: {text}", EVM_TEXT)
        assert refusal(changed).startswith(label.lower().replace(" ", "_") + ": ")


def test_a25_an_expired_or_future_statement_still_reads_so_that_its_times_can_be_judged() -> None:
    statement = parse_statement(re.sub("Issued At: 2026", "Issued At: 2098", EVM_TEXT))
    ends = expires_at(statement)
    assert ends is not None
    assert ends < parse_time(statement.issued_at)


def test_a26_a_nonce_that_stands_elsewhere_is_not_the_nonce() -> None:
    theirs = "aaaaaaaaaaaa"
    statement = replace(EVM, statement=f"Nonce: {theirs}", request_id=theirs, resources=(f"nonce:{theirs}",))
    assert parse_statement(format_statement(statement)).nonce == EVM.nonce != theirs


@pytest.mark.parametrize(
    "chain_id",
    ["0", "059144", "00", "-1", "+1", "0x1", "1e3", "1.0", "", "\u0661", "9" * 79, "mainnet"],
)
def test_a27_a_chain_id_that_names_no_chain_is_refused(chain_id: str) -> None:
    assert refusal(EVM_TEXT.replace("Chain ID: 59144", f"Chain ID: {chain_id}")).startswith("chain_id: ")


def test_a27_the_chain_id_of_a_test_network_never_reads_as_that_of_the_main_network() -> None:
    assert parse_statement(EVM_TEXT.replace("59144", "59141")).chain_id == "59141"


def test_a46_an_address_in_another_spelling_than_eip_55_is_refused() -> None:
    assert OWNER in refusal(EVM_TEXT.replace(OWNER, OWNER.lower()))


def test_the_platforms_documented_sample_is_not_a_statement() -> None:
    sample = EVM_TEXT.replace("metamask.app.link wants", "Website x wants").replace(OWNER, OWNER.lower())
    assert refusal(sample).startswith("domain: ")


# Public vectors


def _vectors(name: str) -> list[object]:
    file = VECTORS / f"siwe_parsing_{name}.json"
    if not file.exists():
        # Public data that may not lie here: nothing needs it, and a run ends with how many were skipped and why.
        return [pytest.param(None, marks=pytest.mark.skip(reason=NO_VECTORS))]  # right: told, and not passed over
    return [pytest.param(value, id=title) for title, value in json.loads(file.read_text()).items()]


# ERC-4361 takes a domain from RFC 3986's authority, which may have a userinfo, so the vectors hold these two as valid.
# We refuse them: `good.com@evil.com` serves only to show a good name in front of a bad one (rule 25, attack A23).
USERINFO = {"test@127.0.0.1", "test@127.0.0.1:8080"}


@pytest.mark.parametrize("vector", _vectors("positive"))
def test_the_public_positive_vectors_are_read_except_those_with_userinfo(vector: dict[str, object]) -> None:
    text, fields = str(vector["message"]), vector["fields"]
    assert isinstance(fields, dict)
    if fields["domain"] in USERINFO:
        assert refusal(text).startswith("domain: ")
        return
    statement = parse_statement(text)
    assert format_statement(statement) == text
    assert statement == Statement(
        blockchain="Ethereum",
        domain=fields["domain"],
        address=fields["address"],
        statement=fields.get("statement"),
        uri=fields["uri"],
        version=fields["version"],
        chain_id=str(fields["chainId"]),
        nonce=fields["nonce"],
        issued_at=fields["issuedAt"],
        resources=tuple(fields["resources"]) if "resources" in fields else None,
        scheme=fields.get("scheme"),
    )


@pytest.mark.parametrize("text", _vectors("negative"))
def test_the_public_negative_vectors_are_refused(text: str) -> None:
    assert refusal(text)


# Whatever the input

UNRESERVED = "ABCZabcz0189-._~"
URIS = st.from_regex(
    r"[a-z][a-z0-9+.-]{0,5}:(//[a-z0-9.-]{0,12}(:[0-9]{0,5})?(/[a-zA-Z0-9._~!$&'()*+,;=:@/-]{0,12})?|[a-z0-9:@]{0,8})"
    r"(\?[a-z0-9=&/?%]{0,0})?(#[a-z0-9/?]{0,6})?",
    fullmatch=True,
)
MOMENTS = st.datetimes(
    min_value=datetime(1, 1, 2),  # noqa: DTZ001 - the zone is the next argument
    timezones=st.just(UTC),
).map(lambda moment: moment.isoformat().replace("+00:00", "Z"))
STATEMENTS = st.builds(
    Statement,
    blockchain=st.just("Ethereum"),
    domain=st.from_regex(r"([a-z0-9._~!$&'()*+,;=-]{1,20}|\[::1\]|\[v1\.a:b\]|a%2Fb)(:[0-9]{0,5})?", fullmatch=True),
    address=st.sampled_from([OWNER, "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"]),
    statement=st.none() | st.text(UNRESERVED + " :/?#[]@!$&'()*+,;=", max_size=60),
    uri=URIS,
    version=st.just("1"),
    chain_id=st.integers(1, 2**256 - 1).map(str),
    nonce=st.text("abcXYZ019", min_size=8, max_size=40),
    issued_at=MOMENTS,
    expiration_time=st.none() | MOMENTS,
    not_before=st.none() | MOMENTS,
    request_id=st.none() | st.text(UNRESERVED + "!$&'()*+,;=:@", max_size=20),
    resources=st.none() | st.lists(URIS, max_size=4).map(tuple),
    scheme=st.none() | st.from_regex(r"[a-zA-Z][a-zA-Z0-9+.\-]{0,8}", fullmatch=True),
)


@settings(deadline=None)
@given(STATEMENTS)
def test_every_statement_that_can_be_written_reads_as_itself(statement: Statement) -> None:
    assert parse_statement(format_statement(statement)) == statement


@st.composite
def damaged_texts(draw: st.DrawFn) -> str:
    """Return a valid text, with a few pieces cut out, put in or moved."""
    text = format_statement(draw(STATEMENTS)) if draw(st.booleans()) else SOLANA_TEXT
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 12)))
        piece = draw(
            st.sampled_from(["", "\n", "\n\n", " ", "0", "@", "%41", "Z", "\r", "- ", "é"]) | st.text(max_size=4)
        )
        text = text[:start] + piece + text[end:]
    return text


@settings(deadline=None)
@given(damaged_texts())
@example("\ud800")
def test_whatever_is_accepted_is_written_again_exactly_and_all_else_is_refused_with_a_reason(text: str) -> None:
    try:
        statement = parse_statement(text)
    except InvalidStatementError as error:
        outcome: object = error
    else:
        outcome = format_statement(statement)
    if isinstance(outcome, InvalidStatementError):
        assert re.match(r"[a-z_]+: ", outcome.message)
    else:
        assert outcome == text


@settings(deadline=None)
@given(st.text())
def test_no_text_ends_in_another_error(text: str) -> None:
    with pytest.raises(InvalidStatementError):
        parse_statement(text)
    with pytest.raises(InvalidStatementError):
        parse_statement(EVM_TEXT + "\n!" + text)
