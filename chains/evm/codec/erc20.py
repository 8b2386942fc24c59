"""ERC-20 as bytes: calldata of `approve`, `allowance`, `balanceOf` and `decimals`, and what tokens answer (EIP-20).

Everything here is pure. Writing is exact; reading is strict for what we sign and tolerant, where the field has to be,
for what tokens return.
"""

from __future__ import annotations

from typing import Final

from chains.errors import InvalidAmountError
from chains.evm.addresses import to_checksum_address

# The first four bytes of keccak256 of each signature.
APPROVE: Final = bytes.fromhex("095ea7b3")
ALLOWANCE: Final = bytes.fromhex("dd62ed3e")
BALANCE_OF: Final = bytes.fromhex("70a08231")
DECIMALS: Final = bytes.fromhex("313ce567")

# keccak256("Approval(address,address,uint256)")
APPROVAL_TOPIC: Final = "0x8c5be1e5ebec7d5bd14f71427d1e84f3dd0314c0f7b2291e5b200ac8c7c3b925"

_ERROR_STRING: Final = bytes.fromhex("08c379a0")
_PANIC: Final = bytes.fromhex("4e487b71")
# Solidity documentation, "Panic via assert and Error via require".
_PANICS: Final = {
    0x01: "an assertion failed",
    0x11: "arithmetic overflow or underflow",
    0x12: "division by zero",
    0x21: "invalid enum value",
    0x22: "corrupt storage array",
    0x31: "pop on an empty array",
    0x32: "array index out of bounds",
    0x41: "out of memory",
    0x51: "call of an uninitialised function",
}


def _word(number: int) -> bytes:
    if not 0 <= number < 2**256:
        raise InvalidAmountError("The amount does not fit into 256 bits.", expected=2**256 - 1, found=number)
    return number.to_bytes(32, "big")


def address_word(address: str) -> bytes:
    """Return an address (0x and 40 hex digits) as a 32-byte word."""
    return bytes(12) + bytes.fromhex(address[2:])


def encode_approve(spender: str, amount: int) -> bytes:
    """Return the calldata of `approve(spender, amount)`, 68 bytes; `amount` is in base units."""
    return APPROVE + address_word(spender) + _word(amount)


def encode_allowance(owner: str, spender: str) -> bytes:
    """Return the calldata of `allowance(owner, spender)`."""
    return ALLOWANCE + address_word(owner) + address_word(spender)


def encode_balance_of(owner: str) -> bytes:
    """Return the calldata of `balanceOf(owner)`."""
    return BALANCE_OF + address_word(owner)


def encode_decimals() -> bytes:
    """Return the calldata of `decimals()`."""
    return DECIMALS


def decode_approve(data: bytes) -> tuple[str, int]:
    """Return spender (EIP-55) and amount (base units) of the calldata of an `approve`.

    Strict: 68 bytes exactly, the selector, and twelve zero bytes before the address; raises `ValueError` otherwise.
    """
    if len(data) != 68:
        raise ValueError(f"approve calldata has 68 bytes, this has {len(data)}")
    if data[:4] != APPROVE:
        raise ValueError(f"the selector of approve is 0x{APPROVE.hex()}, this is 0x{data[:4].hex()}")
    if any(data[4:16]):
        raise ValueError("the address word of approve has bytes before its address")
    return to_checksum_address(data[16:36]), int.from_bytes(data[36:], "big")


def decode_uint256(data: bytes) -> int:
    """Return the number that a call returned; raises `ValueError` unless there is at least one whole word."""
    if len(data) < 32:
        raise ValueError(f"a number has 32 bytes, the contract returned {len(data)}")
    return int.from_bytes(data[:32], "big")


def accepts_approve(returned: bytes) -> bool:
    """Return whether what `approve` returned means success: nothing at all, or the word 1 (rule 7)."""
    return not returned or (len(returned) == 32 and int.from_bytes(returned, "big") == 1)


def decode_revert(data: bytes) -> str:
    """Return, in words, why a call reverted.

    Knows `Error(string)` and `Panic(uint256)`; a custom error is shown as its selector and its data in hex.
    """
    if not data:
        return "the contract gave no reason"
    selector, body = data[:4], data[4:]
    if selector == _ERROR_STRING:
        text = _abi_string(body)
        if text is not None:
            return text or "the contract gave an empty reason"
    if selector == _PANIC and len(body) == 32:
        code = int.from_bytes(body, "big")
        return f"panic 0x{code:02x}: {_PANICS.get(code, 'unknown cause')}"
    if len(data) < 4:
        return f"unreadable reason 0x{data.hex()}"
    return f"custom error 0x{selector.hex()}" + (f" with data 0x{body[:128].hex()}" if body else "")


def _abi_string(body: bytes) -> str | None:
    if len(body) < 64 or int.from_bytes(body[:32], "big") != 32:
        return None
    length = int.from_bytes(body[32:64], "big")
    if length > len(body) - 64:
        return None
    text = body[64 : 64 + length].decode("utf-8", "replace")
    # The contract chose this text and a person will read it on a terminal.
    return "".join(character if character.isprintable() else "�" for character in text[:200])
