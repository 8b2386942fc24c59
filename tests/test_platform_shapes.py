"""The simulated platform's other answers: every shape of refusal, late refusals, and limits of requests."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from platform_lab import PASTED_TOKEN, PlatformLab

USER = "GET /v1/user"
SHAPES: dict[str, tuple[int, Any]] = {
    "message": (400, {"message": "Bad request"}),
    "unknown field": (422, {"message": "surprise field is not allowed"}),
    "oauth": (400, {"error": "invalid_grant", "error_description": "The grant is not good"}),
    "error with details": (400, {"error": "Validation error", "details": ["First fault", "Second fault"]}),
    "error with fields": (
        400,
        {"error": "bad_request", "error_description": "A field is wrong", "details": {"field": "amount"}},
    ),
    "delegation service": (
        400,
        {"type": "BadRequest", "details": "Delegation failed", "data": {"message": "Not good"}},
    ),
    "custodial only": (403, {"message": "This route is only available for CUSTODIAL"}),
    "missing user data": (400, {"message": "Missing User Data"}),
    "success false": (200, {"success": False}),
}


async def ask(platform: PlatformLab) -> httpx.Response:
    return await platform.ask("/v1/user", PASTED_TOKEN)


@pytest.mark.parametrize("name", SHAPES)
async def test_a_shape_comes_once_with_its_own_status(platform: PlatformLab, name: str):
    await platform.misbehave(USER, shape=name)
    answer = await ask(platform)
    assert (answer.status_code, answer.json()) == SHAPES[name]
    assert (await ask(platform)).status_code == 200


async def test_a_shape_can_have_another_status(platform: PlatformLab):
    await platform.misbehave(USER, shape="message", status=404, headers={"retry-after": "3"})
    answer = await ask(platform)
    assert (answer.status_code, answer.headers["retry-after"]) == (404, "3")


async def test_an_answer_of_an_inner_service_is_json_as_text(platform: PlatformLab):
    await platform.misbehave(USER, shape="nested")
    answer = await ask(platform)
    assert answer.status_code == 500
    assert json.loads(answer.json()["message"])["error"]["message"] == "Inner service failed"


async def test_html_names_what_was_asked(platform: PlatformLab):
    await platform.misbehave(USER, shape="html")
    answer = await ask(platform)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "<pre>Cannot GET /v1/user</pre>" in answer.text


@pytest.mark.parametrize(("name", "status", "text"), [("bare text", 201, "Created"), ("empty", 500, "")])
async def test_some_answers_are_no_json_at_all(platform: PlatformLab, name: str, status: int, text: str):
    await platform.misbehave(USER, shape=name)
    answer = await ask(platform)
    assert (answer.status_code, answer.text) == (status, text)


@pytest.mark.parametrize("how", [{"shape": "round"}, {"shape": "html", "body": "x"}, {"shape": 1}, {"act": 1}])
async def test_a_shape_that_is_not_known_is_refused(platform: PlatformLab, how: dict[str, Any]):
    answer = await platform.client.post("/sandbox/misbehave", json={"method": "GET", "path": "/v1/user", **how})
    assert answer.status_code == 422


async def test_an_error_can_come_after_all_was_done(platform: PlatformLab):
    token = await platform.logged_in()
    headers = {"authorization": f"Bearer {token}"}
    await platform.misbehave("POST /v1/auth/logout", status=500, act=True)
    assert (await platform.client.post("/v1/auth/logout", headers=headers)).status_code == 500
    assert (await platform.ask("/v1/user", token)).status_code == 401


BODIES = {
    "nothing": b"",
    "half": b'{"email": ',
    "null": b"null",
    "number": b"1",
    "objects for texts": b'{"email": {}, "userId": {}, "grant_type": [], "token": 1, "token_hint": null}',
    "no text": b"\xff\xfe{}",
    "a lone surrogate": b'{"email": "\\ud800", "userId": "\\ud800", "grant_type": "\\ud800", "token": "\\ud800"}',
    "deep": b"[" * 100_000,
    "a form": b"grant_type=%FF%FE&token=%00&=&&x",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("kind", ["application/json", "application/x-www-form-urlencoded", "text/plain", None])
async def test_no_body_of_a_stranger_makes_the_platform_fail(platform: PlatformLab, body: bytes, kind: str | None):
    headers = {"content-type": kind} if kind else {}
    for path in ("login", "login/otp", "oauth/token", "oauth2/token", "oauth2/revoke"):
        answer = await platform.client.post(f"/v1/auth/{path}", content=body, headers=headers)
        assert answer.status_code in (400, 422), path
        assert answer.json().keys() <= {"message", "error", "error_description"}
    page = await platform.client.post("/hosted/sign-in", content=body, headers=headers)
    assert (page.status_code, page.headers["content-type"]) == (400, "text/html; charset=utf-8")


class TestLimits:
    async def limit(self, platform: PlatformLab, **changes: Any) -> httpx.Response:
        limit = {"method": "GET", "path": "/v1/user", "requests": 2, "seconds": 60} | changes
        return await platform.client.post("/sandbox/limit", json=limit)

    async def test_who_asks_too_often_is_told_when_to_come_again(self, platform: PlatformLab):
        await self.limit(platform)
        answers = [await ask(platform) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert answers[2].json() == {"message": "Too many requests"}
        wait = int(answers[2].headers["retry-after"])
        assert 50 < wait <= 60
        await platform.advance(wait)
        assert (await ask(platform)).status_code == 200

    async def test_it_need_not_say_when(self, platform: PlatformLab):
        await self.limit(platform, requests=0, retry_after=False)
        answer = await ask(platform)
        assert answer.status_code == 429
        assert "retry-after" not in answer.headers

    async def test_other_requests_are_not_limited(self, platform: PlatformLab):
        await self.limit(platform, requests=0)
        assert (await platform.login()).status_code == 200

    @pytest.mark.parametrize("changes", [{"requests": -1}, {"seconds": 0}, {"requests": "2"}, {"other": 1}])
    async def test_a_limit_that_makes_no_sense_is_refused(self, platform: PlatformLab, changes: dict[str, Any]):
        assert (await self.limit(platform, **changes)).status_code == 422
