"""Ownership of EVM accounts: what a statement and its signature establish, by the owner's key or by its contract."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from chains.claims import NEEDS_NOBODY, Finding, OwnershipCheck, OwnershipClaim
from chains.errors import ContradictionError, InvalidStatementError, NodeError, SignatureMismatchError
from chains.evm.addresses import parse_address, to_checksum_address
from chains.evm.codec.signatures import canonical_signature, message_digest, recover_signer
from chains.evm.verify.contract_signatures import (
    SignatureResult,
    check_contract_signature,
    get_delegate,
)
from chains.rpc import Rpc
from chains.statement_check import check_statement
from chains.types import Block

_HEX: Final = re.compile(r"0x[0-9a-fA-F]*", re.ASCII)
_PUT_RIGHT: Final = {
    "v-0-or-1": "its last byte v is 0 or 1 instead of 27 or 28",
    "eip2098": "it is in the short form of 64 bytes (EIP-2098)",
}


async def check_ownership(claim: OwnershipClaim, rpc: Rpc | None, at: Block | None = None) -> OwnershipCheck:
    """Return what is established of a signed statement (EIP-4361, EIP-191).

    The owner's own key is tried first and needs no node; everything else is asked of the contract at the owner's
    address, at block `at` or else the newest. Without a node whatever is not the signature of the owner's own key is
    UNDETERMINED: a contract wallet of one owner gives 65 bytes as well.

    Raises `InvalidAddressError` and `InputError` for a claim that cannot be used, `WrongChainError`, and `NodeError` if
    a node was needed and could not be asked.
    """
    owner = parse_address(claim.owner)
    findings, not_checked = check_statement(claim, owner)
    result = await _check_signature(claim, owner, rpc, at)
    return OwnershipCheck(
        findings=(*findings, *result.notes, result.finding),
        method=result.method,
        normalised=result.normalised,
        block=result.block,
        delegate=result.delegate,
        not_checked=not_checked,
    )


async def _check_signature(claim: OwnershipClaim, owner: str, rpc: Rpc | None, at: Block | None) -> SignatureResult:
    if len(claim.signature) % 2 or not _HEX.fullmatch(claim.signature):
        return _refuted("The signature is not 0x and pairs of hexadecimal digits.")
    signature = bytes.fromhex(claim.signature[2:])
    try:
        digest = message_digest(claim.message)
    except InvalidStatementError as error:
        return _refuted(error.message)
    try:
        canonical, normalised = _require_key(owner, digest, signature)
    except SignatureMismatchError as error:
        if rpc is not None:
            return await check_contract_signature(claim.chain, rpc, owner, digest, signature, at, error.message)
        message = f"{error.message} If the owner is a contract wallet it may accept it: a node is needed to ask."
        return SignatureResult(Finding("signature", "UNDETERMINED", message))
    return await _accept_key(claim, owner, canonical, normalised, rpc, at)


def _require_key(owner: str, digest: bytes, signature: bytes) -> tuple[bytes, str | None]:
    """Return the canonical bytes of a signature by the owner's own key, and what was put right for them.

    Raises `SignatureMismatchError`.
    """
    canonical, normalised = canonical_signature(signature)
    signer = recover_signer(digest, canonical)
    if signer != bytes.fromhex(owner[2:]):
        raise SignatureMismatchError(f"The key of {to_checksum_address(signer)} signed this text, not that of {owner}.")
    return canonical, normalised


async def _accept_key(
    claim: OwnershipClaim, owner: str, canonical: bytes, normalised: str | None, rpc: Rpc | None, at: Block | None
) -> SignatureResult:
    """Return the result for the owner's own signature, and note the code its account runs where a node can tell."""
    said = [f"The key of {owner} signed exactly this text (EIP-191)."]
    expected = found = None
    if normalised is not None:
        expected, found = "0x" + canonical.hex(), claim.signature
        said.append(
            f"But {_PUT_RIGHT[normalised]}: who asks for a signature wants the canonical 65 bytes, which are expected."
        )
    finding = Finding("signature", "VERIFIED", " ".join(said), expected, found, NEEDS_NOBODY)
    result = SignatureResult(finding, "eoa-ecdsa", normalised)
    if rpc is None:
        return result
    try:
        block, delegate = await get_delegate(claim.chain, rpc, owner, at)
    except ContradictionError:
        raise
    except NodeError as error:
        # The signature stands without it, so a node that does not answer takes nothing away.
        message = f"Whether the owner's account runs the code of a contract could not be asked: {error.message}"
        return replace(result, notes=(Finding("account-code", "NOTED", message),))
    if delegate is None:
        return result
    message = (
        f"At block {block.number} the owner's account runs the code of {delegate} (EIP-7702), which may say otherwise "
        "of this signature (ERC-1271); the key remains the account's root."
    )
    return replace(result, block=block, delegate=delegate, notes=(Finding("account-code", "NOTED", message),))


def _refuted(message: str) -> SignatureResult:
    return SignatureResult(Finding("signature", "REFUTED", message, basis=NEEDS_NOBODY))
