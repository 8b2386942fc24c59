"""Who signed on an EVM network: plain keys without a node, and contract wallets by their code on a local chain."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_account import Account
from eth_account.messages import encode_defunct
from hypothesis import given, settings
from hypothesis import strategies as st

import chains.evm.verify.contract_signatures as contract_signatures
from chains import get_chain
from chains.claims import (
    NEEDS_NOBODY,
    NODES_WORD,
    Expectations,
    Finding,
    FindingVerdict,
    OwnershipCheck,
    OwnershipClaim,
    proved_under,
    verdict_of,
)
from chains.errors import (
    ChainError,
    ContradictionError,
    InvalidAddressError,
    NodeError,
    NodeUnreachableError,
    RpcError,
    SignatureMismatchError,
    WrongChainError,
)
from chains.evm.addresses import parse_address
from chains.evm.codec.delegated_signatures import read_delegated
from chains.evm.codec.signatures import SECP256K1_ORDER, canonical_signature
from chains.family import check_ownership
from chains.ownership import format_statement, make_statement
from chains.rpc import HttpRpc, Params
from chains.rpc.transcript import RecordingRpc, ReplayRpc, run_offline
from chains.types import Block
from delegation.sandbox.artifacts import encode_call, encode_creation
from delegation.sandbox.compile import compile_contracts
from delegation.sandbox.nodes import start_anvil

LINEA = get_chain("linea")
CONTRACTS = Path(__file__).parent / "contracts"
VALIDATOR = Path(contract_signatures.__file__).parent / "contracts"
OWNER = Account.from_key("0x" + "4c" * 32)
STRANGER = Account.from_key("0x" + "5d" * 32)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
EXPECTED = Expectations("card.example.com", None, "5f8a9b2c4d3e1a7b", NOW)
ERC6492 = bytes.fromhex("6492" * 16)
ERC8010 = bytes.fromhex("8010" * 16)
SOMEWHERE = "0x" + "07" * 20
NEEDED = {"eth_chainId", "eth_getBlockByNumber", "eth_getCode", "eth_call"}
READS = NEEDED | {"eth_getBlockByHash", "eth_getProof", "eth_getTransactionCount"}


def statement(owner: str) -> str:
    return format_statement(
        make_statement(
            LINEA,
            owner,
            domain="card.example.com",
            nonce="5f8a9b2c4d3e1a7b",
            issued_at=NOW,
            lifetime=timedelta(minutes=2),
        )
    )


def sign(message: str, signer: Any = OWNER) -> bytes:
    return bytes(Account.sign_message(encode_defunct(text=message), signer.key).signature)


def claim(owner: str, signature: bytes | str, message: str | None = None) -> OwnershipClaim:
    text = signature if isinstance(signature, str) else "0x" + signature.hex()
    return OwnershipClaim(LINEA, owner, statement(owner) if message is None else message, text, EXPECTED)


def offline(owner: str, signature: bytes | str, message: str | None = None) -> OwnershipCheck:
    """Return what is established without a node, and without an event loop."""
    return run_offline(check_ownership(claim(owner, signature, message), None))


def finding(check: OwnershipCheck) -> Finding:
    """Return the finding on the signature; what the statement says is right in these tests."""
    *others, signature = check.findings
    assert signature.rule == "signature"
    assert verdict_of(others) == "VERIFIED"
    return signature


def verdict(check: OwnershipCheck) -> FindingVerdict:
    return finding(check).verdict


MESSAGE = statement(OWNER.address)
SIGNATURE = sign(MESSAGE)
R, S, V = SIGNATURE[:32], int.from_bytes(SIGNATURE[32:64]), SIGNATURE[64]
HIGH_S = R + (SECP256K1_ORDER - S).to_bytes(32) + bytes([55 - V])
SHORT = R + (S | (V - 27) << 255).to_bytes(32)


# Plain keys, without a node


def test_the_owners_signature_is_verified_without_a_node() -> None:
    check = offline(OWNER.address, SIGNATURE)
    assert verdict(check) == "VERIFIED"
    assert (check.method, check.normalised, check.block, check.delegate, check.not_checked) == (
        "eoa-ecdsa",
        None,
        None,
        None,
        (),
    )


def test_a46_an_owner_in_lower_case_is_the_same_owner_and_a_wrong_checksum_is_bad_input() -> None:
    assert verdict(run_offline(check_ownership(claim(OWNER.address.lower(), SIGNATURE, MESSAGE), None))) == "VERIFIED"
    with pytest.raises(InvalidAddressError, match="EIP-55"):
        offline(OWNER.address.swapcase().replace("0X", "0x"), SIGNATURE, MESSAGE)


def test_what_the_statement_says_and_who_signed_it_are_found_apart() -> None:
    check = run_offline(check_ownership(replace(claim(OWNER.address, SIGNATURE), chain=get_chain("base")), None))
    refuted = [found.rule for found in check.findings if found.verdict == "REFUTED"]
    assert (refuted, check.method) == (["chain-id"], "eoa-ecdsa")
    check = offline(OWNER.address, sign("another text"), MESSAGE)
    assert [found.rule for found in check.findings if found.verdict != "VERIFIED"] == ["signature"]


def test_what_needs_nobody_says_so() -> None:
    check = offline(OWNER.address, SIGNATURE)
    assert {found.basis for found in check.findings} == {NEEDS_NOBODY}


def test_another_signer_is_named_and_left_open_without_a_node_that_could_ask_a_contract_wallet() -> None:
    message = finding(offline(OWNER.address, sign(MESSAGE, STRANGER))).message
    assert STRANGER.address in message
    assert "a node is needed to ask" in message
    assert verdict(offline(OWNER.address, sign(MESSAGE, STRANGER))) == "UNDETERMINED"


@pytest.mark.parametrize(
    ("signature", "normalised"),
    [
        (SIGNATURE[:64] + bytes([V - 27]), "v-0-or-1"),
        (SHORT, "eip2098"),
    ],
)
def test_a22_other_spellings_that_are_put_right_are_labelled_and_the_platforms_form_is_shown(
    signature: bytes, normalised: str
) -> None:
    check = offline(OWNER.address, signature)
    found = finding(check)
    assert (check.method, check.normalised, found.verdict) == ("eoa-ecdsa", normalised, "VERIFIED")
    assert (found.expected, found.found) == ("0x" + SIGNATURE.hex(), "0x" + signature.hex())
    assert "wants the canonical 65 bytes" in found.message


@pytest.mark.parametrize(
    ("spelling", "why"),
    [
        ("0x" + HIGH_S.hex(), "upper half"),
        ("0x" + (SIGNATURE[:64] + bytes([V + 8])).hex(), "27 or 28"),
        ("0x" + (SIGNATURE[:64] + bytes([29])).hex(), "27 or 28"),
        ("0x" + (SIGNATURE[:64] + bytes([2])).hex(), "27 or 28"),
        ("0x" + (SIGNATURE[:64] + bytes([59144 * 2 + 35 & 255])).hex(), "27 or 28"),
        ("0x" + SIGNATURE[:63].hex(), "63 bytes"),
        ("0x", "0 bytes"),
        ("0x" + (bytes(32) + SIGNATURE[32:]).hex(), "range"),
        ("0x" + (R + bytes(32) + SIGNATURE[64:]).hex(), "range"),
        ("0x" + (SECP256K1_ORDER.to_bytes(32) + SIGNATURE[32:]).hex(), "range"),
        ("0x" + ((5).to_bytes(32) + SIGNATURE[32:]).hex(), "no key"),
        (SIGNATURE.hex(), "0x and pairs"),
        ("0X" + SIGNATURE.hex(), "0x and pairs"),
        ("0x" + SIGNATURE.hex()[:-1], "0x and pairs"),
        ("0x" + SIGNATURE.hex()[:-1] + "g", "0x and pairs"),
        ("0x" + SIGNATURE.hex() + "\n", "0x and pairs"),
        ("", "0x and pairs"),
    ],
)
def test_a22_every_other_spelling_of_a_signature_is_refused(spelling: str, why: str) -> None:
    found = finding(offline(OWNER.address, spelling))
    # Bytes that are not the owner's key's may be those of a contract wallet; what is no bytes at all is nobody's.
    assert found.verdict == ("REFUTED" if why == "0x and pairs" else "UNDETERMINED")
    assert why in found.message


def test_a22_a_signature_in_capital_digits_is_the_same_signature() -> None:
    assert verdict(offline(OWNER.address, "0x" + SIGNATURE.hex().upper())) == "VERIFIED"


def test_a22_the_high_s_twin_of_the_short_form_is_refused_too() -> None:
    twin = R + ((SECP256K1_ORDER - S) & (2**255 - 1) | (28 - V) << 255).to_bytes(32)
    assert verdict(offline(OWNER.address, twin)) == "UNDETERMINED"


@given(st.binary(min_size=64, max_size=65))
def test_a22_what_is_put_right_is_canonical(data: bytes) -> None:
    try:
        canonical, _ = canonical_signature(data)
    except ChainError:
        return
    assert canonical_signature(canonical) == (canonical, None)


@pytest.mark.parametrize("tail", [b"", ERC6492, ERC8010])
def test_what_is_not_the_owners_own_key_is_undetermined_without_a_node(tail: bytes) -> None:
    check = offline(OWNER.address, SIGNATURE + b"\0" + tail)
    assert (verdict(check), check.method) == ("UNDETERMINED", None)
    assert "a node is needed" in finding(check).message


def test_a_text_with_half_a_surrogate_pair_is_refuted_with_the_reason() -> None:
    check = offline(OWNER.address, SIGNATURE, MESSAGE + "\ud800")
    assert verdict_of(check.findings) == "REFUTED"
    assert "UTF-8" in check.findings[-1].message


@settings(max_examples=60, deadline=None)
@given(
    message=st.text(max_size=30) | st.just(MESSAGE) | st.just(MESSAGE + "\ud800"),
    signature=st.text(max_size=20)
    | st.binary(max_size=140).map(lambda data: "0x" + data.hex())
    | st.binary(min_size=65, max_size=65).map(lambda data: "0x" + data[:64].hex() + "1b")
    | st.binary(max_size=64).map(lambda data: "0x" + (data + ERC6492).hex()),
    owner=st.just(OWNER.address) | st.text(max_size=44),
)
def test_no_claim_ends_in_another_error(message: str, signature: str, owner: str) -> None:
    try:
        check = run_offline(check_ownership(OwnershipClaim(LINEA, owner, message, signature, EXPECTED), None))
    except ChainError:
        assert owner != OWNER.address
    else:
        assert check.findings[-1].rule == "signature"


# Contract wallets, on a chain of their own


@dataclass
class Lab:
    """A chain with the id of Linea, with the wallets of these tests on it."""

    rpc: HttpRpc
    funder: str
    wallets: dict[str, str]

    async def send(self, transaction: dict[str, str]) -> dict[str, Any]:
        fields = {"from": self.funder, "gas": hex(5_000_000)} | transaction
        sent = await self.rpc.request("eth_sendTransaction", [fields])
        return await self.settle(sent)

    async def settle(self, sent: str) -> dict[str, Any]:
        """Return the receipt of a transaction; the node mines at once, and still some moments after it answers."""
        for _ in range(1000):
            receipt: dict[str, Any] | None = await self.rpc.request("eth_getTransactionReceipt", [sent])
            if receipt is not None:
                assert receipt["status"] == "0x1"
                return receipt
            await asyncio.sleep(0.01)
        raise AssertionError(f"{sent} was not mined")

    async def deploy(self, name: str, constructor: str = "constructor()", *arguments: Any) -> str:
        receipt = await self.send({"data": encode_creation(name, constructor, *arguments, directory=CONTRACTS)})
        return parse_address(receipt["contractAddress"])

    async def check(
        self, owner: str, signature: bytes | str, message: str | None = None, at: Block | None = None
    ) -> OwnershipCheck:
        """Return what the node's answers say; asked again offline they say the same, and nothing was ever sent."""
        asked = claim(owner, signature, message)
        recording = RecordingRpc(self.rpc)
        try:
            check = await check_ownership(asked, recording, at)
        finally:
            self.rpc.listener = None
        assert {exchange.method for exchange in recording.exchanges} <= READS
        assert run_offline(check_ownership(asked, ReplayRpc(recording.exchanges), at)) == check
        return check

    async def head(self) -> Block:
        header = await self.rpc.request("eth_getBlockByNumber", ["latest", False])
        return Block(int(header["number"], 16), header["hash"])


