"""Bugs that are planted into the code under test, to see that lives with them break an invariant.

Each is a context manager that puts the bug in and takes it out again. A bug of a later feature is one function here and
one entry of `BUGS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

import chains.evm.node as evm_node
import chains.evm.nonces as evm_nonces
import chains.evm.replacement as evm_replacement
import chains.evm.settlement as evm_settlement
import chains.solana.settlement as solana_settlement
import chains.solana.verify.review as solana_review
import delegation.approval as approval
import delegation.flow as flow
import delegation.submission as submission
from chains.errors import NodeError, ToolkitError
from chains.evm.watch import Watch
from chains.types import EvmFee, Settlement, SignedTransaction, Wallet
from delegation.context import Context
from delegation.journal import Journal
from delegation.leases import Lease
from delegation.lifecycle import Event
from delegation.models import Delegation, filled

from . import invariants
from .run import Life, run_seed


@dataclass(frozen=True, slots=True)
class Bug:
    """A bug, in the words of a review."""

    name: str
    plant: Callable[[], AbstractContextManager[None]]
    rare: bool = False
    """Whether it takes some hundred lives to see it."""


@contextmanager
def _swapped(place: Any, name: str, value: Any) -> Iterator[None]:
    original = place.__dict__[name]
    setattr(place, name, value)
    try:
        yield
    finally:
        setattr(place, name, original)


class _EarlySender:
    """A wallet whose bytes are broadcast before anybody could save them."""

    def __init__(self, wallet: Wallet, node: Any) -> None:
        self._wallet, self._node = wallet, node
        self.address, self.family, self.sends = wallet.address, wallet.family, wallet.sends

    async def authorise(self, transaction: Any) -> Any:
        signed = await self._wallet.authorise(transaction)
        if isinstance(signed, SignedTransaction):
            await self._node.send(signed)
        return signed

    async def sign_message(self, message: str) -> str:
        return await self._wallet.sign_message(message)


def _send_before_save() -> AbstractContextManager[None]:
    original = approval._authorise

    async def authorise(d: Delegation, index: int, context: Context, *, watching: bool) -> Delegation:
        wallet = None if context.wallet is None else _EarlySender(context.wallet, context.node)
        return await original(d, index, replace(context, wallet=wallet), watching=watching)

    return _swapped(approval, "_authorise", authorise)


def _post_without_saving() -> AbstractContextManager[None]:
    original = Context.keep

    def keep(self: Context, d: Delegation, event: Event, **stations: Any) -> Delegation:
        return d.model_copy(update=stations) if event == "offer" else original(self, d, event, **stations)

    return _swapped(Context, "keep", keep)


def _ask_before_saving() -> AbstractContextManager[None]:
    original = approval.keep_approval

    def keep(d: Delegation, index: int, context: Context, event: Event, **changes: Any) -> Delegation:
        if event == "hand_out":
            approvals = list(d.approvals)
            approvals[index] = approvals[index].model_copy(update=changes)
            return d.model_copy(update={"approvals": tuple(approvals)})
        return original(d, index, context, event, **changes)

    return _swapped(approval, "keep_approval", keep)


def _replaced_not_forgotten() -> AbstractContextManager[None]:
    def forget(d: Delegation, index: int, context: Context, **how: Any) -> Delegation:
        return d

    return _swapped(approval, "forget", forget)


def _discarded_not_remembered() -> AbstractContextManager[None]:
    original = approval.forget

    def forget(d: Delegation, index: int, context: Context, **how: Any) -> Delegation:
        return original(d, index, context, **how | {"judged": False})

    return _swapped(approval, "forget", forget)


def _nonce_too_high() -> AbstractContextManager[None]:
    original = evm_node.build_approve

    def build(chain_id: int, token: str, owner: str, spender: str, amount: int, nonce: int, fee: EvmFee) -> Any:
        return original(chain_id, token, owner, spender, amount, nonce + 1, fee)

    return _swapped(evm_node, "build_approve", build)


def _receipt_not_read() -> AbstractContextManager[None]:
    original = evm_settlement._Approval.judge

    async def judge(self: Any, landed: Any) -> Any:
        try:
            return await original(self, landed)
        except NodeError:
            raise
        except ToolkitError:
            return Settlement(landed.hash, landed.block, self.step.amount, 0, "included")

    return _swapped(evm_settlement._Approval, "judge", judge)


def _depth_ignored() -> AbstractContextManager[None]:
    original = evm_settlement.settle

    async def settle(rpc: Any, depth: int, *rest: Any, **more: Any) -> Any:
        return await original(rpc, 1, *rest, **more)

    return _swapped(evm_settlement, "settle", settle)


def _reorganisation_not_seen() -> AbstractContextManager[None]:
    async def canonical(rpc: Any, settlement: Any) -> bool:
        return True

    return _swapped(evm_node, "is_still_canonical", canonical)


def _fork_not_seen() -> AbstractContextManager[None]:
    original = solana_review._get_level

    async def level(rpc: Any, signature: str) -> str:
        return await original(rpc, signature) or "finalized"

    return _swapped(solana_review, "_get_level", level)


def _fee_not_raised() -> AbstractContextManager[None]:
    return _swapped(evm_replacement, "_raise", lambda old, now, policy, cap: old)


def _cancelled_too_early() -> AbstractContextManager[None]:
    async def settle(d: Delegation, index: int, context: Context, unseen_for: float) -> Delegation:
        return approval.cancelled(d, context, "It was sent.")

    return _swapped(approval, "_settle_cancellation", settle)


def _lease_not_released() -> AbstractContextManager[None]:
    return _swapped(Lease, "release", lambda self: None)


def _list_believed() -> AbstractContextManager[None]:
    original = submission._require_same_asset

    async def require(d: Delegation, context: Context) -> bool:
        await original(d, context)
        return False

    return _swapped(submission, "_require_same_asset", require)


def _no_headroom() -> AbstractContextManager[None]:
    original = evm_node.estimate_fee

    async def estimate(*args: Any, **rest: Any) -> EvmFee:
        fee = await original(*args, **rest)
        return replace(fee, max_fee_per_gas=max(fee.max_fee_per_gas // 3, fee.max_priority_fee_per_gas))

    return _swapped(evm_node, "estimate_fee", estimate)


def _conflict_ignored() -> AbstractContextManager[None]:
    original = Journal.save

    def save(self: Journal, d: Delegation, *, others: Any = ()) -> Delegation:
        rows = self._ask("SELECT revision FROM delegations WHERE id = :id", {"id": d.id})
        return original(self, d.model_copy(update={"revision": rows[0][0]}) if rows else d, others=others)

    return _swapped(Journal, "save", save)


def _owner_not_locked() -> AbstractContextManager[None]:
    return _swapped(Delegation, "in_flight", property(lambda self: False))


@contextmanager
def _over_comes_back() -> Iterator[None]:
    with (
        _swapped(flow, "require_not_over", lambda d, others: None),
        _swapped(approval, "require_not_over", lambda d, others: None),
        _swapped(flow, "find_outdated", lambda d, plan, now, unreadable: None),
    ):
        yield


def _statement_kept() -> AbstractContextManager[None]:
    original = submission._make_statement
    first: dict[str, Any] = {}

    def make(request: Any, context: Context, token: Any) -> Any:
        made = original(request, context, token)
        text = first.setdefault(request.owner, made.text)
        return made.model_copy(update={"text": text})

    return _swapped(submission, "_make_statement", make)


def _first_step_proved() -> AbstractContextManager[None]:
    original = submission.make_proof

    def make(d: Delegation) -> Any:
        hash_ = filled(d.approvals[0].settlement, "settlement").hash
        return original(d).model_copy(update={"tx_hash": hash_})

    return _swapped(submission, "make_proof", make)


def _made_not_found() -> AbstractContextManager[None]:
    async def find(*args: Any, **named: Any) -> None:
        return None

    return _swapped(evm_nonces, "find_approval", find)


def _made_not_found_on_solana() -> AbstractContextManager[None]:
    async def find(*args: Any) -> None:
        return None

    return _swapped(solana_settlement, "find_approval", find)


def _expired_too_early() -> AbstractContextManager[None]:
    original = solana_settlement._get_final_height

    async def height(rpc: Any) -> tuple[int, int]:
        slot, final = await original(rpc)
        return slot, final + 200

    return _swapped(solana_settlement, "_get_final_height", height)


def _token_told() -> AbstractContextManager[None]:
    original = submission._take_token

    async def take(d: Delegation, context: Context) -> Any:
        token = await original(d, context)
        context.progress("ownership", f"took {token.token}")
        return token

    return _swapped(submission, "_take_token", take)


def _endless_wait() -> AbstractContextManager[None]:
    original = Watch.wait

    async def wait(self: Any, judge: Any, timeout: float) -> Any:  # noqa: ASYNC109
        return await original(self, judge, 100 * timeout)

    return _swapped(Watch, "wait", wait)


def _unanswered_is_no() -> AbstractContextManager[None]:
    return _swapped(invariants, "exit_status", lambda error: 1)


def _acceptance_assumed() -> AbstractContextManager[None]:
    async def ask(d: Delegation, context: Context) -> Delegation:
        return submission._accepted(d, context, "already_accepted", None)

    return _swapped(submission, "_ask_before_repeating", ask)


BUGS: Final = (
    Bug("signed bytes are sent before they are saved", _send_before_save),
    Bug("a proof is posted without saving the attempt", _post_without_saving),
    Bug("a sending wallet is asked before that is saved", _ask_before_saving),
    Bug("a replaced transaction is not forgotten", _replaced_not_forgotten),
    Bug("what was given up is not remembered", _discarded_not_remembered, rare=True),
    Bug("a nonce is one too high", _nonce_too_high),
    Bug("a receipt is believed, whatever it says", _receipt_not_read),
    Bug("the list is believed of a wallet that was listed before", _list_believed, rare=True),
    Bug("a fee has no headroom", _no_headroom),
    Bug("another process's save is overwritten", _conflict_ignored),
    Bug("two approvals of one owner are in flight", _owner_not_locked),
    Bug("an intent that is over comes back", _over_comes_back),
    Bug("a new token's statement keeps the old nonce", _statement_kept),
    Bug("the first of two steps is proved", _first_step_proved),
    Bug("what a sending wallet made is not looked for", _made_not_found),
    Bug("what a sending wallet made on Solana is not looked for", _made_not_found_on_solana),
    Bug("a Solana transaction is taken for expired too early", _expired_too_early),
    Bug("a token is told in the progress", _token_told),
    Bug("a wait has no end", _endless_wait),
    Bug("what was not answered is a no", _unanswered_is_no),
    Bug("a lost answer is taken for a yes", _acceptance_assumed),
    Bug("a block that is not deep enough settles", _depth_ignored),
    Bug("a reorganisation is not looked at", _reorganisation_not_seen),
    Bug("a fork of Solana is not looked at", _fork_not_seen),
    Bug("the fee of a replacement is not raised", _fee_not_raised),
    Bug("a cancellation counts once it is sent", _cancelled_too_early, rare=True),
    Bug("a lease is never released", _lease_not_released),
)


def find_catch(bug: Bug, first: int, count: int) -> Life | None:
    """Return the first life that breaks an invariant with the bug and breaks none without it; None if none does."""
    for seed in range(first, first + count):
        with bug.plant():
            life = run_seed(seed)
        if any("TypeError" in outcome for outcome in life.outcomes):
            raise TypeError(f"the bug does not fit the code any more: {life.violations[0].what}")
        if life.violations and not run_seed(seed).violations:
            return life
    return None
