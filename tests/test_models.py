"""Requests that cannot be meant are refused, and a delegation survives JSON unchanged without showing a secret."""

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from chains.claims import Finding
from chains.errors import InvalidAmountError
from chains.types import (
    AllowanceState,
    ApproveOptions,
    ApproveStep,
    Block,
    EvmFee,
    EvmTransaction,
    OwnershipSignature,
    SentTransaction,
    Settlement,
    SignedTransaction,
    SolanaFee,
    SolanaTransaction,
    Token,
)
from delegation.errors import InvalidRequestError, NewerVersionError
from delegation.models import (
    Approval,
    Delegation,
    DelegationRequest,
    DelegationToken,
    Plan,
    Proof,
    StatementToSign,
    Submission,
    Verification,
    filled,
)

OWNER = "0x3a11a86Cf218C448bE519728cd3Ac5c741FB3424"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECRET = "ABC_100a99cf-f4d3-4fa1-9be9-2e9828b20ebc"


def request(amount: Any = "5000", **changes: Any) -> DelegationRequest:
    return DelegationRequest(**{"network": "linea", "currency": "usdc", "amount": amount, "owner": OWNER} | changes)


@pytest.mark.parametrize(
    "amount",
    [
        0.1, 5000.0, float("nan"), float("inf"), True, None, b"5000", ["5000"],  # floats, right here: each is refused
        "1e3", " 5", "5,000", "-1", "+1", "NaN", "Infinity", "0x5", "\u0665", "\uff15", "", ".5", "5.", "1_000",
        -1, Decimal("-0.1"), Decimal("-0"), Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity"), Decimal("1E+999999"),
    ],
)  # fmt: skip
def test_an_amount_that_is_not_exact_and_plain_is_refused(amount: Any) -> None:
    with pytest.raises(InvalidAmountError):
        request(amount)


@pytest.mark.parametrize(
    ("given_amount", "amount"),
    [("5000", "5000"), ("0.50", "0.50"), (5000, "5000"), (0, "0"), (Decimal("2.5"), "2.5"), (Decimal("1E+3"), "1000")],
)
def test_an_amount_is_taken_exactly_as_it_was_given(given_amount: Any, amount: str) -> None:
    assert f"{request(given_amount).amount:f}" == amount
    assert json.loads(request(given_amount).model_dump_json())["amount"] == amount


def test_names_are_taken_in_any_case_and_kept_in_lower_case() -> None:
    made = request(network=" Linea ", currency="USDC")
    assert (made.network, made.currency) == ("linea", "usdc")


@pytest.mark.parametrize("changes", [{"region": "uk"}, {"unlimitd": True}, {"owner": None}, {"options": {"gas": 1}}])
def test_unknown_words_in_a_request_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        request(**changes)


def test_a_value_of_the_line_is_never_changed_in_place() -> None:
    with pytest.raises(ValidationError):
        request().amount = Decimal(1)  # type: ignore[misc]


