"""`sandbox up` as a process: what it prints, that it serves, and that it leaves nothing behind however it ends."""

import asyncio
import json
import os
import signal
import stat
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from chains.wallets import load_wallet, write_secret_file

COMMAND = str(Path(sys.executable).with_name("delegation"))
NETWORK_KEYS = {"rpc_url", "chain_id", "delegation_contract", "operator", "tokens"}


def descendants(pid: int) -> dict[int, str]:
    """Return the processes below this one with their start times, by which they are told from later ones."""
    parents: dict[int, tuple[int, str]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(") ")[2].split()
            except OSError:  # it has just ended
                continue
            parents[int(entry.name)] = (int(fields[1]), fields[19])
    found: dict[int, str] = {}
    level = {pid}
    while level:
        level = {child for child, (parent, _) in parents.items() if parent in level}
        found |= {child: parents[child][1] for child in level}
    return found


def any_alive(processes: dict[int, str]) -> bool:
    """Return whether one of these processes still runs."""
    for pid, started in processes.items():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
        except OSError:
            continue
        if fields[19] == started and fields[0] != "Z":
            return True
    return False


async def end_of(processes: dict[int, str]) -> None:
    """Return when none of these processes runs any more."""
    async with asyncio.timeout(10):
        while any_alive(processes):  # noqa: ASYNC110 - nobody tells when the child of a dead process ends
            await asyncio.sleep(0.05)


def read_profile(document: dict[str, Any]) -> dict[str, Any]:
    """Return the profile that a sandbox has written, for its user alone."""
    file = Path(document["profile"]["file"])
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    profile: dict[str, Any] = json.loads(file.read_text())
    return profile


def left_files(home: Path) -> list[str]:
    """Return the files below this home."""
    return [str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()]


async def start_sandbox(home: Path) -> tuple[asyncio.subprocess.Process, dict[str, Any]]:
    """Start a sandbox and return it with the document on the first line of its stdout."""
    process = await asyncio.create_subprocess_exec(
        COMMAND,
        "--json",
        "sandbox",
        "up",
        env={**os.environ, "DELEGATION_HOME": str(home)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=1_000_000,
    )
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), 60)
    return process, json.loads(line)


