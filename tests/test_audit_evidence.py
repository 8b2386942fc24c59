"""Evidence files: written once, verified again with no network, and worth nothing once a single byte is another."""

from __future__ import annotations

import hashlib
import json
import random
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from line_lab import open_line
from relay import falsified, relay

from chains.rpc import HttpRpc
from chains.rpc.transcript import Exchange
from delegation import Claim, Policy, Report, utc_now, verify_evidence, verify_with_evidence
from delegation.audit import claim_of, evidence_schema
from delegation.audit import nodes as asking
from delegation.audit.evidence import VERSION, write_evidence
from delegation.audit.policy import operator_of
from delegation.audit.verdict import make_report
from delegation.sandbox import Sandbox

AMOUNT = "5000"
DOCUMENTS = Path(__file__).parent / "documents"
# Other questions only add to a report: what bars a spend, the code of the owner's account, the finality of the block.
BEARING = {
    "eth_chainId",
    "eth_getTransactionByHash",
    "eth_getTransactionReceipt",
    "eth_getBlockByNumber",
    "eth_getBlockReceipts",
    "eth_call",
    "eth_createAccessList",
    "eth_getProof",
    "getGenesisHash",
    "getTransaction",
    "getMultipleAccounts",
}


@dataclass(frozen=True)
class Filed:
    """An evidence file, and the report that it was written with."""

    file: bytes
    report: Report
    access_token: str

    @property
    def content(self) -> Any:
        return json.loads(self.file)


async def file_evidence(claim: Claim, url: str, access_token: str) -> Filed:
    report, file = await verify_with_evidence(claim, [url])
    return Filed(file, report, access_token)


