"""Local chain nodes as child processes, each on a free loopback port, never outliving the process that started them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Final

from delegation.errors import SandboxError
from delegation.sandbox.tools import ensure_tools

_START_TIMEOUT: Final = 30.0
_READY: Final = re.compile(rb"^Listening on (?:http://)?(\S+:\d+)$", re.MULTILINE)

# The program replaces the shell; what stays behind in its process group waits for the end of our pipe, which the kernel
# closes however we die (SIGKILL included), and then kills the group. Needs nothing but POSIX, unlike PR_SET_PDEATHSIG.
_GUARD: Final = 'exec 3<&0; { read -r _ <&3; kill -KILL 0; } & exec "$@" </dev/null 3<&-'


@dataclass(slots=True)
class RunningNode:
    """A running node; `rpc_url` is its JSON-RPC address. Ends with `stop`, as a context manager, or with its parent."""

    name: str
    rpc_url: str
    process: subprocess.Popen[bytes]

    def stop(self) -> None:
        """Kill the node and wait until it is gone; harmless if it is gone already."""
        _kill(self.process)

    def __enter__(self) -> RunningNode:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start_anvil(chain_id: int, *arguments: str) -> RunningNode:
    """Start an EVM node that mines each transaction at once; `arguments` are further options of anvil.

    Its ten unlocked accounts hold 1,000,000 ETH each. `finalized` is two blocks behind the newest.
    Raises `SandboxError` if it cannot be started.
    """
    anvil = ensure_tools().anvil
    options = ["--host", "127.0.0.1", "--port", "0", "--chain-id", str(chain_id)]
    options += ["--balance", "1000000", "--slots-in-an-epoch", "1"]
    node = _start("anvil", [str(anvil), *options, *arguments])
    _silence_anvil(node)
    return node


def start_surfpool(slot_ms: int = 40) -> RunningNode:
    """Start a Solana node with a slot every `slot_ms` milliseconds; `finalized` is 31 slots behind the newest.

    Raises `SandboxError` if it cannot be started.
    """
    tools = ensure_tools()
    launcher = Path(__file__).parent / "surfpool_launcher.js"
    return _start("surfpool", [str(tools.node), str(launcher), str(tools.surfpool), str(slot_ms)])


def _start(name: str, command: list[str]) -> RunningNode:
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "sh", *command],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C at the terminal is ours to handle, not the nodes'
        )
        try:
            return RunningNode(name, f"http://{_wait_until_ready(name, process, output)}", process)
        except BaseException:
            _kill(process)
            raise


def _wait_until_ready(name: str, process: subprocess.Popen[bytes], output: IO[bytes]) -> str:
    """Return the host and port that the node says it listens on."""
    deadline = time.monotonic() + _START_TIMEOUT
    while time.monotonic() < deadline:
        ended = process.poll() is not None
        said = _read_all(output)
        if ready := _READY.search(said):
            return ready.group(1).decode()
        if ended:
            break
        time.sleep(0.01)
    raise SandboxError(
        f"{name} did not start: {_read_all(output).decode(errors='replace').strip()[-1500:] or 'it said nothing'}",
        hint="Nothing was left running. If the message does not help, delete the sandbox's cache and try again.",
    )


def _read_all(output: IO[bytes]) -> bytes:
    # The child writes through the same open file, so its position must stay where it is.
    return os.pread(output.fileno(), 1_000_000, 0)


def _kill(process: subprocess.Popen[bytes]) -> None:
    # The guard keeps the process group alive for as long as our end of its pipe is open, so its number is still ours.
    if process.stdin is not None and not process.stdin.closed:
        os.killpg(process.pid, signal.SIGKILL)
        process.stdin.close()
    process.wait()


def _silence_anvil(node: RunningNode) -> None:
    """Stop anvil's log, which would grow for ever: `--silent` would hide the port as well."""
    import httpx

    request = {"jsonrpc": "2.0", "id": 1, "method": "anvil_setLoggingEnabled", "params": [False]}
    try:
        httpx.post(node.rpc_url, json=request, timeout=_START_TIMEOUT).raise_for_status()
    except httpx.HTTPError as error:
        node.stop()
        raise SandboxError(f"anvil started but does not answer: {error}.", hint="Try again.") from error
