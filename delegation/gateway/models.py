"""What the platform answers, read defensively: what is unknown is ignored, what cannot be used is left out by name.

Tokens and ids are opaque. Amounts are `Decimal` in human units.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Final, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from chains import get_chain
from chains.errors import InvalidAddressError, UnknownNetworkError
from chains.family import parse_address
from chains.types import Chain
from delegation.errors import UnexpectedAnswerError, UnsupportedError
from delegation.models import Region

_DECIMAL_ID: Final = re.compile(r"[0-9]{1,20}", re.ASCII)
_HEX_ID: Final = re.compile(r"0x[0-9a-fA-F]{1,16}", re.ASCII)
_HEX_ZERO: Final = re.compile(r"0x0*", re.ASCII)
_MOST_DECIMALS: Final = 36
# In digits: 2^256 has 78. Far beyond it, writing out the digits of 1e999999999 would take all memory.
_LONGEST_AMOUNT: Final = 100


class _Received(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class PlatformToken(_Received):
    """One token that the platform supports: `address` is the contract (EIP-55) or the SPL mint."""

    symbol: str
    decimals: int
    address: str


class PlatformNetwork(_Received):
    """One network that the platform supports; `delegation_contract` is the spender, on Solana the delegate's key.

    `tokens` are keyed by lower-case symbol. `chain_id` is decimal text on EVM networks.
    """

    network: str
    environment: str
    chain_id: str
    delegation_contract: str
    tokens: dict[str, PlatformToken]


class LeftOut(_Received):
    """A part of the platform's configuration that cannot be used, and why."""

    what: str
    reason: str


class PlatformConfig(_Received):
    """What the platform supports, as far as it can be used."""

    networks: tuple[PlatformNetwork, ...]
    left_out: tuple[LeftOut, ...] = ()

    def find(self, network: str, currency: str) -> tuple[PlatformNetwork, PlatformToken]:
        """Return a network and one of its tokens, by their lower-case names.

        Raises `UnsupportedError`, with what is offered and why something was left out.
        """
        name, symbol = network.lower(), currency.lower()
        offered = {entry.network: entry for entry in self.networks}
        asked_for = {name, f"{name} {symbol}"}
        why = " ".join(f"{left.what}: {left.reason}." for left in self.left_out if left.what in asked_for)
        if name not in offered:
            raise UnsupportedError(
                f"The platform does not offer {name}. {why}".rstrip(),
                hint=f"It offers: {', '.join(sorted(offered)) or 'nothing that can be used'}.",
                found=name,
            )
        tokens = offered[name].tokens
        if symbol not in tokens:
            raise UnsupportedError(
                f"The platform does not offer {symbol} on {name}. {why}".rstrip(),
                hint=f"It offers there: {', '.join(sorted(tokens))}.",
                found=symbol,
            )
        return offered[name], tokens[symbol]


def read_config(answer: Any, region: Region) -> PlatformConfig:
    """Return the platform's configuration; whatever cannot be used is left out with its reason.

    Raises `UnexpectedAnswerError` if there is no list of networks at all.
    """
    entries = answer.get("networks") if isinstance(answer, Mapping) else None
    if not isinstance(entries, list):
        raise UnexpectedAnswerError(
            "The platform's configuration holds no list of networks.", hint="Check the profile's base_url."
        )
    names = [_name(entry) for entry in entries]
    networks: dict[str, PlatformNetwork] = {}
    left_out: list[LeftOut] = []
    for name, entry in zip(names, entries, strict=True):
        try:
            if name == "linea-us" and region != "us":
                raise ValueError("it is for accounts in the US")
            if name == "linea" and region == "us" and "linea-us" in names:
                raise ValueError("linea-us stands for it in the US")
            network = _read_network("linea" if name == "linea-us" else name, entry, left_out)
            if network.network in networks:
                raise ValueError("it is named twice")
            networks[network.network] = network
        except (ValueError, UnknownNetworkError) as error:
            reason = "this toolkit does not know it" if isinstance(error, UnknownNetworkError) else str(error)
            left_out.append(LeftOut(what="linea" if name == "linea-us" and region == "us" else name, reason=reason))
    return PlatformConfig(networks=tuple(networks.values()), left_out=tuple(left_out))


def _name(entry: Any) -> str:
    name = entry.get("network") if isinstance(entry, Mapping) else None
    return _shown(name.strip().lower()) if isinstance(name, str) else "an entry without a name"


def _shown(text: str) -> str:
    # Neither control characters nor half of a surrogate pair of a stranger's text get any further.
    return "".join(character if character.isprintable() else "?" for character in text)[:80]


def _read_network(name: str, entry: Mapping[str, Any], left_out: list[LeftOut]) -> PlatformNetwork:
    chain = get_chain(name)
    tokens: dict[str, PlatformToken] = {}
    given = entry.get("tokens")
    for key, token in given.items() if isinstance(given, Mapping) else ():
        symbol = _shown(str(key).strip().lower())
        try:
            if symbol in tokens:
                raise ValueError("it is named twice")
            tokens[symbol] = _read_token(chain, symbol, token)
        except ValueError as error:
            left_out.append(LeftOut(what=f"{name} {symbol}", reason=str(error)))
    if not tokens:
        raise ValueError("it has no token that can be used")
    environment = entry.get("environment")
    return PlatformNetwork(
        network=chain.name,
        environment=_shown(environment) if isinstance(environment, str) else "unnamed",
        chain_id=_read_chain_id(chain, entry.get("chainId")),
        delegation_contract=_read_address(chain, "delegationContract", entry.get("delegationContract")),
        tokens=tokens,
    )


