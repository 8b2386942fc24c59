"""The endpoints of delegation: configuration, token and post-approval."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from chains.claims import Verdict
from delegation.audit.report import Report
from delegation.sandbox.platform import judge_evm, judge_solana
from delegation.sandbox.platform.chain_evm import EvmChain
from delegation.sandbox.platform.context import Context, read_json
from delegation.sandbox.platform.errors import ChainUnavailableError, JudgesDisagreeError, Refused
from delegation.sandbox.platform.faucet import check_faucet_request, drip
from delegation.sandbox.platform.proof import SubmittedProof, parse_proof
from delegation.sandbox.platform.second_judge import ask_second_judge, require_agreement
from delegation.sandbox.platform.state import PlatformState, ReceivedProof
from delegation.sandbox.world import WorldNetwork

# What a tenant with Algorand cards gets: no chain id, no spender, no tokens. Clients must skip it.
_ALGORAND = {"network": "algorand", "environment": "sandbox", "program": "CIEBQw=="}


async def get_chain_config(request: Request) -> Response:
    """GET /v1/delegation/chain/config"""
    state = Context.of(request).state
    entries = [_describe(network, state) for network in state.world.networks.values()]
    entries.append(_ALGORAND)
    wanted = request.query_params.get("network")
    if wanted is not None:
        entries = [entry for entry in entries if entry["network"] == wanted.lower()]
    links = {"self": "/v1/delegation/chain/config"}
    return JSONResponse({"networks": entries, "count": len(entries), "_links": links})


def _describe(network: WorldNetwork, state: PlatformState) -> dict[str, Any]:
    return {
        "network": network.name,
        "environment": "sandbox",
        "chainId": network.chain_id,
        "delegationContract": network.delegation_contract,
        "tokens": {
            symbol: {"symbol": symbol, "decimals": token.decimals, "address": token.address}
            for symbol, token in network.tokens.items()
        },
        **state.config_overrides.get(network.name, {}),
    }


async def get_token(request: Request) -> Response:
    """GET /v1/delegation/token"""
    context = Context.of(request)
    query = request.query_params
    if query.get("faucet", "false").lower() != "true":
        issued = context.state.issue_token()
        return JSONResponse({"token": issued.token, "nonce": issued.nonce})
    address, network = check_faucet_request(context.state, query.get("address"), query.get("network"))
    status = await drip(context.state, context.chains, address, network)
    issued = context.state.issue_token()
    # 207 says that there is a token but no gas; the name of the third field is not published.
    answer = {"token": issued.token, "nonce": issued.nonce, "faucetStatus": status}
    return JSONResponse(answer, 200 if status == "confirmed" else 207)


async def post_evm_approval(request: Request) -> Response:
    """POST /v1/delegation/evm/post-approval"""
    return await _post_approval(request, "evm")


async def post_solana_approval(request: Request) -> Response:
    """POST /v1/delegation/solana/post-approval"""
    return await _post_approval(request, "solana")


async def _post_approval(request: Request, family: str) -> Response:
    context = Context.of(request)
    body: object = None
    status, message = 201, ""
    opinions: list[Verdict] = []
    try:
        body = await read_json(request)
        async with context.judging:
            await _judge(context, body, family, opinions)
    except Refused as refusal:
        status, message = refusal.status, refusal.message
    except ChainUnavailableError:
        status, message = 500, "Internal server error"
    except JudgesDisagreeError as error:
        status, message = 500, f"The platform's two judges disagree: {error}"
    context.state.proofs.append(_record(context.state, body, status, message, opinions))
    return JSONResponse({"success": True} if status == 201 else {"message": message}, status)


async def _judge(context: Context, body: object, family: str, opinions: list[Verdict]) -> None:
    """Judge and accept a proof; what the second judge thinks of it is added to `opinions`."""
    state = context.state
    if state.sign_in.conduct.verification_state != "VERIFIED":
        # Documented as a prerequisite; the text is the one that is known from registration.
        raise Refused(403, "Account has not been verified")
    proof = parse_proof(body, family, state.world)
    nonce, now = state.get_live_token(proof.token).nonce, state.now()
    chain = context.chains[proof.network.name]
    try:
        if isinstance(chain, EvmChain):
            await judge_evm.judge(proof, chain, nonce=nonce, now=now)
        else:
            await judge_solana.judge(proof, chain, nonce=nonce, now=now)
    except Refused:
        await _ask_second(proof, nonce, now, opinions)
        raise
    require_agreement(await _ask_second(proof, nonce, now, opinions))
    state.accept(
        token=proof.token,
        network=proof.network.name,
        tx_hash=proof.tx_hash,
        address=proof.address,
        currency=proof.currency,
    )


async def _ask_second(proof: SubmittedProof, nonce: str, now: datetime, opinions: list[Verdict]) -> Report | None:
    report = await ask_second_judge(proof, nonce=nonce, now=now)
    if report is not None:
        opinions.append(report.verdict)
    return report


def _record(state: PlatformState, body: object, status: int, message: str, opinions: list[Verdict]) -> ReceivedProof:
    fields = body if isinstance(body, dict) else {}
    return ReceivedProof(
        received_at=state.now().isoformat(),
        network=fields.get("network"),
        currency=fields.get("currency"),
        address=fields.get("address"),
        amount=fields.get("amount"),
        tx_hash=fields.get("txHash"),
        accepted=status == 201,
        status=status,
        message=message,
        second_judge=opinions[0] if opinions else None,
    )
