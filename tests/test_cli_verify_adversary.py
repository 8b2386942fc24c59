"""What an auditor types wrongly at night, and what must not happen then: a yes, a traceback, a secret that is shown."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from command_line import CommandLine, Owner
from relay import relay

from delegation.sandbox import Sandbox
from delegation.sandbox.artifacts import encode_call

KEY = "KEYthatNobodyMaySee0123456789"


@dataclass(frozen=True)
class Claimed:
    """The options of a claim in a home whose secrets may never be shown, and the owner that it names."""

    cli: CommandLine
    owner: Owner
    network: str
    transaction: str
    id: str = ""

    @property
    def key(self) -> str:
        """The owner's private key."""
        return self.owner.key_file.read_text().strip()

    @property
    def claim(self) -> list[str]:
        said = ("--network", self.network, "--currency", "usdc", "--owner", self.owner.address, "--amount", "5000")
        return [self.transaction, *said]


@pytest.fixture(scope="module")
async def evm(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Claimed]:
    """A claim that is true, and the delegation of the journal that it is about."""
    cli = CommandLine(sandbox, tmp_path_factory.mktemp("home"))
    cli.secrets.append(KEY)
    owner = await cli.owner("linea")
    named = ("--network", "linea", "--currency", "usdc", "--wallet", str(owner.key_file))
    assert (await cli.call("grant", *named, "--amount", "5000", "--yes")).status == 0
    (delegation,) = cli.delegations()
    yield Claimed(cli, owner, "linea", str(delegation.approvals[-1].hash), delegation.id)
    await cli.close()


@pytest.fixture(scope="module")
async def solana(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Claimed]:
    """A claim about a transaction that nobody knows."""
    cli = CommandLine(sandbox, tmp_path_factory.mktemp("home"))
    yield Claimed(cli, await cli.owner("solana", gas=False, tokens=False), "solana", "2" * 87)
    await cli.close()


@pytest.fixture(params=["linea", "solana"])
def claimed(request: pytest.FixtureRequest, evm: Claimed, solana: Claimed) -> Claimed:
    return evm if request.param == "linea" else solana


# Nothing that is said is passed over: it would look as if it had been checked.


@pytest.mark.parametrize(
    "option",
    [
        ("--nonce", "another12345"),
        ("--spender", "0x1111111111111111111111111111111111111111"),
        ("--currency", "usdt"),
        ("--uri", "https://evil.example"),
        ("--at", "2020-01-01T00:00:00Z"),
        ("--region", "us"),
    ],
    ids=lambda option: option[0],
)
async def test_an_option_beside_the_id_of_a_delegation_is_refused_and_named(
    evm: Claimed, option: tuple[str, str]
) -> None:
    result = await evm.cli.call("verify", evm.id, *option)
    assert result.status == 2
    assert option[0] in result.error


@pytest.mark.parametrize("option", ["--nonce", "--domain", "--uri", "--at"])
async def test_what_a_statement_must_say_is_refused_without_a_statement(evm: Claimed, option: str) -> None:
    result = await evm.cli.call("verify", *evm.claim, option, "x")
    assert result.status == 2
    assert option in result.error


async def test_a20_the_region_that_is_named_decides_whose_pins_count(evm: Claimed) -> None:
    result = await evm.cli.call("--json", "verify", *evm.claim, "--region", "us")
    sources = {one["rule"] for one in result.document["findings"]}
    assert "pins" in sources, "what was pinned for the profile's region is pinned for no other"
    assert "pinned" not in sources


async def test_a_trusted_block_that_is_no_hash_is_bad_input(evm: Claimed) -> None:
    result = await evm.cli.call("verify", *evm.claim, "--trust-block", "zz", "--tier", "T3")
    assert result.status == 2
    assert "'zz' is no block hash" in result.error


# A secret at the wrong place is not sent, shown or kept.


@pytest.mark.parametrize("place", ["--raw", "--signature", "--message", "--owner", "--at", "--rpc"])
async def test_a43_a_private_key_at_the_wrong_place_is_neither_shown_nor_kept(
    claimed: Claimed, tmp_path: Path, place: str
) -> None:
    key, file, message = claimed.key, tmp_path / "evidence.json", tmp_path / "message.txt"
    message.write_text("card.example.com wants you to sign in")
    beside = {
        "--message": ["--signature", "0x00"],
        "--signature": ["--message", str(message)],
        "--at": ["--message", str(message), "--signature", "0x00"],
    }
    given = str(claimed.owner.key_file) if place == "--message" else key
    # `checked` fails for every output that holds the key.
    result = await claimed.cli.call(
        "--json", "evidence", *claimed.claim, place, given, *beside.get(place, []), "-o", str(file)
    )
    assert result.status == 2, result
    assert not file.exists()


async def test_a43_a_key_is_refused_as_what_was_signed_or_the_signature_of_it(claimed: Claimed, tmp_path: Path) -> None:
    message = tmp_path / "message.txt"
    message.write_text("card.example.com wants you to sign in")
    asked = ("ownership", "verify", "--network", claimed.network, "--address", claimed.owner.address)
    for file, signature in ((message, claimed.key), (claimed.owner.key_file, "0x00")):
        result = await claimed.cli.call("--json", *asked, "--message", str(file), "--signature", signature)
        assert result.status == 2


