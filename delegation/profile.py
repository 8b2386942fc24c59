"""Profiles: which platform, which nodes, which keys; one file each, 0600, because it holds an access token."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationError, field_validator

from chains import get_chain
from chains.errors import UnknownNetworkError
from chains.family import open_node
from chains.json_text import decode_json
from chains.rpc import parse_node_url, require_node_url
from chains.types import Chain, Family, Wallet
from chains.wallets.files import write_secret_file
from delegation.context import Context, StatementTerms
from delegation.errors import NoWalletError, ProfileError, UnknownProfileError
from delegation.gateway.client import Gateway
from delegation.journal import open_journal
from delegation.models import Frozen, Region

# Secrets that may stand in the environment instead of the file.
_ENVIRONMENT: Final = {"client_key": "DELEGATION_CLIENT_KEY", "access_token": "DELEGATION_ACCESS_TOKEN"}
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
# More than a day of Ethereum's blocks; whoever writes more means something else.
_DEEPEST: Final = 10_000
_NAME_RULE: Final = "Use letters, digits, '-', '_' and '.'."


_Url = Annotated[str, AfterValidator(parse_node_url)]


class GatewaySettings(Frozen):
    """Where the platform is and what it knows us by."""

    base_url: _Url
    client_key: str = Field(repr=False)
    access_token: str = Field(repr=False)
    region: Region = "international"


class NetworkSettings(Frozen):
    """Departures from a network's public data: the node to ask and, for a local Solana chain, its genesis hash.

    `settle_depth` is how many blocks, its own included, must lie on an approval before it counts as settled.
    """

    rpc_url: _Url | None = Field(default=None, repr=False)
    genesis_hash: str | None = None
    settle_depth: int | None = Field(default=None, ge=1, le=_DEEPEST, strict=True)


class OwnershipSettings(Frozen):
    """Who asks for ownership signatures: the app's domain; by default the platform's host. Lifetime in seconds."""

    domain: str | None = None
    uri: str | None = None
    lifetime: int = Field(default=120, ge=30, le=600)


class Profile(Frozen):
    """One platform account with the nodes and wallets that go with it.

    `wallets` names the default wallet of each family as `chains.wallets.load_wallet` takes it. `journal` is a path or a
    database URL; by default a file of the profile's name beside the profiles. The name itself is never in the file: it
    is what the file is called.
    """

    name: str = Field(default="default", exclude=True)
    gateway: GatewaySettings
    networks: dict[str, NetworkSettings] = Field(default_factory=dict)
    wallets: dict[Family, str] = Field(default_factory=dict)
    ownership: OwnershipSettings = OwnershipSettings()
    journal: str | None = None

    @field_validator("name")
    @classmethod
    def _plain_word(cls, name: str) -> str:
        # It names files, so that it must not lead elsewhere.
        if not _NAME.fullmatch(name):
            raise ValueError(_NAME_RULE)
        return name

    @field_validator("networks")
    @classmethod
    def _by_their_names(cls, networks: dict[str, NetworkSettings]) -> dict[str, NetworkSettings]:
        # A misspelt name would otherwise mean another node than the one the person meant, without a word.
        try:
            return {get_chain(name).name: settings for name, settings in networks.items()}
        except UnknownNetworkError as error:
            raise ValueError(str(error)) from None

    def chain(self, network: str) -> Chain:
        """Return a network's data with this profile's departures; raises `UnknownNetworkError`."""
        chain = get_chain(network)
        settings = self.networks.get(chain.name, NetworkSettings())
        return replace(
            chain,
            rpc_url=settings.rpc_url or chain.rpc_url,
            genesis_hash=settings.genesis_hash or chain.genesis_hash,
            settle_depth=settings.settle_depth or chain.settle_depth,
        )

    def default_wallet(self, family: Family) -> str:
        """Return the source of this family's default wallet; raises `ProfileError` if the profile names none."""
        if family not in self.wallets:
            raise NoWalletError(f"No {family} wallet is named.", hint="Name a key file, or put one into the profile.")
        return self.wallets[family]

    def gateway_door(self) -> Gateway:
        """Return the door to the platform."""
        settings = self.gateway
        return Gateway(settings.base_url, settings.client_key, settings.access_token, region=settings.region)

    def statement_terms(self) -> StatementTerms:
        """Return who asks for ownership signatures."""
        settings = self.ownership
        domain = settings.domain or urlsplit(self.gateway.base_url).netloc
        return StatementTerms(domain=domain, uri=settings.uri, lifetime=timedelta(seconds=settings.lifetime))


