"""Signatures of contract wallets, which only the wallet's own code can check: ERC-1271, ERC-6492, ERC-8010, EIP-7702.

Everything is asked by `eth_call` at exactly one block, with a cap on its gas; nothing is ever sent. A wallet's code may
say one thing at one block and another at the next, for example because its owner was replaced, so that an answer from
any other block than the one asked for would be a wrong verdict. What a wallet answers is its node's word; that there is
no wallet at all can be proved.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from chains.claims import NODES_WORD, Basis, Finding, FindingVerdict
from chains.errors import ContradictionError, NodeError, NodeUnreachableError, RpcError, SignatureMismatchError
from chains.evm.addresses import delegate_in
from chains.evm.answers import nonsense, parse_data, parse_quantity, revert_data
from chains.evm.blocks import Found, find_block_by_hash, get_head, get_header, header_of
from chains.evm.codec.delegated_signatures import SUFFIX as _ERC8010_SUFFIX
from chains.evm.codec.delegated_signatures import DelegatedSignature, read_delegated
from chains.evm.verify.account_code import get_code
from chains.rpc import Rpc
from chains.types import Block, Chain

GAS_CAP: Final = 3_000_000

_ERC6492_SUFFIX: Final = bytes.fromhex("6492" * 16)
_IS_VALID_SIGNATURE: Final = bytes.fromhex("1626ba7e")  # ERC-1271: selector of isValidSignature(bytes32,bytes)
# The answer for yes is that selector as a whole word: a contract that echoes what it is asked begins with it as well.
_YES: Final = _IS_VALID_SIGNATURE + bytes(28)
_DELEGATION: Final = bytes.fromhex("ef0100")  # EIP-7702

_NOT_A_PLAIN_KEY: Final = "Many take signatures of plain keys only (0x and 130 digits): expect them to refuse this one."
_ANOTHER_BLOCK: Final = "A node that keeps old state (an archive node) can be asked for it, or another block."


@dataclass(frozen=True, slots=True)
class SignatureResult:
    """The finding on a signature, what is worth noting beside it, and how it came about, as in `OwnershipCheck`."""

    finding: Finding
    method: str | None = None
    normalised: str | None = None
    block: Block | None = None
    delegate: str | None = None
    notes: tuple[Finding, ...] = ()


async def get_delegate(chain: Chain, rpc: Rpc, owner: str, at: Block | None) -> tuple[Block, str | None]:
    """Return a block, the newest by default, and the contract whose code the account runs there (EIP-7702), or None.

    Raises `WrongChainError` and `NodeError`.
    """
    block = await _choose_block(chain, rpc, at)
    return block, delegate_in(await _ask_code(rpc, owner, block))


async def check_contract_signature(
    chain: Chain, rpc: Rpc, owner: str, digest: bytes, signature: bytes, at: Block | None, no_key: str
) -> SignatureResult:
    """Return what the code at `owner` says of a signature at block `at`, or else at the newest.

    `no_key` says why it is not the signature of the owner's own key, which is all there is to say where there is no
    code. Raises `WrongChainError` and, where the node could not be asked, `NodeError`.
    """
    try:
        block = await _choose_block(chain, rpc, at)
        if signature.endswith(_ERC8010_SUFFIX):
            brought = _read_authorised(chain, owner, signature)
            if isinstance(brought, DelegatedSignature):
                return await _ask_delegated(rpc, owner, digest, brought, block)
            # A wallet may take any bytes, those that only look like this as well.
            no_key = f"{no_key} {brought}"
        if signature.endswith(_ERC6492_SUFFIX):
            return await _ask_validator(rpc, owner, digest, signature, block)
        return await _ask_code_and_wallet(rpc, owner, digest, signature, block, no_key)
    except (NodeUnreachableError, ContradictionError):
        raise
    except NodeError as error:
        message = f"{no_key} Whether a contract wallet accepts it could not be asked: {error.message}"
        return _result("UNDETERMINED", f"{message} {_ANOTHER_BLOCK}")


async def _ask_code_and_wallet(
    rpc: Rpc, owner: str, digest: bytes, signature: bytes, block: Block, no_key: str
) -> SignatureResult:
    """Ask the wallet if there is one; that there is none is proved where the node still proves that block."""
    try:
        account = await get_code(rpc, owner, await _find(rpc, block))
    except RpcError as error:
        head, _ = await get_header(rpc, "latest")
        code = await _ask_code(rpc, owner, head)
        there = "code is" if code else "no code is"
        message = (
            f"{no_key} Whether a contract was at {owner} at block {block.number} could not be read ({error.message}); "
            f"{there} there at the newest block, {head.number}. {_ANOTHER_BLOCK}"
        )
        return _result("UNDETERMINED", message, block=block)
    if not account.code:
        message = f"{no_key} No contract is at {owner} at block {block.number}, so nothing else can accept it."
        return _result("REFUTED", message, block=block, basis=account.basis)
    return await _ask_wallet(rpc, owner, digest, signature, block, delegate_in(account.code))


async def _find(rpc: Rpc, block: Block) -> Found:
    """Return a block with the header under which its state is proved, with an empty one where the node has none."""
    try:
        found = await find_block_by_hash(rpc, block.hash)
    except RpcError:
        found = None
    return (block, {}) if found is None else (block, header_of(found[1]))


async def _ask_wallet(
    rpc: Rpc, owner: str, digest: bytes, signature: bytes, block: Block, delegate: str | None
) -> SignatureResult:
    """Ask the contract itself (ERC-1271); only the whole word of the magic value is a yes."""
    question = _IS_VALID_SIGNATURE + digest + _word(0x40) + _bytes_argument(signature)
    answer = await _call(rpc, {"to": owner, "data": "0x" + question.hex()}, block)
    what = f"The contract at {owner}"
    if delegate is not None:
        what += f", an account that runs the code of {delegate} (EIP-7702),"
    if answer is None or len(answer) < 32 or answer[:32] != _YES:
        shown = "it reverts" if answer is None else f"it answers 0x{answer[:32].hex()}"
        message = f"{what} does not accept this signature (ERC-1271) at block {block.number}: {shown}."
        return _result("REFUTED", message, block=block, delegate=delegate)
    return _accepted(f"{what} accepts this signature (ERC-1271)", "erc1271", block, delegate)


async def _ask_validator(rpc: Rpc, owner: str, digest: bytes, signature: bytes, block: Block) -> SignatureResult:
    """Ask a wallet that its factory deploys for the length of this call (ERC-6492)."""
    arguments = _address(owner) + digest + _word(0x60) + _bytes_argument(signature)
    answer = await _call(rpc, {"data": _creation_code("Erc6492Validator") + arguments.hex()}, block)
    if _is_yes("ERC-6492", answer):
        what = f"The contract wallet {owner}, not necessarily deployed yet (ERC-6492), accepts this signature"
        return _accepted(what, "erc6492", block, None)
    why = "the wrapping cannot be read" if answer is None else "no wallet appears there, or it says no"
    message = f"This signature for a wallet not deployed yet (ERC-6492) is not accepted for {owner}: {why}."
    return _result("REFUTED", message, block=block)


def _read_authorised(chain: Chain, owner: str, wrapped: bytes) -> DelegatedSignature | str:
    """Return what the owner's key authorised for this chain or all (EIP-7702), or why nothing of the kind is there."""
    try:
        brought = read_delegated(wrapped)
    except SignatureMismatchError as error:
        return error.message
    if brought.signer != owner:
        return f"The authorisation that it brings (ERC-8010) is signed by {brought.signer}."
    if brought.chain_id not in {0, chain.chain_id}:
        return f"The authorisation that it brings (ERC-8010) is for chain {brought.chain_id}."
    return brought


