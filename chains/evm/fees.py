"""What an EVM transaction has to pay: asked of the network, bounded by the network's `FeePolicy`, never guessed.

Estimation that reverts is the answer, not an obstacle: it raises `WillRevertError` with the contract's reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median_low
from typing import Final

from chains.errors import FeeTooHighError, NoGasError, RpcError, WillRevertError
from chains.evm.answers import (
    is_method_missing,
    nonsense,
    parse_list,
    parse_object,
    parse_quantity,
    revert_data,
    together,
)
from chains.evm.codec.erc20 import decode_revert
from chains.rpc import Rpc
from chains.types import EvmFee, FeePolicy

_HISTORY_BLOCKS: Final = 20
_PERCENTILE: Final = 50


@dataclass(frozen=True, slots=True)
class _Estimate:
    """What the network asks for: gas units, and wei per gas."""

    gas: int
    base_fee: int
    tip: int


async def estimate_fee(
    rpc: Rpc, policy: FeePolicy, sender: str, to: str, data: bytes, *, max_fee_cap: int | None = None
) -> EvmFee:
    """Return the fee for a call of `to` by `sender`, in gas units and wei per gas.

    The gas limit is the network's estimate and a fifth more. The maximum fee has headroom for a base fee that rises,
    and the tip for a minimum that does, as the policy says; both are lowered to the caps where that still pays today's
    price. Raises `WillRevertError`, `NoGasError`, `FeeTooHighError`.
    """
    call = {"from": sender, "to": to, "data": "0x" + data.hex()}
    estimate = await _linea_estimate(rpc, call) if policy.method == "linea_estimateGas" else None
    if estimate is None:
        estimate = await _history_estimate(rpc, call, policy.tip_cap)

    asked = max(estimate.tip, policy.tip_floor)
    cap = policy.max_fee_cap if max_fee_cap is None else min(max_fee_cap, policy.max_fee_cap)
    needed = estimate.base_fee + asked
    if asked > policy.tip_cap or needed > cap:
        raise FeeTooHighError(
            f"The network asks for {needed} wei per gas ({asked} of it as tip), more than the cap of {cap} "
            f"({policy.tip_cap} as tip).",
            hint="Nothing was signed. Wait until the network is calmer.",
            expected=cap,
            found=needed,
        )
    tip = min(-(-asked * (100 + policy.tip_headroom) // 100), policy.tip_cap, cap - estimate.base_fee)
    return EvmFee(
        gas_limit=-(-estimate.gas * 6 // 5),
        max_fee_per_gas=min(_risen(estimate.base_fee, policy) + tip, cap),
        max_priority_fee_per_gas=tip,
    )


def _risen(base_fee: int, policy: FeePolicy) -> int:
    """Return the base fee after as many full blocks as the policy waits for, rounded up."""
    part, whole = policy.base_fee_rise
    risen: int = -(-base_fee * (whole + part) ** policy.rising_blocks // whole**policy.rising_blocks)
    return risen


async def _linea_estimate(rpc: Rpc, call: dict[str, str]) -> _Estimate | None:
    """Return what Linea's own method asks for, or None where the node does not serve it (docs.linea.build)."""
    try:
        answer = parse_object("linea_estimateGas", await rpc.request("linea_estimateGas", [call]))
    except RpcError as error:
        if is_method_missing(error):
            return None
        raise _explain(error) from error
    return _Estimate(
        gas=parse_quantity("gasLimit", answer.get("gasLimit")),
        base_fee=parse_quantity("baseFeePerGas", answer.get("baseFeePerGas")),
        tip=parse_quantity("priorityFeePerGas", answer.get("priorityFeePerGas")),
    )


async def _history_estimate(rpc: Rpc, call: dict[str, str], tip_cap: int) -> _Estimate:
    """Return the node's gas estimate, the next block's base fee and the median of the median tips of recent blocks."""
    try:
        gas, answer = await together(
            rpc.request("eth_estimateGas", [call, "latest"]),
            rpc.request("eth_feeHistory", [hex(_HISTORY_BLOCKS), "latest", [_PERCENTILE]]),
        )
    except RpcError as error:
        raise _explain(error) from error
    history = parse_object("eth_feeHistory", answer)
    base_fees = parse_list("baseFeePerGas", history.get("baseFeePerGas"))
    if not base_fees:
        raise nonsense("baseFeePerGas", base_fees)
    # Blocks without transactions report a tip of zero, which says nothing.
    rewards = [parse_list("reward", block) for block in parse_list("reward", history.get("reward") or [])]
    tips = [tip for reward in rewards if reward and (tip := parse_quantity("reward", reward[0])) > 0]
    return _Estimate(
        gas=parse_quantity("eth_estimateGas", gas),
        base_fee=parse_quantity("baseFeePerGas", base_fees[-1]),
        tip=min(median_low(tips), tip_cap) if tips else 0,
    )


def _explain(error: RpcError) -> Exception:
    data = revert_data(error)
    if data is not None:
        return will_revert(data)
    if "insufficient funds" in error.message.lower():
        return NoGasError(
            f"The owner cannot pay the network's fee: {error.message}",
            hint="Nothing was signed. Send some of the network's own coin to the owner's address.",
        )
    return error


def will_revert(data: bytes) -> WillRevertError:
    """Return the error for an approve that the network says would fail; `data` is what the contract returned."""
    reason = decode_revert(data)
    return WillRevertError(
        f"The network says beforehand that this approval would fail: {reason}.",
        hint="Nothing was signed and no fee was paid. The token itself refuses.",
        found=reason,
    )
