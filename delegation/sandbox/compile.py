"""Compiles `contracts/*.sol` into `contracts/artifacts.json`: python -m delegation.sandbox.compile

The result is committed, so that a sandbox starts without a compiler; a test compiles again and compares.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any, Final

from delegation.errors import SandboxError
from delegation.sandbox.tools import ensure_tools

CONTRACTS: Final = Path(__file__).parent / "contracts"
ARTIFACTS: Final = CONTRACTS / "artifacts.json"

_RUN_SOLC: Final = """
const solc = require(process.argv[1]);
const input = require("fs").readFileSync(0, "utf8");
process.stdout.write(JSON.stringify({ compiler: solc.version(), output: JSON.parse(solc.compile(input)) }));
"""


def compile_contracts() -> dict[str, Any]:
    """Return what belongs into `artifacts.json`: ABI, creation bytecode and source hash of each contract.

    Raises `SandboxError` if the compiler has anything to complain of.
    """
    tools = ensure_tools()
    sources = {path.name: path.read_text() for path in sorted(CONTRACTS.glob("*.sol"))}
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
    ARTIFACTS.write_text(json.dumps(compile_contracts(), indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
