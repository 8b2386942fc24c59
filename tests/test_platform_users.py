"""Who the simulated platform says the user is, and what an unverified user or another kind of tenant is refused."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from platform_lab import PASTED_TOKEN, PlatformLab

APPROVAL = "/v1/delegation/evm/post-approval"


def message(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["message"]


@pytest.mark.parametrize("state", ["UNVERIFIED", "PENDING", "REJECTED", "A_STATE_OF_TOMORROW"])
async def test_the_verification_state_is_whatever_a_test_says(platform: PlatformLab, state: str):
    await platform.conduct(verification_state=state)
    assert (await platform.ask("/v1/user", PASTED_TOKEN)).json()["verificationState"] == state
    assert (await platform.login()).json()["verificationState"] == state


async def test_the_user_is_the_same_for_every_way_of_signing_in(platform: PlatformLab):
    tokens = [PASTED_TOKEN, await platform.logged_in(), (await platform.signed_in())["access_token"]]
    users = [(await platform.ask("/v1/user", token)).json() for token in tokens]
    assert users[0] == users[1] == users[2]
    assert users[0]["ssn"] is None, "a number that Americans have"


async def test_an_unverified_user_delegates_nothing(platform: PlatformLab):
    headers = {"authorization": f"Bearer {PASTED_TOKEN}"}
    await platform.conduct(verification_state="PENDING")
    refused = await platform.client.post(APPROVAL, json={}, headers=headers)
    assert message(refused) == (403, "Account has not been verified")
    await platform.conduct(verification_state="VERIFIED")
    assert (await platform.client.post(APPROVAL, json={}, headers=headers)).status_code == 422


async def test_the_wallets_of_a_custodial_tenant_are_not_for_another_one(platform: PlatformLab):
    refused = await platform.ask("/v1/wallet/internal", PASTED_TOKEN)
    assert message(refused) == (403, "This route is only available for CUSTODIAL")
    await platform.conduct(tenant="custodial")
    answer = await platform.ask("/v1/wallet/internal", PASTED_TOKEN)
    assert (answer.status_code, answer.json()) == (200, [])


@pytest.mark.parametrize(
    "path",
    ["/v1/delegation/token", "/v1/delegation/chain/config", "/v1/wallet/external", "/v1/wallet/external/priority"],
)
async def test_a_custodial_tenant_has_no_delegations(platform: PlatformLab, path: str):
    assert (await platform.ask(path, PASTED_TOKEN)).status_code == 200
    await platform.conduct(tenant="custodial")
    assert message(await platform.ask(path, PASTED_TOKEN)) == (403, "Not authorized")


@pytest.mark.parametrize(
    "switches",
    [
        {"otp": "sometimes"},
        {"surprise": True},
        {"disabled": 1},
        {"access_life": -1},
        {"bad_credentials": 500},
        {"redirect_uris": "x"},
        [],
    ],
)
async def test_a_switch_that_is_not_there_is_refused_and_changes_nothing(platform: PlatformLab, switches: Any):
    before = (await platform.look())["conduct"]
    assert (await platform.client.post("/sandbox/sign-in", json=switches)).status_code == 422
    assert (await platform.look())["conduct"] == before
