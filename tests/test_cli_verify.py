"""`verify`, `evidence`, `schema` and `ownership verify`, as an auditor types them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from command_line import COMMAND, CommandLine, Owner, Result

from chains.rpc import HttpRpc
from delegation.models import Delegation
from delegation.sandbox import Sandbox
from delegation.sandbox.artifacts import encode_call

AMOUNTS = ("authorised", "remaining", "balance", "spendable")


@dataclass(frozen=True)
class Granted:
    """A home whose owner has granted 5000 USDC by the command line."""

    cli: CommandLine
    owner: Owner
    network: str
    delegation: Delegation

    @property
    def hash(self) -> str:
        return str(self.delegation.approvals[-1].hash)

    def claim(self, **changes: str) -> list[str]:
        """The options of the claim, with changes; an empty value leaves one out."""
        said = {"network": self.network, "currency": "usdc", "owner": self.owner.address, "amount": "5000"} | changes
        return [part for name, value in said.items() if value for part in (f"--{name}", value)]

    async def verify(self, *more: str, **changes: str) -> Result:
        return await self.cli.call("--json", "verify", self.hash, *self.claim(**changes), *more)


@pytest.fixture(scope="module", params=["linea", "solana"])
async def granted(
    request: pytest.FixtureRequest, sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Granted]:
    cli = CommandLine(sandbox, tmp_path_factory.mktemp("home"))
    owner = await cli.owner(request.param)
    named = ("--network", request.param, "--currency", "usdc", "--wallet", str(owner.key_file))
    result = await cli.call("grant", *named, "--amount", "5000", "--yes")
    assert result.status == 0, result.err
    (delegation,) = cli.delegations()
    yield Granted(cli, owner, request.param, delegation)
    await cli.close()


@pytest.fixture
def evm(granted: Granted) -> Granted:
    if granted.network == "solana":
        pytest.skip("only on EVM networks")
    return granted


def verdicts(document: Any) -> dict[str, str]:
    return {finding["rule"]: finding["verdict"] for finding in document["findings"]}


async def test_a_true_claim_is_verified_with_the_stable_schema(granted: Granted) -> None:
    result = await granted.verify()
    document = result.document
    assert (result.status, document["verdict"], document["state"]) == (0, "VERIFIED", "active")
    assert document["method"] in {"direct", "instruction"}
    assert [document["amounts"][name] for name in AMOUNTS] == ["5000000000"] * 2 + ["1000000000000", "5000000000"]
    assert document["block"]["number"] >= document["included"]["number"] > 0
    assert document["tier"] == "T0", "one node was asked"
    assert document["finality"]
    fields = {"rule", "verdict", "message", "expected", "found", "about", "tier", "basis"}
    assert fields == set(document["findings"][0])
    assert set(verdicts(document).values()) == {"VERIFIED", "NOTED"}


async def test_the_report_in_words_names_each_rule_and_ends_with_the_verdict(granted: Granted) -> None:
    said = await granted.cli.call("verify", granted.hash, *granted.claim())
    as_json = (await granted.verify()).document
    assert said.status == 0
    assert said.out.rstrip().endswith("VERIFIED")
    for rule in verdicts(as_json):
        assert f"  {rule}" in said.out
    for words in ("ACTIVE", "5000 usdc (5000000000 base units)", "finality", "trust"):
        assert words in said.out


async def test_a_delegation_of_the_journal_needs_no_more_than_its_id_or_transaction(granted: Granted) -> None:
    result = await granted.cli.call("--json", "verify", granted.delegation.id)
    by_hash = await granted.cli.call("--json", "verify", granted.hash)
    document = result.document
    assert by_hash.document["claim"]["approval"] == document["claim"]["approval"]
    assert (result.status, document["verdict"]) == (0, "VERIFIED")
    assert verdicts(document)["ownership-signature"] == "VERIFIED"
    assert verdicts(document)["ownership-domain"] == "VERIFIED"
    assert document["ownership"]["method"] in {"eoa-ecdsa", "ed25519-raw"}


@pytest.mark.parametrize(
    "change",
    [{"amount": "4999"}, {"amount": "5000.000001"}, {"amount": "unlimited"}],
    ids=["less", "more", "unlimited"],
)
async def test_a10_another_amount_is_refuted_in_both_units(granted: Granted, change: dict[str, str]) -> None:
    result = await granted.verify(**change)
    assert (result.status, result.document["verdict"]) == (1, "REFUTED")
    assert verdicts(result.document)["amount"] == "REFUTED"


async def test_another_owner_is_refuted(granted: Granted) -> None:
    other = await granted.cli.owner(granted.network, gas=False, tokens=False)
    result = await granted.verify(owner=other.address)
    assert (result.status, result.document["verdict"]) == (1, "REFUTED")


async def test_another_spender_is_refuted_and_named_as_not_pinned(granted: Granted) -> None:
    other = await granted.cli.owner(granted.network, gas=False, tokens=False)
    result = await granted.verify(spender=other.address)
    assert (result.status, result.document["verdict"]) == (1, "REFUTED")
    pins = [finding for finding in result.document["findings"] if finding["rule"] == "pins"]
    assert [finding["found"] for finding in pins] == [other.address]


async def test_an_auditor_without_a_profile_names_the_addresses_and_a_node(evm: Granted, tmp_path: Path) -> None:
    known = evm.cli.sandbox.document.networks[evm.network]
    auditor = CommandLine(evm.cli.sandbox, tmp_path)
    by_address = ("--token", known.tokens["usdc"].address, "--spender", known.delegation_contract)
    asked = ("--json", "verify", evm.hash, *evm.claim(currency=""), *by_address, "--rpc", known.rpc_url)
    result = await auditor.call(*asked, profile="default")
    assert (result.status, result.document["verdict"]) == (0, "VERIFIED"), result.err
    assert len([finding for finding in result.document["findings"] if finding["rule"] == "pins"]) == 2


async def test_without_a_pin_and_a_profile_the_addresses_are_asked_for(granted: Granted, tmp_path: Path) -> None:
    auditor = CommandLine(granted.cli.sandbox, tmp_path)
    result = await auditor.call("verify", granted.hash, *granted.claim(currency="nosuch"), profile="default")
    assert result.status == 2
    assert "--token" in result.error


async def test_with_a_profile_and_no_pin_the_platform_is_asked_and_that_is_said(
    granted: Granted, tmp_path: Path
) -> None:
    auditor = CommandLine(granted.cli.sandbox, tmp_path)
    result = await auditor.call("--json", "verify", granted.hash, *granted.claim())
    assert (result.status, result.document["verdict"]) == (0, "VERIFIED")
    assert "the platform names at present" in str(result.document["findings"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "What to verify must be said"),
        (["HASH", "--bundle", "x.json"], "What to verify must be said"),
        (["HASH", "--network", "linea"], "--owner, --amount is missing"),
        (["0x" + "11" * 32], "--network, --owner, --amount is missing"),
        (["0x1234", "CLAIM"], "0x1234"),
        (["HASH", "CLAIM", "--rpc", "ftp://x"], "node"),
        (["HASH", "CLAIM", "--block", "yesterday"], "yesterday"),
        (["HASH", "CLAIM", "--message", "nosuch.txt", "--signature", "0x"], "nosuch.txt"),
        (["HASH", "CLAIM", "--signature", "0x"], "--message FILE and --signature"),
        (["--bundle", "nosuch.json"], "nosuch.json"),
        (["--bundle", "x.json", "--amount", "5"], "holds its whole claim"),
        (["nosuchid"], "nosuchid"),
    ],
)
async def test_bad_input_ends_with_2_and_says_what_is_wrong(granted: Granted, arguments: list[str], words: str) -> None:
    filled = [granted.hash if part == "HASH" else part for part in arguments]
    at = filled.index("CLAIM") if "CLAIM" in filled else None
    if at is not None:
        filled[at : at + 1] = granted.claim()
    result = await granted.cli.call("verify", *filled)
    assert result.status == 2, result
    assert words in result.error


@pytest.mark.parametrize("amount", ["1e3", " 5", "5,000", "0x5", "-0", "NaN", "0.0000001", "10" * 50])
async def test_a45_an_amount_that_is_none_ends_with_2(granted: Granted, amount: str) -> None:
    assert (await granted.cli.call("verify", granted.hash, *granted.claim(amount=""), f"--amount={amount}")).status == 2


async def test_a_node_that_cannot_be_reached_is_undetermined(granted: Granted) -> None:
    result = await granted.verify("--rpc", "http://127.0.0.1:9")
    assert (result.status, result.document["verdict"]) == (3, "UNDETERMINED")
    assert "did not answer" in str(result.document["findings"])


async def test_a2_a_node_of_another_chain_ends_with_2(evm: Granted) -> None:
    result = await evm.verify("--rpc", evm.cli.sandbox.document.networks["ethereum"].rpc_url)
    assert result.status == 2
    assert "answers for chain 1 and not for Linea" in result.error


async def test_evidence_is_written_once_and_verified_offline_to_the_same_verdict(
    granted: Granted, tmp_path: Path
) -> None:
    file = tmp_path / "evidence.json"
    written = await granted.cli.call("--json", "evidence", granted.delegation.id, "-o", str(file))
    assert written.status == 0, written.err
    assert str(file) in written.err
    again = await granted.cli.call("--json", "verify", "--bundle", str(file))
    said_of_files = {"findings", "tier_meaning"}
    assert again.status == 0
    assert {name: again.document[name] for name in again.document.keys() - said_of_files} == {
        name: written.document[name] for name in written.document.keys() - said_of_files
    }
    assert [each for each in again.document["findings"] if each["rule"] not in {"integrity", "quorum"}] == (
        written.document["findings"]
    )
    assert "is the file's own word" in again.document["tier_meaning"]

    twice = await granted.cli.call("evidence", granted.delegation.id, "-o", str(file))
    assert twice.status == 2
    assert "exists already" in twice.error

    file.write_bytes(file.read_bytes().replace(b"5000000000", b"6000000000", 1))
    altered = await granted.cli.call("--json", "verify", "--bundle", str(file))
    assert (altered.status, altered.document["verdict"]) == (1, "REFUTED")


GUARD = """
import os, socket, sys

