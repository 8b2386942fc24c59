"""The command `delegation` as a person uses it: real processes and terminals, with a home and a journal of its own."""

import asyncio
import json
import os
import pty
import sys
import termios
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from line_lab import CrashError, die_at

from chains.rpc import HttpRpc
from chains.wallets import load_wallet, write_secret_file
from delegation import DelegationRequest, carry, new_delegation, open_context
from delegation.cli import main
from delegation.journal import open_journal
from delegation.models import Delegation
from delegation.profile import Profile
from delegation.sandbox import Sandbox
from delegation.sandbox.document import KeyDocument
from delegation.sandbox.profile import profile_of

COMMAND = str(Path(sys.executable).with_name("delegation"))
_TIMEOUT = 60
# More at once would only wait for each other.
_PROCESSES = asyncio.Semaphore(3)


@dataclass(frozen=True)
class Result:
    """How a command ended and what it printed."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on stdout."""
        lines = self.out.splitlines()
        assert len(lines) == 1, f"stdout is not one document: {self.out!r}"
        return json.loads(lines[0])

    @property
    def error(self) -> str:
        """The message of the error, which is told without a traceback."""
        assert "Traceback" not in self.err, self.err
        return self.err.partition("Error: ")[2]


@dataclass(frozen=True)
class Owner:
    """A wallet of the sandbox with its key file."""

    address: str
    key_file: Path


@dataclass
class CommandLine:
    """The command in a home of its own, with the profile `sandbox`."""

    sandbox: Sandbox
    home: Path
    secrets: list[str] = field(default_factory=list)
    processes: list[asyncio.subprocess.Process] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.secrets.append(self.sandbox.document.gateway.access_token)
        self.secrets += [network.operator.private_key for network in self.sandbox.document.networks.values()]
        self.write_profile(profile_of(self.sandbox.document, journal=self.journal_file))

    @property
    def journal_file(self) -> Path:
        """Where this home's journal is."""
        return self.home / "journal.sqlite"

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to use this home."""
        # A test run says how wide it is itself; a terminal is as wide as it is.
        ours = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES"}}
        return {**ours, "DELEGATION_HOME": str(self.home)}

    def write_profile(self, profile: Profile, name: str = "sandbox") -> Path:
        """Write a profile of this home."""
        path = self.home / "profiles" / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        write_secret_file(path, profile.model_dump_json(exclude_none=True), overwrite=True)
        return path

    async def owner(self, network: str, **funding: bool) -> Owner:
        """Return a fresh wallet, funded unless told otherwise."""
        wallet = await self.sandbox.new_wallet("solana" if network == "solana" else "evm", **funding)
        return self.keep(wallet)

    def keep(self, wallet: KeyDocument) -> Owner:
        """Write a wallet's key file."""
        self.secrets.append(wallet.private_key.removeprefix("0x"))
        key_file = self.home / f"{wallet.address}.key"
        write_secret_file(key_file, wallet.private_key)
        return Owner(wallet.address, key_file)

    def delegations(self) -> tuple[Delegation, ...]:
        """Return what is in this home's journal."""
        journal = open_journal(self.journal_file)
        try:
            return journal.list()
        finally:
            journal.close()

    async def nonce(self, network: str, owner: Owner) -> int:
        """Return how many transactions an owner has sent on an EVM network."""
        rpc = HttpRpc(self.sandbox.document.networks[network].rpc_url)
        try:
            return int(await rpc.request("eth_getTransactionCount", [owner.address, "pending"]), 16)
        finally:
            await rpc.aclose()

    async def platform(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the simulated platform something, or tell it to misbehave."""
        gateway = self.sandbox.document.gateway
        headers = {"x-client-key": gateway.client_key, "authorization": f"Bearer {gateway.access_token}"}
        async with httpx.AsyncClient(base_url=gateway.base_url, headers=headers) as client:
            answer = await client.request(method, path, json=body)
        answer.raise_for_status()
        return answer.json()

    async def start(self, *arguments: str, **streams: Any) -> asyncio.subprocess.Process:
        """Start a process with the profile `sandbox`."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            COMMAND,
            "--profile",
            "sandbox",
            *arguments,
            env=self.environment,
            **{"stdin": asyncio.subprocess.DEVNULL, "stdout": pipe, "stderr": pipe, **streams},
        )
        self.processes.append(process)
        return process

    async def close(self) -> None:
        """Leave no process behind, and let the platform behave again."""
        for process in self.processes:
            if process.returncode is None:
                process.kill()
                await process.wait()
        for path in ("misbehave", "config", "clock", "faucet"):
            await self.platform("DELETE", f"/sandbox/{path}")

    async def finish(self, process: asyncio.subprocess.Process, typed: str = "") -> Result:
        """Wait for the end of a process, after what is typed into its stdin."""
        given = None if process.stdin is None else typed.encode()
        out, err = await asyncio.wait_for(process.communicate(given), _TIMEOUT)
        assert process.returncode is not None
        return self.checked(Result(process.returncode, out.decode(), err.decode()))

    async def run(self, *arguments: str) -> Result:
        """Run a command as a process."""
        async with _PROCESSES:
            return await self.finish(await self.start(*arguments))

    async def call(self, *arguments: str, profile: str = "sandbox") -> Result:
        """Run a command without a process of its own, where that would show nothing more."""
        environment = {"DELEGATION_HOME": str(self.home)}

        def invoke() -> Result:
            ended = CliRunner(env=environment).invoke(main, ["--profile", profile, *arguments], catch_exceptions=False)
            return Result(ended.exit_code, ended.stdout, ended.stderr)

        return self.checked(await asyncio.to_thread(invoke))

    def checked(self, result: Result) -> Result:
        """Return the result after looking for secrets in it."""
        for secret in self.secrets:
            assert secret not in result.out
            assert secret not in result.err
        assert "Traceback" not in result.err, result.err
        return result


