"""Accounts and storage slots: what a state root proves, and what a node says beside its proofs."""

from __future__ import annotations

import json
from contextlib import aclosing
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import pytest
import rlp
from hypothesis import given, settings
from hypothesis import strategies as st
from needs import need_vectors

from chains.errors import ChainError, ContradictionError, NodeError
from chains.evm.addresses import keccak256, parse_address
from chains.evm.codec.headers import check_header
from chains.evm.codec.state_proofs import EMPTY_CODE_HASH, ProvenAccount, prove_account, prove_answer, prove_storage
from chains.evm.codec.trie import BLANK_ROOT
from chains.rpc import HttpRpc
from delegation.sandbox.artifacts import encode_call, encode_creation
from delegation.sandbox.evm_network import transact
from delegation.sandbox.nodes import start_anvil

SPENDER = "0x9dd23A4a0845f10d65D293776B792af1131c7B30"
NOBODY = "0x1111111111111111111111111111111111111111"
AMOUNT = 5_000 * 10**6
TOKENS = {"UsdcLike": 10, "TetherLike": 5, "OpenZeppelin4Like": None}


def load(name: str) -> Any:
    return json.loads(need_vectors(f"mainnet/{name}").read_text())["result"]


def word(value: str | int) -> bytes:
    return (int(value, 16) if isinstance(value, str) else value).to_bytes(32, "big")


def allowance_slot(base: int, owner: str, spender: str = SPENDER) -> bytes:
    return keccak256(word(spender) + keccak256(word(owner) + word(base)))


@dataclass
class Approved:
    """Proofs of a real node: of one allowance after an approval, of a free slot, of a plain owner and of nobody.

    `earlier` is the state root of the block before the approval, `before` a proof from there; `later` and `revoked` are
    those of the block after a revocation.
    """

    token: str
    owner: str
    slot: bytes
    state_root: bytes
    earlier: bytes
    before: dict[str, Any]
    after: dict[str, Any]
    later: bytes
    revoked: dict[str, Any]
    owner_proof: dict[str, Any]
    nobody_proof: dict[str, Any]


FREE = word(2**200)


async def approve(name: str) -> Approved:
    with start_anvil(59144) as running:
        async with aclosing(HttpRpc(running.rpc_url)) as rpc:
            owner = (await rpc.request("eth_accounts"))[0]
            created = await transact(rpc, {"from": owner, "data": encode_creation(name, "constructor()")})
            token = parse_address(created["contractAddress"])
            for other in range(1, 40):
                call = encode_call("approve(address,uint256)", "0x" + word(other)[12:].hex(), other)
                await transact(rpc, {"from": owner, "to": token, "data": call})

            async def head() -> bytes:
                block = await rpc.request("eth_getBlockByNumber", ["latest", False])
                check_header(block)
                return bytes.fromhex(block["stateRoot"][2:])

            async def prove(address: str, *slots: bytes) -> dict[str, Any]:
                keys = ["0x" + slot.hex() for slot in slots]
                answer: dict[str, Any] = await rpc.request("eth_getProof", [address, keys, "latest"])
                return answer

            slots = {base: allowance_slot(base, owner) for base in range(11)}
            earlier, before = await head(), await prove(token, *slots.values())
            call = encode_call("approve(address,uint256)", SPENDER, AMOUNT)
            await transact(rpc, {"from": owner, "to": token, "data": call})
            _, values = prove_answer(await head(), await prove(token, *slots.values()), token, list(slots.values()))
            bases = [base for base, value in zip(slots, values, strict=True) if value]
            assert len(bases) == 1
            assert TOKENS[name] in {None, bases[0]}
            slot = slots[bases[0]]
            before["storageProof"] = [before["storageProof"][bases[0]]]
            approved = Approved(
                token=token,
                owner=parse_address(owner),
                slot=slot,
                state_root=await head(),
                earlier=earlier,
                before=before,
                after=await prove(token, slot, FREE),
                later=b"",
                revoked={},
                owner_proof=await prove(owner, slot),
                nobody_proof=await prove(NOBODY, slot),
            )
            call = encode_call("approve(address,uint256)", SPENDER, 0)
            await transact(rpc, {"from": owner, "to": token, "data": call})
            approved.later, approved.revoked = await head(), await prove(token, slot)
            return approved


