"""Reading what a node answered: hexadecimal quantities and data, refused with a `NodeError` when they are nonsense."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Mapping
from typing import Any, Final

from chains.errors import NodeError, RpcError

# Quantities should have no leading zeros (execution-apis), but some nodes send them and they are unambiguous.
_QUANTITY: Final = re.compile(r"0x[0-9a-fA-F]{1,64}", re.ASCII)
_HASH: Final = re.compile(r"0x[0-9a-fA-F]{64}", re.ASCII)
_METHOD_NOT_FOUND: Final = -32601
_METHOD_MISSING_WORDS: Final = ("method not found", "is not available", "unsupported method", "not supported")
_REVERTED_CODES: Final = frozenset({3, -32015})
_REVERTED_WORDS: Final = ("revert", "invalid opcode", "bad instruction", "invalid jump", "stack underflow")


async def together(*questions: Awaitable[Any]) -> list[Any]:
    """Return the answers of questions asked at the same time; waits for all of them, then raises the first error."""
    answers = await asyncio.gather(*questions, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return answers


def nonsense(what: str, answer: object) -> NodeError:
    """Return the error for an answer that is not what JSON-RPC promises."""
    return NodeError(
        f"The node's answer for {what} cannot be used: {str(answer)[:80]!r}.",
        hint="Nothing was lost. Name another node and try again.",
        found=str(answer)[:200],
    )


def parse_quantity(what: str, answer: object) -> int:
    """Return the integer of a `0x` quantity; raise `NodeError` for anything else."""
    if isinstance(answer, str) and _QUANTITY.fullmatch(answer):
        return int(answer, 16)
    raise nonsense(what, answer)


def parse_data(what: str, answer: object) -> bytes:
    """Return the bytes of `0x` data; raise `NodeError` for anything else."""
    data = _hex_bytes(answer)
    if data is None:
        raise nonsense(what, answer)
    return data


def _hex_bytes(text: object) -> bytes | None:
    """Return the bytes of `0x` and pairs of digits, or None; the reader of the standard library also skips spaces."""
    if not isinstance(text, str) or not text.startswith("0x"):
        return None
    try:
        data = bytes.fromhex(text[2:])
    except ValueError:
        return None
    return data if 2 * len(data) + 2 == len(text) else None


def parse_hash(what: str, answer: object) -> str:
    """Return a 32-byte hash as 0x and lower-case hex; raise `NodeError` for anything else."""
    if isinstance(answer, str) and _HASH.fullmatch(answer):
        return answer.lower()
    raise nonsense(what, answer)


def parse_object(what: str, answer: object) -> Mapping[str, Any]:
    """Return a JSON object; raise `NodeError` for anything else."""
    if isinstance(answer, dict):
        return answer
    raise nonsense(what, answer)


def parse_list(what: str, answer: object) -> list[Any]:
    """Return a JSON array; raise `NodeError` for anything else."""
    if isinstance(answer, list):
        return answer
    raise nonsense(what, answer)


def is_method_missing(error: RpcError) -> bool:
    """Return whether the node does not serve the method at all."""
    text = error.message.lower()
    return error.code == _METHOD_NOT_FOUND or any(words in text for words in _METHOD_MISSING_WORDS)


def revert_data(error: RpcError) -> bytes | None:
    """Return the bytes a reverted call returned, or None if the error is no revert.

    geth, reth and anvil answer with code 3, Nethermind with -32015, Besu with -32000 and the word "reverted".
    """
    text = error.message.lower()
    if error.code not in _REVERTED_CODES and not any(word in text for word in _REVERTED_WORDS):
        return None
    data = error.data.get("data") if isinstance(error.data, dict) else error.data
    if not isinstance(data, str):
        return b""
    digits = data.removeprefix("Reverted ")
    return _hex_bytes(digits) or b""
