"""The newer OAuth of the simulated platform: the hosted page as plain HTTP, its tokens, rotation and revocation."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import httpx
import pytest
from platform_lab import (
    PASTED_TOKEN,
    REDIRECT_URI,
    SCOPES,
    TENANT,
    PlatformLab,
    authorization_query,
    carried,
    hidden_fields,
    pkce,
)

AUTHORIZE = "/v1/auth/oauth2/authorize"
TOKEN = "/v1/auth/oauth2/token"
REVOKE = "/v1/auth/oauth2/revoke"


def error(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]


async def refresh_calls(platform: PlatformLab) -> list[int]:
    return [call["status"] for call in (await platform.look())["tokenCalls"] if call["grant_type"] == "refresh_token"]


class TestAuthorize:
    async def test_a_browser_needs_no_client_key(self, platform: PlatformLab):
        async with httpx.AsyncClient(base_url=platform.base_url, follow_redirects=True) as browser:
            page = await browser.get(AUTHORIZE, params=authorization_query(pkce()[1]))
        assert page.status_code == 200
        assert "<h1>Sign in</h1>" in page.text

    @pytest.mark.parametrize(
        "changes",
        [{"client_id": ""}, {"client_id": "other"}, {"redirect_uri": ""}]
        + [{"redirect_uri": uri} for uri in (f"{REDIRECT_URI}/", REDIRECT_URI.replace("127.0.0.1", "localhost"))],
    )
    async def test_nobody_is_sent_to_where_no_application_is_registered(
        self, platform: PlatformLab, changes: dict[str, str]
    ):
        page = await platform.open_page(pkce()[1], **changes)
        assert page.status_code == 400
        assert not page.history
        assert "This did not work" in page.text

    @pytest.mark.parametrize(
        ("changes", "code"),
        [
            ({"response_type": "token"}, "unsupported_response_type"),
            ({"response_type": ""}, "invalid_request"),
            ({"code_challenge": ""}, "invalid_request"),
            ({"code_challenge": "short"}, "invalid_request"),
            ({"code_challenge_method": "plain"}, "invalid_request"),
            ({"scope": ""}, "invalid_request"),
            ({"scope": "openid everything"}, "invalid_scope"),
            ({"scope": "openid openid"}, "invalid_scope"),
            ({"prompt": "none"}, "invalid_request"),
            ({"surprise": "1"}, "invalid_request"),
        ],
    )
    async def test_what_else_is_wrong_goes_back_to_the_application_with_its_state(
        self, platform: PlatformLab, changes: dict[str, str], code: str
    ):
        parameters = authorization_query(pkce()[1]) | changes
        query = {name: value for name, value in parameters.items() if value}
        back = carried(await platform.client.get(AUTHORIZE, params=query))
        assert (back["error"], back["state"]) == (code, "a-state-of-ours")
        assert "code" not in back

    async def test_another_registered_redirect_uri_is_as_good(self, platform: PlatformLab):
        await platform.conduct(redirect_uris=["walletapp://signed-in?from=card"])
        page = await platform.open_page(pkce()[1], redirect_uri="walletapp://signed-in?from=card")
        assert "form-action 'self' walletapp:" in page.headers["content-security-policy"]
        answer = await platform.submit(await platform.walk_to_consent(page), "allow")
        assert answer.headers["location"].startswith("walletapp://signed-in?from=card&code=")


class TestHostedPage:
    async def test_it_ends_with_code_state_and_app_id(self, platform: PlatformLab):
        back = await platform.agree(pkce()[1])
        assert back == {"code": back["code"], "state": "a-state-of-ours", "app_id": "SANDBOX"}

    async def test_a_request_without_state_gets_none(self, platform: PlatformLab):
        assert (await platform.agree(pkce()[1], state="")).keys() == {"code", "app_id"}

    async def test_consent_names_the_application_and_what_it_asks_for(self, platform: PlatformLab):
        page = await platform.walk_to_consent(await platform.open_page(pkce()[1], scope="openid offline_access"))
        assert f"<h1>Allow {TENANT.client_id} to use your account?</h1>" in page.text
        assert "stay signed in when you are away" in page.text
        assert "make and take back delegations" not in page.text

    @pytest.mark.parametrize("steps", [0, 1, 2])
    async def test_it_can_be_left_at_every_step(self, platform: PlatformLab, steps: int):
        page = await platform.open_page(pkce()[1])
        if steps > 0:
            page = await platform.submit(page, "sign-in", email=TENANT.email, password=TENANT.password)
        if steps > 1:
            page = await platform.submit(page, "check", code=await platform.code())
        back = carried(await platform.submit(page, "cancel"))
        assert back == {"error": "access_denied", "state": "a-state-of-ours"}

    async def test_a_wrong_password_is_said_and_the_address_is_kept(self, platform: PlatformLab):
        page = await platform.open_page(pkce()[1])
        email = '"><script>alert(1)</script>@sandbox.example'
        answer = await platform.submit(page, "sign-in", email=email, password="other")
        assert answer.status_code == 400
        assert 'role="alert">Invalid credentials.</p>' in answer.text
        assert "<title>Error: Sign in</title>" in answer.text
        assert "<script>" not in answer.text
        assert 'value="&quot;&gt;&lt;script&gt;' in answer.text

    async def test_a_wrong_code_is_said_and_another_one_can_be_sent(self, platform: PlatformLab):
        page = await platform.open_page(pkce()[1])
        page = await platform.submit(page, "sign-in", email=TENANT.email, password=TENANT.password)
        wrong = "000000" if await platform.code() != "000000" else "111111"
        page = await platform.submit(page, "check", code=wrong)
        assert 'role="alert">Invalid OTP code. Look again, or send another one.</p>' in page.text
        page = await platform.submit(page, "again")
        assert len((await platform.look())["codes"]) == 2
        page = await platform.submit(page, "check", code=await platform.code())
        assert carried(await platform.submit(page, "allow"))["code"]

    async def test_a_code_that_cannot_be_sent_is_said_each_time(self, platform: PlatformLab):
        await platform.conduct(otp="suppressed")
        page = await platform.open_page(pkce()[1])
        page = await platform.submit(page, "sign-in", email=TENANT.email, password=TENANT.password)
        assert "The code could not be sent." in page.text
        page = await platform.submit(page, "again")
        assert "The code could not be sent." in page.text

    @pytest.mark.parametrize(
        ("switches", "text"),
        [({"disabled": True}, "Your account has been disabled."), ({"phase": "ACCOUNT"}, "not finished (ACCOUNT)")],
    )
    async def test_an_account_that_cannot_sign_in_is_told_why(
        self, platform: PlatformLab, switches: dict[str, Any], text: str
    ):
        await platform.conduct(**switches)
        page = await platform.open_page(pkce()[1])
        assert text in (await platform.submit(page, "sign-in", email=TENANT.email, password=TENANT.password)).text

    async def test_no_step_can_be_left_out(self, platform: PlatformLab):
        page = await platform.open_page(pkce()[1])
        for step in ("code", "consent"):
            form = {**hidden_fields(page.text), "step": step, "action": "allow", "code": "000000"}
            answer = await platform.client.post("/hosted/sign-in", data=form, follow_redirects=True)
            assert "<h1>Sign in</h1>" in answer.text

    async def test_another_browser_cannot_go_on_with_it(self, platform: PlatformLab):
        page = await platform.walk_to_consent(await platform.open_page(pkce()[1]))
        mine = dict(platform.client.cookies)
        for cookies in ({}, {"sandbox_browser": "other"}):
            platform.client.cookies = httpx.Cookies(cookies)
            assert "over or has expired" in (await platform.submit(page, "allow")).text
        platform.client.cookies = httpx.Cookies(mine)
        assert carried(await platform.submit(page, "allow"))["code"]

    async def test_it_is_over_once_it_was_answered_and_after_ten_minutes(self, platform: PlatformLab):
        page = await platform.walk_to_consent(await platform.open_page(pkce()[1]))
        await platform.submit(page, "allow")
        assert "over or has expired" in (await platform.submit(page, "allow")).text
        page = await platform.open_page(pkce()[1])
        await platform.advance(601)
        answer = await platform.submit(page, "sign-in", email=TENANT.email, password=TENANT.password)
        assert "over or has expired" in answer.text

    async def test_it_loads_nothing_runs_nothing_and_is_framed_and_kept_by_nobody(self, platform: PlatformLab):
        page = await platform.open_page(pkce()[1])
        policy = page.headers["content-security-policy"].split("; ")
        assert {"default-src 'none'", "base-uri 'none'", "frame-ancestors 'none'", "img-src data:"} <= set(policy)
        assert f"form-action 'self' {REDIRECT_URI.rpartition('/')[0]}" in policy
        assert not any(part.startswith("script-src") for part in policy)
        assert page.headers["cache-control"] == "no-store"
        assert page.headers["referrer-policy"] == "no-referrer"
        assert "httponly" in page.headers["set-cookie"].lower()

    async def test_the_phone_shows_the_codes_to_a_person(self, platform: PlatformLab):
        async with httpx.AsyncClient(base_url=platform.base_url) as browser:
            assert "No code has been sent yet." in (await browser.get("/sandbox/phone")).text
            await platform.submit(
                await platform.open_page(pkce()[1]), "sign-in", email=TENANT.email, password=TENANT.password
            )
            page = await browser.get("/sandbox/phone")
        assert f'<td class="code">{await platform.code()}</td>' in page.text


class TestRedirect:
    async def test_the_state_can_be_left_out_or_be_anothers(self, platform: PlatformLab):
        await platform.conduct(state="omit")
        assert "state" not in await platform.agree(pkce()[1])
        await platform.conduct(state="wrong")
        assert (await platform.agree(pkce()[1]))["state"] != "a-state-of-ours"

    async def test_what_the_user_allowed_can_end_in_an_error(self, platform: PlatformLab):
        await platform.conduct(redirect_error="server_error")
        assert (await platform.agree(pkce()[1])) == {"error": "server_error", "state": "a-state-of-ours"}

    async def test_it_can_have_no_app_id(self, platform: PlatformLab):
        await platform.conduct(app_id=None)
        assert (await platform.agree(pkce()[1])).keys() == {"code", "state"}

    @pytest.mark.parametrize("app_id", ["SANDBOX_US", "SANDBOXUS"])
    async def test_an_american_app_id_makes_tokens_that_are_good_in_america(self, platform: PlatformLab, app_id: str):
        await platform.conduct(app_id=app_id)
        token = (await platform.signed_in())["access_token"]
        user = await platform.ask("/v1/user", token, "us")
        assert (user.json()["countryOfResidence"], user.json()["ssn"]) == ("US", "000123456")
        assert (await platform.ask("/v1/user", token)).status_code == 401

    async def test_it_can_come_twice(self, platform: PlatformLab):
        await platform.conduct(redirect_twice=True)
        page = await platform.walk_to_consent(await platform.open_page(pkce()[1]))
        page = await platform.submit(page, "allow")
        assert page.text.count(f"{REDIRECT_URI}?code=") == 3, "by itself, in a frame, and as a link"
        assert "frame-src http://127.0.0.1:28180" in page.headers["content-security-policy"]


class TestToken:
    async def test_a_form_needs_all_five_fields_and_gets_tokens(self, platform: PlatformLab):
        tokens = await platform.signed_in()
        assert tokens == {
            "access_token": tokens["access_token"],
            "token_type": "Bearer",
            "expires_in": 21_600,
            "refresh_token": tokens["refresh_token"],
            "scope": SCOPES,
            "id_token": tokens["id_token"],
        }
        assert (await platform.ask("/v1/user", tokens["access_token"])).status_code == 200

    async def test_json_has_the_three_fields_of_its_one_known_client(self, platform: PlatformLab):
        verifier, challenge = pkce()
        code = (await platform.agree(challenge))["code"]
        body = {"grant_type": "authorization_code", "code": code, "code_verifier": verifier}
        more = await platform.client.post(TOKEN, json=body | {"client_id": TENANT.client_id})
        assert (more.status_code, more.json()["message"]) == (422, "client_id field is not allowed")
        assert (await platform.client.post(TOKEN, json=body)).status_code == 200

    @pytest.mark.parametrize("name", ["code", "code_verifier", "client_id", "redirect_uri", "grant_type"])
    async def test_a_form_is_told_what_it_lacks(self, platform: PlatformLab, name: str):
        verifier, challenge = pkce()
        code = (await platform.agree(challenge))["code"]
        answer = await platform.exchange(code, verifier, **{name: ""})
        assert error(answer) == (400, "invalid_request")
        assert name in answer.json()["error_description"]

    @pytest.mark.parametrize(
        ("changes", "code"),
        [
            ({"redirect_uri": f"{REDIRECT_URI}/"}, "invalid_grant"),
            ({"code_verifier": "x" * 43}, "invalid_grant"),
            ({"code": "other"}, "invalid_grant"),
            ({"client_id": "other"}, "invalid_client"),
            ({"grant_type": "password"}, "unsupported_grant_type"),
        ],
    )
    async def test_a_form_that_is_wrong_gets_the_error_of_the_standard(
        self, platform: PlatformLab, changes: dict[str, str], code: str
    ):
        verifier, challenge = pkce()
        granted = (await platform.agree(challenge))["code"]
        assert error(await platform.exchange(granted, verifier, **changes)) == (400, code)

    async def test_a_field_that_is_not_known_or_comes_twice_is_refused(self, platform: PlatformLab):
        answer = await platform.exchange("code", "verifier", surprise="1")
        assert (answer.status_code, answer.json()["message"]) == (422, "surprise field is not allowed")
        headers = {"content-type": "application/x-www-form-urlencoded"}
        twice = await platform.client.post(TOKEN, content="grant_type=refresh_token&grant_type=x", headers=headers)
        assert error(twice) == (400, "invalid_request")

    async def test_unfinished_onboarding_with_a_token_is_not_good_for_delegations_here_either(
        self, platform: PlatformLab
    ):
        await platform.conduct(phase="PHYSICAL_ADDRESS", phase_with_token=True)
        token = (await platform.signed_in())["access_token"]
        assert (await platform.ask("/v1/user", token)).status_code == 200
        assert (await platform.ask("/v1/delegation/chain/config", token)).status_code == 403

    async def test_without_offline_access_there_is_no_refresh_token(self, platform: PlatformLab):
        tokens = await platform.signed_in(scope="openid profile")
        assert "refresh_token" not in tokens
        assert tokens["scope"] == "openid profile"

    async def test_the_id_token_comes_with_openid_and_names_user_and_application(self, platform: PlatformLab):
        assert "id_token" not in await platform.signed_in(scope="offline_access")
        payload = (await platform.signed_in())["id_token"].split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        assert claims["aud"] == TENANT.client_id
        assert claims["sub"] == (await platform.look())["user"]["userId"]
        assert claims["exp"] - claims["iat"] == 21_600

    async def test_answers_with_tokens_are_not_to_be_stored(self, platform: PlatformLab):
        verifier, challenge = pkce()
        answer = await platform.exchange((await platform.agree(challenge))["code"], verifier)
        assert answer.headers["cache-control"] == "no-store"


class TestRefresh:
    @pytest.mark.parametrize("as_form", [False, True])
    async def test_a_refresh_token_is_exchanged_for_a_new_pair(self, platform: PlatformLab, as_form: bool):
        first = await platform.signed_in()
        body = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
        answer = await platform.client.post(TOKEN, **({"data": body} if as_form else {"json": body}))
        second = answer.json()
        assert second["refresh_token"] != first["refresh_token"]
        for tokens in (first, second):
            assert (await platform.ask("/v1/user", tokens["access_token"])).status_code == 200

    async def test_the_second_use_of_a_refresh_token_ends_the_whole_family(self, platform: PlatformLab):
        first, other = await platform.signed_in(), await platform.signed_in()
        second = (await platform.renew(first["refresh_token"])).json()
        assert error(await platform.renew(first["refresh_token"])) == (400, "invalid_grant")
        assert error(await platform.renew(second["refresh_token"])) == (400, "invalid_grant")
        assert (await platform.ask("/v1/user", second["access_token"])).status_code == 401
        assert (await platform.renew(other["refresh_token"])).status_code == 200
        assert await refresh_calls(platform) == [200, 400, 400, 200]

    async def test_of_fifty_refreshes_at_once_with_one_token_one_is_answered(self, platform: PlatformLab):
        tokens = await platform.signed_in()
        answers = await asyncio.gather(*(platform.renew(tokens["refresh_token"]) for _ in range(50)))
        assert sorted(answer.status_code for answer in answers) == [200] + [400] * 49

    async def test_a_lenient_platform_takes_a_used_refresh_token_again(self, platform: PlatformLab):
        await platform.conduct(rotation="lenient")
        first = await platform.signed_in()
        answers = [await platform.renew(first["refresh_token"]) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [200, 200]
        assert all("refresh_token" in answer.json() for answer in answers)

    async def test_without_rotation_the_answer_names_no_new_refresh_token(self, platform: PlatformLab):
        await platform.conduct(rotation="none")
        first = await platform.signed_in()
        for _ in range(2):
            answer = await platform.renew(first["refresh_token"])
            assert answer.status_code == 200
            assert "refresh_token" not in answer.json()

    async def test_tokens_end_by_the_clock_of_the_platform(self, platform: PlatformLab):
        await platform.conduct(access_life=60, refresh_life=600, refresh_life_told=True)
        tokens = await platform.signed_in()
        assert (tokens["expires_in"], tokens["refresh_token_expires_in"]) == (60, 600)
        await platform.advance(61)
        assert (await platform.ask("/v1/user", tokens["access_token"])).status_code == 401
        tokens = (await platform.renew(tokens["refresh_token"])).json()
        await platform.advance(601)
        assert error(await platform.renew(tokens["refresh_token"])) == (400, "invalid_grant")

    async def test_a_lost_answer_has_rotated_all_the_same(self, platform: PlatformLab):
        tokens = await platform.signed_in()
        await platform.misbehave(f"POST {TOKEN}", lose_answer=True)
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            await platform.renew(tokens["refresh_token"])
        assert await refresh_calls(platform) == [200]
        assert error(await platform.renew(tokens["refresh_token"])) == (400, "invalid_grant")

    @pytest.mark.parametrize("status", [401, 403])
    async def test_a_dead_refresh_token_can_have_other_statuses(self, platform: PlatformLab, status: int):
        await platform.conduct(invalid_grant=status)
        assert error(await platform.renew("other")) == (status, "invalid_grant")

    async def test_a_refresh_token_of_one_oauth_is_unknown_to_the_other(self, platform: PlatformLab):
        tokens = await platform.signed_in()
        answer = await platform.renew(tokens["refresh_token"], "/v1/auth/oauth/token")
        assert error(answer) == (400, "invalid_grant")
        assert (await platform.renew(tokens["refresh_token"])).status_code == 200


class TestRevoke:
    async def revoke(self, platform: PlatformLab, **body: str) -> httpx.Response:
        return await platform.client.post(REVOKE, json=body)

    async def test_a_revoked_refresh_token_takes_its_access_tokens_with_it(self, platform: PlatformLab):
        tokens = await platform.signed_in()
        answer = await self.revoke(platform, token=tokens["refresh_token"], token_hint="refresh_token")
        assert (answer.status_code, answer.json()) == (200, {"success": True})
        assert (await platform.ask("/v1/user", tokens["access_token"])).status_code == 401
        assert error(await platform.renew(tokens["refresh_token"])) == (400, "invalid_grant")

    async def test_a_revoked_access_token_leaves_the_refresh_token(self, platform: PlatformLab):
        tokens = await platform.signed_in()
        await self.revoke(platform, token=tokens["access_token"], token_hint="access_token")
        assert (await platform.ask("/v1/user", tokens["access_token"])).status_code == 401
        assert (await platform.renew(tokens["refresh_token"])).status_code == 200

    async def test_a_token_that_is_not_known_is_as_revoked_as_any(self, platform: PlatformLab):
        assert (await self.revoke(platform, token="other", token_hint="access_token")).status_code == 200
        assert (await platform.ask("/v1/user", PASTED_TOKEN)).status_code == 200

    @pytest.mark.parametrize(
        ("body", "text"),
        [
            ({"token": "x"}, "token_hint field is required"),
            ({"token": "x", "token_type_hint": "access_token"}, "token_type_hint field is not allowed"),
            ({"token": "x", "token_hint": "other"}, "token_hint field must be access_token or refresh_token"),
        ],
    )
    async def test_a_hint_of_another_name_is_refused(self, platform: PlatformLab, body: dict[str, str], text: str):
        answer = await self.revoke(platform, **body)
        assert (answer.status_code, answer.json()["message"]) == (422, text)
