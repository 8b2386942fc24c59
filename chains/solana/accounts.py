"""Accounts of one slot as a node gives them, and those of one owner and token: the only reader of account data.

Whoever checks a claim reads once and says so if the node is behind; whoever makes an approval waits for the node.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from chains.errors import NodeError, RpcError, TokenRefusedError
from chains.rpc import Rpc
from chains.solana.addresses import SYSTEM_PROGRAM, TOKEN_2022_PROGRAM, TOKEN_PROGRAMS, get_associated_token_address
from chains.solana.answers import MIN_CONTEXT_SLOT_NOT_REACHED, account_data, nonsense, take, take_slot
from chains.solana.token import TOKEN_ACCOUNT_SIZE, Mint, TokenAccount, decode_mint, decode_token_account
from chains.types import AllowanceState, Block, Chain, Token

_MOST_ACCOUNTS: Final = 100  # of one getMultipleAccounts
_LAG_ATTEMPTS: Final = 25
_LAG_PAUSE: Final = 0.4  # seconds: one slot

# Token-2022 gives each associated account the ImmutableOwner extension: one type byte and a four-byte empty entry.
_TOKEN_2022_ACCOUNT_SIZE: Final = TOKEN_ACCOUNT_SIZE + 5


@dataclass(frozen=True, slots=True)
class Accounts:
    """Accounts of one slot as a node gave them, None for those that are not there."""

    slot: int
    commitment: str
    found: dict[str, Any]

    def program_of(self, address: str) -> str | None:
        """Return the program that owns an account, None if there is no account."""
        account = self.found[address]
        return None if account is None else take(account, str, "owner")

    def data_of(self, address: str) -> bytes:
        """Return the data of an account; raise `NodeError` if there is none."""
        return account_data(self.found[address])

    def lamports_of(self, address: str) -> int:
        """Return the lamports of an account, 0 if there is none."""
        account = self.found[address]
        return 0 if account is None else take(account, int, "lamports")

    def token_account(self, address: str) -> TokenAccount | None:
        """Return a token account, None if it is not there; raise `NodeError` if its bytes are none."""
        program = self.program_of(address)
        # Anybody can send lamports to the address of an account that is not there; it is then the system's.
        if program is None or program == SYSTEM_PROGRAM:
            return None
        return decode_token_account(program, self.data_of(address))

    @property
    def evidence(self) -> dict[str, Any]:
        """The bytes of the accounts with their slot, as JSON."""
        held = {
            address: None if account is None else {"owner": account["owner"], "data": account["data"][0]}
            for address, account in self.found.items()
        }
        return {"slot": self.slot, "commitment": self.commitment, "found": held}


@dataclass(frozen=True, slots=True)
class OwnerAccounts:
    """The accounts of one (owner, mint) at one slot; `account` is None while the token account does not exist."""

    slot: int
    lamports: int
    mint: Mint
    address: str
    account: TokenAccount | None

    @property
    def account_size(self) -> int:
        """The size in bytes of the token account, once it exists."""
        return _TOKEN_2022_ACCOUNT_SIZE if self.mint.program == TOKEN_2022_PROGRAM else TOKEN_ACCOUNT_SIZE

    def to_state(self, spender: str) -> AllowanceState:
        """Return what these accounts say of `spender`."""
        account = self.account
        other = account.delegate if account and account.delegated_amount and account.delegate != spender else None
        return AllowanceState(
            allowance=account.allowance_of(spender) if account else 0,
            balance=account.amount if account else 0,
            native_balance=self.lamports,
            block=Block(self.slot, ""),
            other_delegate=other,
            token_account=self.address,
            account_exists=account is not None,
        )


async def get_accounts(rpc: Rpc, addresses: list[str], min_slot: int) -> Accounts:
    """Return accounts of one slot not before `min_slot`, at `finalized` if the node has got that far, or `confirmed`.

    Raises `NodeError` if it is behind; it is not waited for, so that a check can be made again offline.
    """
    for commitment in ("finalized", "confirmed"):
        accounts = await _ask(rpc, addresses, commitment, min_slot)
        if accounts is not None:
            return accounts
    raise _behind(min_slot)


async def get_owner_accounts(
    rpc: Rpc, chain: Chain, token: Token, owner: str, commitment: str, *, min_slot: int = 0
) -> OwnerAccounts:
    """Return the owner's accounts of one slot not before `min_slot`, waiting up to ten seconds for a node behind it.

    Asked in one call under both token programs, whichever the mint is of. Raises `TokenRefusedError` unless there is a
    mint of these decimals and the token account, if there is one, is still the owner's.
    """
    sources = {program: get_associated_token_address(owner, token.address, program) for program in TOKEN_PROGRAMS}
    accounts = await _wait_for(rpc, [owner, token.address, *sources.values()], commitment, min_slot)
    program = accounts.program_of(token.address)
    if program is None:
        raise TokenRefusedError(
            f"There is no token at {token.address} on {chain.title}.",
            hint="Nothing was signed. Check the token's address and the network.",
            found=token.address,
        )
    mint = decode_mint(program, accounts.data_of(token.address))
    _require_decimals(token, mint)
    address = sources[mint.program]
    account = accounts.token_account(address)
    if account is not None:
        _require_owner(token, owner, address, account)
    return OwnerAccounts(accounts.slot, accounts.lamports_of(owner), mint, address, account)


async def _wait_for(rpc: Rpc, addresses: Sequence[str], commitment: str, min_slot: int) -> Accounts:
    for _attempt in range(_LAG_ATTEMPTS):
        accounts = await _ask(rpc, addresses, commitment, min_slot)
        if accounts is not None:
            return accounts
        await asyncio.sleep(_LAG_PAUSE)
    raise _behind(min_slot)


async def _ask(rpc: Rpc, addresses: Sequence[str], commitment: str, min_slot: int) -> Accounts | None:
    """Return accounts of one slot, or None if the node has not reached `min_slot` at this commitment."""
    if len(addresses) > _MOST_ACCOUNTS:
        raise NodeError("The transaction touches more token accounts than can be read at one slot.")
    config = {"encoding": "base64", "commitment": commitment, "minContextSlot": min_slot}
    try:
        answer = await rpc.request("getMultipleAccounts", [list(addresses), config])
    except RpcError as error:
        if error.code != MIN_CONTEXT_SLOT_NOT_REACHED:
            raise
        return None
    slot, found = take_slot(answer, "context", "slot"), take(answer, list, "value")
    if len(found) != len(addresses):
        raise nonsense(answer)
    if slot < min_slot:
        return None
    accounts = Accounts(slot, commitment, dict(zip(addresses, found, strict=True)))
    for address in addresses:
        if accounts.program_of(address) is not None:
            accounts.data_of(address)
    return accounts


def _behind(min_slot: int) -> NodeError:
    return NodeError(
        f"The node is behind: it has not reached slot {min_slot} yet.",
        hint="Nothing was lost. Try again in a minute, or name another node.",
        expected=min_slot,
    )


def _require_decimals(token: Token, mint: Mint) -> None:
    if mint.decimals != token.decimals:
        raise TokenRefusedError(
            f"The mint of {token.symbol} has {mint.decimals} decimals, not {token.decimals}.",
            hint="Nothing was signed. The configuration of the token is wrong; amounts would be off by powers of ten.",
            expected=token.decimals,
            found=mint.decimals,
        )


def _require_owner(token: Token, owner: str, address: str, account: TokenAccount) -> None:
    """Raise `TokenRefusedError` unless the token account at `address` is for this mint and still the owner's.

    The owner of a classic associated account can be changed by SetAuthority, so its address proves nothing.
    """
    if account.mint != token.address or account.owner != owner:
        raise TokenRefusedError(
            f"The token account {address} belongs to {account.owner}, not to {owner}.",
            hint="Nothing was signed. Its ownership was given away (SetAuthority); use another wallet for this token.",
            expected=owner,
            found=account.owner,
        )