async def run(home: Path, *arguments: str) -> tuple[int, str, str]:
    """Run a command in this home."""
    process = await asyncio.create_subprocess_exec(
        COMMAND,
        *arguments,
        env={**os.environ, "DELEGATION_HOME": str(home)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_it_prints_everything_needed_serves_until_sigterm_and_leaves_nothing(tmp_path: Path) -> None:
    process, document = await start_sandbox(tmp_path)
    try:
        assert {"profile", "gateway", "networks", "wallets"} <= document.keys()
        assert {"base_url", "client_key", "access_token"} <= document["gateway"].keys()
        assert {"client_id", "secret_key", "redirect_uri"} <= document["gateway"].keys()
        assert document["gateway"]["user"].keys() == {"email", "password", "phone_url"}
        assert {"ethereum", "linea", "base", "solana"} <= document["networks"].keys()
        for network in document["networks"].values():
            assert network.keys() >= NETWORK_KEYS
            assert {"address", "private_key"} <= network["operator"].keys()
            assert {"usdc", "usdt"} <= network["tokens"].keys()
            assert all({"address", "decimals"} <= token.keys() for token in network["tokens"].values())
        assert [document["networks"][name]["chain_id"] for name in ("ethereum", "linea", "base")] == [1, 59144, 8453]
        for family in ("evm", "solana"):
            assert len(document["wallets"][family]) >= 5
            for number, wallet in enumerate(document["wallets"][family]):
                key_file = tmp_path / "wallets" / f"{family}-{number}"
                key_file.parent.mkdir(exist_ok=True)
                write_secret_file(key_file, wallet["private_key"])
                assert load_wallet(str(key_file), family=family).address == wallet["address"]
        assert document["wallets"]["evm"][0]["private_key"].startswith("0x")

        assert document["profile"]["name"] == "sandbox"
        profile = read_profile(document)
        for family in ("evm", "solana"):
            default = load_wallet(profile["wallets"][family])
            assert default.address == document["wallets"][family][0]["address"]

        (status, out, _), *grants = await asyncio.gather(
            run(tmp_path, "--profile", "sandbox", "networks"),
            *(
                run(
                    tmp_path,
                    *("--profile", "sandbox", "--json", "grant", "--yes"),
                    *("--network", network, "--currency", "usdc", "--amount", "5000"),
                )
                for network in ("linea", "solana")
            ),
        )
        assert status == 0
        assert out.count("linea") == 2
        assert [(status, json.loads(out)["verification"]["verdict"]) for status, out, _ in grants] == [
            (0, "VERIFIED"),
            (0, "VERIFIED"),
        ]
        children = descendants(process.pid)
        assert children
    except BaseException:
        process.kill()
        await process.communicate()
        raise
    process.send_signal(signal.SIGTERM)
    out, err = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0
    assert out == b"", "there is one document and nothing else"
    assert b"Traceback" not in err
    assert not any_alive(children)
    assert [name for name in left_files(tmp_path) if not name.startswith("wallets/")] == []


async def test_a_person_is_told_who_to_sign_in_as_and_where_the_codes_arrive(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        COMMAND,
        *("sandbox", "up"),
        env={**os.environ, "DELEGATION_HOME": str(tmp_path)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        told: dict[str, str] = {}
        while "phone" not in told:
            line = (await asyncio.wait_for(process.stdout.readline(), 60)).decode()
            assert line, "it ended without saying so"
            name, _, value = line.strip().partition(" ")
            told[name] = value.strip()
        async with httpx.AsyncClient() as browser:
            page = await browser.get(told["phone"])
            login = {"email": told["user"], "password": told["password"]}
            key = {
                "x-client-key": json.loads((tmp_path / "profiles" / "sandbox.json").read_text())["gateway"][
                    "client_key"
                ]
            }
            answer = await browser.post(f"{told['platform']}/v1/auth/login", json=login, headers=key)
        assert "No code has been sent yet." in page.text
        assert answer.json()["isOtpRequired"] is True
    finally:
        process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0


async def test_killed_it_leaves_no_node_behind_and_the_next_one_takes_its_place(tmp_path: Path) -> None:
    process, document = await start_sandbox(tmp_path)
    children = descendants(process.pid)
    assert children
    process.kill()
    await process.communicate()
    await end_of(children)
    assert read_profile(document), "nobody was left to remove it"

    # And a stop while it is still starting is a stop.
    second = await asyncio.create_subprocess_exec(
        COMMAND,
        *("--json", "sandbox", "up"),
        env={**os.environ, "DELEGATION_HOME": str(tmp_path)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    children = {}
    while not children:
        await asyncio.sleep(0.05)
        assert second.returncode is None
        children = descendants(second.pid)
    second.send_signal(signal.SIGTERM)
    await asyncio.wait_for(second.communicate(), 30)
    assert second.returncode == 0
    assert not any_alive(children)


async def test_a_profile_of_the_users_own_is_not_overwritten(tmp_path: Path) -> None:
    own = tmp_path / "profiles" / "sandbox.json"
    own.parent.mkdir()
    own.write_text('{"gateway": {}}')
    own.chmod(0o600)
    status, out, err = await run(tmp_path, "sandbox", "up")
    assert (status, out) == (2, "")
    assert str(own) in err
    assert own.read_text() == '{"gateway": {}}'


@pytest.mark.parametrize("missing", ["starlette", "web3"])
async def test_without_its_extra_it_says_what_to_install(tmp_path: Path, missing: str) -> None:
    code = (
        "import importlib.util, sys\n"
        "known = importlib.util.find_spec\n"
        f"importlib.util.find_spec = lambda name, *rest: None if name == {missing!r} else known(name, *rest)\n"
        "from delegation.cli import main\n"
        "main(['sandbox', 'up'])"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, env={**os.environ, "DELEGATION_HOME": str(tmp_path)}, stderr=asyncio.subprocess.PIPE
    )
    _, err = await process.communicate()
    assert process.returncode == 1
    assert missing in err.decode()
    assert "pip install 'delegation-toolkit[sandbox]'" in err.decode()
