"""The simulated platform's door: keys, configuration, tokens, faucet, and the misbehaviour that tests can ask for."""

import re
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from web3 import AsyncHTTPProvider, AsyncWeb3

CLOSED = (httpx.RemoteProtocolError, httpx.ReadError)


@pytest.fixture(scope="module")
async def connection(sandbox: Any) -> AsyncIterator[httpx.AsyncClient]:
    gateway = sandbox.document.gateway
    headers = {"x-client-key": gateway.client_key, "Authorization": f"Bearer {gateway.access_token}"}
    async with httpx.AsyncClient(base_url=gateway.base_url, headers=headers) as http:
        yield http


@pytest.fixture
async def client(connection: httpx.AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    yield connection
    for path in ("misbehave", "config", "clock"):
        (await connection.delete(f"/sandbox/{path}")).raise_for_status()


def message(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["message"]


async def misbehave(client: httpx.AsyncClient, path: str, **how: Any) -> None:
    (await client.post("/sandbox/misbehave", json={"method": "GET", "path": path} | how)).raise_for_status()


class TestAuthentication:
    @pytest.mark.parametrize("path", ["/v1/user", "/sandbox/proofs", "/v1/nothing", "/"])
    async def test_no_client_key_is_499_before_anything_else(self, client: httpx.AsyncClient, path: str):
        request = client.build_request("GET", path)
        del request.headers["x-client-key"], request.headers["authorization"]
        assert message(await client.send(request)) == (499, "Missing client key")

    @pytest.mark.parametrize("path", ["/v1/user", "/sandbox/proofs", "/v1/nothing"])
    async def test_a_wrong_client_key_is_498(self, client: httpx.AsyncClient, path: str):
        assert message(await client.get(path, headers={"x-client-key": "other"})) == (498, "Invalid client key")

    @pytest.mark.parametrize("header", ["Bearer other", "Bearer", "Basic {token}", "{token}", ""])
    async def test_a_wrong_access_token_is_401(self, client: httpx.AsyncClient, sandbox: Any, header: str):
        header = header.format(token=sandbox.document.gateway.access_token)
        response = await client.get("/v1/user", headers={"Authorization": header})
        assert message(response) == (401, "Not authenticated")

    async def test_an_unknown_path_is_404_in_json(self, client: httpx.AsyncClient):
        assert message(await client.get("/v1/nothing")) == (404, "Not Found")

    async def test_an_unknown_method_is_405_in_json(self, client: httpx.AsyncClient):
        assert message(await client.delete("/v1/user")) == (405, "Method Not Allowed")

    async def test_the_user_is_told_who_they_are(self, client: httpx.AsyncClient):
        user = (await client.get("/v1/user")).json()
        assert re.fullmatch(r"[0-9a-f-]{36}", user["id"])
        assert user["verificationState"] == "VERIFIED"


class TestChainConfig:
    async def test_it_lists_every_network_with_text_chain_ids_and_tokens_by_symbol(
        self, client: httpx.AsyncClient, sandbox: Any
    ):
        answer = (await client.get("/v1/delegation/chain/config")).json()
        assert answer["count"] == len(answer["networks"]) == 5
        assert answer["_links"] == {"self": "/v1/delegation/chain/config"}
        entries = {entry["network"]: entry for entry in answer["networks"]}
        for name, network in sandbox.document.networks.items():
            assert entries[name] == {
                "network": name,
                "environment": "sandbox",
                "chainId": str(network.chain_id),
                "delegationContract": network.delegation_contract,
                "tokens": {
                    symbol: {"symbol": symbol, "decimals": token.decimals, "address": token.address}
                    for symbol, token in network.tokens.items()
                },
            }

    async def test_it_holds_one_network_of_a_shape_of_its_own(self, client: httpx.AsyncClient):
        answer = (await client.get("/v1/delegation/chain/config")).json()
        assert {"network", "environment", "program"} in [set(entry) for entry in answer["networks"]]

    @pytest.mark.parametrize(("wanted", "count"), [("linea", 1), ("Linea", 1), ("algorand", 1), ("etherlink", 0)])
    async def test_it_can_be_asked_for_one_network(self, client: httpx.AsyncClient, wanted: str, count: int):
        answer = (await client.get("/v1/delegation/chain/config", params={"network": wanted})).json()
        assert answer["count"] == len(answer["networks"]) == count

    async def test_a_test_can_change_what_it_says_and_change_it_back(self, client: httpx.AsyncClient):
        query = {"network": "linea"}
        before = (await client.get("/v1/delegation/chain/config", params=query)).json()
        change = {"network": "linea", "delegationContract": "0x" + "11" * 20, "chainId": "0xe708", "tokens": {}}
        (await client.post("/sandbox/config", json=change)).raise_for_status()
        changed = (await client.get("/v1/delegation/chain/config", params=query)).json()["networks"]
        assert changed == [before["networks"][0] | change]
        (await client.delete("/sandbox/config")).raise_for_status()
        assert (await client.get("/v1/delegation/chain/config", params=query)).json() == before

    @pytest.mark.parametrize("body", [{"network": "moon"}, {"chainId": "1"}, {"network": "linea", "other": 1}, []])
    async def test_a_change_that_makes_no_sense_is_refused(self, client: httpx.AsyncClient, body: Any):
        assert (await client.post("/sandbox/config", json=body)).status_code == 422


class TestDelegationToken:
    async def test_it_is_opaque_and_comes_with_a_nonce(self, client: httpx.AsyncClient):
        response = await client.get("/v1/delegation/token")
        answer = response.json()
        assert response.status_code == 200
        assert answer.keys() == {"token", "nonce"}
        assert re.fullmatch(r"SBX_[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", answer["token"])
        assert re.fullmatch(r"[0-9a-f]{24}", answer["nonce"])

    async def test_every_token_is_new(self, client: httpx.AsyncClient):
        answers = [(await client.get("/v1/delegation/token")).json() for _ in range(3)]
        assert len({answer["token"] for answer in answers} | {answer["nonce"] for answer in answers}) == 6


class TestFaucet:
    @pytest.fixture(autouse=True)
    async def unused_faucet(self, client: httpx.AsyncClient) -> None:
        (await client.delete("/sandbox/faucet")).raise_for_status()

    async def ask(self, client: httpx.AsyncClient, address: str, network: str) -> httpx.Response:
        query = {"faucet": "true", "address": address, "network": network}
        return await client.get("/v1/delegation/token", params=query)

    @pytest.mark.parametrize("network", ["linea", "base"])
    async def test_it_sends_gas_on_an_evm_network(self, client: httpx.AsyncClient, sandbox: Any, network: str):
        wallet = await sandbox.new_wallet("evm", gas=False, tokens=False)
        response = await self.ask(client, wallet.address, network)
        assert (response.status_code, response.json()["faucetStatus"]) == (200, "confirmed")
        web3 = AsyncWeb3(AsyncHTTPProvider(sandbox.document.networks[network].rpc_url))
        assert await web3.eth.get_balance(wallet.address) == 10**16
        await web3.provider.disconnect()

    async def test_it_sends_gas_on_solana(self, client: httpx.AsyncClient, sandbox: Any):
        wallet = await sandbox.new_wallet("solana", gas=False, tokens=False)
        response = await self.ask(client, wallet.address, "solana")
        assert (response.status_code, response.json()["faucetStatus"]) == (200, "confirmed")
        call = {"jsonrpc": "2.0", "id": 1, "method": "getBalance", "params": [wallet.address]}
        answer = (await client.post(sandbox.document.networks["solana"].rpc_url, json=call)).json()
        assert answer["result"]["value"] == 10**7

    async def test_the_second_request_of_a_user_is_declined_on_any_network_and_still_gets_a_token(
        self, client: httpx.AsyncClient, sandbox: Any
    ):
        wallet = await sandbox.new_wallet("evm", gas=False, tokens=False)
        assert (await self.ask(client, wallet.address, "base")).status_code == 200
        again = await self.ask(client, wallet.address, "linea")
        assert (again.status_code, again.json()["faucetStatus"]) == (207, "declined")
        assert again.json()["token"].startswith("SBX_")

    async def test_there_is_no_faucet_on_ethereum(self, client: httpx.AsyncClient, sandbox: Any):
        wallet = await sandbox.new_wallet("evm", gas=False, tokens=False)
        response = await self.ask(client, wallet.address, "ethereum")
        assert (response.status_code, response.json()["faucetStatus"]) == (207, "declined")

    @pytest.mark.parametrize(
        "query",
        [
            {},
            {"network": "linea"},
            {"address": "0x" + "11" * 20},
            {"network": "moon", "address": "0x" + "11" * 20},
            {"network": "linea", "address": "0x11"},
            {"network": "solana", "address": "0x" + "11" * 20},
            {"network": "linea", "address": "DYw8jCTfwHNRJhhmFcbXvVDTqWMEVFBX6ZKUmG5CNSKK"},
        ],
    )
    async def test_it_needs_an_address_and_its_network(self, client: httpx.AsyncClient, query: dict[str, str]):
        response = await client.get("/v1/delegation/token", params={"faucet": "true"} | query)
        status, text = message(response)
        assert status == 422
        assert text.startswith("Validation error: ")


class TestMisbehaviour:
    async def test_it_answers_the_status_it_was_told_as_often_as_it_was_told(self, client: httpx.AsyncClient):
        await misbehave(client, "/v1/user", times=2, status=503)
        answers = [(await client.get("/v1/user")).status_code for _ in range(3)]
        assert answers == [503, 503, 200]

    async def test_it_answers_the_body_and_headers_it_was_told(self, client: httpx.AsyncClient):
        await misbehave(client, "/v1/user", status=429, headers={"Retry-After": "7"})
        await misbehave(client, "/v1/user", status=500, body="Created")
        await misbehave(client, "/v1/user", status=200, body=[1])
        limited, text, listed = [await client.get("/v1/user") for _ in range(3)]
        assert message(limited) == (429, "Too many requests")
        assert limited.headers["retry-after"] == "7"
        assert (text.status_code, text.text) == (500, "Created")
        assert (listed.status_code, listed.json()) == (200, [1])

    async def test_only_the_named_method_and_path_misbehave(self, client: httpx.AsyncClient):
        await misbehave(client, "/v1/wallet/external/priority", status=500, times=99)
        response = await client.put("/v1/wallet/external/priority", json={"wallets": "all"})
        assert message(response) == (422, "Invalid priority configuration")
        assert (await client.get("/v1/user")).status_code == 200

    async def test_it_can_be_told_to_behave_again(self, client: httpx.AsyncClient):
        await misbehave(client, "/v1/user", status=500, times=99)
        (await client.delete("/sandbox/misbehave")).raise_for_status()
        assert (await client.get("/v1/user")).status_code == 200

    async def test_a_delay_is_waited_and_then_the_request_is_acted_on(self, client: httpx.AsyncClient):
        await misbehave(client, "/v1/user", delay=0.2)
        start = time.monotonic()
        assert (await client.get("/v1/user")).status_code == 200
        assert time.monotonic() - start >= 0.2

    @pytest.mark.parametrize("how", ["drop", "lose_answer"])
    async def test_the_connection_is_closed_without_an_answer_and_without_noise(
        self, client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], how: str
    ):
        await misbehave(client, "/v1/user", times=2, **{how: True})
        caplog.clear()
        for _ in range(2):
            with pytest.raises(CLOSED):
                await client.get("/v1/user")
        assert (await client.get("/v1/user")).status_code == 200
        assert [record for record in caplog.records if record.name.startswith("uvicorn")] == []
        assert "".join(capfd.readouterr()) == ""

    @pytest.mark.parametrize(("how", "acted"), [("drop", 0), ("lose_answer", 1)])
    async def test_dropping_comes_before_acting_and_losing_the_answer_after_it(
        self, client: httpx.AsyncClient, how: str, acted: int
    ):
        path = "/v1/delegation/evm/post-approval"
        before = len((await client.get("/sandbox/proofs")).json())
        await misbehave(client, path, method="POST", **{how: True})
        with pytest.raises(CLOSED):
            await client.post(path, json={"address": "nobody"})
        assert len((await client.get("/sandbox/proofs")).json()) - before == acted

    async def test_requests_are_counted_whatever_became_of_them(self, client: httpx.AsyncClient):
        before = (await client.get("/sandbox/requests")).json().get("GET /v1/user", 0)
        await misbehave(client, "/v1/user", drop=True)
        with pytest.raises(CLOSED):
            await client.get("/v1/user")
        await client.get("/v1/user", params={"region": "us"})
        counts = (await client.get("/sandbox/requests")).json()
        assert counts["GET /v1/user"] - before == 2
        assert not [key for key in counts if "/sandbox/" in key]

    @pytest.mark.parametrize(
        "body",
        [
            {"method": "GET"},
            {"method": "GET", "path": "/v1/user", "how": "badly"},
            {"method": "GET", "path": "/v1/user", "status": "500"},
            {"method": "GET", "path": "/v1/user", "times": True},
            {"method": "GET", "path": "/v1/user", "status": 99},
            [],
        ],
    )
    async def test_a_misbehaviour_that_makes_no_sense_is_refused(self, client: httpx.AsyncClient, body: Any):
        assert (await client.post("/sandbox/misbehave", json=body)).status_code == 422


async def test_the_clock_moves_forward_when_told_and_can_be_set_back(client: httpx.AsyncClient):
    later = datetime.fromisoformat((await client.post("/sandbox/clock", json={"advance": 3600})).json()["now"])
    assert later - datetime.now(UTC) > timedelta(minutes=59)
    reset = datetime.fromisoformat((await client.delete("/sandbox/clock")).json()["now"])
    assert abs(reset - datetime.now(UTC)) < timedelta(minutes=1)


@pytest.mark.parametrize("advance", ["soon", None, [], 1e300])
async def test_a_clock_cannot_be_moved_by_nonsense(client: httpx.AsyncClient, advance: Any):
    assert (await client.post("/sandbox/clock", json={"advance": advance})).status_code == 422
