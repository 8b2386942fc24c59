"""What `delegation sandbox up` prints: everything that a program needs to use the running sandbox, as JSON."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")


class KeyDocument(_Part):
    """An address and its key: 0x hex on EVM networks, the base58 64-byte key pair on Solana. Worthless elsewhere."""

    address: str
    private_key: str = Field(repr=False)


class TokenDocument(_Part):
    """One token: `address` is the contract (EIP-55) or the SPL mint (base58)."""

    address: str
    decimals: int


class NetworkDocument(_Part):
    """One local network; `chain_id` is an integer on EVM networks and the genesis hash on Solana.

    `delegation_contract` is the spender: a contract of ours, or the operator's own address on Solana.
    """

    rpc_url: str
    chain_id: int | str
    delegation_contract: str
    operator: KeyDocument
    tokens: dict[str, TokenDocument]
    genesis_hash: str | None = None


class UserDocument(_Part):
    """The platform's one user, and the page on which their phone shows the codes that it gets."""

    email: str
    password: str = Field(repr=False)
    phone_url: str


class GatewayDocument(_Part):
    """Where the simulated platform is and what it asks of a caller: of the application, and of its user.

    `access_token` never expires, for those who do not want to sign in.
    """

    base_url: str
    client_key: str = Field(repr=False)
    access_token: str = Field(repr=False)
    client_id: str
    secret_key: str = Field(repr=False)
    redirect_uri: str
    user: UserDocument


class ProfileDocument(_Part):
    """The profile of the command line that was written for this sandbox; `file` is None if none was."""

    name: str
    file: str | None


class SandboxDocument(_Part):
    """A running sandbox: `networks` by the platform's names, `wallets` by family; the first is the default wallet."""

    profile: ProfileDocument
    gateway: GatewayDocument
    networks: dict[str, NetworkDocument]
    wallets: dict[str, list[KeyDocument]]