@pytest.fixture(scope="module")
def node_url() -> Iterator[str]:
    with start_anvil(59144) as node:
        yield node.rpc_url


@pytest.fixture(scope="module")
async def lab(node_url: str) -> AsyncIterator[Lab]:
    rpc = HttpRpc(node_url)
    try:
        lab = Lab(rpc, (await rpc.request("eth_accounts"))[0], {})
        lab.wallets["owned"] = await lab.deploy("OwnedWallet", "constructor(address)", OWNER.address)
        lab.wallets["always"] = await lab.deploy("AlwaysValidWallet")
        lab.wallets["factory"] = await lab.deploy("OwnedWalletFactory")
        yield lab
    finally:
        await rpc.aclose()


async def test_a_contract_wallet_accepts_its_owners_signature_at_a_named_block(lab: Lab) -> None:
    wallet = lab.wallets["owned"]
    check = await lab.check(wallet, sign(statement(wallet)))
    head = await lab.rpc.request("eth_getBlockByNumber", ["latest", False])
    assert (verdict(check), check.method, check.delegate) == ("VERIFIED", "erc1271", None)
    assert check.block is not None
    assert (check.block.number, check.block.hash) == (int(head["number"], 16), head["hash"])
    assert head["hash"] in finding(check).message
    assert "expect them to refuse" in finding(check).message, "rule 29: the platform takes signatures of keys only"
    assert finding(check).basis == NODES_WORD