texts = st.text(max_size=20)
names = st.from_regex(r"[a-z][a-z0-9-]{0,11}", fullmatch=True)
units = st.integers(min_value=0, max_value=2**256 - 1)
small = st.integers(min_value=0, max_value=2**63 - 1)
times = st.datetimes(
    min_value=datetime(2000, 1, 1),  # noqa: DTZ001
    max_value=datetime(2100, 1, 1),  # noqa: DTZ001
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45))]),
)
blocks = st.builds(Block, number=small, hash=texts)
tokens = st.builds(Token, symbol=texts, address=texts, decimals=st.integers(0, 36))
evm_fees = st.builds(EvmFee, gas_limit=small, max_fee_per_gas=units, max_priority_fee_per_gas=units)
solana_fees = st.builds(
    SolanaFee, signature_lamports=small, rent_lamports=small, compute_unit_limit=small, compute_unit_price=small
)
steps = st.builds(ApproveStep, amount=units, fee=st.none() | evm_fees | solana_fees)
unsigned = st.builds(
    EvmTransaction, chain_id=small, sender=texts, to=texts, nonce=small, data=texts, fee=evm_fees
) | st.builds(
    SolanaTransaction, sender=texts, message=texts, blockhash=texts, last_valid_block_height=small, fee=solana_fees
)
sent = st.builds(SignedTransaction, raw=texts, hash=texts) | st.builds(SentTransaction, hash=texts)
settlements = st.builds(Settlement, hash=texts, block=blocks, allowance=units, fee_paid=units, finality=texts)
requests = st.builds(
    DelegationRequest,
    network=names,
    currency=names,
    amount=st.decimals(min_value=0, max_value=10**30, allow_nan=False, places=6).map(abs),
    owner=texts,
    region=st.sampled_from(["international", "us"]),
    unlimited=st.booleans(),
    chain_only=st.booleans(),
    options=st.builds(ApproveOptions, approve_checked=st.booleans(), max_fee_cap=st.none() | small),
)
plans = st.builds(
    Plan,
    network=texts,
    family=st.sampled_from(["evm", "solana"]),
    environment=texts,
    owner=texts,
    token=tokens,
    spender=texts,
    amount=units,
    before=st.builds(AllowanceState, allowance=units, balance=units, native_balance=units, block=blocks),
    steps=st.lists(steps, max_size=2).map(tuple),
    max_cost=units,
    native_symbol=texts,
    native_decimals=small,
    listed=st.booleans(),
    warnings=st.lists(texts, max_size=2).map(tuple),
    made_at=times,
)
approvals = st.builds(
    Approval,
    step=steps,
    unsigned=st.none() | unsigned,
    handed_over=st.booleans(),
    sent=st.none() | sent,
    settlement=st.none() | settlements,
    discarded=st.lists(texts, max_size=2).map(tuple),
)
delegations = st.builds(
    Delegation,
    id=texts,
    created_at=times,
    gateway=texts,
    request=requests,
    revision=small,
    plan=st.none() | plans,
    approvals=st.lists(approvals, max_size=2).map(tuple),
    delegation_token=st.none()
    | st.builds(DelegationToken, token=texts, nonce=texts, obtained_at=times, expires_at=times),
    statement=st.none() | st.builds(StatementToSign, text=texts, expires_at=times),
    ownership=st.none()
    | st.builds(OwnershipSignature, message=texts, signature=texts, scheme=st.sampled_from(["eip191", "ed25519"])),
    proof=st.none() | st.builds(Proof, **dict.fromkeys(Proof.model_fields, texts)),
    submission=st.none()
    | st.builds(
        Submission,
        attempted_at=times,
        outcome=st.sampled_from([None, "accepted", "already_accepted"]),
        status=st.none() | small,
    ),
    verification=st.none()
    | st.builds(
        Verification,
        verdict=st.sampled_from(["VERIFIED", "REFUTED", "UNDETERMINED"]),
        findings=st.lists(st.builds(Finding, rule=texts, verdict=st.just("VERIFIED"), message=texts), max_size=2).map(
            tuple
        ),
        allowance=st.none() | units,
        block=st.none() | blocks,
        verified_at=times,
    ),
)


@settings(max_examples=40)
@given(delegations)
def test_a_delegation_survives_json_unchanged_and_no_integer_of_the_chain_is_a_json_number(d: Delegation) -> None:
    text = d.model_dump_json()
    assert Delegation.model_validate_json(text) == d
    saved = json.loads(text)
    if d.plan is not None:
        assert saved["plan"]["amount"] == str(d.plan.amount)
    assert Decimal(saved["request"]["amount"]) == d.request.amount


@settings(max_examples=40)
@given(delegations)
def test_a_delegation_always_knows_where_it_stands(d: Delegation) -> None:
    assert d.station in {"plan", "approval", "ownership", "proof", "submission", "verification", "done"}
    assert not d.in_flight or d.begun
    assert not d.begun or d.touched_chain


