"""Everything a plan has to know of one block, asked in ONE `eth_call`: the values, and what `approve` would do.

`eth_call` can give an account other code for the length of the call (the state override of the execution APIs). We give
the *owner's* account a straight line of code that makes our calls one after the other and returns all the answers. The
token then sees the owner as its caller, so that `approve` is tried in earnest together with the allowance it leaves
behind, and every value belongs to the same block. The node keeps nothing of it.

Where a node does not serve state overrides the same questions are asked one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from chains.errors import RpcError
from chains.evm.answers import parse_data, parse_quantity, revert_data, together
from chains.evm.codec.erc20 import encode_allowance, encode_approve, encode_balance_of, encode_decimals
from chains.rpc import Rpc
from chains.types import Block

# Enough for any token we know (rule of thumb: 60,000), and it keeps a token that burns all its gas from burning ours.
_GAS_OF_A_CALL: Final = 2_000_000
# What is kept of each answer: enough for a reason in words.
_KEPT: Final = 256
_RECORD: Final = 64 + _KEPT
_HEAD: Final = 64


@dataclass(frozen=True, slots=True)
class CallResult:
    """Whether a call succeeded, and what it returned or reverted with (at most 256 bytes)."""

    success: bool
    returned: bytes


@dataclass(frozen=True, slots=True)
class Trial:
    """What `approve` did when tried: its result, and the allowance afterwards (None where that could not be asked)."""

    approve: CallResult
    allowance: CallResult | None = None


@dataclass(frozen=True, slots=True)
class Simulation:
    """What one block says of (token, owner, spender), and what approving would do to it.

    `direct` is `approve(amount)` as things are; `reset` and `after_reset` are `approve(0)` and then `approve(amount)`.
    """

    decimals: CallResult
    allowance: CallResult
    balance: CallResult
    native_balance: int
    spender_code_size: int
    direct: Trial
    reset: Trial
    after_reset: Trial | None


def at_block(block: Block) -> dict[str, Any] | str:
    """Return the block parameter of a call: by hash and canonical only (EIP-1898), or by number without a hash."""
    return {"blockHash": block.hash, "requireCanonical": True} if block.hash else hex(block.number)


async def simulate_approval(rpc: Rpc, token: str, owner: str, spender: str, amount: int, block: Block) -> Simulation:
    """Return what `block` says, and what `approve(spender, amount)` by `owner` would do there; nothing is changed."""
    after = encode_allowance(owner, spender)
    approve, reset = encode_approve(spender, amount), encode_approve(spender, 0)
    reads = (encode_decimals(), after, encode_balance_of(owner))
    calls = (*reads, approve, after, reset, after, approve, after)
    results = await _run_program(rpc, token, owner, spender, calls, block)
    if results is None:
        return await _simulate_one_by_one(rpc, token, owner, spender, reads, approve, reset, block)
    native_balance, spender_code_size, answers = results
    return Simulation(
        decimals=answers[0],
        allowance=answers[1],
        balance=answers[2],
        native_balance=native_balance,
        spender_code_size=spender_code_size,
        direct=Trial(answers[3], answers[4]),
        reset=Trial(answers[5], answers[6]),
        after_reset=Trial(answers[7], answers[8]),
    )


async def read_allowance(
    rpc: Rpc, token: str, owner: str, spender: str, block: Block
) -> tuple[CallResult, CallResult, int]:
    """Return what `block` says of the allowance, of the owner's balance, and the native balance in wei."""
    calls = (encode_allowance(owner, spender), encode_balance_of(owner))
    results = await _run_program(rpc, token, owner, spender, calls, block)
    if results is not None:
        native_balance, _, (allowance, balance) = results
        return allowance, balance, native_balance
    at = at_block(block)
    native, allowance, balance = await together(
        rpc.request("eth_getBalance", [owner, at]), *(call_contract(rpc, token, data, at) for data in calls)
    )
    return allowance, balance, parse_quantity("eth_getBalance", native)


async def _run_program(
    rpc: Rpc, token: str, owner: str, spender: str, calls: Sequence[bytes], block: Block
) -> tuple[int, int, list[CallResult]] | None:
    """Return the answers of a program run as `owner`, or None where the node does not serve that."""
    override = {owner: {"code": "0x" + build_program(token, spender, calls).hex()}}
    try:
        answer = await rpc.request("eth_call", [{"to": owner, "data": "0x"}, at_block(block), override])
    except RpcError:
        # Not served, or something worse: the single questions that follow find out which.
        return None
    return parse_program_answer(parse_data("eth_call", answer), calls=len(calls))