async def test_a_contract_wallet_refuses_other_texts_and_other_keys(lab: Lab) -> None:
    wallet = lab.wallets["owned"]
    for signature in (sign(statement(wallet), STRANGER), sign(MESSAGE), HIGH_S, SIGNATURE[:64], b"", bytes(300)):
        check = await lab.check(wallet, signature)
        assert (verdict(check), check.method) == ("REFUTED", None)
        assert check.block is not None


async def test_a29_a_wallet_that_accepts_everything_is_itself_alone_and_its_label_warns(lab: Lab) -> None:
    wallet = lab.wallets["always"]
    check = await lab.check(wallet, b"anything at all")
    assert (verdict(check), check.method) == ("VERIFIED", "erc1271")
    assert "may decide otherwise in another block" in finding(check).message
    assert verdict(await lab.check(lab.wallets["owned"], b"anything at all")) == "REFUTED"
    assert verdict(await lab.check(STRANGER.address, b"anything at all")) == "REFUTED"
    theirs = await lab.check(wallet, b"anything at all", MESSAGE)
    assert [found.rule for found in theirs.findings if found.verdict == "REFUTED"] == ["address"]


@pytest.mark.parametrize(
    ("kind", "answer", "outcome"),
    [
        (0, "1626ba7e", "REFUTED"),
        (0, "1626ba7e" + "00" * 27, "REFUTED"),
        (0, "1626ba7e" + "00" * 28, "VERIFIED"),
        (0, "1626ba7e" + "00" * 60, "VERIFIED"),
        (0, "1626ba7e" + "00" * 27 + "01", "REFUTED"),
        (0, "1626ba7e" * 8, "REFUTED"),
        (3, "", "REFUTED"),
        (0, "00" * 28 + "1626ba7e", "REFUTED"),
        (0, "00" * 31 + "01", "REFUTED"),
        (0, "20c13b0b" + "00" * 28, "REFUTED"),
        (0, "", "REFUTED"),
        (1, "1626ba7e" + "00" * 28, "REFUTED"),
        (1, "", "REFUTED"),
        (2, "", "UNDETERMINED"),
    ],
)
async def test_a60_only_the_whole_word_of_the_magic_value_is_a_yes(
    lab: Lab, kind: int, answer: str, outcome: str
) -> None:
    wallet = await lab.deploy("OddAnswerWallet", "constructor(uint256,bytes)", kind, bytes.fromhex(answer))
    check = await lab.check(wallet, SIGNATURE)
    assert (verdict(check), check.method) == (outcome, "erc1271" if outcome == "VERIFIED" else None)
    if kind != 2:
        wrapped = await lab.check(wallet, wrap(lab.wallets["factory"], "0x", SIGNATURE))
        assert (verdict(wrapped), wrapped.method) == (outcome, "erc6492" if outcome == "VERIFIED" else None)


