"""Receipts: the bytes that a block's root commits to, of every type, and what a lying node cannot change."""

from __future__ import annotations

import json
from contextlib import aclosing
from copy import deepcopy
from typing import Any

import pytest
import rlp
from hypothesis import given, settings
from hypothesis import strategies as st
from needs import need_vectors

from chains.errors import ChainError, ContradictionError, NodeError
from chains.evm.codec.receipts import encode_receipt, logs_bloom, receipts_root
from chains.evm.codec.trie import BLANK_ROOT
from chains.rpc import HttpRpc
from delegation.sandbox.artifacts import encode_call, encode_creation
from delegation.sandbox.evm_network import transact
from delegation.sandbox.nodes import start_anvil

EMPTY_BLOOM = "0x" + "00" * 256
SPENDER = "0x9dd23A4a0845f10d65D293776B792af1131c7B30"


def load(name: str) -> Any:
    return json.loads(need_vectors(f"mainnet/{name}").read_text())["result"]


def make_receipt(**changes: Any) -> dict[str, Any]:
    return {
        "type": "0x2",
        "status": "0x1",
        "cumulativeGasUsed": "0xb741",
        "logsBloom": EMPTY_BLOOM,
        "logs": [],
        "transactionHash": "0x" + "ab" * 32,
    } | changes


def make_log(**changes: Any) -> dict[str, Any]:
    return {"address": "0x" + "11" * 20, "topics": ["0x" + "22" * 32], "data": "0x" + "00" * 32} | changes


def with_logs(*logs: dict[str, Any]) -> dict[str, Any]:
    return make_receipt(logs=list(logs), logsBloom="0x" + logs_bloom(logs).hex())


@pytest.fixture
def recorded() -> tuple[list[dict[str, Any]], bytes]:
    """The 57 receipts of a block of mainnet, of types 0 to 3, and the root in its header."""
    return load("receipts_0x14d7970.json"), bytes.fromhex(load("block_0x14d7970.json")["receiptsRoot"][2:])


Recorded = tuple[list[dict[str, Any]], bytes]


def test_the_recorded_receipts_of_mainnet_have_the_root_of_their_header(recorded: Recorded) -> None:
    receipts, root = recorded
    assert {receipt["type"] for receipt in receipts} == {"0x0", "0x1", "0x2", "0x3"}
    assert receipts_root(receipts) == root


def test_a_block_without_transactions_has_the_root_of_an_empty_trie() -> None:
    assert receipts_root([]) == BLANK_ROOT


def test_a_deposit_since_canyon_ends_in_its_nonce_and_version() -> None:
    # paradigmxyz/reth, decode_deposit_receipt_canyon_roundtrip.
    receipt = make_receipt(type="0x7E", depositNonce=hex(4_012_991), depositReceiptVersion="0x1")
    assert encode_receipt(receipt).hex() == "7ef9010d0182b741b90100" + "00" * 256 + "c0833d3bbf01"


@pytest.mark.parametrize("given_version", [{}, {"depositReceiptVersion": None}], ids=["absent", "null"])
def test_the_nonce_of_a_deposit_before_canyon_is_left_out(given_version: dict[str, Any]) -> None:
    receipt = make_receipt(type="0x7e", depositNonce=hex(4_012_991), **given_version)
    assert encode_receipt(receipt).hex() == "7ef901080182b741b90100" + "00" * 256 + "c0"


@pytest.mark.parametrize("kind", [1, 2, 3, 4])
def test_a_typed_receipt_is_its_type_and_the_same_list_as_a_legacy_one(kind: int) -> None:
    legacy = encode_receipt(make_receipt(type="0x0"))
    assert encode_receipt(make_receipt(type=hex(kind))) == bytes([kind]) + legacy


@pytest.mark.parametrize("given_type", [{}, {"type": None}], ids=["absent", "null"])
def test_a_receipt_of_a_node_that_knows_no_types_is_a_legacy_one(given_type: dict[str, Any]) -> None:
    receipt = make_receipt()
    del receipt["type"]
    assert encode_receipt(receipt | given_type) == encode_receipt(make_receipt(type="0x0"))


def test_a_failed_transaction_has_status_zero_as_the_empty_string() -> None:
    assert rlp.decode(encode_receipt(make_receipt(type="0x0", status="0x0")))[0] == b""


def test_a_receipt_from_before_byzantium_has_a_state_root_in_place_of_a_status() -> None:
    receipt = make_receipt(type="0x0", root="0x" + "77" * 32)
    assert rlp.decode(encode_receipt(receipt))[0] == b"\1"
    del receipt["status"]
    assert rlp.decode(encode_receipt(receipt))[0] == b"\x77" * 32


def test_the_blooms_of_mainnet_are_reproduced(recorded: Recorded) -> None:
    for receipt in recorded[0]:
        assert "0x" + logs_bloom(receipt["logs"]).hex() == receipt["logsBloom"]


