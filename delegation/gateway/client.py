"""The client of the platform's delegation and external-wallet endpoints."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from random import random
from typing import Any, Final, Self
from urllib.parse import SplitResult, urlsplit

from chains.http import open_http_client, retry_pause
from chains.types import Family
from delegation.errors import (
    GatewayError,
    GatewayUnreachableError,
    InvalidRequestError,
    NotAuthenticatedError,
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
from delegation.models import DelegationToken, Proof, Region, utc_now

_READ_ATTEMPTS: Final = 3
# Seconds; what the platform asks for beyond them is for the caller to wait for.
_LONGEST_PAUSE: Final = 20.0
# As the platform documents it: a token lives about ten minutes and can be used once.
_TOKEN_LIFE: Final = timedelta(minutes=10)
_LARGEST_BODY: Final = 4 * 1024 * 1024


class Gateway:
    """One user's access to one platform host and region.

    `timeout` is in seconds for one request; `token_timeout` is longer because the platform's faucet waits up to ten
    seconds for its own transaction. `requests` counts the requests made. `chance` gives numbers from 0 to 1, which
    spread the pauses before another attempt. Raises `InvalidRequestError` for a base URL that is not https, except on
    this very machine, and for keys that no header can hold.
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
        now: Callable[[], datetime] = utc_now,
        chance: Callable[[], float] = random,
    ) -> None:
        parts = _check_base_url(base_url)
        _check_secret("client key", client_key)
        _check_secret("access token", access_token)
        self.base_url = base_url.rstrip("/")
        self.region: Region = region
        self.requests = 0
        self._host = parts.netloc
        self._secrets = (client_key, access_token)
        self._timeout = timeout
        self._token_timeout = token_timeout
        self._now = now
        self._chance = chance
        self._client = open_http_client(
            base_url,
            # A proxy of the environment must not see what goes unencrypted to this machine.
            trust_env=parts.scheme == "https",
            headers={
                "x-client-key": client_key,
                "authorization": f"Bearer {access_token}",
                # The shipping client sends it on every call, as text; it routes the US to its own contracts.
                "x-us-env": "true" if region == "us" else "false",
                "accept": "application/json",
            },
        )

    def __repr__(self) -> str:
        return f"Gateway({self._host!r}, region={self.region!r})"

    async def get_networks(self, network: str | None = None) -> PlatformConfig:
        """Return the networks, tokens and spenders that the platform supports, or those of one network."""
        query = {} if network is None else {"network": network.lower()}
        answer = await self._read("/v1/delegation/chain/config", "its configuration", query)
        return read_config(answer.json(), self.region)

    async def get_delegation_token(self, *, address: str, network: str, faucet: bool = False) -> DelegationToken:
        """Return a new single-use token with the nonce for the statement.

        With `faucet` the platform also sends a little gas, once per user across all networks; the token comes anyway
        (HTTP 207), and `faucet` of the result holds what was said of it.
        """
        query = {"network": network, "address": address} | ({"faucet": "true"} if faucet else {})
        answer = await self._read("/v1/delegation/token", "a delegation token", query, seconds=self._token_timeout)
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

        Never repeated after an unclear failure: an error whose `maybe_done` is true leaves open whether the proof was
        taken. A 429 is repeated once, because the platform did not look at it.
        """
        path, what = f"/v1/delegation/{family}/post-approval", "the proof"
        secrets = (*self._secrets, proof.token)
        answer = await self._send("POST", path, json=proof.wire())
        if answer.status == 429:
            limited = error_from(answer, what, secrets)
            if _asks_for_too_long(limited):
                raise limited
            await asyncio.sleep(retry_pause(1, limited.retry_after, self._chance))
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
        """Return the external wallets joined with their ids and priorities, the first to pay first.

        Ids and priorities are None if the platform fails to say them; a dead access token (401) and a rate limit (429)
        are raised all the same.
        """
        wallets = await self.get_external_wallets()
        try:
            priorities = await self.get_priorities()
        except (NotAuthenticatedError, RateLimitedError):
            raise
        except GatewayError:
            priorities = ()
        return join_wallets(wallets, priorities)

    async def set_priorities(self, first: Sequence[int]) -> None:
        """Let the wallets with these ids pay first, in this order; the others follow as before.

        All wallets are sent, with priorities 1 to n: the platform takes no partial order. Raises
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
        self, path: str, what: str, query: Mapping[str, str] | None = None, *, seconds: float | None = None
    ) -> Answer:
        """GET, up to three times while the platform is busy or out of reach."""
        attempt = 1
        while True:
            error: GatewayError
            try:
                answer = await self._send("GET", path, seconds=seconds, params=query)
            except GatewayUnreachableError as unreachable:
                error = unreachable
            else:
                if answer.succeeded:
                    return answer
                error = error_from(answer, what, self._secrets)
            passing = error.status in {None, 429, 502, 503, 504} and not _asks_for_too_long(error)
            if attempt == _READ_ATTEMPTS or not passing:
                raise error
            await asyncio.sleep(retry_pause(attempt, error.retry_after, self._chance))
            attempt += 1

    async def _send(self, method: str, path: str, *, seconds: float | None = None, **arguments: Any) -> Answer:
        import httpx

        limit = seconds or self._timeout
        # Half of the time for the connection, so that a failure to connect is told from a lost answer.
        patience = httpx.Timeout(limit, connect=limit / 2, pool=limit / 2)
        self.requests += 1
        try:
            # httpx limits the time between two bytes; a slow trickle has to end as well.
            async with (
                asyncio.timeout(limit),
                self._client.stream(method, self.base_url + path, timeout=patience, **arguments) as response,
            ):
                body = b""
                async for part in response.aiter_bytes():
                    body += part
                    if len(body) > _LARGEST_BODY:
                        raise UnexpectedAnswerError(
                            "The platform's answer is far too long.", status=response.status_code
                        )
                return Answer(response.status_code, response.headers, body)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            failure = self._unreachable(error, maybe_done=False)
        except (httpx.RequestError, TimeoutError) as error:
            failure = self._unreachable(error, maybe_done=True)
        # Raised here, because httpx's errors hold the request with its headers.
        raise failure

    def _unreachable(self, error: Exception, *, maybe_done: bool) -> GatewayUnreachableError:
        reason = f"{type(error).__name__}: {error}".rstrip(": ")
        failure = GatewayUnreachableError(
            f"The platform at {self._host} {'did not answer' if maybe_done else 'cannot be reached'} ({reason}).",
            hint="Nothing was lost. Check the network and the profile's base_url, then try again.",
        )
        failure.maybe_done = maybe_done
        return failure