async def test_no_code_at_the_owner_accepts_nothing(lab: Lab) -> None:
    check = await lab.check(OWNER.address, sign(MESSAGE, STRANGER))
    assert (verdict(check), check.method) == ("REFUTED", None)
    assert STRANGER.address in finding(check).message
    assert "No contract" in finding(check).message
    assert check.block is not None
    assert finding(check).basis == proved_under(check.block)
    for signature in (HIGH_S, SIGNATURE + b"\0", SIGNATURE + SIGNATURE, b""):
        assert verdict(await lab.check(OWNER.address, signature)) == "REFUTED"


async def test_a_plain_key_is_verified_with_a_node_as_without_one(lab: Lab) -> None:
    assert await lab.check(OWNER.address, SIGNATURE) == offline(OWNER.address, SIGNATURE)


# ERC-6492


def wrap(factory: str, calldata: str, signature: bytes) -> bytes:
    arguments = [bytes.fromhex(factory[2:]), bytes.fromhex(calldata[2:]), signature]
    return encode(["address", "bytes", "bytes"], arguments) + ERC6492


async def predicted(lab: Lab, owner: str) -> str:
    call = {"to": lab.wallets["factory"], "data": encode_call("predict(address)", owner)}
    answer = await lab.rpc.request("eth_call", [call, "latest"])
    return parse_address("0x" + answer[-40:])


async def test_a_wallet_not_deployed_yet_accepts_its_owners_signature_and_stays_undeployed(lab: Lab) -> None:
    wallet = await predicted(lab, OWNER.address)
    deploy = encode_call("deploy(address)", OWNER.address)
    check = await lab.check(wallet, wrap(lab.wallets["factory"], deploy, sign(statement(wallet))))
    assert (verdict(check), check.method) == ("VERIFIED", "erc6492")
    assert check.block is not None
    assert await lab.rpc.request("eth_getCode", [wallet, "latest"]) == "0x"
    assert (
        await lab.check(wallet, wrap(lab.wallets["factory"], deploy, sign(statement(wallet), STRANGER)))
    ).method is None


async def test_a_wallet_deployed_since_is_asked_as_it_is_and_its_factory_is_not_called(lab: Lab) -> None:
    wallet = lab.wallets["owned"]
    drain = encode_call("drain(address)", STRANGER.address)
    signed = sign(statement(wallet))
    check = await lab.check(wallet, wrap(lab.wallets["factory"], drain, signed))
    assert (verdict(check), check.method) == ("VERIFIED", "erc6492")
    assert verdict(await lab.check(wallet, wrap(lab.wallets["factory"], drain, sign(MESSAGE)))) == "REFUTED"


async def test_a_wrapping_for_another_wallet_proves_nothing_about_the_owner(lab: Lab) -> None:
    deploy = encode_call("deploy(address)", STRANGER.address)
    wrapped = wrap(lab.wallets["factory"], deploy, sign(MESSAGE, STRANGER))
    check = await lab.check(OWNER.address, wrapped)
    assert (verdict(check), check.method) == ("REFUTED", None)


@pytest.mark.parametrize("call", ["loop()", "deployAndShout(address)", "drain(address)", "no_such_function()"])
async def test_a28_a_factory_that_loops_shouts_drains_or_fails_costs_a_bounded_call_and_changes_nothing(
    lab: Lab, call: str
) -> None:
    await lab.send({"to": lab.wallets["factory"], "value": hex(10**18)})
    before = await state_of(lab)
    wallet = await predicted(lab, STRANGER.address)
    arguments = [STRANGER.address] if "address" in call else []
    signed = sign(statement(wallet), STRANGER)
    check = await lab.check(wallet, wrap(lab.wallets["factory"], encode_call(call, *arguments), signed))
    # Shouting is rude, but its wallet does say yes: the answer of the factory is never read.
    assert verdict(check) == ("VERIFIED" if call.startswith("deploy") else "REFUTED")
    assert await state_of(lab) == before


async def state_of(lab: Lab) -> tuple[str, str, str]:
    """Return the newest block's hash and state root, and what the factory holds."""
    head = await lab.rpc.request("eth_getBlockByNumber", ["latest", False])
    return head["hash"], head["stateRoot"], await lab.rpc.request("eth_getBalance", [lab.wallets["factory"], "latest"])