class Terminal:
    """A command that runs on a terminal of its own, with a person who reads and types."""

    def __init__(self, process: asyncio.subprocess.Process, descriptor: int) -> None:
        self.process = process
        self._descriptor = descriptor
        self.shown = ""

    @classmethod
    async def open(cls, cli: CommandLine, *arguments: str, columns: int = 80, **streams: Any) -> "Terminal":
        """Start a command on a new terminal; stdin, stdout and stderr are the terminal unless told otherwise."""
        ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (24, columns))
        streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs, **streams}
        try:
            return cls(await cli.start(*arguments, start_new_session=True, **streams), ours)
        finally:
            os.close(theirs)

    async def read_until(self, words: str) -> str:
        """Return what is shown until these words come, and take it as read."""
        async with asyncio.timeout(_TIMEOUT):
            while words not in self.shown:
                part = await asyncio.to_thread(self._read)
                assert part, f"ended before {words!r} was shown: {self.shown!r}"
                self.shown += part
        read, _, self.shown = self.shown.partition(words)
        return read + words

    def type(self, words: str) -> None:
        """Type words."""
        os.write(self._descriptor, words.encode())

    async def end(self) -> tuple[int, str]:
        """Return the exit status and the rest of what was shown."""
        async with asyncio.timeout(_TIMEOUT):
            while part := await asyncio.to_thread(self._read):
                self.shown += part
            status = await self.process.wait()
        os.close(self._descriptor)
        assert "Traceback" not in self.shown, self.shown
        return status, self.shown

    def _read(self) -> str:
        try:
            return os.read(self._descriptor, 65536).decode(errors="replace").replace("\r\n", "\n")
        except OSError:  # Linux: the last process on the terminal has gone
            return ""


async def planned(cli: CommandLine, owner: Owner, amount: int) -> Delegation:
    """Return a delegation that died when its plan was agreed to and nothing was signed."""
    profile = profile_of(cli.sandbox.document, journal=cli.journal_file)
    wallet = load_wallet(str(owner.key_file))
    request = DelegationRequest(network="linea", currency="usdc", amount=Decimal(amount), owner=wallet.address)
    async with open_context(profile, "linea", wallet=wallet, progress=die_at("preparing")) as context:
        with pytest.raises(CrashError):
            await carry(new_delegation(request, context), context)
    return cli.delegations()[-1]
