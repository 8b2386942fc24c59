"""Driving the line without a wallet: what must be signed now, and how to hand in the answer.

`carry` without a wallet returns as soon as something must be signed. `awaiting` then says exactly what, `answer` takes
what the app's own wallet gave back, and `carry` goes on. Between the calls the state is the `Delegation`, as JSON.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from chains.family import message_request, signed_from_raw, transaction_request, verify_signed
from chains.types import SentTransaction, SignedTransaction, UnsignedTransaction
from chains.wallets.sending import read_hash
from delegation.attempts import keep_sent
from delegation.errors import InvalidRequestError
from delegation.journal import Journal
from delegation.models import Approval, Delegation, utc_now
from delegation.submission import accept_ownership

_LONGEST_HASH: Final = 88  # base58 of 64 bytes; a signed transaction is longer in every encoding


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
    if d.state == "approved" and d.statement is not None:
        return SigningRequest("message", message_request(d.plan.family, d.request.owner, d.statement.text))
    return None


def answer(d: Delegation, journal: Journal, given: str, *, now: Callable[[], datetime] = utc_now) -> Delegation:
    """Hand in what the wallet gave back, and return the saved delegation to carry on.

    `given` is the transaction's hash if the wallet sent it, the signed transaction (0x hex or base64) if it did not,
    or the signature of the statement. Raises `SignatureMismatchError` if it belongs to something else than was asked
    for (of a hash, `carry` finds that out), and `InvalidRequestError` if nothing is awaited.
    """
    approval = _waiting_approval(d)
    if approval is not None and approval.unsigned is not None:
        index = d.approvals.index(approval)
        return keep_sent(journal, d, index, _read_sent(approval.unsigned, given), now())
    if awaiting(d) is not None:
        return accept_ownership(d, journal, given)
    raise InvalidRequestError(
        f"Delegation {d.id} is not waiting for a signature.", hint="Carry it on first; then ask what it awaits."
    )


def _read_sent(unsigned: UnsignedTransaction, given: str) -> SignedTransaction | SentTransaction:
    if len(given) <= _LONGEST_HASH:
        return read_hash(unsigned.kind, given)
    signed = signed_from_raw(unsigned.kind, given)
    verify_signed(unsigned, signed)
    return signed


def _waiting_approval(d: Delegation) -> Approval | None:
    if d.ended is not None or d.next_step is None:
        return None
    approval = d.approvals[d.next_step]
    return approval if approval.sent is None else None
