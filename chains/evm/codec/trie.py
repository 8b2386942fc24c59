"""Merkle-Patricia tries (Yellow Paper, appendix D): the root of a block's list, and proofs of values under a root.

A proof either proves a value, or proves that there is none; everything else raises `ContradictionError`, so that no
failure is ever read as zero (rules 20 and 23, attacks A15 and A16).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any, Final

from chains.errors import ContradictionError
from chains.evm.addresses import keccak256
from chains.evm.codec.rlp import decode, encode, encode_bytes, encode_integer, encode_list

BLANK_ROOT: Final = bytes.fromhex("56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421")
"""The root of a trie that holds nothing: keccak-256 of the RLP of the empty string."""

_EMPTY: Final = b"\x80"
_HASH_REFERENCE: Final = b"\xa0"
_BRANCH_ITEMS: Final = 17
_HEX_VALUES: Final = bytes.maketrans(b"0123456789abcdef", bytes(range(16)))

# The RLP of a branch with sixteen children and no value: near the root of a large trie every node is one.
_FULL_BRANCH_LENGTH: Final = 532
_FULL_BRANCH_PREFIX: Final = b"\xf9\x02\x11"


def ordered_trie_root(values: Sequence[bytes]) -> bytes:
    """Return the root of the trie that holds each value under the RLP of its index, as blocks keep their lists."""
    if not values:
        return BLANK_ROOT
    leaves = sorted((_nibbles(encode_integer(index)), value) for index, value in enumerate(values))
    return keccak256(_encode_node(leaves, 0))


def prove(root: bytes, key: bytes, proof: Sequence[bytes]) -> bytes:
    """Return the value that `proof` proves under `key`, or b"" where it proves that there is none.

    `key` is the key of the trie itself, hashed already where the trie hashes its keys. `proof` is the nodes from the
    root down, without those that are embedded in their parent. Raises `ContradictionError` if a node is missing, does
    not belong there, is left over or malformed.
    """
    if root == BLANK_ROOT and not proof:
        return b""
    path, at = _nibbles(key), 0
    reference: bytes | None = root
    value = b""
    for number, data in enumerate(proof, 1):
        if reference is None:
            raise _not_proved(f"node {number} is not on the way to the key")
        if keccak256(data) != reference:
            raise _not_proved(f"node {number} is not the one that its parent names")
        if at < len(path) and (child := _full_branch_child(data, path[at])):
            reference, at = child, at + 1
        else:
            reference, value, at = _descend(_decode(data), path, at)
    if reference is not None:
        raise _not_proved("it ends before the key does")
    return value


def _full_branch_child(data: bytes, nibble: int) -> bytes | None:
    """Return the hash of a child if the node is a branch with sixteen hashed children and no value, else None."""
    if (
        len(data) == _FULL_BRANCH_LENGTH
        and data.startswith(_FULL_BRANCH_PREFIX)
        and data[3::33] == _HASH_REFERENCE * 16 + _EMPTY
    ):
        start = 4 + 33 * nibble
        return data[start : start + 32]
    return None


def _descend(node: Any, path: bytes, at: int) -> tuple[bytes | None, bytes, int]:
    """Follow the key, from nibble `at`, through a node and those embedded in it.

    Returns the hash of the next node, or None and the value where the way ends, and how far the key was followed.
    """
    while node != b"":
        child, value, at = _step(node, path, at)
        if child is None:
            return None, value, at
        if isinstance(child, list):
            _check_embedded(child)
        elif len(child) == 32:
            return child, b"", at
        elif child:
            raise _not_proved("a node names its child by something that is no hash")
        node = child
    return None, b"", at


def _step(node: Any, path: bytes, at: int) -> tuple[Any, bytes, int]:
    """Follow the key, from nibble `at`, through one node.

    Returns its child, or None and the value where the way ends, and how far the key was followed.
    """
    if not isinstance(node, list) or len(node) not in {2, _BRANCH_ITEMS}:
        raise _not_proved("a node is neither a branch nor a leaf nor an extension")
    if len(node) == _BRANCH_ITEMS:
        return (None, _bytes(node[16]), at) if at == len(path) else (node[path[at]], b"", at + 1)
    is_leaf, fragment = _read_path(_bytes(node[0]))
    if is_leaf:
        value = _bytes(node[1])
        if not value:
            raise _not_proved("a leaf holds nothing")
        return None, value if path[at:] == fragment else b"", at
    if not node[1]:
        raise _not_proved("an extension leads nowhere")
    return (node[1], b"", at + len(fragment)) if path.startswith(fragment, at) else (None, b"", at)


def _decode(data: bytes) -> Any:
    try:
        return decode(data)
    except ValueError as error:
        raise _not_proved(f"a node is not RLP, {error}") from error


def _check_embedded(node: list[Any]) -> None:
    if len(encode(node)) >= 32:
        raise _not_proved("a node of 32 bytes or more is embedded in its parent")


def _read_path(encoded: bytes) -> tuple[bool, bytes]:
    """Return whether a hex-prefixed path is that of a leaf, and its nibbles."""
    nibbles = _nibbles(encoded)
    flag = nibbles[0] if nibbles else 4
    if flag > 3 or (flag in {0, 2} and nibbles[1] != 0):
        raise _not_proved("the path of a node is malformed")
    is_leaf, fragment = flag >= 2, nibbles[2 - flag % 2 :]
    if not is_leaf and not fragment:
        raise _not_proved("the path of an extension is empty")
    return is_leaf, fragment


def _encode_node(leaves: list[tuple[bytes, bytes]], at: int) -> bytes:
    """Return the RLP of the node above `leaves`, which are sorted, share the first `at` nibbles, and differ later."""
    first, value = leaves[0]
    if len(leaves) == 1:
        return encode_list((encode_bytes(_write_path(first[at:], is_leaf=True)), encode_bytes(value)))
    last = leaves[-1][0]
    end = at
    while first[end] == last[end]:
        end += 1
    children = [_EMPTY] * _BRANCH_ITEMS
    for nibble, below in groupby(leaves, key=lambda leaf: leaf[0][end]):
        children[nibble] = _reference(_encode_node(list(below), end + 1))
    branch = encode_list(children)
    if end == at:
        return branch
    return encode_list((encode_bytes(_write_path(first[at:end], is_leaf=False)), _reference(branch)))


def _reference(node: bytes) -> bytes:
    """Return what stands for a node in its parent: itself if it is shorter than a hash."""
    return node if len(node) < 32 else _HASH_REFERENCE + keccak256(node)


def _write_path(nibbles: bytes, *, is_leaf: bool) -> bytes:
    """Return the hex-prefix encoding of a path (Yellow Paper, appendix C)."""
    flag = 2 if is_leaf else 0
    whole = bytes((flag + 1,)) + nibbles if len(nibbles) % 2 else bytes((flag, 0)) + nibbles
    return bytes(high << 4 | low for high, low in zip(whole[::2], whole[1::2], strict=True))


def _nibbles(data: bytes) -> bytes:
    return data.hex().encode("ascii").translate(_HEX_VALUES)


def _bytes(item: Any) -> bytes:
    if isinstance(item, bytes):
        return item
    raise _not_proved("a node holds a list in place of bytes")


def _not_proved(why: str) -> ContradictionError:
    return ContradictionError(
        f"The node's Merkle proof proves nothing: {why}.",
    )
