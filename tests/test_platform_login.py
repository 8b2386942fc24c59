"""The direct login of the simulated platform: its documented answers, its codes, and what ends its tokens."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from platform_lab import PASTED_TOKEN, TENANT, PlatformLab

LOGIN = "/v1/auth/login"
CREDENTIALS = {"email": TENANT.email, "password": TENANT.password}


def message(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["message"]


class TestDecisionTable:
    async def test_a_password_alone_gets_no_token_while_a_code_is_wanted(self, platform: PlatformLab):
        answer = (await platform.login()).json()
        assert answer == {
            "accessToken": None,
            "userId": answer["userId"],
            "isOtpRequired": True,
            "phoneNumber": "+441*****225",
            "phase": None,
            "verificationState": "VERIFIED",
            "isLinked": False,
        }

    async def test_the_login_itself_sends_no_code(self, platform: PlatformLab):
        await platform.login()
        assert (await platform.look())["codes"] == []

    async def test_the_code_that_was_sent_makes_a_token_which_is_good(self, platform: PlatformLab):
        user = (await platform.login()).json()["userId"]
        sent = await platform.client.post("/v1/auth/login/otp", json={"userId": user})
        assert (sent.status_code, sent.json()) == (200, {"success": True})
        answer = (await platform.login(otpCode=await platform.code())).json()
        assert (answer["isOtpRequired"], answer["phase"], answer["phoneNumber"]) == (False, None, None)
        assert (await platform.ask("/v1/user", answer["accessToken"])).json()["id"] == user

    async def test_without_codes_the_password_is_enough(self, platform: PlatformLab):
        await platform.conduct(otp="off")
        assert (await platform.login()).json()["accessToken"]

    @pytest.mark.parametrize("phase", ["ACCOUNT", "PHONE_NUMBER", "MAILING_ADDRESS"])
    async def test_unfinished_onboarding_gets_its_phase_and_no_token(self, platform: PlatformLab, phase: str):
        await platform.conduct(otp="off", phase=phase)
        answer = (await platform.login()).json()
        assert (answer["accessToken"], answer["isOtpRequired"], answer["phase"]) == (None, False, phase)

    async def test_a_token_of_unfinished_onboarding_is_not_good_for_delegations(self, platform: PlatformLab):
        await platform.conduct(otp="off", phase="PHYSICAL_ADDRESS", phase_with_token=True)
        answer = (await platform.login()).json()
        assert answer["phase"] == "PHYSICAL_ADDRESS"
        assert (await platform.ask("/v1/user", answer["accessToken"])).status_code == 200
        refused = await platform.ask("/v1/delegation/chain/config", answer["accessToken"])
        assert message(refused) == (403, "Not authorized")

    async def test_a_token_shown_while_a_code_is_wanted_is_worthless(self, platform: PlatformLab):
        await platform.conduct(token_beside_otp=True)
        answer = (await platform.login()).json()
        assert answer["isOtpRequired"] is True
        assert message(await platform.ask("/v1/user", answer["accessToken"])) == (401, "Not authenticated")

    async def test_a_wanted_code_can_be_an_error_instead(self, platform: PlatformLab):
        await platform.conduct(otp_as_error=True)
        assert message(await platform.login()) == (400, "OTP required")


class TestRefusals:
    @pytest.mark.parametrize("wrong", [{"password": "other"}, {"email": "other@sandbox.example"}])
    async def test_wrong_credentials_are_400_whichever_is_wrong(self, platform: PlatformLab, wrong: dict[str, str]):
        assert message(await platform.login(**wrong)) == (400, "Invalid credentials")

    @pytest.mark.parametrize("status", [401, 403, 404])
    async def test_wrong_credentials_can_have_the_statuses_that_clients_report(
        self, platform: PlatformLab, status: int
    ):
        await platform.conduct(bad_credentials=status)
        assert message(await platform.login(password="other")) == (status, "Invalid credentials")

    async def test_a_disabled_account_says_so_to_who_knows_its_password(self, platform: PlatformLab):
        await platform.conduct(disabled=True)
        assert message(await platform.login()) == (400, "Your account has been disabled")
        assert message(await platform.login(password="other")) == (400, "Invalid credentials")

    @pytest.mark.parametrize(
        ("body", "text"),
        [
            ({"email": TENANT.email}, "password field is required"),
            ({**CREDENTIALS, "username": "x"}, "username field is not allowed"),
            ({**CREDENTIALS, "otpCode": None}, "otpCode field must be a text that is not empty"),
            ({**CREDENTIALS, "otpCode": "12345"}, "otpCode field must be 6 digits"),
            ({**CREDENTIALS, "otpCode": "\u0661\u0662\u0663\u0664\u0665\u0666"}, "otpCode field must be 6 digits"),
            ({**CREDENTIALS, "password": ""}, "password field must be a text that is not empty"),
            ([], "Validation error: the body must be an object"),
        ],
    )
    async def test_a_body_that_is_not_as_documented_is_422_with_the_field(
        self, platform: PlatformLab, body: Any, text: str
    ):
        assert message(await platform.client.post(LOGIN, json=body)) == (422, text)

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("POST", LOGIN),
            ("POST", "/v1/auth/login/otp"),
            ("GET", "/v1/auth/oauth/authorize/initiate"),
            ("POST", "/v1/auth/oauth/token"),
            ("POST", "/v1/auth/oauth2/token"),
            ("POST", "/v1/auth/oauth2/revoke"),
        ],
    )
    async def test_a_bearer_before_signing_in_is_refused_even_a_live_one(
        self, platform: PlatformLab, method: str, path: str
    ):
        for token in ("stale", PASTED_TOKEN):
            headers = {"authorization": f"Bearer {token}"}
            answer = await platform.client.request(method, path, json=CREDENTIALS, headers=headers)
            assert message(answer) == (400, "Missing User Data")


class TestCodes:
    async def ask_for_code(self, platform: PlatformLab) -> httpx.Response:
        user = (await platform.login()).json()["userId"]
        return await platform.client.post("/v1/auth/login/otp", json={"userId": user})

    async def test_sending_that_is_suppressed_says_so_with_status_200(self, platform: PlatformLab):
        await platform.conduct(otp="suppressed")
        answer = await self.ask_for_code(platform)
        assert (answer.status_code, answer.json()) == (200, {"success": False})
        assert (await platform.look())["codes"] == []

    async def test_nobody_else_is_sent_a_code(self, platform: PlatformLab):
        answer = await platform.client.post("/v1/auth/login/otp", json={"userId": "somebody"})
        assert message(answer) == (400, "Invalid user ID")

    async def test_a_code_is_good_once(self, platform: PlatformLab):
        await self.ask_for_code(platform)
        code = await platform.code()
        assert (await platform.login(otpCode=code)).json()["accessToken"]
        assert message(await platform.login(otpCode=code)) == (400, "Invalid OTP code")

    async def test_a_code_is_void_once_another_was_sent(self, platform: PlatformLab):
        await self.ask_for_code(platform)
        first = await platform.code()
        await self.ask_for_code(platform)
        while await platform.code() == first:  # one time in a million
            await self.ask_for_code(platform)
        assert message(await platform.login(otpCode=first)) == (400, "Invalid OTP code")
        assert [sent["state"] for sent in (await platform.look())["codes"]][:2] == ["replaced", "good"]

    async def test_a_code_expires_by_the_clock_of_the_platform(self, platform: PlatformLab):
        await self.ask_for_code(platform)
        await platform.advance(181)
        assert message(await platform.login(otpCode=await platform.code())) == (400, "OTP code expired")

    async def test_a_code_cannot_be_guessed_for_long(self, platform: PlatformLab):
        await self.ask_for_code(platform)
        code = await platform.code()
        wrong = "000000" if code != "000000" else "111111"
        for _ in range(5):
            assert message(await platform.login(otpCode=wrong)) == (400, "Invalid OTP code")
        assert message(await platform.login(otpCode=code)) == (400, "Invalid OTP code")


class TestTokens:
    async def test_a_login_lasts_six_hours_and_not_a_second_more(self, platform: PlatformLab):
        token = await platform.logged_in()
        await platform.advance(21_590)
        assert (await platform.ask("/v1/user", token)).status_code == 200
        await platform.advance(11)
        assert message(await platform.ask("/v1/user", token)) == (401, "Not authenticated")

    @pytest.mark.parametrize(("minted", "other"), [("us", "international"), ("international", "us")])
    async def test_a_token_is_good_in_the_region_that_minted_it(self, platform: PlatformLab, minted: str, other: str):
        token = await platform.logged_in(minted)
        assert (await platform.ask("/v1/user", token, minted)).status_code == 200
        assert message(await platform.ask("/v1/user", token, other)) == (401, "Not authenticated")

    async def test_the_token_that_is_given_out_without_signing_in_is_good_everywhere(self, platform: PlatformLab):
        await platform.advance(86_400 * 365)
        for region in ("us", "international"):
            assert (await platform.ask("/v1/user", PASTED_TOKEN, region)).status_code == 200

    async def test_a_logged_out_token_is_dead_and_others_are_not(self, platform: PlatformLab):
        token, other = await platform.logged_in(), await platform.logged_in()
        headers = {"authorization": f"Bearer {token}"}
        answer = await platform.client.post("/v1/auth/logout", headers=headers)
        assert (answer.status_code, answer.json()) == (200, {"success": True})
        assert message(await platform.ask("/v1/user", token)) == (401, "Not authenticated")
        assert message(await platform.client.post("/v1/auth/logout", headers=headers)) == (401, "Not authenticated")
        assert (await platform.ask("/v1/user", other)).status_code == 200

    async def test_a_logout_has_no_body(self, platform: PlatformLab):
        headers = {"authorization": f"Bearer {await platform.logged_in()}"}
        answer = await platform.client.post("/v1/auth/logout", headers=headers, json={"token": "x"})
        assert answer.status_code == 422

    async def test_the_token_that_never_expires_can_be_logged_out_until_all_is_forgotten(self, platform: PlatformLab):
        headers = {"authorization": f"Bearer {PASTED_TOKEN}"}
        assert (await platform.client.post("/v1/auth/logout", headers=headers)).status_code == 200
        assert (await platform.ask("/v1/user", PASTED_TOKEN)).status_code == 401
        await platform.reset()
        assert (await platform.ask("/v1/user", PASTED_TOKEN)).status_code == 200