def refuse(event, arguments):
    # An event loop wakes itself through an unnamed pair of sockets, which leads nowhere.
    if event.startswith("socket.") and not (event == "socket.__new__" and arguments[1] == socket.AF_UNIX):
        os.write(2, f"refused: {event}".encode())
        os._exit(97)

sys.addaudithook(refuse)
"""


async def test_a_bundle_is_verified_by_a_process_that_can_open_no_socket(granted: Granted, tmp_path: Path) -> None:
    file = tmp_path / "evidence.json"
    assert (await granted.cli.call("evidence", granted.hash, *granted.claim(), "-o", str(file))).status == 0
    # Python runs this file, PEP 578's audit hook in it, before anything of ours.
    (tmp_path / "sitecustomize.py").write_text(GUARD)
    environment = {**granted.cli.environment, "PYTHONPATH": str(tmp_path)}

    async def guarded(*arguments: str) -> tuple[int | None, str, str]:
        pipe = asyncio.subprocess.PIPE
        started = await asyncio.create_subprocess_exec(COMMAND, *arguments, env=environment, stdout=pipe, stderr=pipe)
        granted.cli.processes.append(started)
        out, err = await asyncio.wait_for(started.communicate(), 60)
        return started.returncode, out.decode(), err.decode()

    status, out, err = await guarded("verify", "--bundle", str(file))
    assert (status, out.splitlines()[-1]) == (0, "VERIFIED"), err
    status, out, err = await guarded("--profile", "sandbox", "verify", granted.hash, *granted.claim())
    assert (status, out) == (97, ""), "the same process cannot ask a node"
    assert "refused: socket." in err


async def test_evidence_of_a_transaction_that_refutes_is_written_too(granted: Granted, tmp_path: Path) -> None:
    file = tmp_path / "evidence.json"
    claim = granted.claim(amount="7")
    written = await granted.cli.call("--json", "evidence", granted.hash, *claim, "-o", str(file))
    assert (written.status, written.document["verdict"]) == (1, "REFUTED")
    assert (await granted.cli.call("verify", "--bundle", str(file))).status == 1


async def test_state_at_an_earlier_block_is_read_there(evm: Granted) -> None:
    first = (await evm.verify()).document
    block = first["included"]["number"]
    rpc = HttpRpc(evm.cli.sandbox.document.networks[evm.network].rpc_url)
    try:
        await rpc.request("evm_mine")
    finally:
        await rpc.aclose()
    at_block = (await evm.verify("--block", str(block))).document
    assert (at_block["block"]["number"], at_block["verdict"]) == (block, "VERIFIED")


async def test_the_schema_command_prints_json_schema(granted: Granted) -> None:
    for name in ("report", "evidence"):
        result = await granted.cli.call("--json", "schema", name)
        assert result.status == 0
        assert result.document["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    properties = (await granted.cli.call("--json", "schema", "report")).document["properties"]
    assert set(properties) == set((await granted.verify()).document)


async def test_a_statement_belongs_to_the_claim(granted: Granted, tmp_path: Path) -> None:
    ownership = granted.delegation.ownership
    assert ownership is not None
    message = tmp_path / "message.txt"
    message.write_bytes(ownership.message.encode())
    at = (datetime.now(UTC) - timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    signed = ("--message", str(message), "--signature", ownership.signature, "--at", at)
    nonce = granted.delegation.delegation_token.nonce if granted.delegation.delegation_token is not None else ""
    result = await granted.verify(*signed, "--nonce", nonce)
    assert (result.status, verdicts(result.document)["ownership-nonce"]) == (0, "VERIFIED")
    assert result.document["ownership"]["not_checked"] == ["domain", "uri"]
    # Attack A26: the nonce of another session.
    other = await granted.verify(*signed, "--nonce", "another12345")
    assert (other.status, verdicts(other.document)["ownership-nonce"]) == (1, "REFUTED")


async def test_ownership_verify_checks_domain_nonce_and_time_and_answers_the_same_way(
    granted: Granted, tmp_path: Path
) -> None:
    ownership = granted.delegation.ownership
    assert ownership is not None
    file = tmp_path / "message.txt"
    file.write_bytes(ownership.message.encode())
    domain = ownership.message.partition(" ")[0]
    asked = ["--json", "ownership", "verify", "--network", granted.network, "--address", granted.owner.address]
    asked += ["--message", str(file), "--signature", ownership.signature]
    good = await granted.cli.call(*asked, "--domain", domain)
    assert (good.status, good.document["verdict"]) == (0, "VERIFIED")
    assert good.document["ownership"]["not_checked"] == ["nonce"]
    for more, rule in (
        (("--domain", f"{domain}.evil.example"), "domain"),
        (("--nonce", "another12345"), "nonce"),
        (("--at", "2020-01-01T00:00:00Z"), "time"),
    ):
        bad = await granted.cli.call(*asked, *more)
        assert (bad.status, verdicts(bad.document)[rule]) == (1, "REFUTED")
    assert (await granted.cli.call(*asked, "--at", "yesterday")).status == 2


async def test_a_contract_wallets_signature_needs_a_node(evm: Granted, tmp_path: Path) -> None:
    known = evm.cli.sandbox.document.networks[evm.network]
    file = tmp_path / "message.txt"
    file.write_text("I own this")
    wrapped = "0x" + "11" * 96 + "6492" * 16
    asked = ["--json", "ownership", "verify", "--network", evm.network, "--address", known.delegation_contract]
    asked += ["--message", str(file), "--signature", wrapped]
    without = await evm.cli.call(*asked)
    assert verdicts(without.document)["signature"] == "UNDETERMINED"
    with_node = await evm.cli.call(*asked, "--rpc", known.rpc_url)
    assert verdicts(with_node.document)["signature"] == "REFUTED"


async def test_what_became_of_it_is_told_after_a_spend_and_a_revocation(sandbox: Sandbox, tmp_path: Path) -> None:
    cli = CommandLine(sandbox, tmp_path)
    owner = await cli.owner("linea")
    named = ("--network", "linea", "--currency", "usdc", "--wallet", str(owner.key_file), "--yes")
    assert (await cli.call("grant", *named, "--amount", "100")).status == 0
    (delegation,) = cli.delegations()
    await sandbox.spend("linea", "usdc", owner.address, 30 * 10**6)
    spent = (await cli.call("--json", "verify", delegation.id)).document
    assert (spent["verdict"], spent["state"], spent["amounts"]["remaining"]) == ("VERIFIED", "reduced", "70000000")
    assert (await cli.call("revoke", *named)).status == 0
    revoked = await cli.call("--json", "verify", delegation.id)
    assert (revoked.status, revoked.document["state"]) == (0, "revoked")
    strictly = await cli.call("--json", "verify", delegation.id, "--active")
    assert (strictly.status, strictly.document["verdict"]) == (1, "REFUTED")
    revocation = cli.delegations()[-1]
    assert (await cli.call("--json", "verify", revocation.id)).document["verdict"] == "VERIFIED"
    await cli.close()


async def test_a_raw_transaction_that_never_landed_is_named_by_what_became_of_it(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    from eth_account import Account

    cli = CommandLine(sandbox, tmp_path)
    wallet = await sandbox.new_wallet("evm")
    known = sandbox.document.networks["base"]
    call = encode_call("approve(address,uint256)", known.delegation_contract, 5 * 10**6)
    fields = {"to": known.tokens["usdc"].address, "data": call, "nonce": 0, "type": 2, "chainId": 8453, "value": 0}
    fields |= {"gas": 100_000, "maxFeePerGas": 50 * 10**9, "maxPriorityFeePerGas": 10**9}
    signed = Account.sign_transaction(fields, wallet.private_key)
    hash_, raw = "0x" + signed.hash.hex(), "0x" + signed.raw_transaction.hex()
    claim = ("--network", "base", "--currency", "usdc", "--owner", wallet.address, "--amount", "5")
    unknown = await cli.call("--json", "verify", hash_, *claim)
    assert (unknown.status, unknown.document["state"]) == (3, None)
    dropped = await cli.call("--json", "verify", hash_, *claim, "--raw", raw)
    assert (dropped.status, dropped.document["state"]) == (3, "dropped")
    other = Account.sign_transaction(fields | {"data": "0x", "value": 1}, wallet.private_key)
    rpc = HttpRpc(known.rpc_url)
    try:
        await rpc.request("eth_sendRawTransaction", ["0x" + other.raw_transaction.hex()])
    finally:
        await rpc.aclose()
    replaced = await cli.call("--json", "verify", hash_, *claim, "--raw", raw)
    assert (replaced.status, replaced.document["state"]) == (1, "replaced")
    assert json.loads(replaced.out)["verdict"] == "REFUTED"
    await cli.close()
