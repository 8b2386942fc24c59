"""What must not be approved on Solana, and what a person must be told before signing: pure rules over chain state."""

from __future__ import annotations

from chains.amounts import MAX_UINT64, format_amount, is_unlimited
from chains.errors import (
    InvalidAddressError,
    InvalidAmountError,
    NoGasError,
    OtherDelegateError,
    RefusedError,
    SpenderRefusedError,
    TokenRefusedError,
    WillRevertError,
)
from chains.solana.accounts import OwnerAccounts
from chains.solana.addresses import NEVER_A_DELEGATE, has_key
from chains.types import AllowanceIntent, SolanaFee, Token


def require_safe_approval(intent: AllowanceIntent, accounts: OwnerAccounts) -> None:
    """Raise a `RefusedError`, or an `InputError`, if this approval must not be made.

    An account has one delegate, so that another one is replaced only if that is asked for. What else fails is what the
    processors of SPL Token and Token-2022 refuse.
    """
    if not 0 <= intent.amount <= MAX_UINT64:
        raise InvalidAmountError("The amount is larger than Solana can hold.", expected=MAX_UINT64, found=intent.amount)
    if not has_key(intent.owner):
        raise InvalidAddressError(
            f"{intent.owner} is a program-derived address: no wallet can sign for it.",
            hint="Give the address of the wallet itself, not that of a token account or a vault.",
            found=intent.owner,
        )
    _require_spender(intent, accounts.address)
    if accounts.mint.refused_extensions:
        raise TokenRefusedError(
            f"The mint of {intent.token.symbol} has extensions with which no allowance is safe: "
            f"{', '.join(accounts.mint.refused_extensions)}.",
            hint="Nothing was signed. With these its issuer can take, freeze or change tokens whatever you approve.",
            found=list(accounts.mint.refused_extensions),
        )
    account = accounts.account
    if account is None:
        if intent.amount == 0:
            raise RefusedError(
                f"There is nothing to revoke: {intent.owner} has no {intent.token.symbol} account.",
                hint="Nothing was signed. Check the wallet and the token; without an account nobody can spend from it.",
                found=accounts.address,
            )
        return
    if account.is_frozen:
        raise WillRevertError(
            f"The token account {accounts.address} is frozen by the issuer of {intent.token.symbol}: "
            "it can neither approve nor revoke, and nobody can spend from it.",
            hint="Nothing was signed. Only the issuer can thaw it; ask the issuer, then try again.",
            found=accounts.address,
        )
    other = accounts.to_state(intent.spender).other_delegate
    if other is not None and not intent.options.overwrite_delegate:
        raise OtherDelegateError(
            f"The token account already lets {other} spend {_shown(intent.token, account.delegated_amount)}. "
            "An account has one delegate; this approval would end that one.",
            hint="Nothing was signed. If the other service may stop working, allow it with overwrite_delegate.",
            expected=intent.spender,
            found=other,
        )


def _require_spender(intent: AllowanceIntent, token_account: str) -> None:
    forbidden = {
        intent.owner: "the owner",
        intent.token.address: "the token's mint",
        token_account: "the owner's token account",
        **dict.fromkeys(NEVER_A_DELEGATE, "a system address"),
    }
    what = forbidden.get(intent.spender)
    if what:
        raise SpenderRefusedError(
            f"The spender {intent.spender} is {what}, never somebody who spends.",
            hint="Nothing was signed. The configuration that named this spender is wrong; ask whoever gave it.",
            found=intent.spender,
        )


def require_gas(lamports: int, fee: SolanaFee, keep: int) -> None:
    """Raise `NoGasError` unless the owner can pay `fee` and keep `keep` lamports.

    A fee payer must stay rent-exempt (`InsufficientFundsForRent` of the runtime); `keep` is that minimum.
    """
    needed = fee.max_cost + keep
    if lamports < needed:
        raise NoGasError(
            f"The owner has {_sol(lamports)} SOL; this needs {_sol(needed)} SOL "
            f"({_sol(fee.max_cost)} for the transaction, and {_sol(keep)} that must stay in the wallet).",
            hint="Nothing was signed. Send some SOL to the wallet, or ask a faucet for it.",
            expected=needed,
            found=lamports,
        )


def find_warnings(intent: AllowanceIntent, accounts: OwnerAccounts, fee: SolanaFee) -> tuple[str, ...]:
    """Return what a person should know before signing, in plain words."""
    token, account, options = intent.token, accounts.account, intent.options
    warnings = []
    if account is None:
        warnings.append(
            f"The wallet has no {token.symbol} account yet: one is created, with a deposit of "
            f"{_sol(fee.rent_lamports)} SOL that comes back when the account is closed."
        )
    if is_unlimited("solana", intent.amount):
        warnings.append(f"Unlimited: {intent.spender} may take every {token.symbol} of this account, now and later.")
    elif intent.amount > (account.amount if account else 0):
        held = _shown(token, account.amount if account else 0)
        warnings.append(f"The allowance is larger than the balance of {held}; later deposits can be spent as well.")
    other = accounts.to_state(intent.spender).other_delegate
    if account and other is not None:
        warnings.append(f"This ends the allowance of {_shown(token, account.delegated_amount)} that {other} has now.")
    if options.approve_checked:
        warnings.append("Who looks for plain approvals only may not notice one made with ApproveChecked.")
    if intent.amount == 0 and options.revoke_only:
        warnings.append("Who looks for plain approvals only may not notice a revocation made with Revoke alone.")
    return tuple(warnings)


def _shown(token: Token, base_units: int) -> str:
    return f"{format_amount(base_units, token.decimals)} {token.symbol}"


def _sol(lamports: int) -> str:
    return format_amount(lamports, 9)