def build_program(token: str, spender: str, calls: Sequence[bytes]) -> bytes:
    """Return EVM code that makes `calls` to `token` in order and returns every answer.

    The answer is the native balance of the account the code runs in (32 bytes), the size of `spender`'s code (32), and
    for each call: success (32), the size of what it returned (32) and its first 256 bytes.
    """
    address = bytes.fromhex(token[2:])
    size = _HEAD + _RECORD * len(calls)  # the answer is built at the start of memory, calldata is laid behind it

    def code(offsets: Sequence[int]) -> bytes:
        parts = [
            b"\x47" + _push2(0) + b"\x52",  # SELFBALANCE; MSTORE at 0
            b"\x73" + bytes.fromhex(spender[2:]) + b"\x3b" + _push2(32) + b"\x52",  # PUSH20; EXTCODESIZE; MSTORE at 32
        ]
        for index, (data, offset) in enumerate(zip(calls, offsets, strict=True)):
            record = _HEAD + _RECORD * index
            parts += [
                _push2(len(data)) + _push2(offset) + _push2(size) + b"\x39",  # CODECOPY the calldata
                _push2(_KEPT) + _push2(record + 64),  # where CALL puts what is returned
                _push2(len(data)) + _push2(size),  # where CALL finds the calldata
                _push2(0) + b"\x73" + address,  # no value; PUSH20 the token
                b"\x62" + _GAS_OF_A_CALL.to_bytes(3, "big") + b"\xf1",  # PUSH3 gas; CALL
                _push2(record) + b"\x52",  # MSTORE success
                b"\x3d" + _push2(record + 32) + b"\x52",  # RETURNDATASIZE; MSTORE
            ]
        parts.append(_push2(size) + _push2(0) + b"\xf3")  # RETURN
        return b"".join(parts)

    start = len(code([0] * len(calls)))
    offsets = [start + sum(map(len, calls[:index])) for index in range(len(calls))]
    return code(offsets) + b"".join(calls)


def parse_program_answer(answer: bytes, *, calls: int) -> tuple[int, int, list[CallResult]] | None:
    """Return native balance, size of the spender's code and the results; None if the program did not run."""
    if len(answer) != _HEAD + _RECORD * calls:
        return None
    results = []
    for start in range(_HEAD, len(answer), _RECORD):
        success, size = _number(answer, start), _number(answer, start + 32)
        results.append(CallResult(success == 1, answer[start + 64 : start + 64 + min(size, _KEPT)]))
    return _number(answer, 0), _number(answer, 32), results


async def call_contract(
    rpc: Rpc, to: str, data: bytes, block: dict[str, Any] | str, *, sender: str | None = None
) -> CallResult:
    """Return what one `eth_call` says, a revert included; raises `RpcError` for every other refusal."""
    call = {"to": to, "data": "0x" + data.hex()} | ({"from": sender} if sender else {})
    try:
        return CallResult(True, parse_data("eth_call", await rpc.request("eth_call", [call, block])))
    except RpcError as error:
        reverted = revert_data(error)
        if reverted is None:
            raise
        return CallResult(False, reverted)


async def _simulate_one_by_one(
    rpc: Rpc, token: str, owner: str, spender: str, reads: Sequence[bytes], approve: bytes, reset: bytes, block: Block
) -> Simulation:
    at = at_block(block)
    native, code, decimals, allowance, balance, direct, zero = await together(
        rpc.request("eth_getBalance", [owner, at]),
        rpc.request("eth_getCode", [spender, at]),
        *(call_contract(rpc, token, data, at) for data in reads),
        *(call_contract(rpc, token, data, at, sender=owner) for data in (approve, reset)),
    )
    return Simulation(
        decimals=decimals,
        allowance=allowance,
        balance=balance,
        native_balance=parse_quantity("eth_getBalance", native),
        spender_code_size=len(parse_data("eth_getCode", code)),
        direct=Trial(direct),
        reset=Trial(zero),
        after_reset=None,
    )


def _push2(number: int) -> bytes:
    return b"\x61" + number.to_bytes(2, "big")


def _number(data: bytes, start: int) -> int:
    return int.from_bytes(data[start : start + 32], "big")
