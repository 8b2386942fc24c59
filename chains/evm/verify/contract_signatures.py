"""Signatures of contract wallets, which only the wallet's own code can check: ERC-1271, ERC-6492, EIP-7702 delegates.

Everything is asked by `eth_call` at exactly one block, with a cap on its gas; nothing is ever sent. A wallet's code may
say one thing at one block and another at the next, for example because its owner was replaced, so that an answer from
any other block than the one asked for would be a wrong verdict.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from chains.claims import Finding, Verdict
from chains.errors import ContradictionError, NodeError, NodeUnreachableError, RpcError
from chains.evm.addresses import delegate_in
from chains.evm.answers import nonsense, parse_data, revert_data
from chains.evm.blocks import get_head, get_header
from chains.rpc import Rpc
from chains.types import Block, Chain

GAS_CAP: Final = 3_000_000

_ERC6492_SUFFIX: Final = bytes.fromhex("6492" * 16)
_ERC8010_SUFFIX: Final = bytes.fromhex("8010" * 16)
_MAGIC: Final = bytes.fromhex("1626ba7e")  # ERC-1271: selector and answer of isValidSignature(bytes32,bytes)
_VALIDATOR: Final = "Erc6492Validator"
_LONGEST_KEY_SIGNATURE: Final = 65

_NOT_A_PLAIN_KEY: Final = "Many take signatures of plain keys only (0x and 130 digits): expect them to refuse this one."


@dataclass(frozen=True, slots=True)
class SignatureResult:
    """The finding on a signature, and how it came about; the fields are those of `OwnershipCheck`."""

    finding: Finding
    method: str | None = None
    normalised: str | None = None
    block: Block | None = None
    delegate: str | None = None


def needs_contract(signature: bytes) -> bool:
    """Return whether a signature has a shape that only a contract wallet can have."""
    return len(signature) > _LONGEST_KEY_SIGNATURE


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
    if signature.endswith(_ERC8010_SUFFIX):
        message = "It is wrapped as the draft ERC-8010 says, which is not supported: nothing follows about the owner."
        return _result("UNDETERMINED", f"{message} {_NOT_A_PLAIN_KEY}")
    try:
        block = await _choose_block(chain, rpc, at)
        if signature.endswith(_ERC6492_SUFFIX):
            return await _ask_validator(rpc, owner, digest, signature, block)
        code = await _ask_code(rpc, owner, block)
        if not code:
            message = f"{no_key} No contract is at {owner} at block {block.number}, so nothing else can accept it."
            return _result("REFUTED", message, block=block)
        return await _ask_wallet(rpc, owner, digest, signature, block, delegate_in(code))
    except (NodeUnreachableError, ContradictionError):
        raise
    except NodeError as error:
        message = f"{no_key} Whether a contract wallet accepts it could not be asked: {error.message}"
        return _result("UNDETERMINED", message)


async def _ask_wallet(
    rpc: Rpc, owner: str, digest: bytes, signature: bytes, block: Block, delegate: str | None
) -> SignatureResult:
    """Ask the contract itself (ERC-1271); only a whole word that begins with the magic value is a yes."""
    question = _MAGIC + digest + _word(0x40) + _bytes_argument(signature)
    answer = await _call(rpc, {"to": owner, "data": "0x" + question.hex()}, block)
    what = f"The contract at {owner}"
    if delegate is not None:
        what += f", an account that runs the code of {delegate} (EIP-7702),"
    if answer is None or len(answer) < 32 or answer[:4] != _MAGIC:
        shown = "it reverts" if answer is None else f"it answers 0x{answer[:32].hex()}"
        message = f"{what} does not accept this signature (ERC-1271) at block {block.number}: {shown}."
        return _result("REFUTED", message, block=block, delegate=delegate)
    return _accepted(f"{what} accepts this signature (ERC-1271)", "erc1271", block, delegate)


async def _ask_validator(rpc: Rpc, owner: str, digest: bytes, signature: bytes, block: Block) -> SignatureResult:
    """Ask a wallet that its factory deploys for the length of this call (ERC-6492); only 0x01 is a yes."""
    arguments = bytes(12) + bytes.fromhex(owner[2:]) + digest + _word(0x60) + _bytes_argument(signature)
    answer = await _call(rpc, {"data": _validator_code() + arguments.hex()}, block)
    if answer == b"\x01":
        return _accepted(
            f"The contract wallet {owner}, not necessarily deployed yet (ERC-6492), accepts this signature",
            "erc6492",
            block,
            None,
        )
    if answer is None or answer == b"\x00":
        why = "the wrapping cannot be read" if answer is None else "no wallet appears there, or it says no"
        message = f"This signature for a wallet not deployed yet (ERC-6492) is not accepted for {owner}: {why}."
        return _result("REFUTED", message, block=block)
    raise nonsense("the ERC-6492 check", "0x" + answer.hex())


def _accepted(what: str, method: str, block: Block, delegate: str | None) -> SignatureResult:
    message = (
        f"{what} at block {block.number} ({block.hash}). Its own code decides that, whoever wrote it, and may decide"
        f" otherwise in another block. {_NOT_A_PLAIN_KEY}"
    )
    return _result("VERIFIED", message, method=method, block=block, delegate=delegate)


def _result(
    verdict: Verdict,
    message: str,
    *,
    method: str | None = None,
    block: Block | None = None,
    delegate: str | None = None,
) -> SignatureResult:
    return SignatureResult(Finding("signature", verdict, message), method, None, block, delegate)


async def _choose_block(chain: Chain, rpc: Rpc, at: Block | None) -> Block:
    """Return the block to ask at, with its hash: the newest by default; of a number alone, the node is asked for it."""
    if at is not None and at.hash:
        return at
    return await get_head(chain, rpc, "latest" if at is None else str(at.number))


async def _ask_at(rpc: Rpc, method: str, subject: object, block: Block) -> Any:
    """Return what a node answers of the state of a block: by its hash (EIP-1898), else by its number.

    Some nodes take numbers only. A number names another block once the chain has changed, so that the answer counts
    only if the number is still that of this block; raises `NodeError` if it is not.
    """
    # Not `requireCanonical`: what is accepted at a block is a fact about it, also where the chain went another way.
    try:
        return await rpc.request(method, [subject, {"blockHash": block.hash}])
    except RpcError as error:
        if revert_data(error) is not None:
            raise
    refusal, answer = None, None
    try:
        answer = await rpc.request(method, [subject, hex(block.number)])
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
def _validator_code() -> str:
    """Return the creation code that answers as ERC-6492 says, 0x hex; its source lies beside it."""
    artifacts = Path(__file__).parent / "contracts" / "artifacts.json"
    code: str = json.loads(artifacts.read_text())["contracts"][_VALIDATOR]["bytecode"]
    return code


def _word(number: int) -> bytes:
    return number.to_bytes(32)


def _bytes_argument(data: bytes) -> bytes:
    """Return the tail of an ABI encoding for one `bytes`: length, then the data up to a whole word."""
    return _word(len(data)) + data + bytes(-len(data) % 32)