async def _ask_delegated(
    rpc: Rpc, owner: str, digest: bytes, brought: DelegatedSignature, block: Block
) -> SignatureResult:
    """Ask the account as it is once the authorisation that the signature brings is applied (ERC-8010)."""
    code = await _ask_code(rpc, owner, block)
    if delegate_in(code) == brought.delegate:
        return await _ask_wallet(rpc, owner, digest, brought.signature, block, brought.delegate)
    nonce = parse_quantity("eth_getTransactionCount", await _ask_at(rpc, "eth_getTransactionCount", owner, block))
    if nonce != brought.nonce:
        message = (
            f"The authorisation that the signature brings (ERC-8010) is for nonce {brought.nonce} of the account, and "
            f"that is {nonce} at block {block.number}: it cannot be applied there. Ask at another block."
        )
        return _result("UNDETERMINED", message, block=block)
    return await _ask_override(rpc, owner, digest, brought, block)


async def _ask_override(
    rpc: Rpc, owner: str, digest: bytes, brought: DelegatedSignature, block: Block
) -> SignatureResult:
    signature, data = _bytes_argument(brought.signature), _bytes_argument(brought.data)
    head = _address(owner) + digest + _word(0xA0) + _address(brought.initialiser) + _word(0xA0 + len(signature))
    call = {"data": _creation_code("Erc8010Validator") + (head + signature + data).hex(), "gas": hex(GAS_CAP)}
    override = {owner: {"code": "0x" + (_DELEGATION + bytes.fromhex(brought.delegate[2:])).hex()}}
    try:
        answer = parse_data("eth_call", await _ask_at(rpc, "eth_call", call, block, override))
    except RpcError as error:
        if revert_data(error) is None:
            raise
        answer = b"\0"
    if _is_yes("ERC-8010", answer):
        what = f"The account {owner}, once it runs the code of {brought.delegate} as its key authorised (ERC-8010), "
        return _accepted(what + "accepts this signature", "erc8010", block, brought.delegate)
    message = (
        f"The account {owner} does not accept this signature at block {block.number}, also not once it runs the code "
        f"of {brought.delegate} as its key authorised (ERC-8010)."
    )
    return _result("REFUTED", message, block=block, delegate=brought.delegate)