async def test_a43_a_solana_key_is_not_sent_to_a_node_as_a_signature(solana: Claimed) -> None:
    # A hash and a key of EVM networks look the same.
    result = await solana.cli.call("verify", solana.key, *solana.claim[1:])
    assert result.status == 2
    assert "form of a private key" in result.error


@pytest.mark.parametrize(
    "url",
    [
        f"wss://{KEY}@127.0.0.1:9/x",
        f"ws://127.0.0.1:9/{KEY}#x",
        f"http://[v1.x]/{KEY}",
        f"http://127.0.0.1:99999/{KEY}",
    ],
)
async def test_a43_the_key_in_the_url_of_a_node_that_cannot_be_asked_is_not_shown(evm: Claimed, url: str) -> None:
    result = await evm.cli.call("--json", "verify", *evm.claim, "--rpc", url)
    assert result.status in {2, 3}


async def test_a43_a_node_that_repeats_the_key_of_its_url_leaves_it_in_no_file(
    evm: Claimed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chains.rpc._LONGEST_PAUSE", 0.0)

    def too_many(method: str, params: Any, answer: Any) -> Any:
        error = {"code": -32005, "message": f"rate limit of key {KEY}, see https://one.example"}
        return {"jsonrpc": "2.0", "id": answer["id"], "error": error} if method == "eth_getCode" else answer

    file = tmp_path / "evidence.json"
    async with relay(evm.cli.sandbox.document.networks["linea"].rpc_url, too_many) as url:
        asked = ("--json", "evidence", *evm.claim, "--rpc", f"{url}/v3?key={KEY}", "-o", str(file))
        result = await evm.cli.call(*asked)
    assert result.status in {0, 3}
    assert KEY.encode() not in file.read_bytes()


async def test_a_short_word_in_the_url_of_a_node_is_no_key_that_its_answers_must_not_hold(evm: Claimed) -> None:
    url = evm.cli.sandbox.document.networks["linea"].rpc_url
    assert (await evm.cli.call("verify", *evm.claim, "--rpc", f"{url}/?v=2&id=1")).status == 0


# Nodes and the platform.


async def test_a11_one_node_of_several_cannot_scale_the_claim_by_its_decimals(sandbox: Sandbox, tmp_path: Path) -> None:
    cli, owner = CommandLine(sandbox, tmp_path), "0x" + "12" * 20
    known = sandbox.document.networks["linea"]
    decimals = encode_call("decimals()")

    def eight(method: str, params: Any, answer: Any) -> Any:
        if method == "eth_call" and params[0]["data"] == decimals:
            return answer | {"result": "0x" + (8).to_bytes(32, "big").hex()}
        return answer

    asked = ["verify", "0x" + "ab" * 32, "--network", "linea", "--token", known.tokens["usdc"].address]
    asked += ("--owner", owner, "--spender", known.delegation_contract, "--amount", "5")
    async with relay(known.rpc_url, eight, host="127.0.0.31") as lying:
        result = await cli.call(*asked, "--rpc", lying, "--rpc", known.rpc_url)
    assert result.status == 3
    assert "disagree on how many decimals" in result.error


async def test_a_platform_that_refuses_to_name_the_spender_is_not_a_refuted_claim(
    claimed: Claimed, tmp_path: Path
) -> None:
    auditor = CommandLine(claimed.cli.sandbox, tmp_path)
    await auditor.platform(
        "POST", "/sandbox/misbehave", {"method": "GET", "path": "/v1/delegation/chain/config", "status": 401}
    )
    result = await auditor.call("verify", *claimed.claim)
    await auditor.close()
    assert result.status == 3
    assert "Error" in result.err


# The file: whole or not at all.


@pytest.mark.parametrize("name", ["-", "n" * 300, "absent/x.json", "file/x.json", "", "link"])
async def test_evidence_that_cannot_be_written_is_told_and_leaves_nothing(
    evm: Claimed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("nowhere")
    result = await evm.cli.call("evidence", evm.id, "-o", name)
    assert result.status == 2
    assert sorted(os.listdir(tmp_path)) == ["file", "link"]


async def test_evidence_that_is_stopped_midway_leaves_no_file_and_is_not_refuted(evm: Claimed, tmp_path: Path) -> None:
    """A node that never answers, and then a signal as from Ctrl-C or from an operating system out of memory."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.setblocking(False)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        names = ("interrupted", "killed")
        started = [
            await evm.cli.start("evidence", *evm.claim, "--rpc", url, "-o", str(tmp_path / name)) for name in names
        ]
        loop = asyncio.get_running_loop()
        asking = [(await asyncio.wait_for(loop.sock_accept(silent), 30))[0] for _ in started]
        started[0].send_signal(signal.SIGINT)
        started[1].send_signal(signal.SIGKILL)
        interrupted, _ = [await evm.cli.finish(process) for process in started]
        for connection in asking:
            connection.close()
    assert interrupted.status == 3
    assert "Interrupted" in interrupted.err
    assert "resume" not in interrupted.err
    assert os.listdir(tmp_path) == []
