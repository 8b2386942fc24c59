"""SPL Token and Token-2022: strict decoding of mints, token accounts and multisig accounts.

The layouts are those of the SPL Token program (`state.rs`) and of the Token-2022 extensions (`extension/mod.rs`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from chains.errors import NodeError, TokenRefusedError
from chains.solana.addresses import TOKEN_2022_PROGRAM, TOKEN_PROGRAMS

TOKEN_ACCOUNT_SIZE: Final = 165
_MINT_SIZE: Final = 82
_MULTISIG_SIZE: Final = 355
_MULTISIG_SIGNERS: Final = 11
_MINT_TYPE: Final = 1
_ACCOUNT_TYPE: Final = 2
_FROZEN: Final = 2

_DEFAULT_ACCOUNT_STATE: Final = 6
_HARMLESS_EXTENSIONS: Final = frozenset({3, 18, 19, 20, 21, 22, 23})  # close authority, metadata and group data
_EXTENSION_NAMES: Final = {
    1: "TransferFee",
    4: "ConfidentialTransfer",
    6: "DefaultAccountState (frozen)",
    9: "NonTransferable",
    10: "InterestBearing",
    12: "PermanentDelegate",
    14: "TransferHook",
    16: "ConfidentialTransferFee",
    24: "ConfidentialMintBurn",
    25: "ScaledUiAmount",
    26: "Pausable",
    28: "PermissionedBurn",
}


@dataclass(frozen=True, slots=True)
class TokenAccount:
    """A decoded token account; amounts are in base units, keys are base58."""

    mint: str
    owner: str
    amount: int
    delegate: str | None
    delegated_amount: int
    is_frozen: bool
    close_authority: str | None

    def allowance_of(self, spender: str) -> int:
        """Return what `spender` may still take, in base units."""
        return self.delegated_amount if self.delegate == spender else 0


@dataclass(frozen=True, slots=True)
class Mint:
    """A decoded mint; `refused_extensions` names the Token-2022 extensions with which no allowance is safe."""

    program: str
    decimals: int
    supply: int
    freeze_authority: str | None
    refused_extensions: tuple[str, ...] = ()


def _optional_key(data: bytes, offset: int, unusable: Exception) -> str | None:
    """Return a `COption<Pubkey>`; under the tag 0 the key bytes may be stale and mean nothing."""
    from solders.pubkey import Pubkey

    tag = data[offset : offset + 4]
    if tag == b"\x00\x00\x00\x00":
        return None
    if tag == b"\x01\x00\x00\x00":
        return str(Pubkey.from_bytes(data[offset + 4 : offset + 36]))
    raise unusable


def decode_token_account(program: str, data: bytes) -> TokenAccount:
    """Return the token account in `data`; `program` is the program that owns the account.

    Raises `NodeError` if these are not the bytes of an initialised token account of SPL Token or Token-2022.
    """
    from solders.pubkey import Pubkey

    unusable = NodeError(
        "The node's answer is not a token account.",
        hint="Nothing was signed. Ask another node; the address or the answer is wrong.",
        found=data[:200].hex(),
    )
    extended = program == TOKEN_2022_PROGRAM and len(data) > TOKEN_ACCOUNT_SIZE and len(data) != _MULTISIG_SIZE
    if program not in TOKEN_PROGRAMS or not (len(data) == TOKEN_ACCOUNT_SIZE or extended):
        raise unusable
    if extended and data[TOKEN_ACCOUNT_SIZE] != _ACCOUNT_TYPE:
        raise unusable
    state = data[108]
    native_tag = int.from_bytes(data[109:113], "little")
    if state not in {1, _FROZEN} or native_tag not in {0, 1}:
        raise unusable
    return TokenAccount(
        mint=str(Pubkey.from_bytes(data[0:32])),
        owner=str(Pubkey.from_bytes(data[32:64])),
        amount=int.from_bytes(data[64:72], "little"),
        delegate=_optional_key(data, 72, unusable),
        is_frozen=state == _FROZEN,
        delegated_amount=int.from_bytes(data[121:129], "little"),
        close_authority=_optional_key(data, 129, unusable),
    )


def decode_mint(program: str, data: bytes) -> Mint:
    """Return the mint in `data`; `program` is the program that owns the account.

    Raises `TokenRefusedError` if these are not the bytes of an initialised mint of SPL Token or Token-2022.
    """
    unusable = TokenRefusedError(
        "The token's address is not a mint of SPL Token or Token-2022.",
        hint="Nothing was signed. Check the token's address with whoever named it and with the token's issuer.",
        found=program,
    )
    extended = program == TOKEN_2022_PROGRAM and len(data) > TOKEN_ACCOUNT_SIZE and len(data) != _MULTISIG_SIZE
    if program not in TOKEN_PROGRAMS or not (len(data) == _MINT_SIZE or extended):
        raise unusable
    if extended and (any(data[_MINT_SIZE:TOKEN_ACCOUNT_SIZE]) or data[TOKEN_ACCOUNT_SIZE] != _MINT_TYPE):
        raise unusable
    if data[45] != 1:
        raise unusable
    _optional_key(data, 0, unusable)
    return Mint(
        program=program,
        supply=int.from_bytes(data[36:44], "little"),
        decimals=data[44],
        freeze_authority=_optional_key(data, 46, unusable),
        refused_extensions=_refused_extensions(data[TOKEN_ACCOUNT_SIZE + 1 :], unusable),
    )


def decode_multisig(program: str, data: bytes) -> tuple[int, tuple[str, ...]] | None:
    """Return (how many must sign, who may sign) of a multisig account, or None if the data are none."""
    from solders.pubkey import Pubkey

    if program not in TOKEN_PROGRAMS or len(data) != _MULTISIG_SIZE:
        return None
    needed, count, initialised = data[:3]
    if initialised != 1 or not 1 <= needed <= count <= _MULTISIG_SIGNERS:
        return None
    return needed, tuple(str(Pubkey.from_bytes(data[3 + 32 * one : 35 + 32 * one])) for one in range(count))


def _refused_extensions(entries: bytes, unusable: Exception) -> tuple[str, ...]:
    """Return the names of the extensions that are not known to be harmless; `entries` is a type-length-value list."""
    refused = []
    while len(entries) >= 4 and any(entries[:2]):
        kind, size = int.from_bytes(entries[0:2], "little"), int.from_bytes(entries[2:4], "little")
        value, entries = entries[4 : 4 + size], entries[4 + size :]
        if len(value) != size:
            raise unusable
        starts_usable = kind == _DEFAULT_ACCOUNT_STATE and value != bytes([_FROZEN])
        if kind not in _HARMLESS_EXTENSIONS and not starts_usable:
            refused.append(_EXTENSION_NAMES.get(kind, f"extension {kind}"))
    if any(entries):
        raise unusable
    return tuple(refused)


_ERRORS: Final = (
    "NotRentExempt",
    "InsufficientFunds",
    "InvalidMint",
    "MintMismatch",
    "OwnerMismatch",
    "FixedSupply",
    "AlreadyInUse",
    "InvalidNumberOfProvidedSigners",
    "InvalidNumberOfRequiredSigners",
    "UninitializedState",
    "NativeNotSupported",
    "NonNativeHasBalance",
    "InvalidInstruction",
    "InvalidState",
    "Overflow",
    "AuthorityTypeNotSupported",
    "MintCannotFreeze",
    "AccountFrozen",
    "MintDecimalsMismatch",
    "NonNativeNotSupported",
)


def token_error_name(code: int) -> str:
    """Return the name of a custom error of SPL Token or Token-2022 (`TokenError` of the program's source)."""
    return _ERRORS[code] if 0 <= code < len(_ERRORS) else f"token error {code}"