@pytest.fixture(scope="module")
async def approved() -> Approved:
    return await approve("UsdcLike")


@pytest.mark.parametrize("name", ["TetherLike", "OpenZeppelin4Like"])
async def test_the_allowance_of_every_kind_of_token_is_proved(name: str) -> None:
    approved = await approve(name)
    assert prove_answer(approved.state_root, approved.after, approved.token, [approved.slot, FREE])[1] == (AMOUNT, 0)


def test_the_allowance_after_an_approval_and_a_free_slot_are_proved(approved: Approved) -> None:
    account, values = prove_answer(approved.state_root, approved.after, approved.token, [approved.slot, FREE])
    assert values == (AMOUNT, 0)
    assert account.nonce == 1
    assert account.storage_root != BLANK_ROOT
    assert account.code_hash != EMPTY_CODE_HASH


def test_the_allowance_before_an_approval_is_proved_to_be_absent(approved: Approved) -> None:
    assert prove_answer(approved.earlier, approved.before, approved.token, [approved.slot])[1] == (0,)


def test_the_allowance_after_a_revocation_is_proved_to_be_zero(approved: Approved) -> None:
    assert prove_answer(approved.later, approved.revoked, approved.token, [approved.slot])[1] == (0,)


def test_a_slot_that_the_trie_keeps_with_nothing_in_it_holds_zero() -> None:
    root, proof = leaf_trie(FREE, b"\x80")
    assert prove_storage(root, FREE, proof) == 0


def test_an_account_without_storage_holds_zero_in_every_slot(approved: Approved) -> None:
    account, values = prove_answer(approved.state_root, approved.owner_proof, approved.owner, [approved.slot])
    assert (account.storage_root, account.code_hash, values) == (BLANK_ROOT, EMPTY_CODE_HASH, (0,))
    assert account.balance > 0


def test_an_account_that_does_not_exist_is_proved_to_be_an_empty_one(approved: Approved) -> None:
    proof = approved.nobody_proof
    nodes = [bytes.fromhex(node[2:]) for node in proof["accountProof"]]
    assert prove_account(approved.state_root, NOBODY, nodes) is None
    empty = ProvenAccount(0, 0, BLANK_ROOT, EMPTY_CODE_HASH)
    assert prove_answer(approved.state_root, proof, NOBODY, [approved.slot]) == (empty, (0,))


@pytest.mark.parametrize("proof", [[], ["0x80"]], ids=["no-nodes", "empty-node"])
def test_nodes_may_say_zero_hashes_of_an_account_that_does_not_exist(approved: Approved, proof: list[str]) -> None:
    answer = deepcopy(approved.nobody_proof) | {"codeHash": "0x" + "00" * 32, "storageHash": "0x" + "00" * 32}
    answer["storageProof"][0]["proof"] = proof
    assert prove_answer(approved.state_root, answer, NOBODY, [approved.slot])[1] == (0,)


def test_the_recorded_account_of_mainnet_is_proved() -> None:
    answer = load("proof_0x14d0303_0x95222290DD7278Aa3Ddd389Cc1E1d165CC4BAfe5.json")
    root = bytes.fromhex(load("block_0x14d0303.json")["stateRoot"][2:])
    expected = ProvenAccount(0x1EB99C, 0xC3A7420668808F84, BLANK_ROOT, EMPTY_CODE_HASH)
    assert prove_answer(root, answer, "0x95222290DD7278Aa3Ddd389Cc1E1d165CC4BAfe5", []) == (expected, ())


def refuse(approved: Approved, answer: dict[str, Any], why: str, *, root: bytes | None = None) -> None:
    with pytest.raises(ContradictionError, match=why):
        prove_answer(root or approved.state_root, answer, approved.token, [approved.slot, FREE])


def test_a15_a_truncated_account_proof_is_refused(approved: Approved) -> None:
    for length in range(len(approved.after["accountProof"])):
        answer = deepcopy(approved.after)
        del answer["accountProof"][length:]
        refuse(approved, answer, "ends before the key does")


