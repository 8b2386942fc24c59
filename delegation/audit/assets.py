"""Which token and which spender a claim is about: by address from the pins, never by a name alone.

Anybody can deploy a token that calls itself USDC.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal

from chains.amounts import largest_amount, to_base_units
from chains.errors import NodeError, SignatureMismatchError
from chains.family import get_decimals, open_rpc, parse_address, signed_from_raw
from chains.types import Chain, Token
from delegation.audit.claims import ClaimedApproval, Source, chain_identity
from delegation.errors import InvalidRequestError, NotPinnedError
from delegation.journal import open_journal
from delegation.models import Region
from delegation.pins import PRODUCTION_HOSTS, NoPins, Pins
from delegation.plan import find_asset
from delegation.profile import Profile, journal_location


@dataclass(frozen=True, slots=True)
class ClaimedAsset:
    """A token and a spender, and where each comes from."""

    token: Token
    spender: str
    asset_from: Source
    spender_from: Source


@contextmanager
def open_pins(profile: Profile | None, region: Region | None) -> Iterator[Pins]:
    """Open the pins of a profile, or without one those that are built in for production in a region."""
    if profile is None:
        yield Pins(NoPins(), f"https://{min(PRODUCTION_HOSTS)}", region or "international")
        return
    journal = open_journal(journal_location(profile))
    try:
        yield Pins(journal, profile.gateway.base_url, profile.gateway.region)
    finally:
        journal.close()


async def find_claimed_asset(
    chain: Chain,
    currency: str | None,
    *,
    rpc_urls: Sequence[str],
    profile: Profile | None = None,
    region: Region | None = None,
    token: str | None = None,
    spender: str | None = None,
) -> ClaimedAsset:
    """Return token and spender of a claim: as pinned, else as the platform names them now, or as given by address.

    `token` and `spender` are addresses that somebody gave; the decimals of a token that is not pinned are asked of the
    nodes at `rpc_urls`, all of which must say the same. `region` takes the place of the profile's. Raises
    `InvalidRequestError` where neither is known, and `NodeError` where the decimals cannot be had.
    """
    if currency is None and token is None:
        raise InvalidRequestError(
            "Which token it is about must be said.", hint="Name its symbol (currency), or its address (token)."
        )
    if profile is not None and region is not None:
        profile = profile.model_copy(update={"gateway": profile.gateway.model_copy(update={"region": region})})
    given_spender = None if spender is None else parse_address(chain, spender)
    symbol = (currency or "token").lower()
    with open_pins(profile, region) as pins:
        pinned_token, pinned_spender = pins.find_pinned(chain.name, symbol)
        asset_from: Source = "pinned"
        spender_from: Source = "pinned"
        if profile is not None and (
            (pinned_token is None and token is None) or (pinned_spender is None and given_spender is None)
        ):
            async with profile.gateway_door() as gateway:
                asset = find_asset(await gateway.get_networks(), chain.name, symbol)
            pins.require(asset)
            asset_from = spender_from = "platform"
            pinned_token, pinned_spender = pinned_token or asset.token, pinned_spender or asset.spender
    if token is not None:
        address = parse_address(chain, token)
        if pinned_token is None or pinned_token.address != address:
            known = next((known for known in chain.tokens if known.address == address), None)
            pinned_token = known or Token(symbol, address, await _agree_on_decimals(chain, rpc_urls, address))
            asset_from = "given"
    if given_spender is not None and given_spender != pinned_spender:
        pinned_spender, spender_from = given_spender, "given"
    if pinned_token is None or pinned_spender is None:
        missing = "token" if pinned_token is None else "spender"
        raise NotPinnedError(
            f"No {missing} is pinned for {symbol} on {chain.name}.",
            hint="Name its address, or use the profile of a platform that has it pinned.",
            found=missing,
        )
    return ClaimedAsset(replace(pinned_token, symbol=symbol), pinned_spender, asset_from, spender_from)


def claim_approval(
    chain: Chain, asset: ClaimedAsset, transaction: str, *, owner: str, amount: Decimal | None, raw: str | None = None
) -> ClaimedApproval:
    """Return the claim that `owner` let the asset's spender have `amount` human units; None claims "unlimited".

    Raises `InvalidAddressError`, `InvalidAmountError` for more decimals than the token has, and `InvalidRequestError`
    if `raw` is another transaction on Solana or none: it may be a key at the wrong place, and claims become evidence.
    (On EVM networks the check itself refuses other bytes.)
    """
    if raw is not None and chain.family == "solana" and not _is_raw_of(chain, raw, transaction):
        raise InvalidRequestError(
            "The signed bytes that were given are not those of this transaction.",
            hint="Give the signed transaction itself (0x hex, or base64 on Solana), or leave it out.",
        )
    unlimited = largest_amount(chain.family)
    return ClaimedApproval(
        network=chain.name,
        chain=chain_identity(chain),
        transaction=transaction,
        token=asset.token,
        owner=parse_address(chain, owner),
        spender=asset.spender,
        amount=unlimited if amount is None else to_base_units(amount, asset.token.decimals),
        asset_from=asset.asset_from,
        spender_from=asset.spender_from,
        raw=raw,
    )


def _is_raw_of(chain: Chain, raw: str, transaction: str) -> bool:
    try:
        return signed_from_raw(chain.family, raw).hash == transaction
    except SignatureMismatchError:
        return False


async def _agree_on_decimals(chain: Chain, rpc_urls: Sequence[str], address: str) -> int:
    """Return the decimals that every node which answers gives: one that lies must not scale the claimed amount."""
    answers = await asyncio.gather(*(_ask_decimals(chain, url, address) for url in rpc_urls), return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException) and not isinstance(answer, NodeError):
            raise answer
    said = {answer for answer in answers if isinstance(answer, int)}
    if len(said) > 1:
        raise NodeError(
            f"The nodes disagree on how many decimals {address} has.",
            hint="One of them lies or is broken: leave it out.",
            found=", ".join(str(number) for number in sorted(said)),
        )
    for answer in answers:
        if isinstance(answer, NodeError) and not said:
            raise answer
    return said.pop()


async def _ask_decimals(chain: Chain, rpc_url: str, address: str) -> int:
    rpc = open_rpc(chain, rpc_url)
    try:
        return await get_decimals(chain, rpc, address)
    finally:
        await rpc.aclose()
