"""Signed transactions as bytes: every type encoded from JSON and decoded with its sender, and nothing else accepted."""

from __future__ import annotations

from contextlib import aclosing
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import pytest
import rlp
from eth_account import Account
from eth_account.typed_transactions import TypedTransaction
from hexbytes import HexBytes
from hypothesis import given, settings
from hypothesis import strategies as st

from chains.errors import ChainError, ContradictionError, NodeError
from chains.evm.addresses import keccak256, parse_address
from chains.evm.codec.receipts import receipts_root
from chains.evm.codec.signatures import SECP256K1_ORDER
from chains.evm.codec.transactions import decode_transaction, encode_transaction, transactions_root
from chains.evm.codec.trie import BLANK_ROOT
from chains.rpc import HttpRpc
from delegation.sandbox.evm_network import transact
from delegation.sandbox.nodes import start_anvil

CHAIN = 59144
OWNER = Account.from_key("0x" + "4c" * 32)
OTHER = Account.from_key("0x" + "4d" * 32)
TOKEN = "0x176211869cA2b568f2A7D4EE941E073a821EE1ff"
APPROVE = "0x095ea7b3" + "00" * 12 + "9dd23a4a0845f10d65d293776b792af1131c7b30" + "00" * 30 + "1388"
CALL = {"gas": 100_000, "to": TOKEN, "value": 0, "data": APPROVE}
FEES = {"maxFeePerGas": 3 * 10**9, "maxPriorityFeePerGas": 10**6}
ACCESS = [
    {"address": TOKEN, "storageKeys": ["0x" + "01" * 32, "0x" + "00" * 32]},
    {"address": TOKEN, "storageKeys": []},
]
BLOBS = ["0x01" + "ab" * 31, "0x01" + "cd" * 31]


def authorize(account: Any, chain_id: int = CHAIN) -> Any:
    return account.sign_authorization({"chainId": chain_id, "address": TOKEN, "nonce": 0})


UNSIGNED: dict[str, dict[str, Any]] = {
    "legacy-without-chain": {**CALL, "gasPrice": 3 * 10**9},
    "legacy": {**CALL, "gasPrice": 3 * 10**9, "chainId": CHAIN},
    "creation": {**CALL, "to": "", "gasPrice": 3 * 10**9, "chainId": CHAIN},
    "eip2930": {**CALL, "type": 1, "gasPrice": 3 * 10**9, "chainId": CHAIN, "accessList": ACCESS},
    "eip1559": {**CALL, **FEES, "type": 2, "chainId": CHAIN, "value": 2**200, "accessList": ACCESS},
    "eip4844": {**CALL, **FEES, "type": 3, "chainId": CHAIN, "maxFeePerBlobGas": 7, "blobVersionedHashes": BLOBS},
    "eip7702": {**CALL, **FEES, "type": 4, "chainId": CHAIN, "authorizationList": [authorize(OTHER)]},
}
TYPES = {"legacy-without-chain": 0, "legacy": 0, "creation": 0, "eip2930": 1, "eip1559": 2, "eip4844": 3, "eip7702": 4}

# The first transaction of block 151,539,208 of OP Mainnet.
DEPOSIT = {
    "type": "0x7e",
    "hash": "0x8298e19f39ad1e9a2d670739614fafbbed1d5b3824319384f479168d2d8c8f95",
    "sourceHash": "0xc912db3c7247e182b351c44e56b691ebcafbc8ada96c394ee5f5aa65d90b930e",
    "from": "0xdeaddeaddeaddeaddeaddeaddeaddeaddead0001",
    "to": "0x4200000000000000000000000000000000000015",
    "mint": "0x0",
    "value": "0x0",
    "gas": "0xf4240",
    "nonce": "0x2c28b94",
    "input": "0x3db6be2b0000146b000f79c50000000000000003000000006a04756f00000000017ec99d000000000000000000000000"
    "0000000000000000000000000000000020017d620000000000000000000000000000000000000000000000000000000001d918f3af6d6abe101cdf792f"
    "420a962b62de02ba52726b1d21f5b9d43aff3c572b27cf0000000000000000000000006887246668a3b87f54deb3b94ba47a6f63f329850000"
    "000000000000000000000190",
    "v": "0x0",
    "r": "0x0",
    "s": "0x0",
}