async def test_a28_every_call_carries_the_gas_cap(lab: Lab) -> None:
    recording = RecordingRpc(lab.rpc)
    await check_ownership(claim(lab.wallets["owned"], SIGNATURE), recording)
    wrapped = wrap(lab.wallets["factory"], "0x", SIGNATURE)
    await check_ownership(claim(lab.wallets["owned"], wrapped), recording)
    lab.rpc.listener = None
    calls = [json.loads(exchange.params)[0] for exchange in recording.exchanges if exchange.method == "eth_call"]
    assert [call["gas"] for call in calls] == [hex(3_000_000)] * 2
    assert "to" not in calls[1], "the validator is never deployed"


@pytest.mark.parametrize("body", [b"", b"\0" * 31, b"\xff" * 96, bytes(96), encode(["address"], [bytes(20)])])
async def test_a28_a_wrapping_that_cannot_be_read_is_refuted(lab: Lab, body: bytes) -> None:
    signature = (bytes(66) + body + ERC6492) if len(body) < 66 else body + ERC6492
    assert verdict(await lab.check(lab.wallets["owned"], signature)) == "REFUTED"


# ERC-8010


def bring(account: Any, target: str, nonce: int, signature: bytes, data: bytes = b"", chain_id: int = 59144) -> bytes:
    """Return a signature with an authorisation of an account's key, wrapped as `ox` wraps it."""
    signed = Account.sign_authorization({"chainId": chain_id, "address": target, "nonce": nonce}, account.key)
    authorisation = (chain_id, target, nonce, signed.y_parity, signed.r, signed.s)
    types = ["(uint256,address,uint256,uint8,uint256,uint256)", "address", "bytes"]
    suffix = encode(types, [authorisation, target if data else account.address, data])
    return signature + suffix + len(suffix).to_bytes(32, "big") + ERC8010


def test_a_wrapped_signature_is_read_from_its_bytes() -> None:
    account = Account.create()
    read = read_delegated(bring(account, SOMEWHERE, 69, b"\x12\x34", b"\xde\xad", chain_id=0))
    assert (read.signature, read.delegate, read.chain_id, read.nonce) == (b"\x12\x34", SOMEWHERE, 0, 69)
    assert (read.signer, read.initialiser, read.data) == (account.address, SOMEWHERE, b"\xde\xad")


def test_a_wrapping_that_is_cut_or_that_points_elsewhere_is_not_read() -> None:
    whole = bring(Account.create(), SOMEWHERE, 1, b"", b"\xaa" * 40)
    cut = [whole[at:] for at in (1, 31, 32, 64, 200)]
    for wrapped in (*cut, whole[:-64] + b"\xff" * 32 + ERC8010, whole[:-1], ERC8010, bytes(32) + ERC8010):
        with pytest.raises(SignatureMismatchError):
            read_delegated(wrapped)


async def test_an_account_that_is_to_delegate_is_asked_as_its_key_authorised(lab: Lab) -> None:
    account, delegate = Account.create(), await lab.deploy("KeyDelegate7702")
    signed = sign(statement(account.address), STRANGER)
    initialise = bytes.fromhex(encode_call("initialise(address)", STRANGER.address)[2:])
    wrapped = bring_to_self(account, delegate, signed, initialise)
    check = await lab.check(account.address, wrapped)
    assert (verdict(check), check.method, check.delegate) == ("VERIFIED", "erc8010", delegate)
    assert finding(check).basis == NODES_WORD
    assert await lab.rpc.request("eth_getCode", [account.address, "latest"]) == "0x", "nothing was sent"
    assert verdict(await lab.check(account.address, bring(account, delegate, 0, signed))) == "REFUTED"
    other = bring_to_self(account, delegate, sign(MESSAGE, STRANGER), initialise)
    assert verdict(await lab.check(account.address, other)) == "REFUTED"


def bring_to_self(account: Any, target: str, signature: bytes, data: bytes) -> bytes:
    """Return a signature whose initialisation is sent to the account itself."""
    wrapped = bring(account, target, 0, signature, data)
    at = len(signature) + 6 * 32
    return wrapped[:at] + bytes(12) + bytes.fromhex(account.address[2:]) + wrapped[at + 32 :]


async def test_an_authorisation_is_checked_before_anything_is_asked_with_it(lab: Lab) -> None:
    account, always = Account.create(), lab.wallets["always"]
    for wrapped in (
        bring(STRANGER, always, 0, b"anything"),
        bring(account, always, 0, b"anything", chain_id=1),
        b"anything" + ERC8010,
    ):
        check = await lab.check(account.address, wrapped)
        assert (verdict(check), check.method) == ("REFUTED", None), "no code is there, and none was authorised"
    assert verdict(await lab.check(account.address, bring(account, always, 0, b"anything", chain_id=0))) == "VERIFIED"
    stale = await lab.check(account.address, bring(account, always, 5, b"anything"))
    assert (verdict(stale), "cannot be applied" in finding(stale).message) == ("UNDETERMINED", True)


async def test_an_account_that_delegates_already_is_asked_as_it_is(lab: Lab) -> None:
    account = Account.create()
    await delegate_to(lab, account, lab.wallets["always"])
    check = await lab.check(account.address, bring(account, lab.wallets["always"], 0, b"anything"))
    assert (verdict(check), check.method, check.delegate) == ("VERIFIED", "erc1271", lab.wallets["always"])