def home() -> Path:
    """Return the directory of profiles and journals: DELEGATION_HOME, or the user's configuration directory."""
    if named := os.environ.get("DELEGATION_HOME"):
        return Path(named)
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "delegation-toolkit"


def profile_path(name: str) -> Path:
    """Return the file of a profile; raises `ProfileError` for a name that is not a plain word."""
    if not _NAME.fullmatch(name):
        raise ProfileError(f"{name!r} cannot be the name of a profile.", hint=_NAME_RULE)
    return home() / "profiles" / f"{name}.json"


def journal_location(profile: Profile) -> str:
    """Return where the journal of a profile is: as the profile says, or a file of the profile's name."""
    return profile.journal or str(home() / "journals" / f"{profile.name}.sqlite")


def load_profile(name: str = "default") -> Profile:
    """Return a profile from its file.

    DELEGATION_CLIENT_KEY and DELEGATION_ACCESS_TOKEN in the environment take the place of what the file holds. Raises
    `ProfileError` if the file is missing, readable by others, or incomplete.
    """
    path = profile_path(name)
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise ProfileError(f"Others can read the profile {path}.", hint=f"Run: chmod 600 {path}")
        content = path.read_bytes()
    except FileNotFoundError:
        raise UnknownProfileError(
            f"There is no profile {name!r} ({path}).",
            hint="The README shows what a profile holds; a running sandbox writes one that is called sandbox.",
        ) from None
    except OSError as error:
        raise ProfileError(f"The profile {path} cannot be read: {error.strerror}.") from error
    profile, problems = _read(name, content)
    if profile is None:
        # Raised out here, because the readers' own errors hold the text and with it the access token.
        raise ProfileError(f"The profile {path} cannot be used. {problems}.", hint="The README shows what it holds.")
    return profile


def _read(name: str, text: bytes) -> tuple[Profile | None, str]:
    """Return the profile, or None and what is wrong with the text in words that name no value."""
    try:
        content = decode_json(text)
    except json.JSONDecodeError as error:
        return None, f"It is not JSON: {error.msg} (line {error.lineno})"
    except ValueError:
        return None, "It is not JSON"
    if isinstance(content, dict):
        if "name" in content:
            return None, "name: A profile is called what its file is called; leave this out"
        content["name"] = name
        if isinstance(content.setdefault("gateway", {}), dict):
            content["gateway"] |= {
                secret: os.environ[variable] for secret, variable in _ENVIRONMENT.items() if os.environ.get(variable)
            }
    try:
        return Profile.model_validate(content), ""
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
    return None, "; ".join(
        f"{'.'.join(str(part) for part in problem['loc']) or 'The whole'}: {problem['msg']}" for problem in problems
    )


def save_profile(name: str, profile: Profile) -> Path:
    """Write a profile to the file of this name, mode 0600, and return the path.

    It is loaded by this name again, whatever it was called before; what it was called is not written.
    """
    path = profile_path(name)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_secret_file(path, profile.model_dump_json(indent=2, exclude_none=True) + "\n", overwrite=True)
    return path


@asynccontextmanager
async def open_context(
    profile: Profile | str,
    network: str,
    *,
    wallet: Wallet | None = None,
    rpc_url: str | None = None,
    **rest: Any,
) -> AsyncIterator[Context]:
    """Open what the line needs for one network, and close it at the end.

    `profile` is one or the name of one; its platform is asked, and its journal and pins are used. `rpc_url` takes the
    place of the profile's node; `rest` are further fields of `Context`, such as `agree`.
    """
    if isinstance(profile, str):
        profile = load_profile(profile)
    chain = profile.chain(network)
    if rpc_url is not None:
        require_node_url(rpc_url)
    node = open_node(chain, rpc_url)
    gateway = profile.gateway_door()
    journal = open_journal(journal_location(profile))
    try:
        yield Context(
            gateway=gateway, node=node, journal=journal, terms=profile.statement_terms(), wallet=wallet, **rest
        )
    finally:
        journal.close()
        await gateway.aclose()
        await node.aclose()