def sign(name: str, **changes: Any) -> bytes:
    fields = {"nonce": 7} | UNSIGNED[name] | changes
    return bytes(OWNER.sign_transaction(fields).raw_transaction)


def body(raw: bytes) -> list[Any]:
    items: list[Any] = rlp.decode(raw[1:] if raw[0] < 0x80 else raw)
    return items


def replaced(raw: bytes, at: int, item: Any) -> bytes:
    items = body(raw)
    items[at] = item
    return raw[:1] * (raw[0] < 0x80) + rlp.encode(items)


def refuse(raw: bytes, why: str) -> None:
    with pytest.raises(ContradictionError, match=why):
        decode_transaction(raw)


@pytest.mark.parametrize("name", UNSIGNED)
def test_what_a_wallet_signed_is_decoded_with_its_sender(name: str) -> None:
    raw = sign(name)
    decoded = decode_transaction(raw)
    assert (decoded.type, decoded.nonce) == (TYPES[name], 7)
    assert decoded.hash == "0x" + keccak256(raw).hex()
    assert decoded.sender == OWNER.address
    assert decoded.chain_id == (None if name == "legacy-without-chain" else CHAIN)
    assert decoded.to == (None if name == "creation" else TOKEN)
    assert decoded.value == UNSIGNED[name]["value"]
    assert decoded.data == bytes.fromhex(APPROVE[2:])
    assert decoded.authorities == ((OTHER.address,) if name == "eip7702" else ())


def test_a_deposit_of_a_real_block_is_encoded_to_its_hash_and_names_its_sender() -> None:
    decoded = decode_transaction(encode_transaction(DEPOSIT))
    assert decoded.hash == DEPOSIT["hash"]
    assert decoded.sender == parse_address(DEPOSIT["from"])
    assert decoded.to == DEPOSIT["to"]
    assert decoded.chain_id is None


@pytest.mark.parametrize(
    "changes",
    [{"mint": None}, {"isSystemTx": False}, {"isSystemTx": None}, {"nonce": None}],
    ids=["mint-null", "system-false", "system-null", "no-nonce"],
)
def test_what_nodes_leave_out_of_a_deposit_makes_no_difference(changes: dict[str, Any]) -> None:
    assert encode_transaction(DEPOSIT | changes) == encode_transaction(DEPOSIT)


def test_a_system_deposit_that_mints_and_creates_is_another_one() -> None:
    raw = encode_transaction(DEPOSIT | {"mint": "0x5", "isSystemTx": True, "to": None})
    assert body(raw)[2:4] + body(raw)[6:7] == [b"", b"\5", b"\1"]
    assert decode_transaction(raw).to is None


@dataclass
class Mined:
    """A block of a real node, and the bytes that were sent to it by hash."""

    block: dict[str, Any]
    sent: dict[str, bytes]

    def transaction(self, kind: int) -> dict[str, Any]:
        found = (item for item in self.block["transactions"] if int(item["type"], 16) == kind)
        return deepcopy(next(found))


@pytest.fixture(scope="module")
async def mined() -> Mined:
    """140 transactions in one block: one of each type that can be sent without blobs, and many more."""
    names = [name for name in UNSIGNED if name not in {"eip4844", "creation"}] + ["eip1559"] * 135
    with start_anvil(CHAIN, "--no-mining") as running:
        async with aclosing(HttpRpc(running.rpc_url)) as rpc:
            await rpc.request("anvil_setBalance", [OWNER.address, hex(10**20)])
            sent = {}
            for nonce, name in enumerate(names):
                raw = sign(name, nonce=nonce, value=1)
                sent[await rpc.request("eth_sendRawTransaction", ["0x" + raw.hex()])] = raw
            await rpc.request("evm_mine")
            block = await rpc.request("eth_getBlockByNumber", ["latest", True])
    return Mined(block, sent)


