"""The one blocking entry, for scripts; everything else is async."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal

from chains.amounts import parse_amount
from chains.wallets import load_wallet
from delegation.flow import carry, new_delegation
from delegation.models import Delegation, DelegationRequest, Plan
from delegation.profile import load_profile, open_context


def delegate(
    network: str,
    currency: str,
    amount: str | Decimal,
    *,
    agree: Callable[[Plan], None],
    profile: str = "default",
    wallet: str | None = None,
) -> Delegation:
    """Carry one request to the end of the line with a key file, and return the finished delegation.

    `amount` is in human units; 0 revokes. `agree` is shown the plan before anything is signed and raises to refuse it.
    `wallet` names a key file, by default the profile's. Raises the errors of `delegation.errors` and `chains.errors`.
    """
    return asyncio.run(_delegate(network, currency, amount, agree=agree, profile=profile, wallet=wallet))


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C interrupt a question to a person at once; asyncio would wait for its answer first."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Ctrl-C goes to the main thread alone
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


async def _delegate(
    network: str,
    currency: str,
    amount: str | Decimal,
    *,
    agree: Callable[[Plan], None],
    profile: str,
    wallet: str | None,
) -> Delegation:
    settings = load_profile(profile)
    family = settings.chain(network).family
    key = load_wallet(settings.default_wallet(family) if wallet is None else wallet, family=family)
    request = DelegationRequest(
        network=network,
        currency=currency,
        amount=parse_amount(amount) if isinstance(amount, str) else amount,
        owner=key.address,
        region=settings.gateway.region,
    )

    def ask(plan: Plan) -> None:
        with interruptible():
            agree(plan)

    async with open_context(settings, network, wallet=key, agree=ask) as context:
        return await carry(new_delegation(request, context), context)
