"""Pins: which spender and which token the platform is known to use, so that a changed configuration stops the line.

Known production values are built in; everything else is pinned when its first plan is agreed to. A platform answer, or
somebody in its place, that names another spender would otherwise be an approval to a thief (rule 2, attacks A19
and A20).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final, Literal, Protocol
from urllib.parse import urlsplit

from chains import get_chain
from chains.family import parse_address
from chains.types import Token
from delegation.errors import InvalidRequestError, PinMismatchError
from delegation.models import Region

PRODUCTION_HOSTS: Final = frozenset({"api.baanx.com", "card.api.live.ledger.com"})

# The production spenders that the shipping client and the platform's documentation name, by region and network.
_SPENDERS: Final[dict[tuple[Region, str], str]] = {
    ("international", "linea"): "0x9dd23A4a0845f10d65D293776B792af1131c7B30",
    ("us", "linea"): "0xA90b298d05C2667dDC64e2A4e17111357c215dD2",
    ("international", "base"): "0xDaBDaFC43B2BC1c7D10C2BBce950A8CAd4a367F8",
    ("us", "base"): "0xDaBDaFC43B2BC1c7D10C2BBce950A8CAd4a367F8",
    ("international", "ethereum"): "0xb453ba76d9ca952115e9e32ca069c96e846c5d9d",
}


class PinStore(Protocol):
    """Where first-use pins are kept; the journal is one."""

    def get_pin(self, subject: str) -> str | None:
        """Return what was pinned for a subject, or None."""
        ...

    def set_pin(self, subject: str, value: str) -> None:
        """Pin a value, replacing an older one."""
        ...

    def list_pins(self) -> tuple[str, ...]:
        """Return the subjects of all pins."""
        ...


class NoPins:
    """A pin store that holds nothing, so that only built-in pins count."""

    def get_pin(self, subject: str) -> str | None:  # noqa: ARG002 - there is nowhere to look
        """Return None."""
        return None

    def list_pins(self) -> tuple[str, ...]:
        """Return no subjects."""
        return ()

    def set_pin(self, subject: str, value: str) -> None:
        """Raise `InvalidRequestError`: there is no place for a pin."""
        raise InvalidRequestError(f"Without a profile there is no place to pin {subject}.", found=value)


@dataclass(frozen=True, slots=True)
class Asset:
    """What an approval is about: the token, and the spender the platform names for its network."""

    network: str
    environment: str
    token: Token
    spender: str


@dataclass(frozen=True, slots=True)
class PinCheck:
    """One value of the platform's configuration beside what is pinned for it; `pinned` is None at the first use."""

    subject: str
    found: str
    pinned: str | None
    source: Literal["built-in", "first-use"]

    @property
    def agrees(self) -> bool:
        """Whether nothing else is pinned."""
        return self.pinned is None or self.pinned == self.found


class Pins:
    """The pins of one platform host and region."""

    def __init__(self, store: PinStore, base_url: str, region: Region) -> None:
        self._store = store
        self._host = urlsplit(base_url).netloc.rpartition("@")[2].lower()
        self._region: Region = region

    def check(self, asset: Asset) -> tuple[PinCheck, ...]:
        """Return how the spender and the token of `asset` stand to what is pinned."""
        spender = self._stored_check(f"{asset.network}/spender", asset.spender)
        token = self._stored_check(f"{asset.network}/token/{asset.token.symbol}", _token_text(asset.token))
        # An answer cannot escape the built-in values by calling itself something else than production.
        production = asset.environment == "production" or self._host in PRODUCTION_HOSTS
        if production and spender.pinned is None:
            spender = _built_in(spender, self._built_in_spender(asset.network))
        if production and token.pinned is None:
            known = _built_in_token(asset.network, asset.token.symbol)
            token = _built_in(token, _token_text(known) if known else None)
        return (spender, token)

    def require(self, asset: Asset) -> None:
        """Raise `PinMismatchError`, showing both values, unless `asset` agrees with every pin."""
        for check in self.check(asset):
            if not check.agrees:
                raise PinMismatchError(
                    f"The platform names another {check.subject} than the one pinned ({check.source}).\n"
                    f"  pinned: {check.pinned}\n"
                    f"  now:    {check.found}",
                    hint="Nothing was signed. If the platform announced this change, compare the new address with its "
                    "announcement before you trust it.",
                    network=asset.network,
                    expected=check.pinned,
                    found=check.found,
                )

    def pin(self, asset: Asset) -> None:
        """Pin the spender and token of a plan that was agreed to, where they are not pinned yet."""
        for check in self.check(asset):
            if check.pinned is None:
                self._store.set_pin(self._key(check.subject), check.found)

    def trust(self, asset: Asset) -> None:
        """Replace what is pinned by the spender and token of `asset`; only ever by a person's decision."""
        for check in self.check(asset):
            if not check.agrees:
                self._store.set_pin(self._key(check.subject), check.found)

    def find_pinned(self, network: str, currency: str) -> tuple[Token | None, str | None]:
        """Return the pinned token and spender, each None where it is not known; the platform is not asked."""
        spender = self._store.get_pin(self._key(f"{network}/spender"))
        stored_token = self._store.get_pin(self._key(f"{network}/token/{currency}"))
        token = _token_from(currency, stored_token) if stored_token else None
        if self._host in PRODUCTION_HOSTS:
            spender = spender or self._built_in_spender(network)
            token = token or _built_in_token(network, currency)
        return token, spender

    def pinned_asset(self, network: str, currency: str) -> Asset:
        """Return the pinned spender and token, without asking the platform; used to revoke while it cannot be reached.

        Raises `InvalidRequestError` if they are not known.
        """
        token, spender = self.find_pinned(network, currency)
        if spender is None or token is None:
            raise InvalidRequestError(
                f"No spender and token are pinned for {currency} on {network}, and the platform is not to be asked.",
                hint="Leave out `chain_only`, so that the platform's configuration is read.",
            )
        return Asset(network=network, environment="pinned", token=token, spender=spender)

    def list_pinned(self) -> list[tuple[str, str]]:
        """Return the network and currency of every token that was pinned at its first use on this platform."""
        mark = self._key("")
        subjects = [subject.removeprefix(mark) for subject in self._store.list_pins() if subject.startswith(mark)]
        parts = [subject.split("/") for subject in subjects]
        return [(each[0], each[2]) for each in parts if len(each) == 3 and each[1] == "token"]

    def _key(self, subject: str) -> str:
        return f"{self._host}/{self._region}/{subject}"

    def _stored_check(self, subject: str, found: str) -> PinCheck:
        return PinCheck(subject, found, self._store.get_pin(self._key(subject)), "first-use")

    def _built_in_spender(self, network: str) -> str | None:
        spender = _SPENDERS.get((self._region, network))
        return parse_address(get_chain(network), spender) if spender else None


def _built_in(check: PinCheck, value: str | None) -> PinCheck:
    return check if value is None else PinCheck(check.subject, check.found, value, "built-in")


def _built_in_token(network: str, symbol: str) -> Token | None:
    return next((token for token in get_chain(network).tokens if token.symbol.lower() == symbol), None)


def _token_text(token: Token) -> str:
    return json.dumps({"address": token.address, "decimals": token.decimals})


def _token_from(symbol: str, text: str) -> Token:
    stored = json.loads(text)
    return Token(symbol=symbol, address=stored["address"], decimals=stored["decimals"])