def test_a_real_node_gives_back_the_bytes_that_were_sent(mined: Mined) -> None:
    assert len(mined.block["transactions"]) == 140
    for transaction in mined.block["transactions"]:
        assert encode_transaction(transaction) == mined.sent[transaction["hash"]]


def test_the_transactions_of_a_large_block_of_a_real_node_have_the_root_of_its_header(mined: Mined) -> None:
    assert "0x" + transactions_root(mined.block["transactions"]).hex() == mined.block["transactionsRoot"]


def test_a_block_without_transactions_has_the_root_of_an_empty_trie() -> None:
    assert transactions_root([]) == BLANK_ROOT


async def test_a_deposit_on_a_real_node_has_the_roots_of_its_header() -> None:
    with start_anvil(8453, "--network", "optimism") as running:
        async with aclosing(HttpRpc(running.rpc_url)) as rpc:
            account = (await rpc.request("eth_accounts"))[0]
            deposit = {"type": "0x7e", "from": account, "to": TOKEN, "mint": "0x64", "value": "0x1", "gas": "0x186a0"}
            rest = {"sourceHash": "0x" + "11" * 32, "isSystemTx": False, "input": "0x1234"}
            await transact(rpc, deposit | rest)
            block = await rpc.request("eth_getBlockByNumber", ["0x1", True])
            receipts = await rpc.request("eth_getBlockReceipts", ["0x1"])
    assert [receipt["depositReceiptVersion"] for receipt in receipts] == ["0x1"]
    assert "0x" + transactions_root(block["transactions"]).hex() == block["transactionsRoot"]
    assert "0x" + receipts_root(receipts).hex() == block["receiptsRoot"]


def test_a_blob_transaction_is_encoded_as_the_library_does() -> None:
    raw = sign("eip4844")
    fields = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
    shown = {name: hex(value) if isinstance(value, int) else value for name, value in fields.items()}
    shown |= {"type": "0x3", "to": TOKEN, "input": APPROVE, "accessList": [], "blobVersionedHashes": BLOBS}
    assert encode_transaction(shown | {"yParity": shown["v"]}) == raw


@pytest.mark.parametrize("parity", ["yParity", "v"])
def test_a_node_may_give_the_parity_under_either_name(mined: Mined, parity: str) -> None:
    transaction = mined.transaction(2)
    del transaction[parity]
    assert encode_transaction(transaction) == mined.sent[transaction["hash"]]


def test_a_parity_that_is_given_twice_and_differently_is_a_contradiction(mined: Mined) -> None:
    transaction = mined.transaction(2)
    transaction["v"] = "0x1" if transaction["yParity"] == "0x0" else "0x0"
    with pytest.raises(ContradictionError, match="yParity and v"):
        encode_transaction(transaction)


@pytest.mark.parametrize("field", ["nonce", "gas", "to", "value", "input", "maxFeePerGas", "chainId", "r", "s"])
def test_a14_a_changed_field_of_a_transaction_is_noticed(mined: Mined, field: str) -> None:
    transaction = mined.transaction(2)
    last = transaction[field][-1]
    transaction[field] = transaction[field][:-1] + ("1" if last == "0" else "0")
    with pytest.raises(ContradictionError, match="are those of another"):
        transactions_root([transaction])


@pytest.mark.parametrize("change", ["left-out", "moved"])
def test_a14_transactions_that_are_left_out_or_moved_break_the_root(mined: Mined, change: str) -> None:
    transactions = list(mined.block["transactions"])
    if change == "left-out":
        transactions.pop()
    else:
        transactions[3], transactions[4] = transactions[4], transactions[3]
    assert "0x" + transactions_root(transactions).hex() != mined.block["transactionsRoot"]


def test_a_block_with_hashes_in_place_of_transactions_is_nonsense() -> None:
    with pytest.raises(NodeError):
        transactions_root(["0x" + "ab" * 32])  # type: ignore[list-item]


