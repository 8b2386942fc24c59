"""Merkle-Patricia tries: roots of lists, and proofs that prove a value, prove its absence, or are refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
import rlp
from hypothesis import example, given, settings
from hypothesis import strategies as st
from needs import need_vectors

from chains.errors import ContradictionError
from chains.evm.addresses import keccak256
from chains.evm.codec.trie import BLANK_ROOT, ordered_trie_root, prove

# ethereum/tests, TrieTests/trieanyorder.json.
PUBLISHED = {
    "singleItem": (
        {"A": "a" * 50},
        "d23786fb4a010da3ce639d66d5e904a11dbc02746d1ce25029e53290cabf28ab",
    ),
    "dogs": (
        {"doe": "reindeer", "dog": "puppy", "dogglesworth": "cat"},
        "8aad789dff2f538bca5d8ea56e8abe10f4c7ba3a5dea95fea4cd6e7c3a1168d3",
    ),
    "puppy": (
        {"do": "verb", "horse": "stallion", "doge": "coin", "dog": "puppy"},
        "5991bb8c6514148a29db676a14ac506cd2cd5775ace63c30a4fe457715e9ac84",
    ),
    "foo": (
        {"foo": "bar", "food": "bass"},
        "17beaa1648bafa633cda809c90c04af50fc8aed3cb40d16efbddee6fdf63c4c3",
    ),
    "smallValues": (
        {"be": "e", "dog": "puppy", "bed": "d"},
        "3f67c7a47520f79faa29255d2d3c084a7a6df0453116ed7232ff10277a8be68b",
    ),
}


class Trie:
    """A plain trie to compare with, built from any keys; `nodes` are those that their parents name by hash."""

    def __init__(self, content: dict[bytes, bytes]) -> None:
        self.nodes: dict[bytes, bytes] = {}
        top = rlp.encode(self._build([(nibbles(key), value) for key, value in content.items()]))
        self.root = keccak256(top)
        self.nodes[self.root] = top

    def _build(self, entries: list[tuple[list[int], bytes]]) -> Any:
        if not entries:
            return b""
        first = entries[0][0]
        if len(entries) == 1:
            return [hex_prefix(first, 2), entries[0][1]]
        common = 0
        while all(len(path) > common and path[common] == first[common] for path, _ in entries):
            common += 1
        if common:
            return [hex_prefix(first[:common], 0), self._refer([(path[common:], value) for path, value in entries])]
        below = [[(path[1:], value) for path, value in entries if path[:1] == [nibble]] for nibble in range(16)]
        return [*map(self._refer, below), next((value for path, value in entries if not path), b"")]

    def _refer(self, entries: list[tuple[list[int], bytes]]) -> Any:
        node = self._build(entries)
        encoded = rlp.encode(node)
        if len(encoded) < 32:
            return node
        self.nodes[keccak256(encoded)] = encoded
        return keccak256(encoded)

    def prove(self, key: bytes) -> list[bytes]:
        proof, node, rest = [], self.root, nibbles(key)
        while node:
            if isinstance(node, bytes):
                proof.append(self.nodes[node])
                node = rlp.decode(proof[-1])
            elif len(node) == 17:
                if not rest:
                    break
                node, rest = node[rest[0]], rest[1:]
            else:
                flag, path = node[0][0] >> 4, nibbles(node[0])
                path = path[1:] if flag % 2 else path[2:]
                if flag >= 2 or rest[: len(path)] != path:
                    break
                node, rest = node[1], rest[len(path) :]
        return proof


def nibbles(key: bytes) -> list[int]:
    return [int(digit, 16) for digit in key.hex()]


def hex_prefix(path: list[int], flag: int) -> bytes:
    digits = [flag + 1, *path] if len(path) % 2 else [flag, 0, *path]
    return bytes.fromhex("".join(f"{digit:x}" for digit in digits))


def load(name: str) -> Any:
    return json.loads(need_vectors(f"mainnet/{name}").read_text())["result"]


def published(name: str) -> tuple[dict[bytes, bytes], bytes]:
    content, root = PUBLISHED[name]
    return {key.encode(): value.encode() for key, value in content.items()}, bytes.fromhex(root)


def refuse(root: bytes, key: bytes, proof: list[bytes], why: str) -> None:
    with pytest.raises(ContradictionError, match=why):
        prove(root, key, proof)


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_value_of_a_published_trie_is_proved(name: str) -> None:
    content, root = published(name)
    trie = Trie(content)
    assert trie.root == root
    assert {key: prove(root, key, trie.prove(key)) for key in content} == content


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("key", [b"", b"d", b"dogg", b"cat", b"foody", b"beds", b"A" * 40])
def test_the_absence_of_a_key_in_a_published_trie_is_proved(name: str, key: bytes) -> None:
    trie = Trie(published(name)[0])
    assert prove(trie.root, key, trie.prove(key)) == b""


def test_an_empty_trie_needs_no_proof_and_takes_its_own_node_as_one() -> None:
    assert keccak256(b"\x80") == BLANK_ROOT
    assert prove(BLANK_ROOT, b"key", []) == b""
    assert prove(BLANK_ROOT, b"key", [b"\x80"]) == b""


def test_the_root_of_an_empty_list_is_that_of_an_empty_trie() -> None:
    assert ordered_trie_root([]) == BLANK_ROOT


@pytest.mark.parametrize("count", [1, 2, 16, 17, 127, 128, 129, 130, 255, 256, 257, 300])
@pytest.mark.parametrize("size", [1, 20, 200])
def test_the_root_of_a_list_is_that_of_a_trie_of_its_indexes(count: int, size: int) -> None:
    values = [index.to_bytes(2, "big") * size for index in range(1, count + 1)]
    assert ordered_trie_root(values) == Trie({rlp.encode(index): value for index, value in enumerate(values)}).root


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=60), max_size=40))
def test_the_root_of_any_list_is_that_of_a_trie_of_its_indexes(values: list[bytes]) -> None:
    assert ordered_trie_root(values) == Trie({rlp.encode(index): value for index, value in enumerate(values)}).root


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(st.binary(max_size=3), st.binary(min_size=1, max_size=40), min_size=1, max_size=30),
    st.binary(max_size=4),
)
@example({b"": b"at the top", b"\x00": b"below"}, b"")
def test_any_trie_proves_what_it_holds_and_what_it_does_not(content: dict[bytes, bytes], other: bytes) -> None:
    trie = Trie(content)
    for key in [*content, other]:
        assert prove(trie.root, key, trie.prove(key)) == content.get(key, b"")


def test_a_recorded_account_of_mainnet_is_proved() -> None:
    answer = load("proof_0x14d0303_0x95222290DD7278Aa3Ddd389Cc1E1d165CC4BAfe5.json")
    root = bytes.fromhex(load("block_0x14d0303.json")["stateRoot"][2:])
    proof = [bytes.fromhex(node[2:]) for node in answer["accountProof"]]
    leaf = rlp.decode(prove(root, keccak256(bytes.fromhex(answer["address"][2:])), proof))
    assert [int.from_bytes(item, "big") for item in leaf[:2]] == [0x1EB99C, 0xC3A7420668808F84]


def test_a15_every_changed_byte_of_a_recorded_proof_is_noticed() -> None:
    answer = load("proof_0x14d0303_0x95222290DD7278Aa3Ddd389Cc1E1d165CC4BAfe5.json")
    root = bytes.fromhex(load("block_0x14d0303.json")["stateRoot"][2:])
    key = keccak256(bytes.fromhex(answer["address"][2:]))
    proof = [bytes.fromhex(node[2:]) for node in answer["accountProof"]]
    for number, node in enumerate(proof):
        for at in range(len(node)):
            changed = node[:at] + bytes([node[at] ^ 1 << at % 8]) + node[at + 1 :]
            with pytest.raises(ContradictionError):
                prove(root, key, [*proof[:number], changed, *proof[number + 1 :]])


@pytest.fixture
def trie() -> Trie:
    return Trie({keccak256(bytes([number])): bytes([number]) * 40 for number in range(100)})


KEY = keccak256(b"\7")


def test_a15_a_truncated_proof_is_refused(trie: Trie) -> None:
    proof = trie.prove(KEY)
    assert len(proof) > 2
    for length in range(len(proof)):
        refuse(trie.root, KEY, proof[:length], "ends before the key does")


def test_a15_a_proof_without_its_middle_is_refused(trie: Trie) -> None:
    first, *_, last = trie.prove(KEY)
    refuse(trie.root, KEY, [first, last], "not the one that its parent names")


def test_a15_nodes_after_the_end_are_refused(trie: Trie) -> None:
    proof = trie.prove(KEY)
    refuse(trie.root, KEY, [*proof, proof[-1]], "not on the way")
    refuse(BLANK_ROOT, KEY, [b"\x80", b"\x80"], "not on the way")


def test_a15_nodes_in_another_order_are_refused(trie: Trie) -> None:
    proof = trie.prove(KEY)
    refuse(trie.root, KEY, proof[::-1], "not the one that its parent names")


def test_a15_a_proof_of_another_key_is_refused(trie: Trie) -> None:
    other = keccak256(b"\x08")
    assert other[0] >> 4 != KEY[0] >> 4
    refuse(trie.root, KEY, trie.prove(other), "node 2 is not the one")


def test_a15_a_proof_of_another_block_is_refused(trie: Trie) -> None:
    later = Trie({keccak256(bytes([number])): bytes([number]) * 40 for number in range(101)})
    refuse(later.root, KEY, trie.prove(KEY), "node 1 is not the one")


def test_a16_an_empty_proof_under_a_root_that_is_not_empty_proves_nothing(trie: Trie) -> None:
    refuse(trie.root, KEY, [], "ends before the key does")


def test_a16_the_node_of_an_empty_trie_under_a_root_that_is_not_empty_proves_nothing(trie: Trie) -> None:
    refuse(trie.root, KEY, [b"\x80"], "node 1 is not the one")


LEAF = [hex_prefix([1, 2], 2), b"value"]
BAD_NODES: dict[str, tuple[bytes, str]] = {
    "no-rlp": (b"\xc5\x01", "not RLP"),
    "long-form-of-a-short-list": (b"\xf8\x02\x20\x01", "not RLP"),
    "trailing-bytes": (rlp.encode(LEAF) + b"\0", "not RLP"),
    "empty-list": (b"\xc0", "neither"),
    "bytes": (rlp.encode(b"value"), "neither"),
    "one-item": (rlp.encode([b"\x20"]), "neither"),
    "eighteen-items": (rlp.encode([b""] * 18), "neither"),
    "empty-path": (rlp.encode([b"", b"value"]), "malformed"),
    "unknown-flag": (rlp.encode([b"\x40", b"value"]), "malformed"),
    "padding-that-is-not-zero": (rlp.encode([b"\x25", b"value"]), "malformed"),
    "path-is-a-list": (rlp.encode([[b"\x20"], b"value"]), "in place of bytes"),
    "leaf-of-nothing": (rlp.encode([b"\x20", b""]), "holds nothing"),
    "leaf-of-a-list": (rlp.encode([b"\x20", [b"value"]]), "in place of bytes"),
    "extension-to-nowhere": (rlp.encode([b"\x16", b""]), "leads nowhere"),
    "extension-of-no-length": (rlp.encode([b"\x00", b"h" * 32]), "is empty"),
    "child-of-31-bytes": (rlp.encode([b"", *[b"h" * 31] * 15, b""]), "no hash"),
    "embedded-child-too-long": (rlp.encode([[b"\x20", b"v" * 40]] * 16 + [b""]), "32 bytes or more"),
    "embedded-bytes": (rlp.encode([b"\x16", b"short"]), "no hash"),
    "value-of-a-branch-is-a-list": (rlp.encode([b""] * 16 + [[b"value"]]), "in place of bytes"),
}


@pytest.mark.parametrize("name", BAD_NODES)
def test_a_malformed_node_is_refused_even_if_the_root_commits_to_it(name: str) -> None:
    node, why = BAD_NODES[name]
    key = b"" if name == "value-of-a-branch-is-a-list" else b"\x61"
    refuse(keccak256(node), key, [node], why)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=33), st.lists(st.binary(max_size=80), min_size=1, max_size=3))
def test_random_nodes_prove_nothing_or_are_refused(key: bytes, proof: list[bytes]) -> None:
    try:
        prove(keccak256(proof[0]), key, proof)
    except ContradictionError:
        return


ITEMS = st.recursive(st.binary(max_size=34), lambda inner: st.lists(inner, max_size=17), max_leaves=20)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=3), ITEMS)
def test_random_rlp_proves_nothing_or_is_refused(key: bytes, node: Any) -> None:
    data = rlp.encode(node)
    try:
        prove(keccak256(data), key, [data])
    except ContradictionError:
        return
