"""The bytes of an approval: `Approve`, `ApproveChecked`, `Revoke` and the creation of a token account, built and read.

The layouts are those of the SPL Token program (`instruction.rs`), which Token-2022 shares, and of the Associated Token
Account program. What is read here is what this toolkit builds, strictly; the instructions of other people's
transactions are walked through in `verify.instructions`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from chains.amounts import MAX_UINT64
from chains.errors import InvalidAmountError, SignatureMismatchError
from chains.solana.addresses import (
    ASSOCIATED_TOKEN_PROGRAM,
    SYSTEM_PROGRAM,
    TOKEN_PROGRAMS,
    get_associated_token_address,
)

if TYPE_CHECKING:
    from solders.instruction import AccountMeta, Instruction
    from solders.pubkey import Pubkey

_APPROVE: Final = 4
_REVOKE: Final = 5
_APPROVE_CHECKED: Final = 13
APPROVAL_TAGS: Final = frozenset({bytes([_APPROVE]), bytes([_REVOKE]), bytes([_APPROVE_CHECKED])})
_CREATE: Final = bytes([0])  # `Create` as the shipping client writes it; 1 would be `CreateIdempotent`


@dataclass(frozen=True, slots=True)
class TokenInstruction:
    """A decoded `Approve`, `ApproveChecked` or `Revoke`; amounts are in base units, keys are base58."""

    kind: Literal["approve", "approve_checked", "revoke"]
    program: str
    source: str
    owner: str
    delegate: str | None = None
    amount: int = 0
    mint: str | None = None
    decimals: int | None = None


def _key(address: str) -> Pubkey:
    from solders.pubkey import Pubkey

    return Pubkey.from_string(address)


def _writable(address: str) -> AccountMeta:
    from solders.instruction import AccountMeta

    return AccountMeta(_key(address), is_signer=False, is_writable=True)


def _readonly(address: str, *, signer: bool = False) -> AccountMeta:
    from solders.instruction import AccountMeta

    return AccountMeta(_key(address), is_signer=signer, is_writable=False)


def _u64(amount: int) -> bytes:
    if not 0 <= amount <= MAX_UINT64:
        raise InvalidAmountError(
            "The amount is larger than Solana can hold.",
            hint=f"The largest amount is {MAX_UINT64} base units.",
            expected=MAX_UINT64,
            found=amount,
        )
    return amount.to_bytes(8, "little")


def build_approve(program: str, source: str, delegate: str, owner: str, amount: int) -> Instruction:
    """Return SPL `Approve`: `delegate` may take up to `amount` base units; replaces any delegate that is there."""
    from solders.instruction import Instruction

    accounts = [_writable(source), _readonly(delegate), _readonly(owner, signer=True)]
    return Instruction(_key(program), bytes([_APPROVE]) + _u64(amount), accounts)


def build_approve_checked(
    program: str, source: str, mint: str, delegate: str, owner: str, amount: int, decimals: int
) -> Instruction:
    """Return SPL `ApproveChecked`, which the program refuses unless the mint and its decimals are the ones named."""
    from solders.instruction import Instruction

    accounts = [_writable(source), _readonly(mint), _readonly(delegate), _readonly(owner, signer=True)]
    return Instruction(_key(program), bytes([_APPROVE_CHECKED]) + _u64(amount) + bytes([decimals]), accounts)


def build_revoke(program: str, source: str, owner: str) -> Instruction:
    """Return SPL `Revoke`, which leaves the account without a delegate."""
    from solders.instruction import Instruction

    return Instruction(_key(program), bytes([_REVOKE]), [_writable(source), _readonly(owner, signer=True)])


def build_create_token_account(program: str, owner: str, mint: str) -> Instruction:
    """Return ATA `Create`, paid for by the owner; it fails if the account is there already.

    Not `CreateIdempotent`: indexers recognise only `Create`.
    """
    from solders.instruction import AccountMeta, Instruction

    accounts = [
        AccountMeta(_key(owner), is_signer=True, is_writable=True),
        _writable(get_associated_token_address(owner, mint, program)),
        _readonly(owner),
        _readonly(mint),
        _readonly(SYSTEM_PROGRAM),
        _readonly(program),
    ]
    return Instruction(_key(ASSOCIATED_TOKEN_PROGRAM), _CREATE, accounts)


def decode_token_instruction(program: str, accounts: list[str], data: bytes) -> TokenInstruction:
    """Return the approval or revocation that an instruction makes.

    Raises `SignatureMismatchError` for another program, another instruction, trailing bytes or extra accounts.
    """
    problem = SignatureMismatchError(
        f"An instruction of {program} is not an approval that this toolkit makes.", found=data.hex()
    )
    if program not in TOKEN_PROGRAMS or not data:
        raise problem
    shape = (data[0], len(data), len(accounts))
    amount = int.from_bytes(data[1:9], "little")
    if shape == (_APPROVE, 9, 3):
        return TokenInstruction("approve", program, accounts[0], accounts[2], accounts[1], amount)
    if shape == (_APPROVE_CHECKED, 10, 4):
        source, mint, delegate, owner = accounts
        return TokenInstruction("approve_checked", program, source, owner, delegate, amount, mint, data[9])
    if shape == (_REVOKE, 1, 2):
        return TokenInstruction("revoke", program, accounts[0], accounts[1])
    raise problem


def decode_created_account(program: str, accounts: list[str], data: bytes) -> tuple[str, str, str]:
    """Return (token account, mint, token program) of an ATA `Create` that the owner pays for and owns.

    Raises `SignatureMismatchError` for anything else.
    """
    if program == ASSOCIATED_TOKEN_PROGRAM and data == _CREATE and len(accounts) == 6:
        payer, account, owner, mint, system, token_program = accounts
        if (
            payer == owner
            and system == SYSTEM_PROGRAM
            and token_program in TOKEN_PROGRAMS
            and account == get_associated_token_address(owner, mint, token_program)
        ):
            return account, mint, token_program
    raise SignatureMismatchError(
        f"An instruction of {program} is not the creation of the owner's token account.", found=data.hex()
    )