def _is_yes(what: str, answer: bytes | None) -> bool:
    """Return what a validator of ours answers; raises `NodeError` for anything but its one byte, or a revert."""
    if answer is not None and answer not in {b"\0", b"\1"}:
        raise nonsense(f"the {what} check", "0x" + answer.hex())
    return answer == b"\1"


def _accepted(what: str, method: str, block: Block, delegate: str | None) -> SignatureResult:
    message = (
        f"{what} at block {block.number} ({block.hash}). Its own code decides that, whoever wrote it, and may decide"
        f" otherwise in another block. {_NOT_A_PLAIN_KEY}"
    )
    return _result("VERIFIED", message, method=method, block=block, delegate=delegate)


def _result(
    verdict: FindingVerdict,
    message: str,
    *,
    method: str | None = None,
    block: Block | None = None,
    delegate: str | None = None,
    basis: Basis = NODES_WORD,
) -> SignatureResult:
    return SignatureResult(Finding("signature", verdict, message, basis=basis), method, None, block, delegate)


async def _choose_block(chain: Chain, rpc: Rpc, at: Block | None) -> Block:
    """Return the block to ask at, with its hash: the newest by default; of a number alone, the node is asked for it."""
    if at is not None and at.hash:
        return at
    return await get_head(chain, rpc, "latest" if at is None else str(at.number))


async def _ask_at(rpc: Rpc, method: str, subject: object, block: Block, *more: object) -> Any:
    """Return what a node answers of the state of a block: by its hash (EIP-1898), else by its number.

    Some nodes take numbers only. A number names another block once the chain has changed, so that the answer counts
    only if the number is still that of this block; raises `NodeError` if it is not.
    """
    # Not `requireCanonical`: what is accepted at a block is a fact about it, also where the chain went another way.
    try:
        return await rpc.request(method, [subject, {"blockHash": block.hash}, *more])
    except RpcError as error:
        if revert_data(error) is not None:
            raise
    refusal, answer = None, None
    try:
        answer = await rpc.request(method, [subject, hex(block.number), *more])
    except RpcError as error:
        refusal = error
    now, _ = await get_header(rpc, hex(block.number))
    if now != block:
        raise NodeError(
            f"The node cannot be asked for block {block.number} {block.hash}: it takes block numbers only, and has "
            f"{now.hash} at this one.",
            hint="The chain changed while it was asked, or the node is on a fork. Ask again, or ask another node.",
            expected=block.hash,
            found=now.hash,
        )
    if refusal is not None:
        raise refusal
    return answer


async def _ask_code(rpc: Rpc, owner: str, block: Block) -> bytes:
    return parse_data("eth_getCode", await _ask_at(rpc, "eth_getCode", owner, block))


async def _call(rpc: Rpc, call: dict[str, Any], block: Block) -> bytes | None:
    """Return what a call answers at a block, or None if it reverts."""
    try:
        answer = await _ask_at(rpc, "eth_call", {**call, "gas": hex(GAS_CAP)}, block)
    except RpcError as error:
        if revert_data(error) is None:
            raise
        return None
    return parse_data("eth_call", answer)


@cache
def _creation_code(name: str) -> str:
    """Return the creation code of a validator of ours, 0x hex; its source lies beside it."""
    artifacts = Path(__file__).parent / "contracts" / "artifacts.json"
    code: str = json.loads(artifacts.read_text())["contracts"][name]["bytecode"]
    return code


def _address(address: str) -> bytes:
    return bytes(12) + bytes.fromhex(address[2:])


def _word(number: int) -> bytes:
    return number.to_bytes(32)


def _bytes_argument(data: bytes) -> bytes:
    """Return the tail of an ABI encoding for one `bytes`: length, then the data up to a whole word."""
    return _word(len(data)) + data + bytes(-len(data) % 32)
