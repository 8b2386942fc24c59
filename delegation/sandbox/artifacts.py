"""The compiled contracts of the sandbox, and the calldata that speaks to them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

CONTRACTS: Final = Path(__file__).parent / "contracts"


@dataclass(frozen=True, slots=True)
class Artifact:
    """One compiled contract: its ABI and its creation bytecode as 0x hex."""

    name: str
    abi: list[dict[str, Any]]
    bytecode: str


@cache
def _read(directory: Path) -> dict[str, Any]:
    contracts: dict[str, Any] = json.loads((directory / "artifacts.json").read_text())["contracts"]
    return contracts


def get_artifact(name: str, directory: Path = CONTRACTS) -> Artifact:
    """Return the contract `<name>.sol` of a compiled directory; raises `KeyError` if there is none."""
    compiled = _read(directory)[name]
    return Artifact(name, compiled["abi"], compiled["bytecode"])


def encode_call(signature: str, *arguments: Any) -> str:
    """Return the calldata of a function, for example of `mint(address,uint256)`, as 0x hex."""
    from eth_utils.crypto import keccak

    return "0x" + (keccak(text=signature)[:4] + _encode(signature, arguments)).hex()


def encode_creation(name: str, signature: str, *arguments: Any, directory: Path = CONTRACTS) -> str:
    """Return what deploys a contract: its bytecode and the arguments of its `constructor(...)`, as 0x hex."""
    return get_artifact(name, directory).bytecode + _encode(signature, arguments).hex()


def _encode(signature: str, arguments: tuple[Any, ...]) -> bytes:
    from eth_abi.abi import encode

    types = signature[signature.index("(") + 1 : -1]
    return encode(types.split(",") if types else [], arguments)
