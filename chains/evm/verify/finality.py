"""How final a block is, in each network's own words."""

from __future__ import annotations

from chains.claims import Finding
from chains.errors import RpcError
from chains.evm.blocks import find_block
from chains.rpc import Rpc
from chains.types import Block, Chain


async def get_finality(rpc: Rpc, chain: Chain, block: Block) -> tuple[str, Finding]:
    """Return the level a block of the chain has reached: `included`, `safe` or `finalized`; on Linea `soft` or `hard`.

    Linea's nodes know no `safe`; its `finalized` is a block whose proof Ethereum has accepted and finalised.
    """
    tags, lowest = levels_of(chain)
    missing = []
    for tag, level in tags.items():
        reached = await _number_of(rpc, tag)
        if reached is None:
            missing.append(tag)
        elif block.number <= reached:
            return level, _describe(chain, level, block, missing)
    return lowest, _describe(chain, lowest, block, missing)


def levels_of(chain: Chain) -> tuple[dict[str, str], str]:
    """Return the level for which each block tag stands, the highest first, and that of a block before all of them."""
    if chain.name.startswith("linea"):
        return {"finalized": "hard"}, "soft"
    return {"finalized": "finalized", "safe": "safe"}, "included"


async def _number_of(rpc: Rpc, tag: str) -> int | None:
    try:
        found = await find_block(rpc, tag)
    except RpcError:
        return None
    return None if found is None else found[0].number


def _describe(chain: Chain, level: str, block: Block, missing: list[str]) -> Finding:
    """Say what a label means as the word of the node, which nobody checked."""
    meaning = {
        "included": "it is in the chain and can still be reorganised away",
        "safe": "it can be reorganised away only if much of the network misbehaves, if that is so",
        "finalized": "the network does not take it back, if that is so",
        "soft": "the sequencer has promised it, and the node does not say that Ethereum has finalised its proof",
        "hard": "the node calls it finalized, which on Linea says that its proof is accepted on Ethereum",
    }[level]
    asked = "" if chain.name == "ethereum" or level in {"included", "soft"} else " Ethereum was not asked."
    said = f" The node does not say which block is {' or '.join(missing)}." if missing else ""
    message = f"Block {block.number} is {level}, by the node's word: {meaning}.{asked}{said}"
    return Finding("finality", "NOTED", message, found=level)
