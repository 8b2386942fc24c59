"""Driving the line without a wallet: what must be signed now, and how to hand in the answer.

`carry` without a wallet returns as soon as something must be signed. `awaiting` then says exactly what, `answer` takes
what the app's own wallet gave back, and `carry` goes on. Between the calls the state is the `Delegation`, as JSON.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from chains.family import message_request, signed_from_raw, transaction_request, verify_signed
from chains.types import SentTransaction
from delegation.errors import InvalidRequestError
from delegation.flow import accept_ownership
from delegation.journal import Journal
from delegation.models import Approval, Delegation

_EVM_HASH: Final = re.compile(r"0x[0-9a-fA-F]{64}", re.ASCII)
_BASE58_SIGNATURE: Final = re.compile(r"[1-9A-HJ-NP-Za-km-z]{64,88}", re.ASCII)


@dataclass(frozen=True, slots=True)
class SigningRequest:
    """What the owner's wallet has to be asked for now.

    `request` is passed to the wallet as it is: EIP-1193 method and params, or a base64 Solana transaction, or a text.
    """

    kind: Literal["transaction", "message"]
    request: dict[str, object]


def awaiting(d: Delegation) -> SigningRequest | None:
    """Return what must be signed before the line can go on, or None if nothing is waiting for a signature."""
    if d.plan is None:
        return None
    approval = _waiting_approval(d)
    if approval is not None and approval.unsigned is not None:
        return SigningRequest("transaction", transaction_request(approval.unsigned))
    settled = all(approval.settlement is not None for approval in d.approval)
    if settled and d.statement is not None and d.ownership is None:
        return SigningRequest("message", message_request(d.plan.family, d.request.owner, d.statement.text))
    return None


def answer(d: Delegation, journal: Journal, given: str) -> Delegation:
    """Hand in what the wallet gave back, and return the saved delegation to carry on.

    `given` is the transaction's hash if the wallet sent it, the signed transaction (0x hex or base64) if it did not,
    or the signature of the statement. Raises `SignatureMismatchError` if it belongs to something else than was asked
    for, and `InvalidRequestError` if nothing is awaited.
    """
    approval = _waiting_approval(d)
    if approval is not None and approval.unsigned is not None:
        sent: object
        if _is_hash(given, approval.unsigned.kind):
            sent = SentTransaction(given.lower() if approval.unsigned.kind == "evm" else given)
        else:
            sent = signed_from_raw(approval.unsigned.kind, given)
            verify_signed(approval.unsigned, sent)
        approvals = tuple(a.model_copy(update={"sent": sent}) if a is approval else a for a in d.approval)
        return journal.save(d.model_copy(update={"approval": approvals}))
    if awaiting(d) is not None:
        return accept_ownership(d, journal, given)
    raise InvalidRequestError(
        f"Delegation {d.id} is not waiting for a signature.", hint="Carry it on first; then ask what it awaits."
    )


def _waiting_approval(d: Delegation) -> Approval | None:
    unsettled = next((approval for approval in d.approval if approval.settlement is None), None)
    return unsettled if unsettled is not None and unsettled.sent is None else None


def _is_hash(given: str, kind: str) -> bool:
    return bool((_EVM_HASH if kind == "evm" else _BASE58_SIGNATURE).fullmatch(given))
