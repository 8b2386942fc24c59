"""The body of post-approval: exactly eight text fields, each of its documented pattern."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from delegation.sandbox.platform.errors import Refused
from delegation.sandbox.world import PlatformWorld, WorldNetwork, WorldToken

_FIELDS = ("address", "network", "currency", "amount", "txHash", "sigHash", "sigMessage", "token")
_AMOUNT = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_EVM_PATTERNS = {
    "address": re.compile(r"0x[a-fA-F0-9]{40}"),
    "txHash": re.compile(r"0x[a-fA-F0-9]{64}"),
    "sigHash": re.compile(r"0x[a-fA-F0-9]{130}"),
}
# Judged by what it decodes to: 64 bytes are not always 87 or 88 characters.
_SOLANA_SIZES = {"address": 32, "txHash": 64, "sigHash": 64}


@dataclass(frozen=True, slots=True)
class SubmittedProof:
    """A well-formed proof; `amount` is in base units, `tx_hash` in lower case on EVM networks."""

    network: WorldNetwork
    currency: str
    asset: WorldToken
    address: str
    amount: int
    tx_hash: str
    signature: str
    message: str
    token: str = field(repr=False)


def parse_proof(body: object, family: str, world: PlatformWorld) -> SubmittedProof:
    """Return the proof in a decoded JSON body; raises `Refused` with 422."""
    fields = _check_fields(body)
    network = world.networks.get(fields["network"])
    if network is None or network.family != family:
        raise Refused(422, "Validation error: network is not supported by this endpoint")
    asset = network.tokens.get(fields["currency"])
    if asset is None:
        raise Refused(422, "Validation error: currency is not supported on this network")
    if family == "evm":
        for name, pattern in _EVM_PATTERNS.items():
            if pattern.fullmatch(fields[name]) is None:
                raise Refused(422, f"Validation error: {name} must match ^{pattern.pattern}$")
    else:
        for name, size in _SOLANA_SIZES.items():
            _check_base58(name, fields[name], size)
    return SubmittedProof(
        network=network,
        currency=fields["currency"],
        asset=asset,
        address=fields["address"],
        amount=_parse_base_units(fields["amount"], asset.decimals),
        tx_hash=fields["txHash"].lower() if family == "evm" else fields["txHash"],
        signature=fields["sigHash"],
        message=fields["sigMessage"],
        token=fields["token"],
    )


def _check_fields(body: object) -> dict[str, str]:
    if not isinstance(body, dict):
        raise Refused(422, "Validation error: the body must be a JSON object")
    unknown = sorted(body.keys() - set(_FIELDS))
    if unknown:
        raise Refused(422, f"Validation error: unknown field {', '.join(unknown)}")
    for name in _FIELDS:
        if not isinstance(body.get(name), str) or not body[name]:
            raise Refused(422, f"Validation error: {name} must be a non-empty string")
    return body


def _check_base58(name: str, text: str, size: int) -> None:
    from solders.pubkey import Pubkey
    from solders.signature import Signature

    try:
        decoded = bytes(Pubkey.from_string(text) if size == 32 else Signature.from_string(text))
    except ValueError:
        decoded = b""
    if len(decoded) != size:
        raise Refused(422, f"Validation error: {name} must be base58 of {size} bytes")


def _parse_base_units(amount: str, decimals: int) -> int:
    if _AMOUNT.fullmatch(amount) is None:
        raise Refused(422, r"Validation error: amount must match ^\d+(\.\d+)?$")
    whole, _, fraction = amount.partition(".")
    if len(fraction) > decimals:
        raise Refused(422, f"Validation error: amount has more than {decimals} decimals")
    return int(whole + fraction.ljust(decimals, "0"))
