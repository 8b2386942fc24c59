"""What differs between EVM networks and Solana, behind one set of functions; the family's code is imported when used.

Each family package (`chains.evm`, `chains.solana`) offers the same names in its `family` module:

    parse_address(text) -> str                          checked and in its canonical spelling; InvalidAddressError
    LARGEST_AMOUNT: int                                 the largest allowance in base units
    UNLIMITED_THRESHOLD: int                            allowances from here on count as unlimited
    open_rpc(rpc_url) -> Rpc
    open_node(chain, rpc) -> Node
    get_decimals(rpc, token) -> int
    get_head(chain, rpc, at) -> Block                   the point of the chain that counts as "now"
    check_approval(claim, rpc, head) -> ApprovalCheck   what a node's answers say of an approval
    check_ownership(claim, rpc, at) -> OwnershipCheck   what is established of a signed statement
    signed_from_raw(raw) -> SignedTransaction           the hash computed from the bytes; SignatureMismatchError
    verify_signed(unsigned, signed) -> None             the bytes are exactly what was shown; SignatureMismatchError
    verify_message(owner, message, signature) -> None   the owner signed this text; SignatureMismatchError
    signing_request(unsigned) -> dict[str, object]      what a wallet app passes to its wallet
    message_request(owner, message) -> dict[str, object]
"""

from __future__ import annotations

from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Literal

from chains.types import Block, Chain, Family, Node, OwnershipSignature, SignedTransaction, UnsignedTransaction

if TYPE_CHECKING:
    from chains.claims import ApprovalCheck, ApprovalClaim, OwnershipCheck, OwnershipClaim
    from chains.rpc import Rpc


@cache
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
    family = _family(chain.family)
    node: Node = family.open_node(chain, family.open_rpc(rpc_url or chain.rpc_url))
    return node


def open_rpc(chain: Chain, rpc_url: str | None = None) -> Rpc:
    """Return a connection to a node of `chain`, at `rpc_url` or else at the chain's public node."""
    rpc: Rpc = _family(chain.family).open_rpc(rpc_url or chain.rpc_url)
    return rpc


async def get_head(chain: Chain, rpc: Rpc, at: str = "latest") -> Block:
    """Return the block (slot) that a node gives for `at`: `latest`, `safe`, `finalized` or a decimal number.

    Asks first whether the node is one of `chain` (rule 3). Raises `WrongChainError`, `InputError` for another `at`, and
    `NodeError` if the node does not have it.
    """
    head: Block = await _family(chain.family).get_head(chain, rpc, at)
    return head


async def get_decimals(chain: Chain, rpc: Rpc, token: str) -> int:
    """Return how many decimals the token at this address says it has; raises `TokenRefusedError` if it is no token."""
    decimals: int = await _family(chain.family).get_decimals(rpc, token)
    return decimals


async def check_approval(claim: ApprovalClaim, rpc: Rpc, head: Block) -> ApprovalCheck:
    """Return what one node's answers say of an approval, with the state at block (slot) `head.number` as "now".

    Raises `ContradictionError` if the answers contradict each other, so that none of them counts, and `NodeError` if
    the node could not be asked.
    """
    check: ApprovalCheck = await _family(claim.chain.family).check_approval(claim, rpc, head)
    return check


async def check_ownership(claim: OwnershipClaim, rpc: Rpc | None = None, at: Block | None = None) -> OwnershipCheck:
    """Return what is established of a signed statement; contracts are asked at block `at`, or else the newest.

    Plain keys are checked without a node. With `rpc` None an EVM signature of a shape that only a contract wallet can
    have is UNDETERMINED, and any other that is not the owner's own is REFUTED, which then holds for plain keys. Raises
    `NodeError` if a node was needed and could not be asked.
    """
    check: OwnershipCheck = await _family(claim.chain.family).check_ownership(claim, rpc, at)
    return check


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