async def test_a_node_without_state_overrides_leaves_it_open(lab: Lab) -> None:
    account = Account.create()
    wrapped = bring(account, lab.wallets["always"], 0, b"anything")
    refusing = FaultyRpc(lab.rpc, "eth_call", RpcError("too many arguments, want at most 2", code=-32602))
    assert verdict(await check_ownership(claim(account.address, wrapped), refusing)) == "UNDETERMINED"


async def test_a_wallet_may_take_bytes_that_only_look_wrapped(lab: Lab) -> None:
    check = await lab.check(lab.wallets["always"], SIGNATURE + ERC8010)
    assert (verdict(check), check.method) == ("VERIFIED", "erc1271")


# A lying node


class LyingRpc:
    """A node that says a contract is at the owner's address, which accepts every signature."""

    def __init__(self, inner: HttpRpc, *refused: str) -> None:
        self.calls = 0
        self.listener = None
        self.inner, self._refused = inner, refused

    async def request(self, method: str, params: Params = ()) -> Any:
        if method in self._refused:
            raise RpcError(f"the method {method} does not exist/is not available", code=-32601)
        if method == "eth_getCode":
            return "0x6001"
        if method == "eth_call":
            return "0x1626ba7e" + "00" * 28
        return await self.inner.request(method, params)

    async def aclose(self) -> None:
        pass


async def test_a61_a_contract_that_a_node_makes_up_is_no_match_for_a_proof_that_nothing_is_there(lab: Lab) -> None:
    stolen = claim(OWNER.address, sign(MESSAGE, STRANGER))
    check = await check_ownership(stolen, LyingRpc(lab.rpc))
    assert (verdict(check), check.method) == ("REFUTED", None)
    assert check.block is not None
    assert finding(check).basis == proved_under(check.block)
    for refused in ("eth_getProof", "eth_getBlockByHash"):
        unproved = await check_ownership(stolen, LyingRpc(lab.rpc, refused))
        assert (verdict(unproved), finding(unproved).basis) == ("VERIFIED", NODES_WORD)


async def test_code_that_is_not_the_one_that_the_proof_names_is_a_contradiction(lab: Lab) -> None:
    with pytest.raises(ContradictionError, match="not the one that its proof names"):
        await check_ownership(claim(lab.wallets["owned"], SIGNATURE), LyingRpc(lab.rpc))


class PrunedRpc(LyingRpc):
    """A node that keeps the state of the newest block alone."""

    async def request(self, method: str, params: Params = ()) -> Any:
        head = await self.inner.request("eth_getBlockByNumber", ["latest", False])
        assert isinstance(params, list | tuple)
        where = params[-1] if params else None
        is_newest = head["number"] == where or (isinstance(where, dict) and where["blockHash"] == head["hash"])
        if method in {"eth_getCode", "eth_getProof", "eth_call"} and not is_newest:
            raise RpcError("missing trie node", code=-32000)
        return await self.inner.request(method, params)


async def test_a_block_whose_state_is_gone_leaves_it_open_and_the_newest_is_named_as_such(lab: Lab) -> None:
    old = await lab.head()
    await lab.rpc.request("anvil_mine", ["0x2"])
    for owner, there in ((OWNER.address, "no code is"), (lab.wallets["owned"], "code is")):
        check = await check_ownership(claim(owner, sign(MESSAGE, STRANGER), MESSAGE), PrunedRpc(lab.rpc), old)
        signature = check.findings[-1]
        assert signature.verdict == "UNDETERMINED"
        assert f"{there} there at the newest block" in signature.message
        assert "archive node" in signature.message


# The block that is asked


@dataclass
class Rotation:
    """A contract wallet that its owner handed over to a stranger: the blocks before and after, and both signatures."""

    wallet: str
    before: Block
    after: Block
    signatures: dict[str, bytes]


@pytest.fixture(scope="module")
async def rotation(lab: Lab) -> Rotation:
    wallet = await lab.deploy("RotatingWallet", "constructor(address)", OWNER.address)
    before = await lab.head()
    await lab.send({"to": wallet, "data": encode_call("rotate(address)", STRANGER.address)})
    after = await lab.head()
    await lab.send({"to": wallet, "data": encode_call("rotate(address)", OWNER.address)})
    await lab.send({"to": wallet, "data": encode_call("rotate(address)", lab.wallets["owned"])})
    signatures = {"old": sign(statement(wallet)), "new": sign(statement(wallet), STRANGER)}
    return Rotation(wallet, before, after, signatures)


ROTATED = [
    ("old", "before", "VERIFIED"),
    ("old", "after", "REFUTED"),
    ("new", "before", "REFUTED"),
    ("new", "after", "VERIFIED"),
]