@pytest.mark.parametrize(
    ("state", "handed_over", "sent", "settled"),
    [
        ("planned", False, False, False),
        ("handed_out", True, False, False),
        ("on_its_way", False, True, False),
        ("on_its_way", True, True, False),
        ("settled", True, True, True),
    ],
)
def test_an_approval_stands_as_its_table_says(state: str, handed_over: bool, sent: bool, settled: bool) -> None:
    made = approval(
        handed_over=handed_over,
        sent=SentTransaction("0x") if sent else None,
        settlement=Settlement("0x", Block(1, "0x"), 0, 0, "included") if settled else None,
    )
    assert made.state == state
    assert f"| `{state}`" in (Approval.__doc__ or "")
    assert made.under_way is (state != "planned")


def test_what_another_version_wrote_is_not_read_as_if_it_were_ours() -> None:
    saved = json.loads(new_delegation().model_dump_json())
    with pytest.raises(ValidationError):
        Delegation.model_validate(saved | {"approved_twice": True})


def test_a_document_without_a_format_is_of_the_first_version_and_is_upgraded_when_it_is_read() -> None:
    token = DelegationToken(token=SECRET, nonce="n", obtained_at=NOW, expires_at=NOW + timedelta(minutes=10))
    d = new_delegation(approvals=(approval(),), delegation_token=token)
    saved = json.loads(d.model_dump_json())
    assert next(iter(saved.items())) == ("format", "delegation/3")
    first = {name: value for name, value in saved.items() if name not in {"format", "approvals", "delegation_token"}}
    first |= {"approval": saved["approvals"], "token": saved["delegation_token"]}
    assert Delegation.model_validate_json(json.dumps(first)) == Delegation.model_validate(first) == d
    assert "format" not in first, "what was read is not changed"


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "delegation/3", "approval": []},  # the names of a version are no names of another
        {"approval": [], "approvals": []},
        {"format": "evidence/1"},
        {"format": "delegation/02"},
        {"format": 2},
        {"format": None},
    ],
)
def test_a_document_of_no_version_is_refused(changes: dict[str, Any]) -> None:
    saved = json.loads(new_delegation().model_dump_json())
    del saved["format"]
    with pytest.raises(ValidationError):
        Delegation.model_validate(saved | changes)


@pytest.mark.parametrize("version", [4, 17, 999_999_999])
def test_a_document_of_a_newer_version_says_which_one_and_what_to_do(version: int) -> None:
    saved = json.loads(new_delegation().model_dump_json()) | {"format": f"delegation/{version}", "later": SECRET}
    for read in (lambda: Delegation.model_validate(saved), lambda: Delegation.model_validate_json(json.dumps(saved))):
        with pytest.raises(NewerVersionError, match=f"the format delegation/{version}, ") as raised:
            read()
        assert "Upgrade this toolkit" in raised.value.hint
        assert (raised.value.expected, raised.value.found) == ("delegation/3", f"delegation/{version}")
        assert SECRET not in str(raised.value)


def test_what_is_built_in_code_is_of_todays_shape_and_not_upgraded() -> None:
    with pytest.raises(ValidationError, match="approval"):
        new_delegation(approval=())
    assert new_delegation().format == "delegation/3"


def new_delegation(**stations: Any) -> Delegation:
    fields = {"id": "d", "created_at": NOW, "gateway": "g", "request": request()}
    return Delegation(**fields | stations)


def test_no_secret_is_in_the_repr_of_a_delegation() -> None:
    token = DelegationToken(token=SECRET, nonce="n", obtained_at=NOW, expires_at=NOW + timedelta(minutes=10))
    proof = Proof(**dict.fromkeys(set(Proof.model_fields) - {"token"}, "x"), token=SECRET)
    d = new_delegation(delegation_token=token, proof=proof)
    for shown in (repr(d), str(d), repr(token), repr(proof), f"{d!r}"):
        assert SECRET not in shown
    assert SECRET in d.model_dump_json(), "the journal needs it to go on"


