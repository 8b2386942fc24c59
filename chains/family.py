"""What differs between EVM networks and Solana, behind one set of functions; a family's code is imported when used.

To add a family: write its package with a `family` module that satisfies `FamilyModule`, name it in `types.Family` and
in `_family` below, and say its largest and its unlimited amounts in `chains.amounts`.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from chains.types import (
    Block,
    Chain,
    EvmTransaction,
    Family,
    Node,
    OwnershipSignature,
    SignedTransaction,
    SolanaTransaction,
    UnsignedTransaction,
)

if TYPE_CHECKING:
    from chains.claims import ApprovalCheck, ApprovalClaim, OwnershipCheck, OwnershipClaim
    from chains.rpc import Rpc

_Unsigned = TypeVar("_Unsigned", contravariant=True)


class FamilyModule(Protocol[_Unsigned]):
    """What the `family` module of each family offers, for its own kind of unsigned transaction (PEP 544: modules can
    implement protocols). Arguments are given by position, so that a family may ignore one under a name with `_`."""

    @property
    def SCHEME(self) -> Literal["eip191", "ed25519"]:  # noqa: N802 - a constant of the module
        """The scheme of ownership signatures."""
        ...

    def parse_address(self, text: str, /) -> str:
        """Return the address in its canonical spelling; `InvalidAddressError`."""
        ...

    def open_rpc(self, rpc_url: str, /) -> Rpc:
        """Return a connection to a node."""
        ...

    def open_node(self, chain: Chain, rpc: Rpc, /) -> Node:
        """Return the door to a network over a connection."""
        ...

    async def get_decimals(self, rpc: Rpc, token: str, /) -> int:
        """Return the decimals of a token; `TokenRefusedError` if it is none."""
        ...

    async def get_head(self, chain: Chain, rpc: Rpc, at: str, /) -> Block:
        """Return the point of the chain that counts as "now"."""
        ...

    async def check_approval(self, claim: ApprovalClaim, rpc: Rpc, head: Block, /) -> ApprovalCheck:
        """Return what a node's answers say of an approval."""
        ...

    async def check_ownership(self, claim: OwnershipClaim, rpc: Rpc | None, at: Block | None, /) -> OwnershipCheck:
        """Return what is established of a signed statement."""
        ...

    def signed_from_raw(self, raw: str, /) -> SignedTransaction:
        """Return a signed transaction with its hash computed from the bytes; `SignatureMismatchError`."""
        ...

    def verify_signed(self, unsigned: _Unsigned, signed: SignedTransaction, /) -> None:
        """Raise `SignatureMismatchError` unless the bytes are exactly what was shown."""
        ...

    def verify_message(self, owner: str, message: str, signature: str, /) -> None:
        """Raise `SignatureMismatchError` unless the owner signed this text."""
        ...

    def signing_request(self, unsigned: _Unsigned, /) -> dict[str, object]:
        """Return what a wallet app passes to its wallet to have a transaction signed."""
        ...

    def message_request(self, owner: str, message: str, /) -> dict[str, object]:
        """Return what a wallet app passes to its wallet to have a text signed."""
        ...


@cache
def _family(family: Family) -> FamilyModule[Any]:
    """Return the module of a family; a type checker holds each against the protocol, by the types of the two names."""
    if family == "evm":
        import chains.evm.family

        evm: FamilyModule[EvmTransaction] = chains.evm.family
        return evm
    import chains.solana.family

    solana: FamilyModule[SolanaTransaction] = chains.solana.family
    return solana


def parse_address(chain: Chain, text: str) -> str:
    """Return the address in its canonical spelling: EIP-55 on EVM networks, base58 on Solana.

    Raises `InvalidAddressError` if it is malformed, fails its checksum or belongs to another kind of network.
    """
    return _family(chain.family).parse_address(text)


def open_rpc(chain: Chain, rpc_url: str | None = None) -> Rpc:
    """Return a connection to a node of `chain`, at `rpc_url` or else at the chain's public node."""
    return _family(chain.family).open_rpc(rpc_url or chain.rpc_url)


def open_node(chain: Chain, rpc_url: str | None = None) -> Node:
    """Return the door to `chain`, at `rpc_url` or else at the chain's public node."""
    return _family(chain.family).open_node(chain, open_rpc(chain, rpc_url))


async def get_head(chain: Chain, rpc: Rpc, at: str = "latest") -> Block:
    """Return the block (slot) that a node gives for `at`: `latest`, `safe`, `finalized` or a decimal number.

    Asks first whether the node is one of `chain`. Raises `WrongChainError`, `InputError` for another `at`, and
    `NodeError` if the node does not have it.
    """
    return await _family(chain.family).get_head(chain, rpc, at)


async def get_decimals(chain: Chain, rpc: Rpc, token: str) -> int:
    """Return how many decimals the token at this address says it has; raises `TokenRefusedError` if it is no token."""
    return await _family(chain.family).get_decimals(rpc, token)


async def check_approval(claim: ApprovalClaim, rpc: Rpc, head: Block) -> ApprovalCheck:
    """Return what one node's answers say of an approval, with the state at block (slot) `head.number` as "now".

    Raises `ContradictionError` if the answers contradict each other, so that none of them counts, and `NodeError` if
    the node could not be asked.
    """
    return await _family(claim.chain.family).check_approval(claim, rpc, head)


async def check_ownership(claim: OwnershipClaim, rpc: Rpc | None = None, at: Block | None = None) -> OwnershipCheck:
    """Return what is established of a signed statement; contracts are asked at block `at`, or else the newest.

    Plain keys are checked without a node. With `rpc` None an EVM signature of a shape that only a contract wallet can
    have is UNDETERMINED, and any other that is not the owner's own is REFUTED, which then holds for plain keys. Raises
    `NodeError` if a node was needed and could not be asked.
    """
    return await _family(claim.chain.family).check_ownership(claim, rpc, at)


def verify_signed(unsigned: UnsignedTransaction, signed: SignedTransaction) -> None:
    """Raise `SignatureMismatchError` unless the bytes are exactly the transaction shown, signed by its sender."""
    _family(unsigned.kind).verify_signed(unsigned, signed)


def verify_ownership(family: Family, owner: str, proof: OwnershipSignature) -> None:
    """Raise `SignatureMismatchError` unless `owner` signed the message, judged from its bytes."""
    _family(family).verify_message(owner, proof.message, proof.signature)


def transaction_request(unsigned: UnsignedTransaction) -> dict[str, object]:
    """Return exactly what a wallet app must have signed: EIP-1193 parameters, or a base64 Solana transaction."""
    return _family(unsigned.kind).signing_request(unsigned)


def message_request(family: Family, owner: str, message: str) -> dict[str, object]:
    """Return what a wallet app must pass to its wallet to have a text signed."""
    return _family(family).message_request(owner, message)


def signature_scheme(family: Family) -> Literal["eip191", "ed25519"]:
    """Return the scheme of this family's ownership signatures."""
    return _family(family).SCHEME


def signed_from_raw(family: Family, raw: str) -> SignedTransaction:
    """Return a signed transaction from its bytes (0x hex, or base64 on Solana), with its hash computed from them.

    Raises `SignatureMismatchError` if it cannot be read.
    """
    return _family(family).signed_from_raw(raw)
