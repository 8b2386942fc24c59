"""The simulated platform's two judges: the toolkit's engine must not verify what the first, independent one refuses."""

from __future__ import annotations

from typing import Any

import httpx


async def require_agreement(client: httpx.AsyncClient, proof: Any, message: str, *, narrower: bool) -> None:
    """Fail unless the second judge refused too what the first refused with `message`.

    `narrower` says that the claim is true and only the platform does not take it: the engine must then verify it.
    """
    received = (await client.get("/sandbox/proofs")).json()
    sent = proof if isinstance(proof, dict) else {}
    same = [one for one in received if (one["tx_hash"], one["message"]) == (sent.get("txHash"), message)]
    opinion = same[-1]["second_judge"] if same else None
    if opinion is not None:
        assert (opinion == "VERIFIED") == narrower, f"refused with {message!r}; the second judge says {opinion}"
