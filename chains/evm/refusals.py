"""What must not be approved on EVM networks, and what a person must be told before signing: pure rules."""

from __future__ import annotations

from typing import Final

from chains.amounts import MAX_UINT256, format_amount, is_unlimited
from chains.errors import (
    InvalidAmountError,
    NoGasError,
    SpenderRefusedError,
    TokenRefusedError,
    WillRevertError,
)
from chains.evm.addresses import DELEGATED_CODE_SIZE, ZERO_ADDRESS, parse_address
from chains.evm.codec.erc20 import accepts_approve, decode_uint256
from chains.evm.fees import will_revert
from chains.evm.simulation import CallResult, Simulation, Trial
from chains.types import AllowanceIntent, AllowanceState, Chain, Token

# Uniswap's Permit2: an allowance for it can be passed on by signature alone.
PERMIT2: Final = "0x000000000022D473030F116dDEE9F6B43aC78BA3"


def require_addresses(intent: AllowanceIntent) -> tuple[str, str, str]:
    """Return owner, spender and token; raise `SpenderRefusedError` for a spender that must never be approved."""
    owner = parse_address(intent.owner)
    spender = parse_address(intent.spender)
    token = parse_address(intent.token.address)
    refused = {
        ZERO_ADDRESS: "the zero address",
        owner: "the owner's own address",
        token: "the token itself",
    }
    if intent.amount > 0:
        # Taking back what was once given to Permit2 is always right.
        refused[PERMIT2] = "Permit2, which passes allowances on by signature alone"
    if spender in refused:
        raise SpenderRefusedError(
            f"The spender {spender} is {refused[spender]}; it must never be approved.",
            hint="Nothing was signed. Take the spender from whoever is to spend.",
            found=spender,
        )
    return owner, spender, token


def require_amount(intent: AllowanceIntent) -> None:
    """Raise `InvalidAmountError` unless the amount fits into the 256 bits of an allowance."""
    if not 0 <= intent.amount <= MAX_UINT256:
        raise InvalidAmountError("The amount does not fit into 256 bits.", expected=MAX_UINT256, found=intent.amount)


def require_contract(chain: Chain, intent: AllowanceIntent, spender: str, code_size: int) -> None:
    """Raise `SpenderRefusedError` where something is approved for a plain key, delegated by EIP-7702 or not."""
    if intent.amount > 0 and code_size in {0, DELEGATED_CODE_SIZE}:
        raise SpenderRefusedError(
            f"The spender {spender} is not a contract on {chain.title} but a plain key.",
            hint="Nothing was signed. Who spends for others is a contract; check network and address.",
            found=spender,
        )


def require_number(chain: Chain, token: Token, call: str, result: CallResult) -> int:
    """Return the number with which a token answered a call; raise `TokenRefusedError` if it did not."""
    if result.success:
        try:
            return decode_uint256(result.returned)
        except ValueError:
            pass
    raise TokenRefusedError(
        f"{token.address} is not the token {token.symbol} on {chain.title}: it does not answer {call}.",
        hint="Nothing was signed. Check the network and the token's address.",
        found="0x" + result.returned.hex(),
    )


def require_decimals(chain: Chain, token: Token, result: CallResult) -> None:
    """Raise `TokenRefusedError` unless the contract has the decimals that the token is said to have."""
    found = require_number(chain, token, "decimals", result)
    if found != token.decimals:
        raise TokenRefusedError(
            f"{token.symbol} ({token.address}) has {found} decimals on {chain.title}, not {token.decimals}.",
            hint="Nothing was signed: the amount would be wrong by powers of ten.",
            expected=token.decimals,
            found=found,
        )


def require_gas(chain: Chain, owner: str, cost: int, native_balance: int) -> None:
    """Raise `NoGasError` unless the owner's native balance covers `cost`, both in wei."""
    if native_balance >= cost:
        return
    symbol, decimals = chain.native_symbol, chain.native_decimals
    raise NoGasError(
        f"The fee can take up to {format_amount(cost, decimals)} {symbol}, and {owner} has "
        f"{format_amount(native_balance, decimals)} {symbol} on {chain.title}.",
        hint=f"Nothing was signed. Send {symbol} to this address, or ask a faucet for it.",
        expected=cost,
        found=native_balance,
    )


def find_steps(intent: AllowanceIntent, current: int, simulation: Simulation) -> tuple[int, ...]:
    """Return the amounts to approve in order, from what approving was seen to do.

    Two, of which the first is 0, where the token refuses to change one allowance into another. Raises
    `WillRevertError` if neither way would work and `TokenRefusedError` for a token that keeps another allowance.
    """
    if _took_effect(intent, simulation.direct, intent.amount):
        return (intent.amount,)
    after_reset = simulation.after_reset
    if (
        current
        and intent.amount
        and _took_effect(intent, simulation.reset, 0)
        and (after_reset is None or _took_effect(intent, after_reset, intent.amount))
    ):
        return (0, intent.amount)
    raise _refusal(simulation.direct)


def _took_effect(intent: AllowanceIntent, trial: Trial, amount: int) -> bool:
    if not (trial.approve.success and accepts_approve(trial.approve.returned)):
        return False
    if trial.allowance is not None and trial.allowance.returned != amount.to_bytes(32, "big"):
        raise TokenRefusedError(
            f"After approving {amount} base units {intent.token.symbol} says 0x{trial.allowance.returned.hex()}.",
            hint="Nothing was signed. This token does not keep allowances as ERC-20 asks; do not use it.",
            expected=amount,
            found="0x" + trial.allowance.returned.hex(),
        )
    return True


def _refusal(trial: Trial) -> WillRevertError:
    if not trial.approve.success:
        return will_revert(trial.approve.returned)
    return WillRevertError(
        f"The token's approve answers 0x{trial.approve.returned.hex()}, which is not success.",
        hint="Nothing was signed and no fee was paid. The token itself refuses.",
        found="0x" + trial.approve.returned.hex(),
    )


def find_warnings(intent: AllowanceIntent, state: AllowanceState, steps: int) -> tuple[str, ...]:
    """Return what a person should know before signing, in plain words."""
    symbol, decimals = intent.token.symbol, intent.token.decimals
    wanted = f"{format_amount(intent.amount, decimals)} {symbol}"
    current = f"{format_amount(state.allowance, decimals)} {symbol}"
    warnings = []
    if state.allowance == intent.amount:
        warnings.append(f"The allowance is already {current}; approving it again changes nothing.")
    elif is_unlimited("evm", state.allowance):
        warnings.append("This replaces an unlimited allowance.")
    elif state.allowance > 0:
        warnings.append(f"This replaces an allowance of {current}.")
    if steps == 2:
        warnings.append(
            f"{symbol} takes two transactions: the allowance is first set to 0 and then to {wanted}. "
            "Between the two nothing can be spent."
        )
    if is_unlimited("evm", intent.amount):
        warnings.append(f"This allowance is unlimited: the spender can take all {symbol} that the wallet ever holds.")
    elif intent.amount > state.balance:
        warnings.append(f"The wallet holds {format_amount(state.balance, decimals)} {symbol}, less than the allowance.")
    return tuple(warnings)