def test_no_secret_that_is_alive_is_in_the_public_document() -> None:
    token = DelegationToken(token=SECRET, nonce="n", obtained_at=NOW, expires_at=NOW + timedelta(minutes=10))
    proof = Proof(**dict.fromkeys(set(Proof.model_fields) - {"token"}, "x"), token=SECRET)
    lost = new_delegation(delegation_token=token, proof=proof, submission=Submission(attempted_at=NOW))
    for d in (lost, lost.model_copy(update={"submission": None})):
        document = d.public_document()
        assert SECRET not in json.dumps(document)
        assert document["proof"]["txHash"] == "x"
        assert (document["id"], document["station"]) == (d.id, d.station)
    taken = lost.model_copy(update={"submission": Submission(attempted_at=NOW, outcome="accepted")})
    assert taken.public_document()["proof"]["token"] == SECRET, "used up, it is worth nothing any more"
    approved = new_delegation(approvals=(approval(sent=SentTransaction("0x12")), approval()))
    assert [shown["hash"] for shown in approved.public_document()["approvals"]] == ["0x12", None]


def test_the_result_is_the_verification_of_a_finished_delegation() -> None:
    verification = Verification.of((Finding(rule="r", verdict="REFUTED", message="m"),), at=NOW)
    assert new_delegation(verification=verification).result is verification
    with pytest.raises(InvalidRequestError, match="no verification yet"):
        _ = new_delegation().result


def test_a_proof_is_eight_fields_in_camel_case_and_can_be_read_back() -> None:
    proof = Proof(**{name: name for name in Proof.model_fields})
    wire = proof.wire()
    assert list(wire) == ["address", "network", "currency", "amount", "txHash", "sigHash", "sigMessage", "token"]
    assert Proof.model_validate(wire) == Proof.model_validate(proof.model_dump()) == proof


def test_a_token_counts_as_dead_a_little_before_its_end() -> None:
    token = DelegationToken(token=SECRET, nonce="n", obtained_at=NOW, expires_at=NOW + timedelta(minutes=10))
    assert not token.expired(NOW + timedelta(minutes=9, seconds=39))
    assert token.expired(NOW + timedelta(minutes=9, seconds=40))


def test_a_station_that_is_not_filled_yet_says_so() -> None:
    assert filled("x", "word") == "x"
    with pytest.raises(InvalidRequestError, match="no plan yet"):
        filled(None, "plan")


def approval(**changes: Any) -> Approval:
    return Approval(step=ApproveStep(1), **changes)


def test_the_stations_are_passed_from_left_to_right() -> None:
    settled = approval(
        sent=SentTransaction("0x"), settlement=Settlement("0x", Block(1, ""), 1, 1, "included"), handed_over=True
    )
    statement = StatementToSign(text="t", expires_at=NOW)
    walk: list[tuple[str, dict[str, Any]]] = [
        ("plan", {}),
        ("approval", {"plan": PLAN, "approvals": (approval(),)}),
        ("approval", {"approvals": (approval(sent=SentTransaction("0x"), handed_over=True),)}),
        ("approval", {"approvals": (settled, approval())}),
        ("ownership", {"approvals": (settled, settled)}),
        ("ownership", {"statement": statement}),
        ("proof", {"ownership": OwnershipSignature("t", "s", "eip191")}),
        ("proof", {"proof": Proof(**dict.fromkeys(Proof.model_fields, "x"))}),  # saved with the attempt to offer it
        ("submission", {"submission": Submission(attempted_at=NOW)}),
        ("verification", {"submission": Submission(attempted_at=NOW, outcome="accepted")}),
        ("done", {"verification": Verification.of((Finding(rule="r", verdict="VERIFIED", message="m"),), at=NOW)}),
    ]
    d = new_delegation()
    for station, change in walk:
        d = d.model_copy(update=change)
        assert d.station == station


PLAN = Plan(
    network="linea",
    family="evm",
    environment="sandbox",
    owner=OWNER,
    token=Token("usdc", OWNER, 6),
    spender=OWNER,
    amount=1,
    before=AllowanceState(0, 0, 0, Block(1, "0x")),
    steps=(ApproveStep(1),),
    max_cost=1,
    native_symbol="ETH",
    native_decimals=18,
    listed=False,
    warnings=(),
    made_at=NOW,
)