def test_a15_a_truncated_storage_proof_is_refused(approved: Approved) -> None:
    for length in range(len(approved.after["storageProof"][0]["proof"])):
        answer = deepcopy(approved.after)
        del answer["storageProof"][0]["proof"][length:]
        refuse(approved, answer, "ends before the key does")


def test_a15_a_proof_for_another_block_is_refused(approved: Approved) -> None:
    refuse(approved, approved.after, "node 1 is not the one", root=approved.earlier)


def test_a15_a_storage_proof_from_another_block_is_refused(approved: Approved) -> None:
    answer = deepcopy(approved.after)
    answer["storageProof"][0] = approved.before["storageProof"][0]
    refuse(approved, answer, "node 1 is not the one")


def test_a15_a_proof_for_another_account_is_refused(approved: Approved) -> None:
    refuse(approved, approved.after | {"accountProof": approved.owner_proof["accountProof"]}, "Merkle proof")
    refuse(approved, approved.owner_proof | {"address": approved.token.lower()}, "Merkle proof")


def test_a15_the_proof_of_another_slot_is_refused(approved: Approved) -> None:
    answer = deepcopy(approved.after)
    answer["storageProof"].reverse()
    refuse(approved, answer, "another slot")


@pytest.mark.parametrize("change", ["left-out", "added"])
def test_a15_another_number_of_slots_is_refused(approved: Approved, change: str) -> None:
    answer = deepcopy(approved.after)
    if change == "left-out":
        answer["storageProof"].pop()
    else:
        answer["storageProof"].append(answer["storageProof"][0])
    refuse(approved, answer, "another number of slots")


def test_a16_an_empty_storage_proof_under_a_root_that_is_not_empty_is_never_zero(approved: Approved) -> None:
    answer = deepcopy(approved.after)
    answer["storageProof"][0] |= {"value": "0x0", "proof": []}
    refuse(approved, answer, "ends before the key does")


def test_a16_an_empty_storage_hash_beside_an_account_that_has_storage_is_a_contradiction(approved: Approved) -> None:
    answer = deepcopy(approved.after) | {"storageHash": "0x" + BLANK_ROOT.hex()}
    answer["storageProof"][0] |= {"value": "0x0", "proof": []}
    refuse(approved, answer, "another storageHash")


def test_a16_the_proof_of_a_free_slot_does_not_make_an_allowance_zero(approved: Approved) -> None:
    answer = deepcopy(approved.after)
    answer["storageProof"][0] |= {"value": "0x0", "proof": approved.after["storageProof"][1]["proof"]}
    refuse(approved, answer, "Merkle proof")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("address", NOBODY),
        ("nonce", "0x2"),
        ("balance", "0x1"),
        ("codeHash", "0x" + "00" * 32),
        ("codeHash", "0x" + EMPTY_CODE_HASH.hex()),
        ("storageHash", "0x" + "00" * 32),
    ],
)
def test_what_a_node_says_beside_the_proof_of_an_account_must_be_proved(
    approved: Approved, field: str, value: str
) -> None:
    refuse(approved, approved.after | {field: value}, f"another {field} beside its Merkle proof")


@pytest.mark.parametrize(("value", "index"), [("0x0", 0), (hex(AMOUNT + 1), 0), ("0x1", 1)])
def test_the_value_that_a_node_says_beside_the_proof_must_be_proved(approved: Approved, value: str, index: int) -> None:
    answer = deepcopy(approved.after)
    answer["storageProof"][index]["value"] = value
    refuse(approved, answer, "another value beside its Merkle proof")


def test_keys_may_be_written_without_leading_zeros(approved: Approved) -> None:
    answer = deepcopy(approved.after)
    answer["storageProof"][1]["key"] = hex(2**200)
    assert prove_answer(approved.state_root, answer, approved.token, [approved.slot, FREE])[1] == (AMOUNT, 0)


def test_changed_digits_all_over_an_answer_are_noticed(approved: Approved) -> None:
    text = json.dumps(approved.after)
    for node in [*approved.after["accountProof"], *approved.after["storageProof"][0]["proof"]]:
        for at in range(2, len(node), 3):
            changed = node[:at] + ("1" if node[at] == "0" else "0") + node[at + 1 :]
            refuse(approved, json.loads(text.replace(node, changed, 1)), "Merkle proof")


