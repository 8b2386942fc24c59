"""What takes the place of a transaction that does not land: the same nonce, and fees for which nodes swap it in."""

from __future__ import annotations

from dataclasses import replace

from chains.errors import FeeTooHighError, InputError, WillRevertError
from chains.evm.answers import parse_quantity
from chains.evm.codec.erc20 import encode_approve
from chains.evm.fees import estimate_fee
from chains.evm.refusals import require_addresses, require_amount, require_gas
from chains.rpc import Rpc
from chains.types import AllowanceIntent, ApproveStep, Chain, EvmFee, EvmTransaction, FeePolicy


async def replace_transaction(
    rpc: Rpc, chain: Chain, policy: FeePolicy, intent: AllowanceIntent, step: ApproveStep | None, old: EvmTransaction
) -> EvmTransaction:
    """Return what takes the place of `old`, the highest-priced so far on its nonce, with both fees raised.

    With a `step` it approves `step.amount` as `intent` says; without one it sends nothing to the owner itself, which
    uses up the nonce. Raises `InputError` if the owner is another one, `FeeTooHighError`, `NoGasError` and
    `WillRevertError`.
    """
    owner, spender, token = require_addresses(intent)
    if owner != old.sender:
        raise InputError(
            f"A transaction of {old.sender} cannot be replaced by one of {owner}.",
            hint="Nothing was signed. Only the account that sent a transaction can replace it.",
            expected=old.sender,
            found=owner,
        )
    to, data = owner, b""
    if step is not None:
        require_amount(replace(intent, amount=step.amount))
        to, data = token, encode_approve(spender, step.amount)
    made = replace(old, to=to, data="0x" + data.hex())
    fee = await _estimate(rpc, policy, old, made, intent.options.max_fee_cap)
    if step is not None:
        # Nodes estimate on top of what is on its way, whose place this takes: without it more gas may be needed.
        fee = replace(fee, gas_limit=max(fee.gas_limit, old.fee.gas_limit))
    made = replace(made, fee=_raise(old.fee, fee, policy, intent.options.max_fee_cap))
    balance = parse_quantity("eth_getBalance", await rpc.request("eth_getBalance", [owner, "latest"]))
    require_gas(chain, owner, made.fee.max_cost, balance)
    return made


async def _estimate(
    rpc: Rpc, policy: FeePolicy, old: EvmTransaction, made: EvmTransaction, max_fee_cap: int | None
) -> EvmFee:
    """Return what the network asks for `made` now.

    The same call again may fail on the newest block only because of what is still on its way before it; then the gas
    that it was given first stands, and the fees are asked for a call of the same bytes to the owner itself.
    """
    data = bytes.fromhex(made.data[2:])
    try:
        return await estimate_fee(rpc, policy, made.sender, made.to, data, max_fee_cap=max_fee_cap)
    except WillRevertError:
        if (made.to, made.data) != (old.to, old.data):
            raise
    fee = await estimate_fee(rpc, policy, made.sender, made.sender, data, max_fee_cap=max_fee_cap)
    return replace(fee, gas_limit=old.fee.gas_limit)


def _raise(old: EvmFee, now: EvmFee, policy: FeePolicy, max_fee_cap: int | None) -> EvmFee:
    """Return the fee of a replacement: an eighth above the old one, or what the network asks for now if that is more.

    An eighth, because Nethermind asks for 12.5 % more in both fees; geth, Erigon and Besu ask for a tenth. The cap of
    tips bounds what a network asks for, and no swap: what was sent at that cap would otherwise be stuck for ever.
    """
    tip = max(_eighth_more(old.max_priority_fee_per_gas), now.max_priority_fee_per_gas)
    least = max(_eighth_more(old.max_fee_per_gas), tip)
    cap = policy.max_fee_cap if max_fee_cap is None else min(max_fee_cap, policy.max_fee_cap)
    if least > cap:
        raise FeeTooHighError(
            f"To take the place of the transaction that is on its way takes {least} wei per gas, more than the cap of "
            f"{cap}.",
            hint="Nothing was signed, and the one on its way may still land. Allow a higher fee, or wait.",
            expected=cap,
            found=least,
        )
    # What today's price and its headroom come to, with the tip that the swap takes.
    wanted = now.max_fee_per_gas - now.max_priority_fee_per_gas + tip
    return EvmFee(now.gas_limit, max_fee_per_gas=max(least, min(wanted, cap)), max_priority_fee_per_gas=tip)


def _eighth_more(fee: int) -> int:
    return -(-fee * 9 // 8)
