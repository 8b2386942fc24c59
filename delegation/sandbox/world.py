"""What the simulated platform is told of its world: its keys, the networks, the tokens and who pays gas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from chains.types import Family


@dataclass(frozen=True, slots=True)
class WorldToken:
    """One token: `address` is the contract (EIP-55) or the SPL mint (base58)."""

    address: str
    decimals: int


@dataclass(frozen=True, slots=True)
class WorldNetwork:
    """One local network as the platform sees it.

    `chain_id` is decimal text for EVM networks and the genesis hash for Solana. `delegation_contract` is the spender of
    the allowances: a contract, or the operator's own key on Solana. `tokens` is keyed by lower-case symbol.
    `faucet_private_key` pays the faucet's gas: 0x hex on EVM networks, a base58 64-byte key pair on Solana.
    """

    name: str
    family: Family
    chain_id: str
    rpc_url: str
    delegation_contract: str
    tokens: Mapping[str, WorldToken]
    faucet_private_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class WorldTenant:
    """The application that signs its users in, as it is registered, and the one user with their password.

    `client_id` names the application where there is no client key in a header: in a browser and in form bodies.
    `secret_key` is the secret that the platform gives out beside the client key.
    """

    client_id: str = "sandbox-app"
    secret_key: str = field(default="sandbox-secret", repr=False)
    redirect_uris: tuple[str, ...] = ("http://127.0.0.1:28180/callback",)
    email: str = "user@sandbox.example"
    password: str = field(default="correct horse battery staple", repr=False)


@dataclass(frozen=True, slots=True)
class PlatformWorld:
    """Everything the simulated platform needs; `networks` is keyed by the name that the platform uses.

    `access_token` is one that never expires, for those who do not want to sign in.
    """

    client_key: str = field(repr=False)
    access_token: str = field(repr=False)
    networks: Mapping[str, WorldNetwork]
    tenant: WorldTenant = field(default_factory=WorldTenant)