@pytest.mark.parametrize("named_by", ["hash", "number"])
@pytest.mark.parametrize("form", ["erc1271", "erc6492"])
@pytest.mark.parametrize(("who", "when", "outcome"), ROTATED)
async def test_a_contract_wallet_is_judged_at_the_block_asked_for_and_not_at_the_newest(
    lab: Lab, rotation: Rotation, who: str, when: str, outcome: str, form: str, named_by: str
) -> None:
    block: Block = getattr(rotation, when)
    signature = rotation.signatures[who]
    if form == "erc6492":
        signature = wrap(lab.wallets["factory"], "0x", signature)
    at = block if named_by == "hash" else Block(block.number, "")
    check = await lab.check(rotation.wallet, signature, at=at)
    assert (verdict(check), check.method) == (outcome, form if outcome == "VERIFIED" else None)
    assert check.block == block


async def test_without_a_block_the_newest_is_asked_and_accepts_neither_of_the_owners_of_before(
    lab: Lab, rotation: Rotation
) -> None:
    for signature in rotation.signatures.values():
        check = await lab.check(rotation.wallet, signature)
        assert (verdict(check), check.block) == ("REFUTED", await lab.head())


async def test_before_its_deployment_a_wallet_accepts_nothing(lab: Lab, rotation: Rotation) -> None:
    check = await lab.check(rotation.wallet, rotation.signatures["old"], at=Block(rotation.before.number - 1, ""))
    assert verdict(check) == "REFUTED"
    assert "No contract" in finding(check).message


async def test_a_wallet_not_deployed_yet_is_tried_with_the_factory_of_the_block_asked_for(lab: Lab) -> None:
    before = await lab.head()
    factory = await lab.deploy("OwnedWalletFactory")
    call = {"to": factory, "data": encode_call("predict(address)", OWNER.address)}
    wallet = parse_address("0x" + (await lab.rpc.request("eth_call", [call, "latest"]))[-40:])
    wrapped = wrap(factory, encode_call("deploy(address)", OWNER.address), sign(statement(wallet)))
    assert verdict(await lab.check(wallet, wrapped, at=await lab.head())) == "VERIFIED"
    assert verdict(await lab.check(wallet, wrapped, at=before)) == "REFUTED"


async def test_the_delegate_of_a_key_is_that_of_the_block_asked_for(lab: Lab) -> None:
    account = Account.create()
    before = await lab.head()
    await delegate_to(lab, account, lab.wallets["always"])
    signed = sign(statement(account.address), account)
    assert (await lab.check(account.address, signed, at=await lab.head())).delegate == lab.wallets["always"]
    assert (await lab.check(account.address, signed, at=before)).delegate is None


class NumbersOnlyRpc:
    """A node that takes no block hashes (EIP-1898), as some do."""

    def __init__(self, inner: HttpRpc) -> None:
        self.calls = 0
        self.listener = None
        self.asked: list[tuple[str, object]] = []
        self._inner = inner

    async def request(self, method: str, params: Params = ()) -> Any:
        assert isinstance(params, list | tuple)
        where = params[-1] if params else None
        if method in {"eth_call", "eth_getCode"}:
            self.asked.append((method, where))
            if isinstance(where, dict):
                raise RpcError("invalid argument 1: hex string expected", code=-32602)
        return await self._inner.request(method, params)

    async def aclose(self) -> None:
        pass


@pytest.mark.parametrize("form", ["erc1271", "erc6492"])
@pytest.mark.parametrize(("who", "when", "outcome"), ROTATED)
async def test_a_node_that_takes_numbers_only_is_asked_by_the_number_of_the_block(
    lab: Lab, rotation: Rotation, who: str, when: str, outcome: str, form: str
) -> None:
    block: Block = getattr(rotation, when)
    signature = rotation.signatures[who]
    if form == "erc6492":
        signature = wrap(lab.wallets["factory"], "0x", signature)
    node = NumbersOnlyRpc(lab.rpc)
    check = await check_ownership(claim(rotation.wallet, signature), node, block)
    assert (verdict(check), check.block) == (outcome, block)
    assert {where for _, where in node.asked if isinstance(where, str)} == {hex(block.number)}


async def test_a_node_that_takes_numbers_only_and_has_another_block_there_leaves_it_open(
    lab: Lab, rotation: Rotation
) -> None:
    elsewhere = Block(rotation.before.number, rotation.after.hash)
    check = await check_ownership(
        claim(rotation.wallet, rotation.signatures["old"]), NumbersOnlyRpc(lab.rpc), elsewhere
    )
    assert verdict(check) == "UNDETERMINED"
    assert rotation.after.hash in finding(check).message


# EIP-7702


async def delegate_to(lab: Lab, account: Any, target: str) -> None:
    """Have an account run the code of a contract, by a transaction of its own."""
    await lab.send({"to": account.address, "value": hex(10**18)})
    nonce = int(await lab.rpc.request("eth_getTransactionCount", [account.address, "latest"]), 16)
    authorisation = Account.sign_authorization({"chainId": 59144, "address": target, "nonce": nonce + 1}, account.key)
    fields = {"type": 4, "chainId": 59144, "nonce": nonce, "to": STRANGER.address, "value": 0, "data": "0x"}
    fields |= {"gas": 200_000, "maxFeePerGas": 10**11, "maxPriorityFeePerGas": 10**9}
    signed = Account.sign_transaction(fields | {"authorizationList": [authorisation]}, account.key)
    await lab.settle(await lab.rpc.request("eth_sendRawTransaction", ["0x" + signed.raw_transaction.hex()]))


