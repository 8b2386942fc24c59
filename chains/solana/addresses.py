"""Solana addresses: base58 of 32 bytes, the programs we talk to, and the associated token account (ATA)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from chains.errors import InvalidAddressError, quotable

if TYPE_CHECKING:
    from solders.signature import Signature

SYSTEM_PROGRAM: Final = "11111111111111111111111111111111"
TOKEN_PROGRAM: Final = "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA"  # noqa: S105 - public program ids
TOKEN_2022_PROGRAM: Final = "TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb"  # noqa: S105
ASSOCIATED_TOKEN_PROGRAM: Final = "ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL"  # noqa: S105
COMPUTE_BUDGET_PROGRAM: Final = "ComputeBudget111111111111111111111111111111"

MEMO_PROGRAMS: Final = (
    "MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr",
    "Memo1UhkJRfHyvLMcVucJwxXeuD728EqVDDwQDxFMNo",
)
# Base58 of 64 bytes has at most 88 characters.
_LONGEST_SIGNATURE: Final = 88

TOKEN_PROGRAMS: Final = (TOKEN_PROGRAM, TOKEN_2022_PROGRAM)

NEVER_A_DELEGATE: Final = frozenset(
    {
        SYSTEM_PROGRAM,  # also the key of 32 zero bytes, under which forged signatures verify in lax libraries
        TOKEN_PROGRAM,
        TOKEN_2022_PROGRAM,
        ASSOCIATED_TOKEN_PROGRAM,
        COMPUTE_BUDGET_PROGRAM,
        *MEMO_PROGRAMS,
        "AddressLookupTab1e1111111111111111111111111",
        "Vote111111111111111111111111111111111111111",
        "Stake11111111111111111111111111111111111111",
        "Config1111111111111111111111111111111111111",
        "Ed25519SigVerify111111111111111111111111111",
        "KeccakSecp256k11111111111111111111111111111",
        "NativeLoader1111111111111111111111111111111",
        "BPFLoader1111111111111111111111111111111111",
        "BPFLoader2111111111111111111111111111111111",
        "BPFLoaderUpgradeab1e11111111111111111111111",
        "SysvarC1ock11111111111111111111111111111111",
        "SysvarRent111111111111111111111111111111111",
        "Sysvar1nstructions1111111111111111111111111",
        "SysvarRecentB1ockHashes11111111111111111111",
        "1nc1nerator11111111111111111111111111111111",
        "So11111111111111111111111111111111111111112",
    }
)
"""Programs, system variables and other well-known keys that nobody who spends can hold."""


def parse_address(text: str) -> str:
    """Return a Solana address in its canonical spelling, which is the only one accepted.

    Raises `InvalidAddressError` unless it is base58 of exactly 32 bytes.
    """
    from solders.pubkey import Pubkey

    try:
        canonical = str(Pubkey.from_string(text))
    except ValueError:
        canonical = None
    if canonical != text:
        other = " It looks like an address of an EVM network." if text[:2].lower() == "0x" else ""
        raise InvalidAddressError(
            f"{quotable(text)!r} is not a Solana address.{other}",
            hint="A Solana address is 32 to 44 letters and digits (base58). Copy the whole of it from the wallet.",
            found=quotable(text),
        )
    return text


def read_signature(text: str) -> Signature | None:
    """Return the 64 bytes of a signature in base58, None unless the text is their only spelling."""
    from solders.signature import Signature

    if not text.isascii() or len(text) > _LONGEST_SIGNATURE:
        return None
    try:
        signature = Signature.from_string(text)
    except ValueError:
        return None
    return signature if str(signature) == text else None


def has_key(address: str) -> bool:
    """Return whether some private key can belong to the address; none can to a program-derived address."""
    from solders.pubkey import Pubkey

    return Pubkey.from_string(address).is_on_curve()


def get_associated_token_address(owner: str, mint: str, token_program: str) -> str:
    """Return the associated token account of `owner` for `mint`; `token_program` is the owner of the mint account.

    Source: the Associated Token Account program, seeds [owner, token program, mint].
    """
    from solders.pubkey import Pubkey

    seeds = [bytes(Pubkey.from_string(key)) for key in (owner, token_program, mint)]
    address, _bump = Pubkey.find_program_address(seeds, Pubkey.from_string(ASSOCIATED_TOKEN_PROGRAM))
    return str(address)
