"""What the tests of signing in share: a simulated platform without chains, asked as plain HTTP, and its switches."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from delegation.sandbox.platform import create_app
from delegation.sandbox.servers import RunningServer
from delegation.sandbox.world import PlatformWorld, WorldTenant

CLIENT_KEY = "planted-client-key"
PASTED_TOKEN = "planted-access-token"
TENANT = WorldTenant(secret_key="planted-secret-key", password="planted-password")
REDIRECT_URI = TENANT.redirect_uris[0]
SCOPES = "openid profile email offline_access platform:full"


class PlatformLab:
    """A running platform: `client` sends the client key and keeps cookies, as a browser does."""

    def __init__(self, base_url: str, client: httpx.AsyncClient) -> None:
        self.base_url = base_url
        self.client = client

    async def conduct(self, **switches: Any) -> None:
        """Set switches of sign-in."""
        (await self.client.post("/sandbox/sign-in", json=switches)).raise_for_status()

    async def misbehave(self, call: str, **how: Any) -> None:
        """Plan a misbehaviour of a call, which is named like "POST /v1/auth/login"."""
        method, _, path = call.partition(" ")
        (await self.client.post("/sandbox/misbehave", json={"method": method, "path": path, **how})).raise_for_status()

    async def advance(self, seconds: float) -> None:
        """Move the platform's clock."""
        (await self.client.post("/sandbox/clock", json={"advance": seconds})).raise_for_status()

    async def reset(self) -> None:
        """Do as it is documented again, with nobody signed in."""
        for path in ("sign-in", "misbehave", "limit", "clock"):
            (await self.client.delete(f"/sandbox/{path}")).raise_for_status()
        self.client.cookies.clear()

    async def look(self) -> dict[str, Any]:
        """Return what the platform tells tests of sign-in."""
        seen: dict[str, Any] = (await self.client.get("/sandbox/sign-in")).raise_for_status().json()
        return seen

    async def code(self) -> str:
        """Return the one-time code that was sent last."""
        code: str = (await self.look())["codes"][-1]["code"]
        return code

    async def login(self, region: str = "international", **more: Any) -> httpx.Response:
        """Log in directly, without a code."""
        body = {"email": TENANT.email, "password": TENANT.password, **more}
        return await self.client.post("/v1/auth/login", json=body, headers=region_header(region))

    async def logged_in(self, region: str = "international") -> str:
        """Return the token of a direct login, with its code where one is wanted."""
        first = (await self.login(region)).json()
        if not first["isOtpRequired"]:
            return str(first["accessToken"])
        (await self.client.post("/v1/auth/login/otp", json={"userId": first["userId"]})).raise_for_status()
        return str((await self.login(region, otpCode=await self.code())).json()["accessToken"])

    async def ask(self, path: str, token: str, region: str = "international") -> httpx.Response:
        """GET something as who holds this token."""
        headers = {"authorization": f"Bearer {token}", **region_header(region)}
        return await self.client.get(path, headers=headers)

    async def open_page(self, challenge: str, **changes: str) -> httpx.Response:
        """Open the hosted page as a browser does, and follow; a change to nothing leaves a parameter out."""
        parameters = authorization_query(challenge) | changes
        query = {name: value for name, value in parameters.items() if value}
        return await self.client.get("/v1/auth/oauth2/authorize", params=query, follow_redirects=True)

    async def submit(self, page: httpx.Response, action: str, **fields: str) -> httpx.Response:
        """Send the form of a page and follow, but never to the application."""
        form = {**hidden_fields(page.text), "action": action, **fields}
        answer = await self.client.post("/hosted/sign-in", data=form)
        location = answer.headers.get("location", "")
        return await self.client.get(location) if location.startswith(self.base_url) else answer

    async def walk_to_consent(self, page: httpx.Response) -> httpx.Response:
        """Sign in on the hosted page and return the page that asks for consent."""
        page = await self.submit(page, "sign-in", email=TENANT.email, password=TENANT.password)
        return await self.submit(page, "check", code=await self.code()) if "one-time-code" in page.text else page

    async def agree(self, challenge: str, **changes: str) -> dict[str, str]:
        """Walk the hosted page to its end and return what the redirect carries."""
        page = await self.walk_to_consent(await self.open_page(challenge, **changes))
        return carried(await self.submit(page, "allow"))

    async def exchange(self, code: str, verifier: str, /, **changes: str) -> httpx.Response:
        """Exchange a code at oauth2, as a form."""
        form = {"code": code, "code_verifier": verifier, "client_id": TENANT.client_id, "redirect_uri": REDIRECT_URI}
        form = {"grant_type": "authorization_code", **form, **changes}
        return await self.client.post("/v1/auth/oauth2/token", data=form)

    async def renew(self, refresh_token: str, path: str = "/v1/auth/oauth2/token") -> httpx.Response:
        """Send a refresh token, as JSON."""
        body = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        return await self.client.post(path, json=body)

    async def signed_in(self, **changes: str) -> dict[str, Any]:
        """Return the tokens of a whole sign-in with the hosted page."""
        verifier, challenge = pkce()
        code = (await self.agree(challenge, **changes))["code"]
        tokens: dict[str, Any] = (await self.exchange(code, verifier)).raise_for_status().json()
        return tokens


@asynccontextmanager
async def run_platform() -> AsyncIterator[PlatformLab]:
    """Run a platform that has no chains."""
    app = create_app(PlatformWorld(CLIENT_KEY, PASTED_TOKEN, {}, TENANT))
    headers = {"x-client-key": CLIENT_KEY}
    async with RunningServer(app) as server, httpx.AsyncClient(base_url=server.base_url, headers=headers) as client:
        yield PlatformLab(server.base_url, client)


def pkce() -> tuple[str, str]:
    """Return a code verifier and its S256 challenge (RFC 7636)."""
    verifier = secrets.token_urlsafe(48)
    digest = hashlib.sha256(verifier.encode()).digest()
    return verifier, base64.urlsafe_b64encode(digest).decode().rstrip("=")


def authorization_query(challenge: str) -> dict[str, str]:
    """Return the query by which an application opens the hosted page."""
    return {
        "client_id": TENANT.client_id,
        "response_type": "code",
        "scope": SCOPES,
        "redirect_uri": REDIRECT_URI,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
        "prompt": "consent",
        "state": "a-state-of-ours",
    }


def region_header(region: str) -> dict[str, str]:
    """Return the header that says which region is meant."""
    return {"x-us-env": "true" if region == "us" else "false"}


def hidden_fields(page: str) -> dict[str, str]:
    """Return the hidden fields of the form on a page."""
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page))


def carried(answer: httpx.Response) -> dict[str, str]:
    """Return what a redirect to the application carries."""
    assert answer.status_code in (302, 303), answer.text
    address = httpx.URL(answer.headers["location"])
    assert str(address.copy_with(query=None)) == REDIRECT_URI
    return dict(address.params)
