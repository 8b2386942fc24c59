"""Compiles the `*.sol` of a directory into its `artifacts.json`: python -m delegation.sandbox.compile [DIRECTORY]

The result is committed, so that a sandbox starts without a compiler; a test compiles again and compares.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from delegation.errors import SandboxError
from delegation.sandbox.artifacts import CONTRACTS
from delegation.sandbox.tools import ensure_tools

_RUN_SOLC: Final = """
const solc = require(process.argv[1]);
const input = require("fs").readFileSync(0, "utf8");
process.stdout.write(JSON.stringify({ compiler: solc.version(), output: JSON.parse(solc.compile(input)) }));
"""


def compile_contracts(directory: Path = CONTRACTS) -> dict[str, Any]:
    """Return what belongs into `artifacts.json`: ABI, creation bytecode and source hash of each contract.

    Raises `SandboxError` if the compiler has anything to complain of.
    """
    tools = ensure_tools()
    sources = {path.name: path.read_text() for path in sorted(directory.glob("*.sol"))}
    # Cancun is the newest set of instructions that every network we stand in for executes.
    settings = {
        "evmVersion": "cancun",
        "optimizer": {"enabled": True, "runs": 200},
        "metadata": {"bytecodeHash": "none"},
        "outputSelection": {"*": {"*": ["abi", "evm.bytecode.object"]}},
    }
    request = {
        "language": "Solidity",
        "sources": {name: {"content": text} for name, text in sources.items()},
        "settings": settings,
    }
    done = subprocess.run(
        [str(tools.node), "-e", _RUN_SOLC, str(tools.solc)],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    if done.returncode != 0:
        raise SandboxError(f"The Solidity compiler did not run: {done.stderr.strip()[-1500:]}")
    answer = json.loads(done.stdout)
    if complaints := answer["output"].get("errors"):
        raise SandboxError("\n".join(complaint["formattedMessage"] for complaint in complaints))
    return {
        "compiler": answer["compiler"],
        "settings": {name: settings[name] for name in ("evmVersion", "optimizer", "metadata")},
        "contracts": {
            Path(name).stem: {
                "source_sha256": hashlib.sha256(sources[name].encode()).hexdigest(),
                "abi": compiled[Path(name).stem]["abi"],
                "bytecode": "0x" + compiled[Path(name).stem]["evm"]["bytecode"]["object"],
            }
            for name, compiled in sorted(answer["output"]["contracts"].items())
        },
    }


def main() -> None:
    """Write `artifacts.json` anew."""
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else CONTRACTS
    (directory / "artifacts.json").write_text(json.dumps(compile_contracts(directory), indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
