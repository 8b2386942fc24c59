"""Block headers: reproduced from the fields that a node gives, of every fork, or refused."""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import Any

import pytest
import rlp
from hypothesis import given, settings
from hypothesis import strategies as st
from needs import need_vectors

from chains.errors import ChainError, ContradictionError, NodeError
from chains.evm.addresses import keccak256
from chains.evm.codec.headers import check_header, hash_header, is_reproduced
from chains.rpc import HttpRpc
from chains.types import Block
from delegation.sandbox.nodes import start_anvil

# The fields of a header in the order in which forks added them.
FIELDS: dict[str, str] = {
    "parentHash": "0x" + "11" * 32,
    "sha3Uncles": "0x1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347",
    "miner": "0x" + "00" * 20,
    "stateRoot": "0x" + "22" * 32,
    "transactionsRoot": "0x" + "33" * 32,
    "receiptsRoot": "0x" + "44" * 32,
    "logsBloom": "0x" + "00" * 256,
    "difficulty": "0x2",
    "number": "0x17a3ccf",
    "gasLimit": "0x77359400",
    "gasUsed": "0x0",
    "timestamp": "0x68f8a000",
    "extraData": "0x",
    "mixHash": "0x" + "00" * 32,
    "nonce": "0x0000000000000000",
    "baseFeePerGas": "0x7",
    "withdrawalsRoot": "0x56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421",
    "blobGasUsed": "0x0",
    "excessBlobGas": "0x0",
    "parentBeaconBlockRoot": "0x" + "55" * 32,
    "requestsHash": "0xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
}
QUANTITIES = {
    "difficulty",
    "number",
    "gasLimit",
    "gasUsed",
    "timestamp",
    "baseFeePerGas",
    "blobGasUsed",
    "excessBlobGas",
}
FORKS = {"before-london": 15, "london": 16, "shanghai": 17, "cancun": 20, "prague": 21}


def make_block(count: int, **changes: str) -> dict[str, Any]:
    """Return a block as a node gives it, with the hash that the library's RLP of its first fields has."""
    fields = dict(list((FIELDS | changes).items())[:count])
    items = [int(value, 16) if name in QUANTITIES else bytes.fromhex(value[2:]) for name, value in fields.items()]
    rest = {"size": "0x3e8", "totalDifficulty": "0x2f47a12", "transactions": [], "uncles": []}
    return {"hash": "0x" + keccak256(rlp.encode(items)).hex(), **fields, **rest}


def load(name: str) -> dict[str, Any]:
    block: dict[str, Any] = json.loads(need_vectors(f"mainnet/{name}").read_text())["result"]
    return block


@pytest.mark.parametrize(("name", "number"), [("block_0x14d0303", 0x14D0303), ("block_0x14d7970", 0x14D7970)])
def test_recorded_headers_of_mainnet_hash_to_their_blocks(name: str, number: int) -> None:
    block = load(name + ".json")
    assert check_header(block) == Block(number, block["hash"])


@pytest.mark.parametrize("fork", FORKS)
def test_the_header_of_every_fork_is_reproduced(fork: str) -> None:
    block = make_block(FORKS[fork])
    assert check_header(block) == Block(0x17A3CCF, block["hash"])


def test_linea_before_block_24787632_is_reproduced_with_its_whole_clique_seal() -> None:
    # Clique: 32 bytes of vanity and a seal of 65 bytes, all of which the hash covers (EIP-225).
    block = make_block(16, number=hex(24_787_631), extraData="0x" + "00" * 32 + "f3" * 65)
    assert check_header(block).number == 24_787_631


def test_linea_from_block_24787632_on_is_reproduced_with_short_extra_data() -> None:
    block = make_block(21, number=hex(24_787_632), difficulty="0x0", extraData="0x" + "4c" * 32)
    assert check_header(block).number == 24_787_632


def test_a_clique_seal_that_a_library_cut_away_is_noticed() -> None:
    block = make_block(16, extraData="0x" + "00" * 32 + "f3" * 65)
    with pytest.raises(ContradictionError, match="not reproducible"):
        check_header(block | {"extraData": block["extraData"][:66]})


async def test_headers_of_a_real_node_hash_to_their_blocks() -> None:
    with start_anvil(59144) as running:
        async with aclosing(HttpRpc(running.rpc_url)) as rpc:
            await rpc.request("anvil_mine", ["0x3"])
            for number in range(4):
                block = await rpc.request("eth_getBlockByNumber", [hex(number), False])
                assert check_header(block) == Block(number, block["hash"])