def leaf_trie(key: bytes, value: bytes) -> tuple[bytes, list[bytes]]:
    node = rlp.encode([b"\x20" + keccak256(key), value])
    return keccak256(node), [node]


def account_leaf(*fields: Any) -> bytes:
    encoded: bytes = rlp.encode(list(fields))
    return encoded


ROOTS = (BLANK_ROOT, EMPTY_CODE_HASH)
BAD_ACCOUNTS = {
    "no-rlp": b"\xc5\x01",
    "bytes": rlp.encode(b"account"),
    "three-fields": account_leaf(b"", b"", BLANK_ROOT),
    "five-fields": account_leaf(b"", b"", *ROOTS, b""),
    "nonce-with-leading-zero": account_leaf(b"\0\1", b"", *ROOTS),
    "balance-too-long": account_leaf(b"", b"\1" * 33, *ROOTS),
    "nonce-is-a-list": account_leaf([], b"", *ROOTS),
    "short-storage-root": account_leaf(b"", b"", BLANK_ROOT[:31], EMPTY_CODE_HASH),
    "short-code-hash": account_leaf(b"", b"", BLANK_ROOT, b""),
}


@pytest.mark.parametrize("name", BAD_ACCOUNTS)
def test_a_malformed_account_is_refused_even_if_the_root_commits_to_it(name: str) -> None:
    root, proof = leaf_trie(bytes.fromhex(NOBODY[2:]), BAD_ACCOUNTS[name])
    with pytest.raises(ContradictionError, match="cannot be read"):
        prove_account(root, NOBODY, proof)


@pytest.mark.parametrize("value", [b"\xc0", b"\0", b"\x82\0\1", b"\xa1" + b"\1" * 33, b"\x81\1", b"\1\1"])
def test_a_malformed_value_is_refused_even_if_the_root_commits_to_it(value: bytes) -> None:
    root, proof = leaf_trie(FREE, value)
    with pytest.raises(ContradictionError, match="cannot be read"):
        prove_storage(root, FREE, proof)


@pytest.mark.parametrize("value", [1, 127, 128, AMOUNT, 2**255, 2**256 - 1])
def test_a_slot_holds_an_integer_without_leading_zeros(value: int) -> None:
    root, proof = leaf_trie(FREE, rlp.encode(value))
    assert prove_storage(root, FREE, proof) == value


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(), st.from_regex(r"\A0x[0-9a-f]{0,70}\Z")),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["key", "value", "proof"]), inner, max_size=3),
    ),
    max_leaves=8,
)
FIELDS = ("address", "nonce", "balance", "codeHash", "storageHash", "accountProof", "storageProof")


@settings(max_examples=120, deadline=None)
@given(st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=3))
def test_whatever_a_node_gives_as_a_proof_ends_in_the_truth_or_an_error_of_ours(changes: dict[str, Any]) -> None:
    leaf = rlp.encode([b"", b"", BLANK_ROOT, EMPTY_CODE_HASH])
    root, proof = leaf_trie(bytes.fromhex(NOBODY[2:]), leaf)
    answer = {
        "address": NOBODY,
        "nonce": "0x0",
        "balance": "0x0",
        "codeHash": "0x" + EMPTY_CODE_HASH.hex(),
        "storageHash": "0x" + BLANK_ROOT.hex(),
        "accountProof": ["0x" + proof[0].hex()],
        "storageProof": [{"key": "0x" + FREE.hex(), "value": "0x0", "proof": []}],
    }
    truth = (ProvenAccount(0, 0, BLANK_ROOT, EMPTY_CODE_HASH), (0,))
    assert prove_answer(root, answer, NOBODY, [FREE]) == truth
    try:
        assert prove_answer(root, answer | changes, NOBODY, [FREE]) == truth
    except ChainError:
        return


@pytest.mark.parametrize("name", ["accountProof", "storageProof", "nonce", "address"])
def test_an_answer_that_lacks_a_part_is_nonsense(approved: Approved, name: str) -> None:
    answer = {key: value for key, value in approved.after.items() if key != name}
    with pytest.raises(NodeError):
        prove_answer(approved.state_root, answer, approved.token, [approved.slot, FREE])