@pytest.mark.parametrize("name", UNSIGNED)
def test_every_changed_byte_of_a_signed_transaction_is_refused_or_changes_hash_and_sender(name: str) -> None:
    raw = sign(name)
    for at in range(len(raw)):
        changed = raw[:at] + bytes([raw[at] ^ 1 << at % 8]) + raw[at + 1 :]
        try:
            decoded = decode_transaction(changed)
        except NodeError:
            continue
        assert decoded.hash != "0x" + keccak256(raw).hex()
        assert decoded.sender != OWNER.address


@pytest.mark.parametrize("name", UNSIGNED)
def test_trailing_and_missing_bytes_are_refused(name: str) -> None:
    raw = sign(name)
    refuse(raw + b"\0", "not RLP")
    refuse(raw[:-1], "not RLP")


@pytest.mark.parametrize("name", UNSIGNED)
@pytest.mark.parametrize("count", [0, -1, +1])
def test_another_number_of_fields_is_refused(name: str, count: int) -> None:
    raw = sign(name)
    items = {0: [], -1: body(raw)[:-1], 1: [*body(raw), b""]}[count]
    refuse(raw[:1] * (raw[0] < 0x80) + rlp.encode(items), "fields instead of")


@pytest.mark.parametrize(
    ("name", "at", "item", "why"),
    [
        ("legacy", 0, b"\0", "nonce has leading zeros"),
        ("legacy", 4, b"\1" * 33, "more than 32 bytes"),
        ("legacy", 3, b"\1" * 19, "to has 19 bytes"),
        ("legacy", 3, [], "to is a list"),
        ("legacy", 5, [b"\1"], "input is a list"),
        ("legacy", 6, b"", "v is 0"),
        ("legacy", 6, b"\x22", "v is 34"),
        ("legacy", 7, b"", "no key can have made"),
        ("legacy", 8, b"", "no key can have made"),
        ("eip1559", 0, b"\0\1", "chainId has leading zeros"),
        ("eip1559", 8, b"", "accessList is no list"),
        ("eip1559", 8, [b""], "accessList is no list"),
        ("eip1559", 8, [[b"\1" * 20]], "entry of accessList has 1 fields"),
        ("eip1559", 8, [[b"\1" * 21, []]], "address has 21 bytes"),
        ("eip1559", 8, [[b"\1" * 20, [b"\1"]]], "storageKey has 1 bytes"),
        ("eip1559", 8, [[b"\1" * 20, b"\1"]], "accessList is no list"),
        ("eip1559", 9, b"\2", "parity of its signature is 2"),
        ("eip1559", 9, b"\x1b", "parity of its signature is 27"),
        ("eip4844", 5, b"", "it has no recipient"),
        ("eip4844", 10, [b"\1" * 31], "blobHash has 31 bytes"),
        ("eip4844", 10, b"", "blobVersionedHashes is no list"),
        ("eip7702", 5, b"", "it has no recipient"),
        ("eip7702", 9, b"", "authorizationList is no list"),
        ("eip7702", 9, [[b""] * 5], "entry of authorizationList has 5 fields"),
        ("eip7702", 9, [[b"", b"\1" * 19, b"", b"", b"\1", b"\1"]], "address has 19 bytes"),
    ],
)
def test_a_malformed_field_is_refused(name: str, at: int, item: Any, why: str) -> None:
    refuse(replaced(sign(name), at, item), why)


def test_a_deposit_that_is_neither_a_system_one_nor_not_is_refused() -> None:
    refuse(replaced(encode_transaction(DEPOSIT), 6, b"\2"), "neither true nor false")


