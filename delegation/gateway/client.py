"""The client of the platform's delegation and external-wallet endpoints."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self
from urllib.parse import urlsplit

from chains.rpc import open_http_client
from chains.types import Family
from delegation.errors import (
    GatewayUnreachableError,
    InvalidRequestError,
    RateLimitedError,
    UnexpectedAnswerError,
)
from delegation.gateway.answers import Answer, error_from, require_not_refused
from delegation.gateway.models import (
    ExternalWallet,
    PlatformConfig,
    PlatformWallet,
    WalletPriority,
    join_wallets,
    read_config,
    read_priorities,
    read_wallets,
)
from delegation.models import DelegationToken, Proof, Region

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_READ_ATTEMPTS: Final = 3
_LONGEST_PAUSE: Final = 20.0
# gateway-api 2: a token lives about ten minutes and can be used once.
_TOKEN_LIFE: Final = timedelta(minutes=10)
_LARGEST_BODY: Final = 4 * 1024 * 1024


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Gateway:
    """One user's access to one platform host and region.

    `timeout` is in seconds for one request; `token_timeout` is longer because the platform's faucet waits up to ten
    seconds for its own transaction. `requests` counts the requests made.
    """

    def __init__(
        self,
        base_url: str,
        client_key: str,
        access_token: str,
        *,
        region: Region = "international",
        timeout: float = 15.0,
        token_timeout: float = 30.0,
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        parts = urlsplit(base_url)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
            raise InvalidRequestError(
                "The platform's base_url must start with https://, because an access token travels to it.",
                hint="Correct base_url in the profile.",
            )
        self.base_url = base_url.rstrip("/")
        self.region: Region = region
        self.requests = 0
        self._host = parts.netloc.rpartition("@")[2]
        self._secrets = (client_key, access_token)
        self._token_timeout = token_timeout
        self._now = now
        self._client = open_http_client(
            base_url,
            timeout=timeout,
            headers={
                "x-client-key": client_key,
                "authorization": f"Bearer {access_token}",
                # MetaMask sends it on every call, as text (real-clients 1.2); it routes the US to its own contracts.
                "x-us-env": "true" if region == "us" else "false",
                "accept": "application/json",
            },
        )

    def __repr__(self) -> str:
        return f"Gateway({self._host!r}, region={self.region!r})"

    async def get_networks(self) -> PlatformConfig:
        """Return the networks, tokens and spenders that the platform supports."""
        answer = await self._read("/v1/delegation/chain/config", "its configuration")
        return read_config(answer.json(), self.region)

    async def get_delegation_token(self, *, address: str, network: str, faucet: bool = False) -> DelegationToken:
        """Return a new single-use token with the nonce for the statement.

        With `faucet` the platform also sends a little gas, once per user across all networks; the token comes anyway
        (HTTP 207), and `faucet` of the result holds what was said of it.
        """
        query = {"network": network, "address": address} | ({"faucet": "true"} if faucet else {})
        answer = await self._read("/v1/delegation/token", "a delegation token", query, timeout=self._token_timeout)
        said = answer.json()
        token, nonce = (said.get("token"), said.get("nonce")) if isinstance(said, Mapping) else (None, None)
        if not (isinstance(token, str) and token and isinstance(nonce, str) and nonce):
            raise UnexpectedAnswerError(
                "The platform's answer holds no delegation token and nonce.", status=answer.status
            )
        now = self._now()
        return DelegationToken(
            token=token,
            nonce=nonce,
            obtained_at=now,
            expires_at=_read_expiry(said.get("expiresAt"), now),
            faucet=_read_faucet(said, answer.status) if faucet else None,
        )

    async def submit_proof(self, family: Family, proof: Proof) -> int:
        """Submit a proof and return the status of the platform's success.

        Never repeated after an unclear failure: `GatewayUnreachableError` and `PlatformFailedError` leave open whether
        the proof was taken. A 429 is repeated once, because the platform did not look at it.
        """
        path, what = f"/v1/delegation/{family}/post-approval", "the proof"
        secrets = (*self._secrets, proof.token)
        answer = await self._send("POST", path, json=proof.wire())
        if answer.status == 429:
            await asyncio.sleep(_pause(error_from(answer, what, secrets).retry_after, attempt=1))
            answer = await self._send("POST", path, json=proof.wire())
        if not answer.succeeded:
            raise error_from(answer, what, secrets)
        require_not_refused(answer, what, secrets)
        return answer.status

    async def get_external_wallets(self) -> tuple[ExternalWallet, ...]:
        """Return the user's external wallets with balance and remaining allowance."""
        return read_wallets((await self._read("/v1/wallet/external", "the list of external wallets")).json())

    async def get_priorities(self) -> tuple[WalletPriority, ...]:
        """Return the ids of the user's external wallets and the order in which they pay."""
        answer = await self._read("/v1/wallet/external/priority", "the order of external wallets")
        return read_priorities(answer.json())

    async def get_wallets(self) -> tuple[PlatformWallet, ...]:
        """Return the external wallets joined with their ids and priorities, the first to pay first."""
        wallets, priorities = await asyncio.gather(self.get_external_wallets(), self.get_priorities())
        return join_wallets(wallets, priorities)

    async def set_priorities(self, first: Sequence[int]) -> None:
        """Let the wallets with these ids pay first, in this order; the others follow as before.

        All wallets are sent, with priorities 1 to n: the platform takes no partial order (gateway-api 8.3). Raises
        `InvalidRequestError` for an id that is unknown or named twice.
        """
        now = [place.id for place in sorted(await self.get_priorities(), key=lambda place: place.priority)]
        unknown = [identity for identity in first if identity not in now]
        if unknown or len(set(first)) != len(first):
            raise InvalidRequestError(
                f"There is no wallet with the id {unknown[0]}." if unknown else "A wallet is named twice.",
                hint=f"The ids are: {', '.join(map(str, now)) or 'none yet'}.",
            )
        order = [*first, *(identity for identity in now if identity not in first)]
        body = {"wallets": [{"id": identity, "priority": place} for place, identity in enumerate(order, start=1)]}
        answer = await self._send("PUT", "/v1/wallet/external/priority", json=body)
        if not answer.succeeded:
            raise error_from(answer, "the order of external wallets", self._secrets)
        require_not_refused(answer, "the order of external wallets", self._secrets)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def _read(
        self,
        path: str,
        what: str,
        query: Mapping[str, str] | None = None,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - passed on to the HTTP client
    ) -> Answer:
        """GET, up to three times while the platform is busy or out of reach."""
        for attempt in range(1, _READ_ATTEMPTS + 1):
            last = attempt == _READ_ATTEMPTS
            try:
                answer = await self._send("GET", path, params=query, **({"timeout": timeout} if timeout else {}))
            except GatewayUnreachableError:
                if last:
                    raise
                await asyncio.sleep(_pause(None, attempt))
                continue
            if answer.succeeded:
                return answer
            error = error_from(answer, what, self._secrets)
            if last or answer.status not in {429, 502, 503, 504}:
                raise error
            await asyncio.sleep(_pause(error.retry_after, attempt))
        raise RateLimitedError("The platform was asked too often.")

    async def _send(self, method: str, path: str, **arguments: Any) -> Answer:
        import httpx

        self.requests += 1
        try:
            async with self._client.stream(method, self.base_url + path, **arguments) as response:
                body = b""
                async for part in response.aiter_bytes():
                    body += part
                    if len(body) > _LARGEST_BODY:
                        raise UnexpectedAnswerError(
                            "The platform's answer is far too long.", status=response.status_code
                        )
                return Answer(response.status_code, response.headers, body)
        except httpx.TransportError as error:
            reason = f"{type(error).__name__}: {error}".rstrip(": ")
            raise GatewayUnreachableError(
                f"The platform at {self._host} did not answer ({reason}).",
                hint="Nothing was lost. Check the network and the profile's base_url, then resume.",
            ) from None
        except httpx.DecodingError:
            raise UnexpectedAnswerError("The platform's answer cannot be unpacked.") from None


def _pause(retry_after: float | None, attempt: int) -> float:
    return min(_LONGEST_PAUSE, 0.25 * 2**attempt if retry_after is None else retry_after)


def _read_expiry(said: Any, now: datetime) -> datetime:
    """Return when the token dies: as the platform says where that is sane, else ten minutes from now."""
    try:
        moment = datetime.fromisoformat(said) if isinstance(said, str) else None
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None or not now < moment <= now + timedelta(hours=24):
        return now + _TOKEN_LIFE
    return moment.astimezone(UTC)


def _read_faucet(said: Mapping[str, Any], status: int) -> str:
    """Return what the platform said of the gas it was asked for; the field's name is not documented."""
    for name in ("faucetStatus", "faucet_status", "faucet"):
        value = said.get(name)
        if isinstance(value, Mapping):
            value = value.get("status")
        if isinstance(value, str) and value:
            return value.lower()
    return "declined" if status == 207 else "not stated"
