"""The client over real HTTP on loopback: what it sends, what it repeats, what it refuses, and what it never says."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import time
import traceback
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import uvicorn

from delegation.errors import (
    ClientKeyInvalidError,
    GatewayError,
    GatewayUnreachableError,
    InvalidRequestError,
    NotAuthenticatedError,
    PlatformFailedError,
    RateLimitedError,
    RejectedError,
    UnexpectedAnswerError,
)
from delegation.gateway.client import Gateway
from delegation.models import Proof

CLIENT_KEY = "client-key-1f2e3d4c"
ACCESS_TOKEN = "US_access-token-9a8b7c6d"
OWNER = "0x3a11a86Cf218C448bE519728cd3Ac5c741FB3424"
TOKEN = {"token": "ABC_100a99cf-f4d3-4fa1-9be9-2e9828b20ebc", "nonce": "5f8a9b2c4d3e1a7b9c6d8e2f"}
WALLETS = [
    {"address": OWNER.lower(), "currency": "usdc", "balance": "1250.50", "allowance": "5000", "network": "linea"},
    {"address": OWNER.lower(), "currency": "usdt", "balance": "500.00", "allowance": "0x0", "network": "ethereum"},
    {"address": OWNER.lower(), "currency": "usdc", "balance": "1", "allowance": "2", "network": "base"},
]
PRIORITIES = [
    {"id": 551, "address": OWNER, "currency": "USDC", "network": "linea", "priority": 1},
    {"id": 553, "address": OWNER, "currency": "usdc", "network": "base", "priority": 3},
    {"id": 552, "address": OWNER, "currency": "usdt", "network": "ethereum", "priority": 2},
]
# The approve hash of the platform's own sample, in the body as the shipping client sends it.
PROOF = Proof(
    address=OWNER,
    network="linea",
    currency="usdc",
    amount="5000",
    tx_hash="0xb92de09d893e8162b0861c0f7321f68df02212efbc58f208839ae3f176d89638",
    sig_hash="0x" + "ab" * 65,
    sig_message=f"a.example wants you to sign in with your Ethereum account:\n{OWNER}\n\nProve address ownership\n",
    token=TOKEN["token"],
)
PROOF_ON_THE_WIRE = (
    '{"address":"0x3a11a86Cf218C448bE519728cd3Ac5c741FB3424","network":"linea","currency":"usdc","amount":"5000",'
    '"txHash":"0xb92de09d893e8162b0861c0f7321f68df02212efbc58f208839ae3f176d89638","sigHash":"0x' + "ab" * 65 + '",'
    '"sigMessage":"a.example wants you to sign in with your Ethereum account:\\n'
    '0x3a11a86Cf218C448bE519728cd3Ac5c741FB3424\\n\\nProve address ownership\\n",'
    '"token":"ABC_100a99cf-f4d3-4fa1-9be9-2e9828b20ebc"}'
)


@dataclass(frozen=True)
class Reply:
    """One scripted answer: `delay` in seconds before it; `trickle` sends a byte every 50 ms instead of a body."""

    body: Any = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    trickle: bool = False

    @property
    def content(self) -> bytes:
        """The body as it goes over the wire."""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass(frozen=True)
class Seen:
    """One request as it arrived."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


