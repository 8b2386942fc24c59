"""What differs between EVM networks and Solana, behind one set of functions; the family's code is imported when used.

Each family package (`chains.evm`, `chains.solana`) offers the same names in its `family` module:

    parse_address(text) -> str                          checked and in its canonical spelling; InvalidAddressError
    LARGEST_AMOUNT: int                                 the largest allowance in base units
    UNLIMITED_THRESHOLD: int                            allowances from here on count as unlimited
    open_node(chain, rpc_url) -> Node
    signed_from_raw(raw) -> SignedTransaction           the hash computed from the bytes; SignatureMismatchError
    verify_signed(unsigned, signed) -> None             the bytes are exactly what was shown; SignatureMismatchError
    verify_message(owner, message, signature) -> None   the owner signed this text; SignatureMismatchError
    signing_request(unsigned) -> dict[str, object]      what a wallet app passes to its wallet
    message_request(owner, message) -> dict[str, object]
"""

from __future__ import annotations

from types import ModuleType
from typing import Literal

from chains.types import Chain, Family, Node, OwnershipSignature, SignedTransaction, UnsignedTransaction


def _family(family: Family) -> ModuleType:
    if family == "evm":
        from chains.evm import family as evm

        return evm
    from chains.solana import family as solana

    return solana


def parse_address(chain: Chain, text: str) -> str:
    """Return the address in its canonical spelling: EIP-55 on EVM networks, base58 on Solana.

    Raises `InvalidAddressError` if it is malformed, fails its checksum or belongs to another kind of network.
    """
    address: str = _family(chain.family).parse_address(text)
    return address


def largest_amount(family: Family) -> int:
    """Return the largest allowance the network can hold, in base units."""
    largest: int = _family(family).LARGEST_AMOUNT
    return largest


def is_unlimited(family: Family, amount: int) -> bool:
    """Return whether an allowance in base units counts as unlimited: a threshold, not equality with the maximum."""
    threshold: int = _family(family).UNLIMITED_THRESHOLD
    return amount >= threshold


def open_node(chain: Chain, rpc_url: str | None = None) -> Node:
    """Return the door to `chain`, at `rpc_url` or else at the chain's public node."""
    node: Node = _family(chain.family).open_node(chain, rpc_url or chain.rpc_url)
    return node


def verify_signed(unsigned: UnsignedTransaction, signed: SignedTransaction) -> None:
    """Raise `SignatureMismatchError` unless the bytes are exactly the transaction shown, signed by its sender."""
    _family(unsigned.kind).verify_signed(unsigned, signed)


def verify_ownership(family: Family, owner: str, proof: OwnershipSignature) -> None:
    """Raise `SignatureMismatchError` unless `owner` signed the message, judged from its bytes."""
    _family(family).verify_message(owner, proof.message, proof.signature)


def transaction_request(unsigned: UnsignedTransaction) -> dict[str, object]:
    """Return exactly what a wallet app must have signed: EIP-1193 parameters, or a base64 Solana transaction."""
    request: dict[str, object] = _family(unsigned.kind).signing_request(unsigned)
    return request


def message_request(family: Family, owner: str, message: str) -> dict[str, object]:
    """Return what a wallet app must pass to its wallet to have a text signed."""
    request: dict[str, object] = _family(family).message_request(owner, message)
    return request


def signature_scheme(family: Family) -> Literal["eip191", "ed25519"]:
    """Return the scheme of this family's ownership signatures."""
    return "eip191" if family == "evm" else "ed25519"


def signed_from_raw(family: Family, raw: str) -> SignedTransaction:
    """Return a signed transaction from its bytes (0x hex, or base64 on Solana), with its hash computed from them.

    Raises `SignatureMismatchError` if it cannot be read.
    """
    signed: SignedTransaction = _family(family).signed_from_raw(raw)
    return signed