async def test_a30_the_key_of_an_eip_7702_account_counts_whatever_its_delegate_says(lab: Lab) -> None:
    account = Account.create()
    refuser = await lab.deploy("OddAnswerWallet", "constructor(uint256,bytes)", 1, b"")
    await delegate_to(lab, account, refuser)
    check = await lab.check(account.address, sign(statement(account.address), account))
    assert (verdict(check), check.method, check.delegate) == ("VERIFIED", "eoa-ecdsa", refuser)
    (note,) = [found for found in check.findings if found.rule == "account-code"]
    assert (note.verdict, refuser in note.message) == ("NOTED", True)
    assert check.block is not None
    assert verdict(offline(account.address, sign(statement(account.address), account))) == "VERIFIED"


async def test_a30_what_only_the_delegate_accepts_is_labelled_as_the_delegates_word(lab: Lab) -> None:
    account = Account.create()
    await delegate_to(lab, account, lab.wallets["always"])
    check = await lab.check(account.address, sign(statement(account.address), STRANGER))
    assert (verdict(check), check.method, check.delegate) == ("VERIFIED", "erc1271", lab.wallets["always"])
    assert "EIP-7702" in finding(check).message


# Nodes that cannot be asked


class FaultyRpc:
    """A node that passes on another's answers, save for one method, which fails."""

    def __init__(self, inner: HttpRpc, method: str, failure: object) -> None:
        self.calls = 0
        self.listener = None
        self._inner, self._method, self._failure = inner, method, failure

    async def request(self, method: str, params: Params = ()) -> Any:
        if method != self._method:
            return await self._inner.request(method, params)
        if isinstance(self._failure, Exception):
            raise self._failure
        return self._failure

    async def aclose(self) -> None:
        pass


REFUSAL = RpcError("header not found", code=-32000)


@pytest.mark.parametrize(
    ("method", "wrapped"),
    [(method, wrapped) for wrapped in (False, True) for method in sorted(NEEDED) if not (wrapped and "Code" in method)],
)
@pytest.mark.parametrize("failure", [REFUSAL, "nonsense"], ids=["refusal", "nonsense"])
async def test_a_node_that_cannot_say_leaves_a_contract_wallet_undetermined(
    lab: Lab, method: str, failure: Exception | str, wrapped: bool
) -> None:
    wallet = lab.wallets["owned"]
    signature = sign(statement(wallet))
    if wrapped:
        signature = wrap(lab.wallets["factory"], "0x", signature)
    check = await check_ownership(claim(wallet, signature), FaultyRpc(lab.rpc, method, failure))
    assert (verdict(check), check.method) == ("UNDETERMINED", None)


@pytest.mark.parametrize("method", sorted(NEEDED - {"eth_call"}))
@pytest.mark.parametrize("failure", [REFUSAL, "nonsense", NodeUnreachableError("gone")], ids=["no", "nonsense", "gone"])
async def test_a_node_that_cannot_say_takes_nothing_from_a_plain_key(
    lab: Lab, method: str, failure: Exception | str
) -> None:
    check = await check_ownership(claim(OWNER.address, SIGNATURE), FaultyRpc(lab.rpc, method, failure))
    assert (verdict(check), check.method, check.delegate) == ("VERIFIED", "eoa-ecdsa", None)
    (note,) = [found for found in check.findings if found.rule == "account-code"]
    assert (note.verdict, "could not be asked" in note.message) == ("NOTED", True)


async def test_a_node_that_does_not_answer_is_an_error_where_it_was_needed(lab: Lab) -> None:
    for method in sorted(NEEDED):
        with pytest.raises(NodeError, match="gone"):
            await check_ownership(
                claim(lab.wallets["owned"], SIGNATURE), FaultyRpc(lab.rpc, method, NodeUnreachableError("gone"))
            )


async def test_a_node_that_contradicts_itself_is_rejected_as_a_whole(lab: Lab) -> None:
    header = await lab.rpc.request("eth_getBlockByNumber", ["latest", False])
    lying = FaultyRpc(lab.rpc, "eth_getBlockByNumber", header | {"stateRoot": "0x" + "11" * 32})
    for signature in (SIGNATURE, sign(MESSAGE, STRANGER)):
        with pytest.raises(ContradictionError):
            await check_ownership(claim(OWNER.address, signature), lying)


@pytest.mark.parametrize("answer", ["0x", "0x02", "0x0101", "0x" + "00" * 31 + "01"])
async def test_an_answer_of_the_validator_that_is_not_one_of_its_two_leaves_it_open(lab: Lab, answer: str) -> None:
    wrapped = wrap(lab.wallets["factory"], "0x", SIGNATURE)
    check = await check_ownership(claim(lab.wallets["owned"], wrapped), FaultyRpc(lab.rpc, "eth_call", answer))
    assert verdict(check) == "UNDETERMINED"


async def test_a_node_of_another_chain_is_not_asked(lab: Lab) -> None:
    for signature in (SIGNATURE, sign(MESSAGE, STRANGER)):
        with pytest.raises(WrongChainError):
            await check_ownership(claim(OWNER.address, signature), FaultyRpc(lab.rpc, "eth_chainId", "0x1"))


# What is committed


def test_the_committed_validator_is_what_the_compiler_makes_of_its_source() -> None:
    assert json.loads((VALIDATOR / "artifacts.json").read_text()) == compile_contracts(VALIDATOR)