@pytest.fixture(scope="module", params=["linea", "solana"])
async def filed(request: pytest.FixtureRequest, sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Filed:
    """Evidence of a whole delegation, with its statement, as the journal holds it."""
    async with open_line(sandbox, tmp_path_factory.mktemp("line"), request.param) as line:
        done = await line.carry(AMOUNT)
        chain = line.context.node.chain
        claim = claim_of(done, chain, domain=line.context.terms.domain, now=utc_now())
        return await file_evidence(claim, chain.rpc_url, sandbox.document.gateway.access_token)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No socket can be opened any more."""

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)


def sealed(content: Any) -> bytes:
    """Return a file with these contents whose digest fits, as a forger who knows the format makes it."""

    def canonical(value: Any) -> bytes:
        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode() + b"\n"

    content = content | {"digest": ""}
    for number, endpoint in enumerate(content["endpoints"]):
        for index, exchange in enumerate(endpoint["exchanges"]):
            name = f"endpoints/{number}/exchanges/{index}/body"
            if exchange["body"] is not None:
                content["manifest"][name] = hashlib.sha256(exchange["body"].encode()).hexdigest()
    return canonical(content | {"digest": hashlib.sha256(canonical(content)).hexdigest()})


def follows(again: Report, report: Report) -> bool:
    """Return whether a report from a file is the one that was made of the nodes, but for what is said of files."""

    def core(each: Report) -> dict[str, Any]:
        findings = [found.model_dump() for found in each.findings if found.rule not in {"integrity", "quorum"}]
        return each.model_dump(exclude={"findings", "tier_meaning"}) | {"findings": findings}

    return core(again) == core(report)


def concluded(content: Any) -> bytes:
    """Return a file with this claim, this policy and these answers, and with all that this software concludes."""
    claim, policy = Claim.model_validate(content["claim"]), Policy.model_validate(content["policy"])
    recorded = [
        (
            asking.Endpoint(endpoint["url"], operator_of(endpoint["url"])),
            tuple(Exchange(**exchange) for exchange in endpoint["exchanges"]),
        )
        for endpoint in content["endpoints"]
    ]
    results = asking.replay_nodes(claim, recorded, policy)
    return write_evidence(claim, policy, results, make_report(claim, policy, results, now=utc_now()))


@pytest.mark.usefixtures("offline")
def test_the_same_report_follows_with_no_network(filed: Filed) -> None:
    again = verify_evidence(filed.file)
    assert follows(again, filed.report)
    assert again.verdict == "VERIFIED"
    assert again.ownership is not None


def test_the_file_is_canonical_json_and_its_manifest_names_every_body(filed: Filed) -> None:
    assert sealed(filed.content) == filed.file
    bodies = sum(len(endpoint["exchanges"]) for endpoint in filed.content["endpoints"])
    assert len(filed.content["manifest"]) == bodies > 4


def test_the_file_holds_claim_statement_signature_transaction_and_tier(filed: Filed) -> None:
    content = filed.content
    assert content["claim"]["approval"]["transaction"] == filed.report.claim.approval.transaction  # type: ignore[union-attr]
    assert content["claim"]["statement"]["signature"]
    assert content["report"]["tier"] == "T0"
    (exhibits,) = content["exhibits"].values()
    assert exhibits


def test_a43_the_file_holds_no_secret(filed: Filed) -> None:
    assert filed.access_token.encode() not in filed.file


def test_every_flipped_byte_is_noticed(filed: Filed) -> None:
    chance = random.Random(3)
    places = {*range(40), *(chance.randrange(len(filed.file)) for _ in range(260)), len(filed.file) - 1}
    for place in sorted(places):
        flipped = bytearray(filed.file)
        flipped[place] ^= 1 << chance.randrange(8)
        assert verify_evidence(bytes(flipped)).verdict in {"REFUTED", "UNDETERMINED"}, place


def test_a_file_that_was_reformatted_holds_the_same_and_says_so(filed: Filed) -> None:
    reordered = dict(reversed(filed.content.items()))
    for spelling in (
        json.dumps(filed.content, indent=2).encode(),
        json.dumps(reordered).encode(),
        filed.file + b" ",
        filed.file.rstrip(),
    ):
        report = verify_evidence(spelling)
        assert follows(report, filed.report)
        (integrity,) = [found for found in report.findings if found.rule == "integrity"]
        assert (integrity.verdict, "was reformatted" in integrity.message) == ("NOTED", True)
    changed = filed.content
    changed["report"]["state"] = "revoked"
    assert verify_evidence(json.dumps(changed, indent=2).encode()).verdict == "REFUTED"


def test_a_conclusion_that_does_not_follow_from_the_answers_is_refuted(filed: Filed) -> None:
    def change_state(content: Any) -> None:
        content["report"]["state"] = "revoked"

    def change_amount(content: Any) -> None:
        content["report"]["amounts"]["remaining"] = "7"

    def change_exhibit(content: Any) -> None:
        next(iter(content["exhibits"].values()))["forged"] = True

    def drop_exhibits(content: Any) -> None:
        content["exhibits"] = {}

    def change_a_word(content: Any) -> None:
        content["report"]["findings"][2]["message"] += " Certainly."

    def add_a_finding(content: Any) -> None:
        content["report"]["findings"].append({"rule": "quorum", "verdict": "NOTED", "message": "All agree."})

    def raise_a_tier(content: Any) -> None:
        next(found for found in content["report"]["findings"] if found["tier"] == "T0")["tier"] = "T2"

    def change_a_node(content: Any) -> None:
        content["report"]["endpoints"][0]["outcome"] = "differs"

    changes = {
        change_state: "state",
        change_amount: "amounts",
        change_exhibit: "exhibits",
        drop_exhibits: "exhibits",
        change_a_word: "findings",
        add_a_finding: "findings",
        raise_a_tier: "findings",
        change_a_node: "endpoints",
    }
    for change, name in changes.items():
        content = filed.content
        change(content)
        report = verify_evidence(sealed(content))
        assert (report.verdict, report.tier) == ("REFUTED", "T3"), change.__name__
        (found,) = [each for each in report.findings if each.rule == "evidence"]
        assert f"{name} differ." in found.message


def test_who_made_the_software_and_when_is_no_conclusion(filed: Filed) -> None:
    content = filed.content
    content["report"] |= {"checked_at": "2031-01-01T00:00:00Z", "software": {"delegation-toolkit": "9.9"}}
    assert verify_evidence(sealed(content)).verdict == filed.report.verdict


def test_a_reader_may_ask_for_more_than_the_file_did_and_never_for_less(filed: Filed) -> None:
    strict = verify_evidence(filed.file, least_tier="T2")
    assert (strict.verdict, strict.policy and strict.policy.least_tier) == ("UNDETERMINED", "T2")
    active = verify_evidence(filed.file, active=True)
    assert (active.verdict, active.policy and active.policy.active) == ("VERIFIED", True)
    content = filed.content
    content["policy"]["least_tier"] = content["report"]["policy"]["least_tier"] = "T3"
    assert verify_evidence(sealed(content), least_tier="T0").verdict != "VERIFIED"


def test_a_claim_that_was_changed_is_not_verified(filed: Filed) -> None:
    def change(content: Any, part: str, name: str, value: Any) -> None:
        content["claim"][part][name] = value

    other = filed.report.claim.approval  # type: ignore[union-attr]
    for part, name, value in (
        ("approval", "amount", "4999000000"),
        ("approval", "spender", other.owner),
        ("approval", "token", {"symbol": "usdc", "address": other.owner, "decimals": 6}),
        ("statement", "nonce", "another-nonce-12345"),
        ("statement", "domain", "evil.example"),
        ("statement", "message", "I own this"),
    ):
        content = filed.content
        change(content, part, name, value)
        assert verify_evidence(sealed(content)).verdict != "VERIFIED", name


def test_without_an_answer_that_bears_the_verdict_it_is_not_verified(filed: Filed) -> None:
    def leave_out(content: Any, index: int) -> None:
        content["endpoints"][0]["exchanges"][index]["body"] = None
        content["manifest"].pop(f"endpoints/0/exchanges/{index}/body")

    assert not survivors(filed, leave_out) & BEARING


def test_an_answer_that_a_forger_replaces_by_null_is_noticed_where_it_bears_the_verdict(filed: Filed) -> None:
    def nullify(content: Any, index: int) -> None:
        exchange = content["endpoints"][0]["exchanges"][index]
        exchange["body"] = json.dumps({"jsonrpc": "2.0", "id": 1, "result": None})

    assert not survivors(filed, nullify) & BEARING


def survivors(filed: Filed, change: Callable[[Any, int], None]) -> set[str]:
    """Return the methods without the first answer of which the file, sealed again, is still VERIFIED."""
    seen, survived = set(), set()
    for index, exchange in enumerate(filed.content["endpoints"][0]["exchanges"]):
        if exchange["method"] in seen:
            continue
        seen.add(exchange["method"])
        content = filed.content
        change(content, index)
        if verify_evidence(sealed(content)).verdict == "VERIFIED":
            survived.add(exchange["method"])
    return survived


@given(
    st.binary(max_size=200)
    | st.text(max_size=200).map(str.encode)
    | st.builds(
        json.dumps,
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=20),
            lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
            max_leaves=20,
        ),
    ).map(str.encode)
)
def test_a_file_that_is_no_evidence_is_undetermined(file: bytes) -> None:
    assert verify_evidence(file).verdict == "UNDETERMINED"


@pytest.mark.parametrize("change", ["format", "claim", "policy", "endpoints", "report", "manifest", "digest"])
def test_a_file_that_lacks_a_part_is_undetermined(filed: Filed, change: str) -> None:
    content = filed.content
    del content[change]
    assert verify_evidence(json.dumps(content).encode()).verdict == "UNDETERMINED"


def test_a_block_hash_of_the_auditors_own_decides_the_tier(filed: Filed) -> None:
    report = filed.report
    assert report.included is not None
    if not report.included.hash:
        pytest.skip("nothing is proved on Solana")
    assert verify_evidence(filed.file, trusted_blocks=[report.included.hash]).tier == "T3"
    again = verify_evidence(filed.file, trusted_blocks=["0x" + "00" * 32])
    assert (again.verdict, again.tier) == ("VERIFIED", "T0")


def old_file(network: str, version: int = 1) -> bytes:
    """Return a file that was written when its format was new."""
    return (DOCUMENTS / f"evidence-{version}-{network}.json").read_bytes()


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("network", ["linea", "solana"])
def test_a_file_of_format_2_keeps_its_verdict(network: str) -> None:
    written = json.loads(old_file(network, 2))
    assert written["format"] == "delegation-evidence/2"
    report = verify_evidence(old_file(network, 2))
    assert (report.verdict, report.state, report.tier) == ("VERIFIED", written["report"]["state"], "T0")
    assert "made anew" in next(one.message for one in report.findings if one.rule == "evidence")


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("network", ["linea", "solana"])
def test_a_file_of_todays_format_says_word_for_word_what_it_said(network: str) -> None:
    """Whoever changes a word of a report, or a question to a node, raises the number of the format."""
    written = json.loads(old_file(network, VERSION))
    report = verify_evidence(old_file(network, VERSION))
    assert report.verdict == "VERIFIED"
    assert all(one.rule != "evidence" for one in report.findings)
    told = [one.model_dump() for one in report.findings if one.rule not in {"integrity", "quorum"}]
    assert told == written["report"]["findings"]


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(("network", "tier"), [("linea", "T0"), ("solana", "T0")])
def test_a_file_of_format_1_verifies_to_what_it_said(network: str, tier: str) -> None:
    written = json.loads(old_file(network))
    assert written["format"] == "delegation-evidence/1"
    report = verify_evidence(old_file(network))
    assert (report.verdict, report.tier, report.format) == ("VERIFIED", tier, "delegation-report/3")
    assert report.policy is not None
    assert report.policy.quorum == written["claim"]["terms"]["quorum"]
    assert [endpoint.outcome for endpoint in report.endpoints] == ["agrees"]
    assert "made anew" in next(one.message for one in report.findings if one.rule == "evidence")


@pytest.mark.parametrize("network", ["linea", "solana"])
def test_a_file_of_format_1_is_as_hard_to_alter_as_any(network: str) -> None:
    file, chance = old_file(network), random.Random(5)
    for place in sorted(chance.randrange(len(file)) for _ in range(60)):
        flipped = bytearray(file)
        flipped[place] ^= 1 << chance.randrange(8)
        assert verify_evidence(bytes(flipped)).verdict in {"REFUTED", "UNDETERMINED"}, place
    content = json.loads(file)
    for name, other in (("method", "logs"), ("included", {"number": 1, "hash": "0x" + "ab" * 32})):
        forged = json.loads(file)
        forged["report"][name] = other
        assert verify_evidence(sealed(forged)).verdict == "REFUTED", "sealed again, the answers do not bear it out"
    content["report"] |= {"verdict": "REFUTED", "state": "revoked"}
    assert verify_evidence(sealed(content)).verdict == "VERIFIED", "what it concludes is made anew"


@pytest.mark.parametrize(
    ("name", "value", "rule"), [("quorum", 2, "quorum"), ("least_tier", "T3", "inclusion"), ("active", True, None)]
)
def test_the_terms_of_format_1_are_the_policy_under_which_it_is_checked(
    name: str, value: Any, rule: str | None
) -> None:
    content = json.loads(old_file("linea"))
    for claim in (content["claim"], content["report"]["claim"]):
        claim["terms"][name] = value
    report = verify_evidence(sealed(content))
    assert report.policy is not None
    assert getattr(report.policy, name) == value
    undetermined = {one.rule for one in report.findings if one.verdict == "UNDETERMINED"}
    assert rule in undetermined if rule else not undetermined


@pytest.mark.parametrize(
    "part", ["claim", "report", "endpoints", "manifest", "claim.terms", "report.claim", "report.endpoints"]
)
@pytest.mark.parametrize("value", [None, 1, "x", [1], {"x": 1}])
def test_a_file_of_format_1_with_something_else_in_a_place_is_not_verified(part: str, value: Any) -> None:
    content = json.loads(old_file("solana"))
    holder, _, name = part.rpartition(".")
    (content[holder] if holder else content)[name] = value
    for file in (json.dumps(content).encode(), sealed_as_it_is(content)):
        assert verify_evidence(file).verdict in {"REFUTED", "UNDETERMINED"}


def sealed_as_it_is(content: Any) -> bytes:
    """Return a file whose digest fits, whatever it holds in the place of answers."""
    spelled = json.dumps(content | {"digest": ""}, sort_keys=True, separators=(",", ":")) + "\n"
    digest = hashlib.sha256(spelled.encode()).hexdigest()
    return spelled.replace('"digest":""', f'"digest":"{digest}"', 1).encode()


def test_a_format_that_is_newer_than_ours_is_undetermined_and_says_to_upgrade(filed: Filed) -> None:
    content = filed.content | {"format": "delegation-evidence/4", "signatures": []}
    report = verify_evidence(sealed(content))
    assert report.verdict == "UNDETERMINED"
    (found,) = report.findings
    assert "format 4" in found.message
    assert "Upgrade the software" in found.message


@pytest.mark.parametrize("named", ["delegation-evidence/0", "delegation-evidence/2.1", "delegation-report/2", "", None])
def test_a_file_of_no_known_format_is_undetermined(filed: Filed, named: str | None) -> None:
    report = verify_evidence(sealed(filed.content | {"format": named}))
    assert report.verdict == "UNDETERMINED"
    assert "evidence file" in report.findings[0].message


def test_the_schema_describes_the_file(filed: Filed) -> None:
    schema = evidence_schema()
    assert set(filed.content) == set(schema["properties"])
    assert set(schema["required"]) <= set(filed.content)


async def test_evidence_of_a_false_claim_refutes_again(sandbox: Sandbox, tmp_path: Path) -> None:
    async with open_line(sandbox, tmp_path, "ethereum") as line:
        done = await line.carry(AMOUNT)
        claim = claim_of(done, line.context.node.chain, domain=line.context.terms.domain, now=utc_now())
        approval = claim.approval.model_copy(update={"amount": claim.approval.amount + 1})
        filed = await file_evidence(claim.model_copy(update={"approval": approval}), line.known.rpc_url, "")
    assert filed.report.verdict == "REFUTED"
    assert follows(verify_evidence(filed.file), filed.report)


def _replaced(body: Any, old: str, new: str) -> Any:
    return json.loads(json.dumps(body).replace(old, new))


def _other_data(receipt: Any) -> Any:
    return _replaced(receipt, f"{5_000_000_000:x}", f"{5_000_000_001:x}")


def _other_bloom(receipt: Any) -> Any:
    return receipt | {"logsBloom": "0x01" + receipt["logsBloom"][4:]}


def _other_block(receipt: Any) -> Any:
    return receipt | {"blockHash": "0x" + "ab" * 32}


def _cut_storage_proof(proof: Any) -> Any:
    (slot,) = proof["storageProof"]
    return proof | {"storageProof": [slot | {"proof": slot["proof"][:-1]}]}


def _empty_storage_proof(proof: Any) -> Any:
    (slot,) = proof["storageProof"]
    return proof | {"storageProof": [slot | {"proof": [], "value": "0x0"}]}


def _cut_account_proof(proof: Any) -> Any:
    return proof | {"accountProof": proof["accountProof"][:-1]}


FALSIFIED = {
    "status": ("eth_getTransactionReceipt", lambda receipt: receipt | {"status": "0x0"}),
    "log data": ("eth_getTransactionReceipt", _other_data),
    "logs bloom": ("eth_getTransactionReceipt", _other_bloom),
    "block hash": ("eth_getTransactionReceipt", _other_block),
    "header": ("eth_getBlockByNumber", lambda block: block | {"stateRoot": "0x" + "00" * 32}),
    "calldata": ("eth_getTransactionByHash", lambda fields: _replaced(fields, "095ea7b3", "095ea7b4")),
    "cut storage proof": ("eth_getProof", _cut_storage_proof),
    "empty storage proof": ("eth_getProof", _empty_storage_proof),
    "cut account proof": ("eth_getProof", _cut_account_proof),
}


@pytest.fixture(scope="module")
async def claimed(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> tuple[Claim, str]:
    """A true claim about an approve on an anvil chain with id 59144, and its node."""
    async with open_line(sandbox, tmp_path_factory.mktemp("line"), "linea") as line:
        done = await line.carry(AMOUNT)
        claim = claim_of(done, line.context.node.chain, domain=line.context.terms.domain, now=utc_now())
        return claim, line.known.rpc_url


async def test_an_approve_on_a_chain_with_id_59144_is_proved_offline(claimed: tuple[Claim, str]) -> None:
    claim, url = claimed
    filed = await file_evidence(claim, url, "")
    assert filed.content["claim"]["approval"]["chain"] == "59144"
    again = verify_evidence(filed.file)
    assert (again.verdict, again.tier, again.method, again.finality) == ("VERIFIED", "T0", "direct", "soft")
    (exhibits,) = filed.content["exhibits"].values()
    assert {"transaction", "receipt", "slot_now", "proof_now", "slot_at_included"} <= set(exhibits)


@pytest.mark.parametrize("field", FALSIFIED)
async def test_a_falsified_answer_makes_neither_a_yes_nor_a_no_also_offline(
    claimed: tuple[Claim, str], field: str
) -> None:
    claim, url = claimed
    method, edit = FALSIFIED[field]
    async with relay(url, falsified(method, edit)) as lying:
        filed = await file_evidence(claim, lying, "")
    assert (filed.report.verdict, filed.report.tier) == ("UNDETERMINED", None)
    assert [endpoint.outcome for endpoint in filed.report.endpoints] == ["rejected"]
    assert follows(verify_evidence(filed.file), filed.report)


async def test_a15_the_proof_of_another_block_makes_neither_a_yes_nor_a_no_also_offline(
    claimed: tuple[Claim, str],
) -> None:
    claim, url = claimed
    rpc = HttpRpc(url)
    try:
        token = claim.approval.token.address
        older = await rpc.request("eth_getProof", [token, ["0x" + "00" * 31 + "0a"], "0x2"])
    finally:
        await rpc.aclose()

    def of_another_block(proof: Any) -> Any:
        return proof | {"accountProof": older["accountProof"]}

    async with relay(url, falsified("eth_getProof", of_another_block)) as lying:
        filed = await file_evidence(claim, lying, "")
    assert filed.report.verdict == "UNDETERMINED"
    assert follows(verify_evidence(filed.file), filed.report)


async def test_a_node_that_takes_too_long_is_as_silent_offline(
    claimed: tuple[Claim, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(method: str, params: Any, answer: Any) -> Any:
        if method == "eth_getBlockReceipts":
            time.sleep(1.5)
        return answer

    claim, url = claimed
    monkeypatch.setattr(asking, "_PATIENCE", 1.0)
    async with relay(url, slow) as lagging:
        filed = await file_evidence(claim, lagging, "")
    assert filed.report.verdict == "UNDETERMINED"
    assert "did not answer everything within 1 seconds" in str(filed.report.endpoints[0].message)
    assert verify_evidence(filed.file).verdict == "UNDETERMINED"
