"""How strictly the simulated platform reads an ownership statement."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from delegation.sandbox.platform.errors import Refused
from delegation.sandbox.platform.statement import check_statement

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
ADDRESS = "0x3a11a86Cf218C448bE519728cd3Ac5c741FB3424"
NONCE = "5f8a9b2c4d3e1a7b9c6d8e2f"
TEXT = f"""metamask.app.link wants you to sign in with your Ethereum account:
{ADDRESS}

Prove address ownership

URI: https://metamask.app.link
Version: 1
Chain ID: 59144
Nonce: {NONCE}
Issued At: 2026-01-01T12:00:00.000Z
Expiration Time: 2026-01-01T12:02:00.000Z"""


def check(text: str, **changes: Any) -> None:
    expected: dict[str, Any] = {
        "ledger": "Ethereum",
        "address": ADDRESS,
        "chain_id": "59144",
        "nonce": NONCE,
        "now": NOW,
    }
    check_statement(text, **(expected | changes))


def test_the_text_of_the_shipping_client_is_taken():
    check(TEXT)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("\nExpiration Time: 2026-01-01T12:02:00.000Z", ""),
        ("Prove address ownership\n\n", "\n"),
        ("metamask.app.link wants", "https://metamask.app.link wants"),
        ("metamask.app.link wants", "localhost:8080 wants"),
        ("metamask.app.link wants", "[::1]:80 wants"),
        ("12:00:00.000Z", "14:00:00+02:00"),
        (
            "12:02:00.000Z",
            "12:02:00.000Z\nNot Before: 2026-01-01T11:00:00Z\nRequest ID: some-id\nResources:\n- ipfs://x",
        ),
    ],
)
def test_what_eip_4361_allows_is_taken(old: str, new: str):
    assert old in TEXT
    check(TEXT.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (ADDRESS, ADDRESS.lower(), "address is"),
        ("Chain ID: 59144", "Chain ID: 59141", "chain id is 59141, expected 59144"),
        ("Chain ID: 59144", "Chain ID: 059144", "chain id is 059144"),
        ("Chain ID: 59144", "Chain ID: 0xe708", "not an EIP-4361 statement"),
        ("Version: 1", "Version: 2", "version is 2"),
        (NONCE, NONCE[:-1] + "0", "nonce is"),
        (NONCE, "short", "not an EIP-4361 statement"),
        (NONCE, "bm9uY2U1234=", "not an EIP-4361 statement"),
        ("Ethereum account", "Solana account", "account kind is Solana"),
        ("metamask.app.link wants", "Website x wants", "not an EIP-4361 statement"),
        ("metamask.app.link wants", "metamask.app.link@evil.example wants", "not an EIP-4361 statement"),
        ("metamask.app.link wants", "metamask.app.link. wants", "not an EIP-4361 statement"),
        ("metamask.app.link wants", " wants", "not an EIP-4361 statement"),
        ("https://metamask.app.link", "websitex.example.com", "not an EIP-4361 statement"),
        ("ownership\n", "ownership\nURI: https://evil.example\n", "not an EIP-4361 statement"),
        ("ownership\n", "ownership\r\n", "not an EIP-4361 statement"),
        ("ownership", "öwnership", "not an EIP-4361 statement"),
        (f"Version: 1\nChain ID: 59144\nNonce: {NONCE}", f"Version: 1\nNonce: {NONCE}\nChain ID: 59144", "not an EIP"),
        ("2026-01-01T12:02:00.000Z", "2026-01-01T12:02:00.000Z\n", "not an EIP-4361 statement"),
        ("2026-01-01T12:00:00.000Z", "2026-01-01 12:00:00.000Z", "issued-at is not an RFC 3339 time"),
        ("2026-01-01T12:00:00.000Z", "2026-01-01T12:00:00.000", "issued-at is not an RFC 3339 time"),
        ("2026-01-01T12:00:00.000Z", "2026-02-30T12:00:00.000Z", "issued-at is not an RFC 3339 time"),
        ("2026-01-01T12:00:00.000Z", "2026-01-01T12:01:01.000Z", "issued in the future"),
        ("2026-01-01T12:02:00.000Z", "2026-01-01T12:00:00.000Z", "expired"),
        ("2026-01-01T12:02:00.000Z", "2026-01-01T12:02:00Z\nNot Before: 2026-01-01T12:01:00Z", "not valid yet"),
    ],
)
def test_what_eip_4361_forbids_is_refused_by_name(old: str, new: str, reason: str):
    assert old in TEXT
    with pytest.raises(Refused, match="Invalid sigMessage: ") as refusal:
        check(TEXT.replace(old, new))
    assert refusal.value.status == 400
    assert reason in refusal.value.message


def test_a_clock_that_is_a_minute_ahead_is_forgiven():
    check(TEXT.replace("12:00:00.000Z", "12:01:00.000Z"))


def test_it_expires_at_the_second_it_names():
    check(TEXT, now=NOW + timedelta(seconds=119))
    with pytest.raises(Refused, match="expired"):
        check(TEXT, now=NOW + timedelta(seconds=120))


def test_the_solana_twin_is_the_same_text_with_chain_id_1_and_no_expiry():
    owner = "DYw8jCTfwHNRJhhmFcbXvVDTqWMEVFBX6ZKUmG5CNSKK"
    text = TEXT.replace(ADDRESS, owner).replace("Ethereum", "Solana").replace("59144", "1").rpartition("\n")[0]
    check(text, ledger="Solana", address=owner, chain_id="1")
