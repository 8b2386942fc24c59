"""The documented OAuth of the simulated platform: initiate, authorize and token in API mode, and what ends it all."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from platform_lab import CLIENT_KEY, REDIRECT_URI, TENANT, PlatformLab, carried, pkce

INITIATE = "/v1/auth/oauth/authorize/initiate"
AUTHORIZE = "/v1/auth/oauth/authorize"
TOKEN = "/v1/auth/oauth/token"
REVOKE = "/v1/auth/oauth/revoke"
ANYWHERE = "https://example.com"
SECRET = {"x-secret-key": TENANT.secret_key}


def error(response: httpx.Response) -> tuple[int, str, str]:
    body = response.json()
    assert body.keys() == {"error", "error_description"}
    return response.status_code, body["error"], body["error_description"]


def initiate_query(challenge: str, **changes: str) -> dict[str, str]:
    query = {
        "response_type": "code",
        "client_id": TENANT.client_id,
        "redirect_uri": ANYWHERE,
        "state": "a-state-of-ours",
        "code_challenge": challenge,
        "code_challenge_method": "S256",
        "mode": "api",
    } | changes
    return {name: value for name, value in query.items() if value}


async def initiate(platform: PlatformLab, challenge: str, **changes: str) -> httpx.Response:
    return await platform.client.get(INITIATE, params=initiate_query(challenge, **changes), headers=SECRET)


async def authorize(platform: PlatformLab, token: str, bearer: str) -> httpx.Response:
    return await platform.client.post(AUTHORIZE, json={"token": token}, headers={"authorization": f"Bearer {bearer}"})


async def exchange(platform: PlatformLab, code: str, verifier: str, /, **changes: Any) -> httpx.Response:
    body = {"grant_type": "authorization_code", "code": code, "redirect_uri": ANYWHERE, "code_verifier": verifier}
    return await platform.client.post(TOKEN, json=body | changes)


async def get_code(platform: PlatformLab, challenge: str) -> str:
    opened = (await initiate(platform, challenge)).raise_for_status().json()
    code: str = (await authorize(platform, opened["token"], await platform.logged_in())).json()["code"]
    return code


async def signed_in(platform: PlatformLab) -> dict[str, Any]:
    verifier, challenge = pkce()
    tokens: dict[str, Any] = (await exchange(platform, await get_code(platform, challenge), verifier)).json()
    return tokens


class TestInitiate:
    async def test_it_answers_a_session_token_and_the_hosted_page(self, platform: PlatformLab):
        answer = (await initiate(platform, pkce()[1])).json()
        assert answer.keys() == {"token", "url"}
        assert answer["token"].count(".") == 2, "a JWT"
        assert "Sign in" in (await platform.client.get(answer["url"])).text

    async def test_without_api_mode_it_redirects_to_the_hosted_page(self, platform: PlatformLab):
        answer = await initiate(platform, pkce()[1], mode="", redirect_uri=REDIRECT_URI)
        assert answer.status_code == 302
        page = await platform.walk_to_consent(await platform.client.get(answer.headers["location"]))
        assert carried(await platform.submit(page, "allow")).keys() == {"code", "state"}

    async def test_without_api_mode_the_redirect_uri_must_be_registered(self, platform: PlatformLab):
        answer = await initiate(platform, pkce()[1], mode="")
        assert error(answer) == (400, "invalid_request", "redirect_uri is not registered")

    @pytest.mark.parametrize(
        "name", ["response_type", "client_id", "redirect_uri", "state", "code_challenge", "code_challenge_method"]
    )
    async def test_it_names_the_parameter_that_is_missing(self, platform: PlatformLab, name: str):
        answer = await initiate(platform, pkce()[1], **{name: ""})
        assert error(answer) == (400, "invalid_request", f"Missing required parameter: {name}")

    @pytest.mark.parametrize(
        ("changes", "code"),
        [
            ({"response_type": "token"}, "unsupported_response_type"),
            ({"code_challenge_method": "plain"}, "invalid_request"),
            ({"code_challenge": "short"}, "invalid_request"),
            ({"code_challenge": "=" * 43}, "invalid_request"),
            ({"state": "1234567"}, "invalid_request"),
            ({"mode": "web"}, "invalid_request"),
            ({"client_id": "other"}, "invalid_client"),
        ],
    )
    async def test_what_is_wrong_with_a_parameter_is_refused(
        self, platform: PlatformLab, changes: dict[str, str], code: str
    ):
        assert error(await initiate(platform, pkce()[1], **changes))[:2] == (400, code)

    async def test_a_parameter_that_is_not_known_or_comes_twice_is_refused(self, platform: PlatformLab):
        assert (await initiate(platform, pkce()[1], surprise="1")).status_code == 422
        query = [*initiate_query(pkce()[1]).items(), ("state", "another-state")]
        answer = await platform.client.get(INITIATE, params=query, headers=SECRET)
        assert error(answer) == (400, "invalid_request", "Parameter must not be repeated: state")

    @pytest.mark.parametrize("headers", [{}, {"x-secret-key": "other"}, {"x-secret-key": CLIENT_KEY}])
    async def test_the_secret_key_has_to_be_shown(self, platform: PlatformLab, headers: dict[str, str]):
        answer = await platform.client.get(INITIATE, params=initiate_query(pkce()[1]), headers=headers)
        assert error(answer)[:2] == (401, "invalid_client")

    async def test_a_tenant_without_a_secret_shows_its_public_key(self, platform: PlatformLab):
        await platform.conduct(initiate_with="public key")
        assert error(await initiate(platform, pkce()[1]))[:2] == (401, "invalid_client")
        assert (await initiate(platform, pkce()[1], client_secret=CLIENT_KEY)).status_code == 200


class TestAuthorize:
    async def test_the_login_token_agrees_and_gets_code_state_and_address(self, platform: PlatformLab):
        opened = (await initiate(platform, pkce()[1])).json()
        answer = (await authorize(platform, opened["token"], await platform.logged_in())).json()
        assert answer["state"] == "a-state-of-ours"
        assert answer["url"] == f"{ANYWHERE}?code={answer['code']}&state=a-state-of-ours"
        assert (await platform.login()).json()["isLinked"] is True

    async def test_a_session_token_is_no_access_token_and_the_other_way_round(self, platform: PlatformLab):
        opened = (await initiate(platform, pkce()[1])).json()
        assert (await authorize(platform, opened["token"], opened["token"])).status_code == 401
        login = await platform.logged_in()
        assert error(await authorize(platform, login, login))[:2] == (400, "invalid_request")

    async def test_a_session_token_is_good_once_and_for_ten_minutes(self, platform: PlatformLab):
        login = await platform.logged_in()
        opened = (await initiate(platform, pkce()[1])).json()
        assert (await authorize(platform, opened["token"], login)).status_code == 200
        assert error(await authorize(platform, opened["token"], login))[:2] == (400, "invalid_request")
        late = (await initiate(platform, pkce()[1])).json()
        await platform.advance(601)
        assert error(await authorize(platform, late["token"], login))[:2] == (400, "invalid_request")

    async def test_an_oauth_token_cannot_agree_to_another(self, platform: PlatformLab):
        tokens = await signed_in(platform)
        opened = (await initiate(platform, pkce()[1])).json()
        assert (await authorize(platform, opened["token"], tokens["access_token"])).status_code == 401


class TestToken:
    async def test_a_code_is_exchanged_for_tokens_that_say_how_long_they_live(self, platform: PlatformLab):
        tokens = await signed_in(platform)
        assert tokens == {
            "access_token": tokens["access_token"],
            "token_type": "Bearer",
            "expires_in": 21_600,
            "refresh_token": tokens["refresh_token"],
            "refresh_token_expires_in": 604_800,
        }
        assert (await platform.ask("/v1/user", tokens["access_token"])).status_code == 200

    @pytest.mark.parametrize(
        ("changes", "description"),
        [
            ({"code_verifier": "x" * 43}, "PKCE verification failed"),
            ({"code_verifier": "short"}, "PKCE verification failed"),
            ({"redirect_uri": "https://example.com/"}, "The redirect URI is not the one of the request"),
            ({"code": "other"}, "The authorization code is not known"),
        ],
    )
    async def test_a_code_needs_its_verifier_and_its_redirect_uri(
        self, platform: PlatformLab, changes: dict[str, str], description: str
    ):
        verifier, challenge = pkce()
        code = await get_code(platform, challenge)
        assert error(await exchange(platform, code, verifier, **changes)) == (400, "invalid_grant", description)
        assert (await exchange(platform, code, verifier)).status_code == 200

    async def test_a_code_used_twice_ends_what_it_began(self, platform: PlatformLab):
        verifier, challenge = pkce()
        code = await get_code(platform, challenge)
        tokens = (await exchange(platform, code, verifier)).json()
        again = await exchange(platform, code, verifier)
        assert error(again) == (400, "invalid_grant", "The authorization code was used before")
        assert (await platform.ask("/v1/user", tokens["access_token"])).status_code == 401

    async def test_a_code_expires(self, platform: PlatformLab):
        verifier, challenge = pkce()
        code = await get_code(platform, challenge)
        await platform.advance(601)
        assert error(await exchange(platform, code, verifier))[1:] == (
            "invalid_grant",
            "The authorization code has expired",
        )

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            ({"grant_type": "password"}, 400),
            ({"grant_type": "refresh_token"}, 422),
            ({"grant_type": "refresh_token", "refresh_token": "x", "code": "y"}, 422),
            ({"grant_type": "refresh_token", "refresh_token": "x", "client_id": "y"}, 422),
            ({"refresh_token": "x"}, 422),
        ],
    )
    async def test_a_body_that_is_not_as_documented_is_refused(
        self, platform: PlatformLab, body: dict[str, str], status: int
    ):
        assert (await platform.client.post(TOKEN, json=body)).status_code == status

    async def test_it_takes_no_form(self, platform: PlatformLab):
        assert (await platform.client.post(TOKEN, data={"grant_type": "refresh_token"})).status_code == 400

    async def test_a_refresh_with_client_authentication_beside_it_is_refused_and_uses_nothing(
        self, platform: PlatformLab
    ):
        refresh_token = (await signed_in(platform))["refresh_token"]
        body = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        assert error(await platform.client.post(TOKEN, json=body, headers=SECRET))[1] == "invalid_client"
        assert (await platform.renew(refresh_token, TOKEN)).status_code == 200


class TestRevoke:
    async def test_all_that_was_agreed_to_ends_and_the_direct_login_goes_on(self, platform: PlatformLab):
        tokens, hosted, login = await signed_in(platform), await platform.signed_in(), await platform.logged_in()
        headers = {"authorization": f"Bearer {tokens['access_token']}"}
        answer = await platform.client.delete(REVOKE, headers=headers)
        assert (answer.status_code, answer.json()) == (200, {"success": True})
        for token in (tokens["access_token"], hosted["access_token"]):
            assert (await platform.ask("/v1/user", token)).status_code == 401
        assert error(await platform.renew(tokens["refresh_token"], TOKEN))[1] == "invalid_grant"
        assert (await platform.ask("/v1/user", login)).status_code == 200
        assert (await platform.login()).json()["isLinked"] is False
