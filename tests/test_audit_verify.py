"""The auditor's verbs as a library: a statement alone, what is loaded for it, and the names that a newcomer finds."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from chains import get_chain
from chains.claims import Expectations, OwnershipClaim
from chains.errors import InputError, NodeError, WrongChainError
from chains.ownership import format_statement, make_statement
from chains.wallets import load_wallet, write_secret_file
from delegation import verify_statement
from delegation.sandbox import Sandbox

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DOMAIN, NONCE = "card.example.com", "5f8a9b2c4d3e1a7b"


@pytest.fixture
async def claim(tmp_path: Path) -> OwnershipClaim:
    """A true claim that an owner signed a statement, valid at one moment."""
    write_secret_file(tmp_path / "key", "0x" + "11" * 32)
    wallet, chain = load_wallet(str(tmp_path / "key")), get_chain("linea")
    statement = make_statement(
        chain, wallet.address, domain=DOMAIN, uri=None, nonce=NONCE, issued_at=NOW, lifetime=timedelta(minutes=2)
    )
    message = format_statement(statement)
    expectations = Expectations(domain=DOMAIN, uri=None, nonce=NONCE, at=NOW + timedelta(seconds=5))
    return OwnershipClaim(chain, wallet.address, message, await wallet.sign_message(message), expectations)


def changed(claim: OwnershipClaim, **changes: str) -> OwnershipClaim:
    fields = {"owner": claim.owner, "message": claim.message, "signature": claim.signature} | changes
    return OwnershipClaim(claim.chain, **fields, expectations=claim.expectations)


async def test_a_statement_alone_is_verified_without_any_node(claim: OwnershipClaim) -> None:
    report = await verify_statement(claim, now=lambda: NOW)
    assert (report.verdict, report.checked_at, report.claim) == ("VERIFIED", NOW, None)
    assert report.ownership is not None
    assert report.ownership.method == "eoa-ecdsa"
    assert report.software["delegation-toolkit"]


async def test_another_text_or_another_owner_is_refuted(claim: OwnershipClaim) -> None:
    for other in (
        changed(claim, message=claim.message + "\n"),
        changed(claim, owner="0x3a11a86Cf218C448bE519728cd3Ac5c741FB3424"),
    ):
        assert (await verify_statement(other)).verdict == "REFUTED"


async def test_a_contract_wallets_signature_needs_a_node(claim: OwnershipClaim, sandbox: Sandbox) -> None:
    known = sandbox.document.networks["linea"]
    wrapped = changed(claim, owner=known.delegation_contract, signature="0x" + "11" * 96 + "6492" * 16)
    without = await verify_statement(wrapped)
    assert {one.rule: one.verdict for one in without.findings}["signature"] == "UNDETERMINED"
    with_node = await verify_statement(wrapped, known.rpc_url)
    assert {one.rule: one.verdict for one in with_node.findings}["signature"] == "REFUTED"
    with pytest.raises(WrongChainError):
        await verify_statement(wrapped, sandbox.document.networks["base"].rpc_url)
    with pytest.raises(NodeError):
        await verify_statement(wrapped, "http://127.0.0.1:9")
    with pytest.raises(InputError):
        await verify_statement(wrapped, "https://")


def loaded_by(code: str) -> set[str]:
    """Return the modules that a fresh interpreter has loaded after some code."""
    shown = f"import json, sys\n{code}\nprint(json.dumps(sorted(sys.modules)))"
    ended = subprocess.run([sys.executable, "-c", shown], capture_output=True, text=True, check=True, timeout=60)
    return set(json.loads(ended.stdout))


NEVER_OFFLINE = {
    "httpx",
    "sqlite3",
    "sqlalchemy",
    "websockets",
    "delegation.gateway",
    "delegation.journal",
    "delegation.pins",
    "delegation.profile",
    "delegation.audit.assets",
}


def test_what_reads_evidence_loads_no_client_and_no_journal() -> None:
    file = Path(__file__).parent / "documents" / "evidence-1-linea.json"
    used = f"verify_evidence(open({str(file)!r}, 'rb').read()).verdict"
    loaded = loaded_by(f"from delegation.audit import verify_evidence\nassert {used} == 'VERIFIED'")
    assert "delegation.audit.evidence" in loaded
    assert not loaded & NEVER_OFFLINE
    for name in ("find_claimed_asset", "claim_approval"):
        assert loaded_by(f"from delegation.audit import {name}") >= {"sqlite3", "delegation.journal"}


def test_the_package_alone_loads_nothing() -> None:
    assert not {name for name in loaded_by("import delegation.audit") if name.startswith(("pydantic", "chains"))}