@pytest.mark.parametrize("name", UNSIGNED)
def test_a22_the_twin_of_a_signature_with_s_in_the_upper_half_is_refused(name: str) -> None:
    raw = sign(name)
    *_, v, _, s = body(raw)
    twin = replaced(raw, -1, (SECP256K1_ORDER - int.from_bytes(s, "big")).to_bytes(32, "big"))
    number = int.from_bytes(v, "big")
    # Parity 0 and 1, v of 27 and 28, and of an odd and the next even number (EIP-155) change places.
    other = number ^ 1 if TYPES[name] else ((number - 27) ^ 1) + 27
    refuse(replaced(twin, -3, other.to_bytes((other.bit_length() + 7) // 8, "big")), "no key can have made")


@pytest.mark.parametrize(
    ("raw", "kind"), [(b"\0" + rlp.encode([]), "0x0"), (b"\5\xc0", "0x5"), (b"\x7f", "0x7f"), (b"\x50" * 40, "0x50")]
)
def test_a_type_to_come_is_not_known_rather_than_malformed(raw: bytes, kind: str) -> None:
    with pytest.raises(NodeError, match=f"of type {kind}, which this version does not know") as caught:
        decode_transaction(raw)
    assert not isinstance(caught.value, ContradictionError)


def test_json_of_a_type_to_come_is_not_known_rather_than_malformed() -> None:
    with pytest.raises(NodeError, match="type 0x5, which this version does not know") as caught:
        encode_transaction(DEPOSIT | {"type": "0x5"})
    assert not isinstance(caught.value, ContradictionError)


@pytest.mark.parametrize("raw", [b"", b"\x80", b"\xb8", b"\xff", b"\xc0"])
def test_bytes_that_are_no_transaction_are_refused(raw: bytes) -> None:
    refuse(raw, "These bytes are no transaction")


def test_only_authorizations_that_the_chain_may_have_followed_name_an_authority() -> None:
    everywhere, elsewhere, damaged = authorize(OWNER, 0), authorize(OTHER, 1), authorize(OTHER)
    raw = sign("eip7702", authorizationList=[everywhere, elsewhere, damaged])
    entries = body(raw)[9]
    entries[2][5] = (SECP256K1_ORDER - int.from_bytes(entries[2][5], "big")).to_bytes(32, "big")
    unsigned = [*body(raw)[:9], entries]
    key = OWNER._key_obj
    signature = key.sign_msg_hash(keccak256(b"\4" + rlp.encode(unsigned)))
    decoded = decode_transaction(b"\4" + rlp.encode([*unsigned, signature.v, signature.r, signature.s]))
    assert decoded.sender == OWNER.address
    assert decoded.authorities == (OWNER.address,)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([b"", b"\1", b"\2", b"\3", b"\4", b"\x7e", b"\xf8"]), st.binary(max_size=200))
def test_random_bytes_end_in_an_error_of_ours(prefix: bytes, data: bytes) -> None:
    with pytest.raises(ChainError):
        decode_transaction(prefix + data)


SHAPES = st.recursive(st.binary(max_size=34), lambda inner: st.lists(inner, max_size=6), max_leaves=6)


@settings(max_examples=120, deadline=None)
@given(st.sampled_from(list(UNSIGNED)), st.integers(0, 12), SHAPES)
def test_random_fields_are_decoded_or_end_in_an_error_of_ours(name: str, at: int, item: Any) -> None:
    raw = sign(name)
    try:
        decode_transaction(replaced(raw, at % len(body(raw)), item))
    except ChainError:
        return


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(), st.from_regex(r"\A0x[0-9a-f]{0,70}\Z")),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["address", "storageKeys", "chainId", "r", "s", "v"]), inner, max_size=6),
    ),
    max_leaves=8,
)


@settings(max_examples=120, deadline=None)
@given(st.sampled_from(["0x0", "0x1", "0x2", "0x3", "0x4", "0x7e"]), st.data())
def test_whatever_a_node_gives_as_a_transaction_is_encoded_or_ends_in_an_error_of_ours(kind: str, data: Any) -> None:
    lists = {"accessList": [], "authorizationList": [], "blobVersionedHashes": []}
    numbers = dict.fromkeys(("chainId", "gasPrice", "maxFeePerGas", "maxPriorityFeePerGas", "maxFeePerBlobGas"), "0x1")
    whole = DEPOSIT | lists | numbers | {"type": kind}
    assert encode_transaction(whole)
    changes = data.draw(st.dictionaries(st.sampled_from([*whole, "isSystemTx", "yParity"]), JSON, max_size=3))
    try:
        encode_transaction(whole | changes)
    except ChainError:
        return
