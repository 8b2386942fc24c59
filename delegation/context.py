"""What the line needs from outside: the platform, one network, one key, a journal, and a person to ask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from chains.types import Node, UnsignedTransaction, Wallet
from delegation.errors import IllegalTransitionError, InvalidRequestError, OwnerMismatchError
from delegation.gateway.client import Gateway
from delegation.intents import OutdatedPlan
from delegation.journal import Journal
from delegation.lifecycle import Event, next_state
from delegation.models import Delegation, DelegationRequest, Plan, Station, utc_now
from delegation.pins import Pins

_SHORTEST_LIFETIME: Final = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class StatementTerms:
    """Who asks for the ownership signature: `domain` is the app's authority, `uri` defaults to https://domain.

    `lifetime` is the statement's own expiry on EVM networks; the shipping client's 2 minutes, because the statement is
    signed late. It never outlives the platform's token. Raises `InvalidRequestError` if it is shorter than 30 seconds.
    """

    domain: str
    uri: str | None = None
    lifetime: timedelta = timedelta(minutes=2)

    def __post_init__(self) -> None:
        if self.lifetime < _SHORTEST_LIFETIME:
            raise InvalidRequestError(
                f"A statement cannot be signed and submitted within {self.lifetime.total_seconds():g} seconds.",
                hint=f"Let it live for {_SHORTEST_LIFETIME.total_seconds():g} seconds or longer.",
            )


def _unasked(plan: Plan) -> None:
    """Agree to a plan without asking a person."""


def _refuse_unasked(outdated: OutdatedPlan) -> None:
    """Refuse what was agreed to before and is out of date, because there is no person to ask."""
    raise outdated.error


def _replace_unasked(replacement: Replacement) -> None:
    """Agree to a replacement without asking a person."""


def _unheard(station: Station, words: str) -> None:
    """Take no notice of progress."""


@dataclass(frozen=True, slots=True)
class Replacement:
    """What would take the place of a transaction that is stuck: the same intent at a higher fee, or nothing at all.

    `old` and `new` have the same nonce; whichever is mined first takes effect, and the other never can. `cancels` is
    whether `new` approves nothing.
    """

    delegation: Delegation
    old: UnsignedTransaction
    new: UnsignedTransaction
    cancels: bool


@dataclass(frozen=True, slots=True)
class Context:
    """What the line needs from outside.

    Without a `wallet` the line stops wherever something must be signed (`delegation.signing` tells what).
    `agree` is shown each plan before anything of it is signed, and raises `DeclinedError` to refuse it. `agree_again`
    is shown, in its place, a plan that was agreed to before and is out of date; by default it raises
    `OutdatedPlanError`, because only a person can know whether it is still wanted. `agree_replacement` is shown what
    would take the place of a transaction that is stuck, and raises `DeclinedError` to refuse it.
    `progress` hears each station and what is being waited for. Times are in seconds.
    """

    gateway: Gateway
    node: Node
    journal: Journal
    terms: StatementTerms
    wallet: Wallet | None = None
    agree: Callable[[Plan], None] = _unasked
    agree_again: Callable[[OutdatedPlan], None] = _refuse_unasked
    agree_replacement: Callable[[Replacement], None] = _replace_unasked
    progress: Callable[[Station, str], None] = _unheard
    now: Callable[[], datetime] = utc_now
    settle_timeout: float = 300.0
    list_timeout: float = 15.0

    @property
    def pins(self) -> Pins:
        """The pins of this platform and region."""
        return Pins(self.journal, self.gateway.base_url, self.gateway.region)

    def keep(self, d: Delegation, event: Event, *, others: Sequence[Delegation] = (), **stations: Any) -> Delegation:
        """Return the delegation after an event that filled these stations, once that and what changed of `others` with
        it is durable."""
        return keep(self.journal, d, event, others=others, **stations)


def keep(
    journal: Journal, d: Delegation, event: Event, *, others: Sequence[Delegation] = (), **stations: Any
) -> Delegation:
    """Return a delegation after an event that filled these stations, once that is durable.

    `others` are saved with it (see `Journal.save`). Raises `IllegalTransitionError` if the event is not
    possible where the delegation stands, or what was filled is not what it leads to.
    """
    after = d.model_copy(update=stations)
    expected = next_state(None if d.revision == 0 else d.state, event)
    if after.state != expected:
        raise IllegalTransitionError(
            f"Delegation {d.id} was not saved: after {event} it would be {after.state}.",
            hint="That is a fault of this toolkit. Report it; what is saved stands.",
            expected=expected,
            found=after.state,
        )
    return journal.save(after, others=others)


def check_context(d: Delegation, context: Context) -> None:
    """Raise `InvalidRequestError` unless these are the platform, the region, the network and the owner of `d`."""
    found = f"{urlsplit(context.gateway.base_url).netloc} ({context.gateway.region})"
    expected = f"{d.gateway} ({d.request.region})"
    if found != expected:
        raise InvalidRequestError(
            f"Delegation {d.id} belongs to the platform at {expected}, and this is {found}.",
            hint="Use the profile it was made with.",
            expected=expected,
            found=found,
        )
    if context.wallet is not None:
        check_wallet(context.wallet, d.request.owner)
    check_network(d.request, context)


def check_wallet(wallet: Wallet, owner: str) -> None:
    """Raise `OwnerMismatchError` unless the wallet is the owner's."""
    if wallet.address != owner:
        raise OwnerMismatchError(
            f"The wallet holds the key of {wallet.address}, not of the owner {owner}.",
            hint="Nothing was signed. Use the owner's wallet.",
            expected=owner,
            found=wallet.address,
        )


def check_network(request: DelegationRequest, context: Context) -> None:
    """Raise `InvalidRequestError` unless the node at hand is one of the request's network."""
    if context.node.chain.name != request.network:
        raise InvalidRequestError(
            f"The request is for {request.network}, and the node at hand is one of {context.node.chain.name}.",
            hint="Nothing was signed. Open the context for the request's network.",
            expected=request.network,
            found=context.node.chain.name,
        )