def _check_base_url(text: str) -> SplitResult:
    """Return the parts of a base URL over which an access token may travel."""
    import httpx

    parts = urlsplit("")
    with suppress(ValueError, httpx.InvalidURL):
        httpx.URL(text)
        parsed = urlsplit(text)
        parts = parsed if parsed.port != 0 else parts
    if not parts.hostname or parts.username is not None or parts.query:
        raise InvalidRequestError(
            "The platform's base_url cannot be used: it needs a host, and no user name or query.",
            hint="Correct base_url in the profile, for example https://api.baanx.com.",
        )
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_this_machine(parts.hostname or "")):
        raise InvalidRequestError(
            "The platform's base_url must start with https://, because an access token travels to it.",
            hint="Correct base_url in the profile.",
        )
    return parts


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_secret(name: str, value: str) -> None:
    # The HTTP library would quote a header that it cannot send.
    if not value or not all("!" <= character <= "~" for character in value):
        raise InvalidRequestError(
            f"The {name} is empty, or holds a space, a line break or another character that cannot be sent.",
            hint="Copy it again from its source, without quotes and without the end of the line.",
        )


def _asks_for_too_long(error: GatewayError) -> bool:
    return error.retry_after is not None and error.retry_after > _LONGEST_PAUSE


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
    """Return what the platform said of the gas it was asked for; the field's name is not documented.

    207 is a token without gas; it starts with `declined` then.
    """
    values = [said.get(name) for name in ("faucetStatus", "faucet_status", "faucet", "status")]
    states = [value.get("status") if isinstance(value, Mapping) else value for value in values]
    state = next((state.lower() for state in states if isinstance(state, str) and state.isprintable() and state), "")
    if status == 207 and not state.startswith("declined"):
        return f"declined: the platform said {state!r}" if state else "declined: the platform did not say why"
    return state or f"not stated (HTTP {status})"
