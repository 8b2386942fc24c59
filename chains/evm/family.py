"""EVM networks behind the names of `chains.family.FamilyModule`; the heavy parts are imported when they are used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from chains.evm.addresses import parse_address as parse_address

if TYPE_CHECKING:
    from chains.claims import ApprovalCheck, ApprovalClaim, OwnershipCheck, OwnershipClaim
    from chains.evm.node import EvmNode
    from chains.rpc import Rpc
    from chains.types import Block, Chain, EvmTransaction, SignedTransaction

SCHEME: Final = "eip191"


def open_rpc(rpc_url: str) -> Rpc:
    """Return a connection to http(s):// or ws(s)://, or to the path of an IPC socket."""
    scheme = rpc_url.partition("://")[0] if "://" in rpc_url else ""
    if scheme in {"http", "https"}:
        from chains.rpc import HttpRpc

        return HttpRpc(rpc_url)
    from chains.rpc.socket import open_socket_rpc

    return open_socket_rpc(rpc_url)


def open_node(chain: Chain, rpc: Rpc) -> EvmNode:
    """Return the door to `chain` over a connection."""
    from chains.evm.node import EvmNode

    return EvmNode(chain, rpc)


async def get_decimals(rpc: Rpc, token: str) -> int:
    """Return how many decimals a token says it has; raises `TokenRefusedError` if it does not answer."""
    from chains.errors import TokenRefusedError
    from chains.evm.codec.erc20 import decode_uint256, encode_decimals
    from chains.evm.simulation import call_contract

    result = await call_contract(rpc, token, encode_decimals(), "latest")
    try:
        return decode_uint256(result.returned if result.success else b"")
    except ValueError:
        raise TokenRefusedError(
            f"{token} does not say how many decimals it has, so it is no token.",
            hint="Check the network and the token's address.",
            found=token,
        ) from None


async def get_head(chain: Chain, rpc: Rpc, at: str) -> Block:
    """Return the block that a node gives for `latest`, `safe`, `finalized` or a decimal number."""
    from chains.evm.blocks import get_head as ask

    return await ask(chain, rpc, at)


async def check_approval(claim: ApprovalClaim, rpc: Rpc, head: Block) -> ApprovalCheck:
    """Return what a node's answers say of an approval, with the state of block `head.number` as "now"."""
    from chains.evm.verify.approval import check_approval as check

    return await check(claim, rpc, head)


async def check_ownership(claim: OwnershipClaim, rpc: Rpc | None, at: Block | None) -> OwnershipCheck:
    """Return what is established of a signed statement; contract wallets need a node."""
    from chains.evm.verify.ownership import check_ownership as check

    return await check(claim, rpc, at)


def verify_signed(unsigned: EvmTransaction, signed: SignedTransaction) -> None:
    """Raise `SignatureMismatchError` unless the bytes are exactly the transaction shown, signed by its sender."""
    from chains.evm.transactions import verify_signed as verify
    from chains.networks import CHAIN_NAMES, get_chain

    ours = (get_chain(name) for name in CHAIN_NAMES if name != "solana")
    verify(unsigned, signed, next((chain for chain in ours if chain.chain_id == unsigned.chain_id), None))


def signed_from_raw(raw: str) -> SignedTransaction:
    """Return a signed transaction from its 0x hex bytes; `SignatureMismatchError` if they are not one."""
    from chains.evm.transactions import signed_from_raw as read

    return read(raw)


def verify_message(owner: str, message: str, signature: str) -> None:
    """Raise `SignatureMismatchError` unless `owner` signed this text (EIP-191)."""
    from chains.evm.codec.signatures import verify_message as verify

    verify(owner, message, signature)


def signing_request(unsigned: EvmTransaction) -> dict[str, object]:
    """Return the EIP-1193 request by which a wallet signs and sends exactly this transaction."""
    from chains.evm.transactions import signing_request as request

    return request(unsigned)


def message_request(owner: str, message: str) -> dict[str, object]:
    """Return the EIP-1193 request by which a wallet signs this text."""
    from chains.evm.codec.signatures import message_request as request

    return request(owner, message)