class Platform:
    """A web server that answers as scripted, the last answer of a path again and again, and remembers what it saw."""

    def __init__(self) -> None:
        self.base_url = ""
        self.seen: list[Seen] = []
        self._script: dict[tuple[str, str], list[Reply]] = {}

    def answers(self, path: str, *replies: Reply, method: str = "GET") -> None:
        """Script the answers of one path."""
        self._script[method, path] = list(replies)

    def clear(self) -> None:
        """Forget everything."""
        self.seen.clear()
        self._script.clear()

    async def __call__(self, scope: Any, receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.seen.append(Seen(scope["method"], scope["path"], scope["query_string"].decode(), headers, body))
        script = self._script[scope["method"], scope["path"]]
        reply = script.pop(0) if len(script) > 1 else script[0]
        await asyncio.sleep(reply.delay)
        sent = [(name.encode(), value.encode()) for name, value in reply.headers.items()]
        await send({"type": "http.response.start", "status": reply.status, "headers": sent})
        for _ in range(40 if reply.trickle else 0):
            await send({"type": "http.response.body", "body": b" ", "more_body": True})
            await asyncio.sleep(0.05)
        await send({"type": "http.response.body", "body": reply.content})


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[Platform]:
    platform = Platform()
    listening = socket.create_server(("127.0.0.1", 0))
    platform.base_url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    config = uvicorn.Config(platform, log_level="critical", lifespan="off", ws="none", timeout_graceful_shutdown=1)
    web = uvicorn.Server(config)
    serving = asyncio.create_task(web.serve(sockets=[listening]))
    while not web.started:  # noqa: ASYNC110 - uvicorn offers no event
        await asyncio.sleep(0.01)
    yield platform
    web.should_exit = True
    await serving
    listening.close()


@pytest.fixture
def platform(server: Platform) -> Platform:
    server.clear()
    return server


@pytest.fixture
async def gateway(platform: Platform) -> AsyncIterator[Gateway]:
    async with Gateway(platform.base_url, CLIENT_KEY, ACCESS_TOKEN) as opened:
        yield opened


@asynccontextmanager
async def line_that_breaks(answer: bytes = b"") -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that reads a request, sends `answer` and hangs up; yields its URL and what it read."""
    read: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next((line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")), b":0")
        read.append(head + await reader.readexactly(int(length.split(b":")[1])))
        writer.write(answer)
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", read


def closed_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return f"http://127.0.0.1:{listening.getsockname()[1]}"


class TestEveryRequest:
    @pytest.mark.parametrize(("region", "text"), [("international", "false"), ("us", "true")])
    async def test_it_carries_the_client_key_the_bearer_and_the_region(
        self, platform: Platform, region: Any, text: str
    ):
        platform.answers("/v1/wallet/external", Reply([]))
        async with Gateway(platform.base_url, CLIENT_KEY, ACCESS_TOKEN, region=region) as gateway:
            assert await gateway.get_external_wallets() == ()
        headers = platform.seen[0].headers
        assert headers["x-client-key"] == CLIENT_KEY
        assert headers["authorization"] == f"Bearer {ACCESS_TOKEN}"
        assert headers["x-us-env"] == text

    async def test_a_base_url_may_have_a_path_and_a_trailing_slash(self, platform: Platform):
        platform.answers("/tenant/v1/wallet/external", Reply([]))
        async with Gateway(platform.base_url + "/tenant/", CLIENT_KEY, ACCESS_TOKEN) as gateway:
            await gateway.get_external_wallets()
        assert platform.seen[0].path == "/tenant/v1/wallet/external"

    async def test_it_is_counted(self, platform: Platform, gateway: Gateway):
        platform.answers("/v1/wallet/external", Reply([]))
        await gateway.get_external_wallets()
        await gateway.get_external_wallets()
        assert gateway.requests == len(platform.seen) == 2

    async def test_a_redirect_is_not_followed_so_that_the_token_stays_here(self, platform: Platform, gateway: Gateway):
        elsewhere = Reply(status=302, headers={"location": platform.base_url + "/elsewhere"})
        platform.answers("/v1/wallet/external", elsewhere)
        with pytest.raises(UnexpectedAnswerError) as refused:
            await gateway.get_external_wallets()
        assert refused.value.status == 302
        assert [request.path for request in platform.seen] == ["/v1/wallet/external"]

    async def test_a_proxy_of_the_environment_sees_nothing_of_what_stays_on_this_machine(
        self, platform: Platform, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setenv("http_proxy", closed_port())
        monkeypatch.setenv("all_proxy", closed_port())
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        platform.answers("/v1/wallet/external", Reply([]))
        async with Gateway(platform.base_url, CLIENT_KEY, ACCESS_TOKEN) as gateway:
            assert await gateway.get_external_wallets() == ()


class TestOpening:
    @pytest.mark.parametrize(
        "url",
        ["https://api.baanx.com", "http://127.0.0.1:8000", "http://127.8.8.8", "http://localhost", "http://[::1]:1"],
    )
    async def test_https_and_this_very_machine_are_safe_for_a_token(self, url: str):
        async with Gateway(url, CLIENT_KEY, ACCESS_TOKEN) as gateway:
            assert gateway.base_url == url

    @pytest.mark.parametrize(
        "url",
        [
            "http://api.baanx.com",
            "http://localhost.example.com",
            "http://10.0.0.1",
            "http://127.0.0.1.example.com",
            "ftp://127.0.0.1",
            "api.baanx.com",
            "",
            "https://",
            "https://[::1",
            "https://api.baanx.com:99999",
            "https://user:pass@api.baanx.com",
            "https://api.baanx.com?key=1",
        ],
    )
    def test_any_other_base_url_is_refused_before_anything_is_sent(self, url: str):
        with pytest.raises(InvalidRequestError) as refused:
            Gateway(url, CLIENT_KEY, ACCESS_TOKEN)
        assert "pass" not in str(refused.value).replace("example", "")
        assert refused.value.hint

    @pytest.mark.parametrize("bad", ["", "abc\n", "ab c", "abc\r\nx-us-env: true", "kéy", "\x00"])
    def test_a_key_that_no_header_can_hold_is_refused_without_being_repeated(self, bad: str):
        for keys in ((bad, ACCESS_TOKEN), (CLIENT_KEY, bad)):
            with pytest.raises(InvalidRequestError) as refused:
                Gateway("https://api.baanx.com", *keys)
            assert not bad or bad not in str(refused.value)

    def test_its_repr_shows_the_host_alone(self):
        gateway = Gateway("https://api.baanx.com/tenant", CLIENT_KEY, ACCESS_TOKEN)
        assert "api.baanx.com" in repr(gateway)
        assert "tenant" not in repr(gateway)
        assert CLIENT_KEY not in repr(gateway)
        assert ACCESS_TOKEN not in repr(gateway)


class TestNetworks:
    async def test_all_of_them_or_one(self, platform: Platform, gateway: Gateway):
        address = "0x176211869ca2b568f2a7d4ee941e073a821ee1ff"
        linea = {
            "network": "linea",
            "environment": "staging",
            "chainId": "0xe708",
            "delegationContract": "0x9dd23A4a0845f10d65D293776B792af1131c7B30",
            "tokens": {"usdc": {"symbol": "usdc", "decimals": 6, "address": address}},
        }
        platform.answers("/v1/delegation/chain/config", Reply({"networks": [linea], "count": 1, "_links": {}}))
        offered, usdc = (await gateway.get_networks()).find("linea", "usdc")
        assert (offered.environment, offered.chain_id, usdc.address.lower()) == ("staging", "59144", address)
        await gateway.get_networks("Linea")
        assert [request.query for request in platform.seen] == ["", "network=linea"]


NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


class TestDelegationToken:
    async def take(self, platform: Platform, reply: Reply, *, faucet: bool = False) -> Any:
        platform.answers("/v1/delegation/token", reply)
        async with Gateway(platform.base_url, CLIENT_KEY, ACCESS_TOKEN, now=lambda: NOW) as gateway:
            return await gateway.get_delegation_token(address=OWNER, network="linea", faucet=faucet)

    async def test_token_and_nonce_are_opaque_and_live_ten_minutes(self, platform: Platform):
        token = await self.take(platform, Reply(TOKEN))
        assert (token.token, token.nonce) == (TOKEN["token"], TOKEN["nonce"])
        assert (token.obtained_at, token.expires_at) == (NOW, NOW + timedelta(minutes=10))
        assert token.faucet is None
        assert TOKEN["token"] not in repr(token)

    async def test_network_and_address_are_always_sent_and_the_faucet_only_when_asked_for(self, platform: Platform):
        await self.take(platform, Reply(TOKEN))
        await self.take(platform, Reply(TOKEN), faucet=True)
        without = f"network=linea&address={OWNER}"
        assert [request.query for request in platform.seen] == [without, f"{without}&faucet=true"]

    @pytest.mark.parametrize(
        ("said", "minutes"),
        [
            ("2026-11-23T12:05:00.000Z", 5),
            ("2026-11-23T13:07:00+01:00", 7),
            ("2026-11-23T11:59:00Z", 10),
            ("2036-11-23T12:05:00Z", 10),
            ("soon", 10),
            (1795435500, 10),
            (None, 10),
        ],
    )
    async def test_the_servers_expiry_is_taken_where_it_makes_sense(self, platform: Platform, said: Any, minutes: int):
        token = await self.take(platform, Reply(TOKEN | {"expiresAt": said}))
        assert token.expires_at == NOW + timedelta(minutes=minutes)

    @pytest.mark.parametrize("field", ["faucet", "faucetStatus", "faucet_status", "status"])
    @pytest.mark.parametrize("state", ["confirmed", "pending"])
    async def test_what_is_said_of_the_faucet_is_kept_under_any_of_its_names(
        self, platform: Platform, field: str, state: str
    ):
        assert (await self.take(platform, Reply(TOKEN | {field: state}), faucet=True)).faucet == state
        assert (await self.take(platform, Reply(TOKEN | {field: {"status": state}}), faucet=True)).faucet == state

    async def test_a_faucet_of_which_nothing_is_said_is_not_called_confirmed(self, platform: Platform):
        token = await self.take(platform, Reply(TOKEN), faucet=True)
        assert token.faucet == "not stated (HTTP 200)"

    @pytest.mark.parametrize("extra", [{}, {"faucetStatus": "declined"}, {"faucet": "already used"}])
    async def test_207_is_a_token_without_gas(self, platform: Platform, extra: dict[str, str]):
        token = await self.take(platform, Reply(TOKEN | extra, 207), faucet=True)
        assert token.token == TOKEN["token"]
        assert token.faucet.startswith("declined")

    @pytest.mark.parametrize(
        "body",
        [b"", b"Created", b"null", b"[]", {"token": "abc"}, TOKEN | {"nonce": ""}, TOKEN | {"token": 5}, b'{"token'],
    )
    async def test_an_answer_without_a_token_is_an_error_that_does_not_repeat_it(self, platform: Platform, body: Any):
        with pytest.raises(UnexpectedAnswerError) as refused:
            await self.take(platform, Reply(body))
        assert TOKEN["token"] not in "".join(traceback.format_exception(refused.value))
        assert not isinstance(refused.value.__context__, ValueError)

    async def test_it_waits_longer_than_for_other_requests_because_of_the_faucet(self, platform: Platform):
        slow = Reply(TOKEN, delay=0.5)
        platform.answers("/v1/delegation/token", slow)
        async with Gateway(platform.base_url, CLIENT_KEY, ACCESS_TOKEN, timeout=0.1, token_timeout=5.0) as gateway:
            await gateway.get_delegation_token(address=OWNER, network="linea")
        assert gateway.requests == 1


class TestSubmitting:
    PATH = "/v1/delegation/evm/post-approval"

    async def test_the_body_is_that_of_the_shipping_clients_byte_for_byte(self, platform: Platform, gateway: Gateway):
        platform.answers(self.PATH, Reply({"success": True}, 201), method="POST")
        assert await gateway.submit_proof("evm", PROOF) == 201
        (request,) = platform.seen
        assert request.body.decode() == PROOF_ON_THE_WIRE
        assert request.headers["content-type"] == "application/json"

    async def test_solana_has_a_path_of_its_own(self, platform: Platform, gateway: Gateway):
        platform.answers("/v1/delegation/solana/post-approval", Reply({"success": True}, 201), method="POST")
        assert await gateway.submit_proof("solana", PROOF) == 201

    @pytest.mark.parametrize("body", [b"", b"Created", b"{", b"\xff", {"success": None}, {"ok": 1}, []])
    @pytest.mark.parametrize("status", [200, 201])
    async def test_a_success_that_cannot_be_read_is_still_a_success(
        self, platform: Platform, gateway: Gateway, body: Any, status: int
    ):
        platform.answers(self.PATH, Reply(body, status), method="POST")
        assert await gateway.submit_proof("evm", PROOF) == status

    async def test_success_false_is_a_refusal(self, platform: Platform, gateway: Gateway):
        platform.answers(self.PATH, Reply({"success": False, "message": "Invalid signature"}, 200), method="POST")
        with pytest.raises(RejectedError, match="Invalid signature") as refused:
            await gateway.submit_proof("evm", PROOF)
        assert not refused.value.maybe_done

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 498, 499, 500, 502, 503, 504])
    async def test_no_refusal_and_no_failure_is_repeated(self, platform: Platform, gateway: Gateway, status: int):
        platform.answers(self.PATH, Reply({"message": "why"}, status, {"retry-after": "0"}), method="POST")
        with pytest.raises(GatewayError, match="why") as refused:
            await gateway.submit_proof("evm", PROOF)
        assert refused.value.maybe_done is (status >= 500)
        assert gateway.requests == 1

    async def test_after_a_rate_limit_it_is_sent_once_more(self, platform: Platform, gateway: Gateway):
        limited = Reply(status=429, headers={"retry-after": "1"})
        platform.answers(self.PATH, limited, Reply({"success": True}, 201), method="POST")
        started = time.monotonic()
        assert await gateway.submit_proof("evm", PROOF) == 201
        assert time.monotonic() - started >= 1.0
        assert gateway.requests == 2

    async def test_a_second_rate_limit_is_the_last(self, platform: Platform, gateway: Gateway):
        platform.answers(self.PATH, Reply(status=429, headers={"retry-after": "0"}), method="POST")
        with pytest.raises(RateLimitedError) as refused:
            await gateway.submit_proof("evm", PROOF)
        assert gateway.requests == 2
        assert not refused.value.maybe_done

    async def test_a_long_rate_limit_is_for_the_caller_to_wait_for(self, platform: Platform, gateway: Gateway):
        platform.answers(self.PATH, Reply(status=429, headers={"retry-after": "3600"}), method="POST")
        with pytest.raises(RateLimitedError) as refused:
            await gateway.submit_proof("evm", PROOF)
        assert refused.value.retry_after == 3600.0
        assert gateway.requests == 1

    async def test_a_proof_that_never_left_was_surely_not_taken(self):
        async with Gateway(closed_port(), CLIENT_KEY, ACCESS_TOKEN) as gateway:
            with pytest.raises(GatewayUnreachableError) as failed:
                await gateway.submit_proof("evm", PROOF)
        assert not failed.value.maybe_done
        assert gateway.requests == 1

    @pytest.mark.parametrize(
        "answer",
        [b"", b"HTTP/1.1 201 Created\r\ncontent-length: 100\r\n\r\n{", b"nonsense\r\n\r\n"],
        ids=["no answer", "half an answer", "no HTTP"],
    )
    async def test_a_proof_whose_answer_is_lost_may_have_been_taken_and_is_not_sent_again(self, answer: bytes):
        async with line_that_breaks(answer) as (url, read), Gateway(url, CLIENT_KEY, ACCESS_TOKEN) as gateway:
            with pytest.raises(GatewayUnreachableError) as failed:
                await gateway.submit_proof("evm", PROOF)
        assert failed.value.maybe_done
        assert len(read) == gateway.requests == 1
        assert PROOF_ON_THE_WIRE.encode() in read[0]

    @pytest.mark.parametrize(
        "reply",
        [
            Reply(status=201, delay=2.0),
            Reply(status=201, trickle=True),
            Reply(gzip.compress(b"{}")[:-9], 201, {"content-encoding": "gzip"}, delay=2.0),
            Reply(b"no gzip", 201, {"content-encoding": "gzip"}),
        ],
        ids=["too late", "a slow trickle", "late and packed", "packed wrongly"],
    )
    async def test_a_proof_whose_answer_comes_too_late_or_garbled_may_have_been_taken(
        self, platform: Platform, reply: Reply
    ):
        platform.answers(self.PATH, reply, method="POST")
        started = time.monotonic()
        async with Gateway(platform.base_url, CLIENT_KEY, ACCESS_TOKEN, timeout=0.3) as gateway:
            with pytest.raises(GatewayUnreachableError) as failed:
                await gateway.submit_proof("evm", PROOF)
        assert time.monotonic() - started < 1.5
        assert failed.value.maybe_done
        assert len(platform.seen) == gateway.requests == 1


class TestReading:
    PATH = "/v1/wallet/external"

    @pytest.mark.parametrize("status", [429, 502, 503, 504])
    async def test_a_busy_platform_is_asked_up_to_three_times(self, platform: Platform, gateway: Gateway, status: int):
        busy = Reply(status=status, headers={"retry-after": "0"})
        platform.answers(self.PATH, busy, busy, Reply(WALLETS))
        assert len(await gateway.get_external_wallets()) == 3
        assert gateway.requests == 3

    async def test_it_is_not_asked_a_fourth_time(self, platform: Platform, gateway: Gateway):
        platform.answers(self.PATH, Reply(status=503, headers={"retry-after": "0"}))
        with pytest.raises(PlatformFailedError):
            await gateway.get_external_wallets()
        assert gateway.requests == 3

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 498, 499, 500])
    async def test_a_refusal_is_not_repeated(self, platform: Platform, gateway: Gateway, status: int):
        platform.answers(self.PATH, Reply({"message": "why"}, status))
        with pytest.raises(GatewayError, match="why"):
            await gateway.get_external_wallets()
        assert gateway.requests == 1

    @pytest.mark.parametrize("dated", [False, True])
    async def test_retry_after_is_honoured_in_seconds_and_as_a_date(self, platform: Platform, dated: bool):
        # An HTTP date has whole seconds, so that this one is one to two seconds away.
        date = (datetime.now(UTC) + timedelta(seconds=2)).strftime("%a, %d %b %Y %H:%M:%S GMT")
        limited = Reply(status=429, headers={"retry-after": date if dated else "1"})
        platform.answers(self.PATH, limited, Reply(WALLETS))
        started = time.monotonic()
        async with Gateway(platform.base_url, CLIENT_KEY, ACCESS_TOKEN) as gateway:
            await gateway.get_external_wallets()
        assert 0.8 <= time.monotonic() - started < 3.0

    async def test_many_that_are_turned_away_together_come_back_spread_out(self, platform: Platform):
        platform.answers(self.PATH, Reply(status=429, headers={"retry-after": "0"}), Reply(WALLETS))
        started = time.monotonic()
        async with Gateway(platform.base_url, CLIENT_KEY, ACCESS_TOKEN, chance=lambda: 0.8) as gateway:
            await gateway.get_external_wallets()
        assert 0.4 <= time.monotonic() - started < 0.8

    async def test_a_long_retry_after_is_for_the_caller_to_wait_for(self, platform: Platform, gateway: Gateway):
        platform.answers(self.PATH, Reply(status=429, headers={"retry-after": "21"}))
        with pytest.raises(RateLimitedError) as refused:
            await gateway.get_external_wallets()
        assert refused.value.retry_after == 21.0
        assert gateway.requests == 1

    async def test_a_broken_connection_is_tried_again(self):
        async with line_that_breaks() as (url, read), Gateway(url, CLIENT_KEY, ACCESS_TOKEN) as gateway:
            with pytest.raises(GatewayUnreachableError, match="did not answer"):
                await gateway.get_external_wallets()
        assert len(read) == gateway.requests == 3

    async def test_an_answer_without_end_is_cut_off(self, platform: Platform, gateway: Gateway):
        platform.answers(self.PATH, Reply(b" " * (5 * 1024 * 1024)))
        with pytest.raises(UnexpectedAnswerError, match="too long"):
            await gateway.get_external_wallets()


class TestWallets:
    async def test_wallets_come_with_ids_and_priorities_the_first_to_pay_first(
        self, platform: Platform, gateway: Gateway
    ):
        platform.answers("/v1/wallet/external", Reply(WALLETS))
        platform.answers("/v1/wallet/external/priority", Reply(PRIORITIES))
        wallets = await gateway.get_wallets()
        assert [(wallet.id, wallet.network, wallet.allowance) for wallet in wallets] == [
            (551, "linea", Decimal(5000)),
            (552, "ethereum", Decimal(0)),
            (553, "base", Decimal(2)),
        ]

    async def test_json_numbers_stay_exact(self, platform: Platform, gateway: Gateway):
        body = json.dumps(WALLETS[:1]).replace('"1250.50"', "1250.50000000000000000001").encode()
        platform.answers("/v1/wallet/external", Reply(body))
        (wallet,) = await gateway.get_external_wallets()
        assert wallet.balance == Decimal("1250.50000000000000000001")

    @pytest.mark.parametrize("reply", [Reply(status=500), Reply(status=404), Reply({"not": "a list"}), Reply(b"")])
    async def test_without_the_order_of_payment_the_wallets_are_still_shown(
        self, platform: Platform, gateway: Gateway, reply: Reply
    ):
        platform.answers("/v1/wallet/external", Reply(WALLETS))
        platform.answers("/v1/wallet/external/priority", reply)
        wallets = await gateway.get_wallets()
        assert [(wallet.id, wallet.priority) for wallet in wallets] == [(None, None)] * 3

    @pytest.mark.parametrize(("status", "kind"), [(401, NotAuthenticatedError), (429, RateLimitedError)])
    async def test_a_dead_token_and_a_rate_limit_are_not_hidden(
        self, platform: Platform, gateway: Gateway, status: int, kind: type[GatewayError]
    ):
        platform.answers("/v1/wallet/external", Reply(WALLETS))
        platform.answers("/v1/wallet/external/priority", Reply(status=status, headers={"retry-after": "0"}))
        with pytest.raises(kind):
            await gateway.get_wallets()

    async def test_without_the_wallets_there_is_nothing_to_show(self, platform: Platform, gateway: Gateway):
        platform.answers("/v1/wallet/external", Reply({"message": "boom"}, 500))
        platform.answers("/v1/wallet/external/priority", Reply(PRIORITIES))
        with pytest.raises(PlatformFailedError, match="boom"):
            await gateway.get_wallets()


class TestPriorities:
    PATH = "/v1/wallet/external/priority"

    async def test_the_order_of_payment_is_read_as_the_platform_tells_it(self, platform: Platform, gateway: Gateway):
        platform.answers(self.PATH, Reply(PRIORITIES))
        places = await gateway.get_priorities()
        assert [(place.id, place.network, place.priority) for place in places] == [
            (551, "linea", 1),
            (553, "base", 3),
            (552, "ethereum", 2),
        ]

    @pytest.mark.parametrize(
        ("order", "ids"), [([553], [553, 551, 552]), ([552, 551], [552, 551, 553]), ([551, 552, 553], [551, 552, 553])]
    )
    async def test_all_wallets_are_sent_the_named_first_and_the_others_as_they_were(
        self, platform: Platform, gateway: Gateway, order: list[int], ids: list[int]
    ):
        platform.answers(self.PATH, Reply(PRIORITIES))
        platform.answers(self.PATH, Reply({"success": True}), method="PUT")
        await gateway.set_priorities(order)
        sent = json.loads(platform.seen[-1].body)
        assert sent == {"wallets": [{"id": one, "priority": place} for place, one in enumerate(ids, start=1)]}

    @pytest.mark.parametrize("order", [[1], [551, 551], [551, 999]])
    async def test_unknown_and_repeated_ids_are_refused_before_anything_is_sent(
        self, platform: Platform, gateway: Gateway, order: list[int]
    ):
        platform.answers(self.PATH, Reply(PRIORITIES))
        with pytest.raises(InvalidRequestError, match="551, 552, 553"):
            await gateway.set_priorities(order)
        assert [request.method for request in platform.seen] == ["GET"]

    @pytest.mark.parametrize("status", [422, 500, 503])
    async def test_the_new_order_is_sent_once(self, platform: Platform, gateway: Gateway, status: int):
        platform.answers(self.PATH, Reply(PRIORITIES))
        platform.answers(self.PATH, Reply({"message": "Invalid priority configuration"}, status), method="PUT")
        with pytest.raises(GatewayError, match="Invalid priority configuration"):
            await gateway.set_priorities([553])
        assert [request.method for request in platform.seen] == ["GET", "PUT"]

    async def test_success_false_is_a_refusal(self, platform: Platform, gateway: Gateway):
        platform.answers(self.PATH, Reply(PRIORITIES))
        platform.answers(self.PATH, Reply({"success": False}), method="PUT")
        with pytest.raises(RejectedError):
            await gateway.set_priorities([553])


class TestSecrets:
    SECRETS = (CLIENT_KEY, ACCESS_TOKEN, PROOF.token)

    def assert_silent(self, error: BaseException) -> None:
        """Nothing that hangs on the error holds a secret: not its words, its evidence or what came before it."""
        links: list[BaseException | None] = [error, error.__cause__, error.__context__]
        for link in filter(None, links):
            held = [str(link), repr(link), repr(vars(link))]
            request = getattr(link, "_request", None)
            held.append(repr(list(request.headers.raw)) if request is not None else "")
            assert not [secret for secret in self.SECRETS for text in held if secret in text]
        printed = "".join(traceback.format_exception(error))
        assert not [secret for secret in self.SECRETS if secret in printed]

    @pytest.mark.parametrize("status", [400, 401, 422, 498, 500])
    async def test_what_the_platform_echoes_is_not_repeated(self, platform: Platform, gateway: Gateway, status: int):
        echo = {"message": f"bad {CLIENT_KEY}", "details": [f"Bearer {ACCESS_TOKEN}", json.dumps({"t": PROOF.token})]}
        platform.answers("/v1/delegation/evm/post-approval", Reply(echo, status), method="POST")
        with pytest.raises(GatewayError, match="bad") as refused:
            await gateway.submit_proof("evm", PROOF)
        assert "[removed]" in refused.value.body
        self.assert_silent(refused.value)

    async def test_a_failed_connection_says_nothing_of_its_request(self):
        async with line_that_breaks() as (url, _), Gateway(url, CLIENT_KEY, ACCESS_TOKEN) as gateway:
            with pytest.raises(GatewayUnreachableError) as failed:
                await gateway.submit_proof("evm", PROOF)
        self.assert_silent(failed.value)

    async def test_a_refused_client_key_is_not_repeated(self, platform: Platform, gateway: Gateway):
        platform.answers("/v1/wallet/external", Reply({"message": f"Invalid client key {CLIENT_KEY}"}, 498))
        with pytest.raises(ClientKeyInvalidError) as refused:
            await gateway.get_external_wallets()
        self.assert_silent(refused.value)
