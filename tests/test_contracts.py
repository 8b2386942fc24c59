"""The test contracts are committed compiled, so that tests need no compiler; here they are compiled again."""

import asyncio
import json
from pathlib import Path

from delegation.sandbox.compile import compile_contracts

CONTRACTS = Path(__file__).parent / "contracts"


async def test_the_committed_artifacts_are_what_the_compiler_makes_of_the_sources():
    committed = json.loads((CONTRACTS / "artifacts.json").read_text())
    assert committed == await asyncio.to_thread(compile_contracts, CONTRACTS)