def _read_token(chain: Chain, symbol: str, token: Any) -> PlatformToken:
    if not isinstance(token, Mapping):
        raise ValueError("it is not described")
    decimals = token.get("decimals")
    if not isinstance(decimals, int) or isinstance(decimals, bool) or not 0 <= decimals <= _MOST_DECIMALS:
        raise ValueError("its decimals are not a small whole number")
    return PlatformToken(
        symbol=symbol, decimals=decimals, address=_read_address(chain, "address", token.get("address"))
    )


def _read_chain_id(chain: Chain, given: Any) -> str:
    text = str(given).strip() if isinstance(given, (str, int)) and not isinstance(given, bool) else ""
    if chain.family != "evm":
        return _shown(text)
    if not _DECIMAL_ID.fullmatch(text) and not _HEX_ID.fullmatch(text):
        raise ValueError("its chainId is not a number")
    chain_id = int(text, 16 if text.startswith("0x") else 10)
    if chain_id != chain.chain_id:
        raise ValueError(f"its chainId is {chain_id}, but {chain.title} is {chain.chain_id}")
    return str(chain_id)


def _read_address(chain: Chain, field: str, given: Any) -> str:
    try:
        return parse_address(chain, given if isinstance(given, str) else "")
    except InvalidAddressError as error:
        raise ValueError(f"its {field} is not an address of {chain.title}") from error


def _read_amount(given: Any) -> Decimal | None:
    """Return an amount of the platform's list: a missing or unreadable one is None, which is neither 0 nor anything."""
    if isinstance(given, bool) or given is None:
        return None
    text = str(given).strip()
    if _HEX_ZERO.fullmatch(text):
        return Decimal(0)
    try:
        amount = Decimal(text) if text.isascii() else None
    except ArithmeticError:
        return None
    return amount if amount is not None and amount.is_finite() and abs(amount.adjusted()) < _LONGEST_AMOUNT else None


_ListedAmount = Annotated[Decimal | None, BeforeValidator(_read_amount)]


class _OfOwner(_Received):
    address: str
    currency: str
    network: str

    def is_of(self, owner: str, currency: str, network: str) -> bool:
        """Return whether this row is about an owner's token on a network.

        The platform's spelling varies in case from call to call; only base58 addresses differ by case.
        """
        ours = self.network.lower() in {network.lower(), f"{network.lower()}-us"}
        return ours and self.currency.lower() == currency.lower() and _same_address(self.address, owner)


class ExternalWallet(_OfOwner):
    """A row of the platform's list: balance and remaining allowance in human units, None where they were not said."""

    balance: _ListedAmount = None
    allowance: _ListedAmount = None


class WalletPriority(_OfOwner):
    """The order in which a wallet pays; 1 is first."""

    id: int
    priority: int


class PlatformWallet(ExternalWallet):
    """A wallet with its place in the order of payment; id and priority are None where the platform did not say them."""

    id: int | None = None
    priority: int | None = None


_Row = TypeVar("_Row", bound=_Received)


def join_wallets(
    wallets: tuple[ExternalWallet, ...], priorities: tuple[WalletPriority, ...]
) -> tuple[PlatformWallet, ...]:
    """Return the wallets with their priorities, joined on address, currency and network; the first to pay first."""
    joined = []
    for wallet in wallets:
        place = next((p for p in priorities if p.is_of(wallet.address, wallet.currency, wallet.network)), None)
        joined.append(
            PlatformWallet(
                **wallet.model_dump(),
                id=place.id if place is not None else None,
                priority=place.priority if place is not None else None,
            )
        )
    return tuple(sorted(joined, key=lambda wallet: (wallet.priority is None, wallet.priority or 0)))


def read_wallets(answer: Any) -> tuple[ExternalWallet, ...]:
    """Return the platform's list of external wallets; raises `UnexpectedAnswerError` if it is not one."""
    return _read_rows(ExternalWallet, answer)


def read_priorities(answer: Any) -> tuple[WalletPriority, ...]:
    """Return the platform's order of payment; raises `UnexpectedAnswerError` if it is not one."""
    return _read_rows(WalletPriority, answer)


def _read_rows(row: type[_Row], answer: Any) -> tuple[_Row, ...]:
    if not isinstance(answer, list):
        raise UnexpectedAnswerError("The platform answered with something that is not a list of wallets.")
    try:
        return tuple(row.model_validate(entry) for entry in answer)
    except ValidationError as error:
        places = ", ".join(".".join(map(str, problem["loc"])) for problem in error.errors()[:3])
        raise UnexpectedAnswerError(f"The platform's list of wallets cannot be read ({places}).") from None


def _same_address(one: str, other: str) -> bool:
    return one.lower() == other.lower() if one[:2].lower() == "0x" else one == other
