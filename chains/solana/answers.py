"""Reading what a Solana node answered, refused with a `NodeError` where it is nonsense."""

from __future__ import annotations

from base64 import b64decode
from typing import Any, Final, TypeVar

from chains.errors import ContradictionError, NodeError, NodeUnreachableError

_T = TypeVar("_T")

MIN_CONTEXT_SLOT_NOT_REACHED: Final = -32016
METHOD_NOT_FOUND: Final = -32601
_LARGEST_SLOT: Final = 2**64 - 1

_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
# An instruction that a program calls has at most 10 KiB of data (MAX_CPI_INSTRUCTION_DATA_LEN of the runtime).
_LONGEST_BASE58: Final = 14_000


def nonsense(answer: object) -> NodeError:
    """Return the error for an answer that is not what Solana nodes give."""
    return NodeError(
        "The node's answer does not have the form that Solana nodes give.",
        hint="Check that the URL is that of a Solana node, or name another node.",
        found=str(answer)[:200],
    )


def why_unknown(error: NodeError) -> str:
    """Return why one question has no answer; raise the error again where it says that the node as a whole has none."""
    if isinstance(error, (ContradictionError, NodeUnreachableError)):
        raise error
    return error.message


def why_open(error: NodeError) -> str:
    """Return why one question is left open, whatever the reason is; raise only what contradicts other answers.

    For what may be missing and takes nothing from the rest: a node that is too busy to give the history of an account
    has still given the transaction.
    """
    if isinstance(error, ContradictionError):
        raise error
    return error.message


def take(answer: Any, kind: type[_T], *path: str) -> _T:
    """Return the part of an answer at `path`; raise `NodeError` unless it is there and of this kind."""
    for name in path:
        answer = answer.get(name) if isinstance(answer, dict) else None
    if not isinstance(answer, kind) or isinstance(answer, bool):
        raise nonsense(answer)
    return answer


def take_slot(answer: Any, *path: str) -> int:
    """Return the slot at `path`; raise `NodeError` unless it is one."""
    slot = take(answer, int, *path)
    if not 0 <= slot <= _LARGEST_SLOT:
        raise nonsense(slot)
    return slot


def account_data(account: Any) -> bytes:
    """Return the data of an account that was asked for in base64."""
    return data_bytes(take(account, list, "data"))


def data_bytes(pair: list[Any]) -> bytes:
    """Return the bytes of the RPC's `[text, "base64"]`."""
    try:
        text, encoding = pair
        if encoding == "base64":
            return b64decode(text, validate=True)
    except (TypeError, ValueError) as error:
        raise nonsense(pair) from error
    raise nonsense(pair)


def base58_bytes(text: str) -> bytes:
    """Return the bytes of base58, in which nodes write the data of instructions; raise `NodeError` if it is none."""
    number = 0
    if len(text) > _LONGEST_BASE58:
        raise nonsense(text)
    for character in text:
        digit = _BASE58.find(character)
        if digit < 0:
            raise nonsense(text)
        number = number * 58 + digit
    zeros = len(text) - len(text.lstrip("1"))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")