@pytest.mark.parametrize("name", FIELDS)
def test_a14_a_changed_field_of_a_header_is_noticed(name: str) -> None:
    block = make_block(21, extraData="0x01")
    value = block[name]
    block[name] = value[:-1] + ("1" if value[-1] == "0" else "0")
    with pytest.raises(ContradictionError, match="not reproducible"):
        check_header(block)


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("absent", [True, False], ids=["absent", "null"])
def test_a_field_that_is_missing_is_noticed_and_named(name: str, absent: bool) -> None:
    block = make_block(21)
    if absent:
        del block[name]
    else:
        block[name] = None
    # Without its last field the header has the form of the fork before, and another hash.
    with pytest.raises(ContradictionError, match="hash to" if name == "requestsHash" else f"{name} is missing"):
        check_header(block)


def make_fork(more: dict[str, str], *encoded: bytes | int) -> dict[str, Any]:
    """Return a block of a fork to come: fields after those of today, and what its hash commits to of them."""
    items = [int(value, 16) if name in QUANTITIES else bytes.fromhex(value[2:]) for name, value in FIELDS.items()]
    return {**FIELDS, **more, "hash": "0x" + keccak256(rlp.encode([*items, *encoded])).hex(), "size": "0x3e8"}


NEXT_FORK = {"blockAccessListHash": "0x" + "66" * 32, "slotNumber": "0x7a3ccf"}


def test_the_header_of_the_next_fork_is_known() -> None:
    """EIP-7928 adds the hash of the block's access list, EIP-7843 the number of its slot."""
    block = make_fork(NEXT_FORK, b"\x66" * 32, 0x7A3CCF)
    assert check_header(block).hash == hash_header(block) == block["hash"]
    with pytest.raises(ContradictionError, match="not reproducible"):
        check_header(block | {"slotNumber": "0x7a3cce"})


@pytest.mark.parametrize(
    ("more", "encoded"),
    [
        ({"somethingRoot": "0x" + "77" * 32}, [b"\x77" * 32]),
        ({"somethingCount": "0x0", "somethingRoot": "0x" + "77" * 32}, [0, b"\x77" * 32]),
        ({"somethingCount": "0x1234"}, [0x1234]),
        ({"somethingFlag": "0x01"}, [b"\x01"]),
        ({"somethingLong": "0x" + "77" * 48}, [b"\x77" * 48]),
        ({"l1BlockNumber": "0x10"}, []),
        ({"l1BlockNumber": "0x10", "somethingRoot": "0x" + "77" * 32}, [b"\x77" * 32]),
    ],
)
@pytest.mark.parametrize("fork", [{}, NEXT_FORK], ids=["today", "next"])
def test_fields_that_are_not_known_are_tried_in_their_order(
    fork: dict[str, str], more: dict[str, str], encoded: list[bytes | int]
) -> None:
    known: list[bytes | int] = [b"\x66" * 32, 0x7A3CCF] if fork else []
    block = make_fork(fork | more, *known, *encoded)
    assert check_header(block).hash == block["hash"]
    assert is_reproduced(block)
    changed = block | {"stateRoot": "0x" + "99" * 32}
    assert check_header(changed).hash == block["hash"]
    assert not is_reproduced(changed), "a node that lies beside a field that is not known proves nothing"


def test_a63_a_header_of_a_fork_that_nobody_can_guess_is_not_reproduced_and_no_contradiction() -> None:
    block = make_fork({"somethingRoot": "0x" + "77" * 32}, b"\x77" * 32, b"something else")
    assert check_header(block).hash == block["hash"]
    assert not is_reproduced(block)
    many = {f"field{number}": "0x" + f"{number:02x}" * 32 for number in range(40)}
    assert not is_reproduced(make_fork(many, b"something else")), "and it takes no time to say so"


@pytest.mark.parametrize("answer", [None, 7, "0x1", "0xzz", ["0x"], "0x" + "00" * 31])
def test_a_block_without_a_usable_hash_is_nonsense(answer: Any) -> None:
    with pytest.raises(NodeError, match="block's hash"):
        check_header(make_block(21) | {"hash": answer})


ANYTHING = st.one_of(st.none(), st.booleans(), st.integers(), st.text(), st.lists(st.text(), max_size=2))


@settings(max_examples=120, deadline=None)
@given(st.dictionaries(st.sampled_from([*FIELDS, "hash"]), ANYTHING, max_size=4))
def test_whatever_a_node_gives_as_a_header_ends_in_an_error_of_ours(changes: dict[str, Any]) -> None:
    block = make_block(21)
    if any(block[name] != value for name, value in changes.items()):
        with pytest.raises(ChainError):
            check_header(block | changes)


def test_upper_case_digits_and_leading_zeros_make_no_difference() -> None:
    block = make_block(21)
    assert hash_header(block | {"number": "0x017A3CCF", "parentHash": "0x" + "11" * 32}) == block["hash"]
    assert check_header(block | {"hash": "0x" + block["hash"][2:].upper()}).hash == block["hash"]