@pytest.fixture(scope="module")
async def block() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A block of a real node with 140 approvals, so that its keys cross from 0x7f to 0x80 and to 0x81 and a byte."""
    with start_anvil(59144) as running:
        async with aclosing(HttpRpc(running.rpc_url)) as rpc:
            owner = (await rpc.request("eth_accounts"))[0]
            token = await transact(rpc, {"from": owner, "data": encode_creation("OpenZeppelin4Like", "constructor()")})
            await rpc.request("evm_setAutomine", [False])
            for amount in range(140):
                call = encode_call("approve(address,uint256)", SPENDER, amount)
                step = {"from": owner, "to": token["contractAddress"], "data": call, "gas": hex(100_000)}
                await rpc.request("eth_sendTransaction", [step])
            await rpc.request("evm_mine")
            header = await rpc.request("eth_getBlockByNumber", ["latest", False])
            return header, await rpc.request("eth_getBlockReceipts", ["latest"])


Block = tuple[dict[str, Any], list[dict[str, Any]]]


def test_the_receipts_of_a_large_block_of_a_real_node_have_the_root_of_its_header(block: Block) -> None:
    header, receipts = block
    assert len(receipts) == 140
    assert all(len(receipt["logs"]) == 1 for receipt in receipts)
    assert "0x" + receipts_root(receipts).hex() == header["receiptsRoot"]


def test_a14_changed_data_of_an_approval_log_breaks_the_root(block: Block) -> None:
    header, receipts = deepcopy(block)
    log = receipts[7]["logs"][0]
    log["data"] = log["data"][:-1] + "f"
    assert "0x" + receipts_root(receipts).hex() != header["receiptsRoot"]


def test_a14_a_failed_transaction_that_is_shown_as_successful_breaks_the_root(recorded: Recorded) -> None:
    receipts, root = recorded
    for receipt in receipts:
        receipt["status"] = "0x0" if receipt["status"] == "0x1" else "0x1"
        assert receipts_root(receipts) != root
        receipt["status"] = "0x0" if receipt["status"] == "0x1" else "0x1"


@pytest.mark.parametrize("field", ["address", "topic"])
def test_a14_a_changed_address_or_topic_with_the_old_bloom_is_a_contradiction(recorded: Recorded, field: str) -> None:
    receipts, _ = recorded
    log = next(log for receipt in receipts for log in receipt["logs"] if log["topics"])
    if field == "address":
        log["address"] = "0x" + "11" * 20
    else:
        log["topics"][0] = "0x" + "11" * 32
    with pytest.raises(ContradictionError, match="bloom"):
        receipts_root(receipts)


@pytest.mark.parametrize("field", ["address", "topic"])
def test_a14_a_changed_address_or_topic_with_a_new_bloom_breaks_the_root(recorded: Recorded, field: str) -> None:
    receipts, root = recorded
    receipt = next(receipt for receipt in receipts if receipt["logs"])
    if field == "address":
        receipt["logs"][0]["address"] = "0x" + "11" * 20
    else:
        receipt["logs"][0]["topics"][0] = "0x" + "11" * 32
    receipt["logsBloom"] = "0x" + logs_bloom(receipt["logs"]).hex()
    assert receipts_root(receipts) != root


def test_a14_every_changed_bit_of_a_bloom_is_a_contradiction(recorded: Recorded) -> None:
    receipt = next(receipt for receipt in recorded[0] if receipt["logs"])
    bloom = int(receipt["logsBloom"], 16)
    for bit in range(2048):
        with pytest.raises(ContradictionError, match="bloom"):
            encode_receipt(receipt | {"logsBloom": f"0x{bloom ^ 1 << bit:0512x}"})


@pytest.mark.parametrize("change", ["left-out", "added", "moved"])
def test_a14_logs_and_receipts_that_are_left_out_added_or_moved_break_the_root(recorded: Recorded, change: str) -> None:
    receipts, root = recorded
    if change == "left-out":
        receipts.pop()
    elif change == "added":
        receipts.append(receipts[0])
    else:
        receipts[0], receipts[1] = receipts[1], receipts[0]
    assert receipts_root(receipts) != root


def test_a_receipt_of_a_type_to_come_is_not_known_rather_than_a_lie() -> None:
    with pytest.raises(NodeError, match="type 0x5, which this version does not know") as caught:
        encode_receipt(make_receipt(type="0x5"))
    assert not isinstance(caught.value, ContradictionError)


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "0x2"},
        {"status": None},
        {"status": True},
        {"cumulativeGasUsed": None},
        {"logs": None},
        {"logs": [None]},
        {"logs": [{"address": "0x"}]},
        {"logs": [make_log(topics=None)]},
        {"logs": [make_log(topics=[1])]},
        {"logs": [make_log(data="0x1")]},
        {"logsBloom": None},
        {"type": ""},
        {"type": "2"},
        {"type": "0x7e", "depositReceiptVersion": "0x1"},
    ],
    ids=repr,
)
def test_nonsense_in_a_receipt_is_an_error_of_the_node(changes: dict[str, Any]) -> None:
    with pytest.raises(NodeError):
        encode_receipt(make_receipt(**changes))


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(), st.from_regex(r"\A0x[0-9a-f]{0,70}\Z")),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["address", "topics", "data"]), inner, max_size=3),
    ),
    max_leaves=8,
)
NAMES = ("type", "status", "root", "cumulativeGasUsed", "logsBloom", "logs", "depositNonce", "depositReceiptVersion")


@settings(max_examples=120, deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), JSON, max_size=4))
def test_whatever_a_node_gives_as_a_receipt_is_encoded_or_ends_in_an_error_of_ours(changes: dict[str, Any]) -> None:
    try:
        assert isinstance(encode_receipt(make_receipt(**changes)), bytes)
    except ChainError:
        return
