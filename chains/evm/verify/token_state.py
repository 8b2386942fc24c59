"""What one block's state says of an allowance, and whether anything keeps the spender from using it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from chains.errors import RpcError
from chains.evm.codec.approval_logs import Pair
from chains.evm.codec.erc20 import address_word, decode_uint256, encode_allowance, encode_balance_of, encode_decimals
from chains.evm.simulation import at_block, call_contract
from chains.rpc import Rpc
from chains.types import Block

_PAUSED: Final = bytes.fromhex("5c975abb")
# Circle's and Tether's spelling, and that of M0's tokens (mUSD). Tether asks of the owner only.
_BLACKLISTED: Final = bytes.fromhex("fe575a87")
_BLACK_LISTED: Final = bytes.fromhex("e47d6060")
_FROZEN: Final = bytes.fromhex("e5839836")


@dataclass(frozen=True, slots=True)
class TokenState:
    """Allowance and balance in base units at one block, None where the token does not answer.

    `blocked` names what bars a spend: `paused`, `owner-blacklisted`, `spender-frozen` and the like; `unasked` says why
    that could not be found out, "" where it could.
    """

    allowance: int | None
    balance: int | None
    blocked: tuple[str, ...]
    unasked: str

    @property
    def spendable(self) -> int | None:
        """What the spender could take now, in base units."""
        if self.allowance is None or self.balance is None or self.unasked:
            return None
        return 0 if self.blocked else min(self.allowance, self.balance)


async def get_number(rpc: Rpc, token: str, data: bytes, block: Block) -> int | None:
    """Return the number that a call of the token answers at `block`, None if it answers none; raises `RpcError`."""
    result = await call_contract(rpc, token, data, at_block(block))
    try:
        return decode_uint256(result.returned) if result.success else None
    except ValueError:
        return None


async def get_allowance(rpc: Rpc, pair: Pair, block: Block) -> int | None:
    """Return the allowance at `block` in base units, None if the token answers none; raises `RpcError`."""
    return await get_number(rpc, pair.token, encode_allowance(pair.owner, pair.spender), block)


async def read_decimals(rpc: Rpc, token: str, *blocks: Block) -> tuple[int | None, Block]:
    """Return the token's decimals at the first of several blocks whose state the node has, and that block.

    None where the token does not answer, or the node has the state of none of them.
    """
    for block in blocks:
        with suppress(RpcError):
            return await get_number(rpc, token, encode_decimals(), block), block
    return None, blocks[-1]


async def get_token_state(rpc: Rpc, pair: Pair, block: Block) -> TokenState:
    """Return what the token says at `block`; raises `RpcError` if the node cannot be asked for that block."""
    allowance = await get_allowance(rpc, pair, block)
    balance = await get_number(rpc, pair.token, encode_balance_of(pair.owner), block)
    try:
        blocked, unasked = await _get_bars(rpc, pair, block), ""
    except RpcError as error:
        blocked, unasked = (), error.message
    return TokenState(allowance, balance, blocked, unasked)


async def _get_bars(rpc: Rpc, pair: Pair, block: Block) -> tuple[str, ...]:
    """Return the names of what bars a spend; only an answer of exactly one word counts as one (attack A37)."""
    calls = (
        ("paused", _PAUSED),
        ("owner-blacklisted", _BLACKLISTED + address_word(pair.owner)),
        ("owner-blacklisted", _BLACK_LISTED + address_word(pair.owner)),
        ("owner-frozen", _FROZEN + address_word(pair.owner)),
        ("spender-blacklisted", _BLACKLISTED + address_word(pair.spender)),
        ("spender-frozen", _FROZEN + address_word(pair.spender)),
    )
    bars = [name for name, data in calls if await _is_true(rpc, pair.token, data, block)]
    return tuple(dict.fromkeys(bars))


async def _is_true(rpc: Rpc, token: str, data: bytes, block: Block) -> bool:
    result = await call_contract(rpc, token, data, at_block(block))
    return result.success and len(result.returned) == 32 and any(result.returned)
