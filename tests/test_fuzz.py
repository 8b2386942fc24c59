"""20,000 made-up inputs: what comes from outside is read, or refused by an error of our own trees, and nothing else.

The inputs are spliced from true ones, so that they get past the first check. With --all there are 200,000.
"""

from __future__ import annotations

import json
import random
from base64 import b64encode
from collections.abc import Callable
from functools import cache

from eth_account import Account
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from solders.hash import Hash
from solders.keypair import Keypair
from solders.message import MessageV0, to_bytes_versioned
from solders.pubkey import Pubkey

from chains.errors import ChainError
from chains.evm.codec.transactions import decode_transaction
from chains.evm.family import signed_from_raw as evm_signed_from_raw
from chains.ownership import format_statement, parse_statement
from chains.rpc.transcript import Exchange
from chains.solana.approve import build_approve
from chains.solana.family import signed_from_raw as solana_signed_from_raw
from chains.solana.transactions import parse_wire, read_message
from chains.solana.verify.instructions import walk
from chains.types import Token
from delegation import Claim, ClaimedApproval, Policy, utc_now, verify_evidence
from delegation.audit.evidence import write_evidence
from delegation.audit.nodes import Endpoint, NodeResult
from delegation.audit.verdict import make_report

OWNER = Account.from_key("0x" + "11" * 32)
SPENDER = "0x9dd23A4a0845f10d65D293776B792af1131c7B30"
STATEMENT = (
    f"card.example.com wants you to sign in with your Ethereum account:\n{OWNER.address}\n\nProve address ownership\n\n"
    "URI: https://card.example.com/a?b#c\nVersion: 1\nChain ID: 59144\nNonce: 5f8a9b2c4d3e\n"
    "Issued At: 2026-01-01T00:00:00.000Z\nExpiration Time: 2026-01-01T00:02:00+01:00\n"
    "Not Before: 2026-01-01T00:00:00Z\n"
    "Request ID: x%20y\nResources:\n- https://a.example/[::1]\n- ipfs://b"
)


def splices(true: bytes, pieces: tuple[bytes, ...] = (b"\xff",)) -> st.SearchStrategy[bytes]:
    """Return true bytes in which one or two places were cut out, doubled, or replaced by something else."""

    def splice(seed: int) -> bytes:
        chance = random.Random(seed)
        content = true
        for _ in range(chance.randint(1, 2)):
            start, length = chance.randint(0, len(content)), chance.choice((0, 0, 1, 1, 2, 9, 40))
            inserted = chance.choice(
                (b"", chance.choice(pieces), chance.randbytes(chance.randint(1, 6)), content[start : start + 40])
            )
            content = content[:start] + inserted + content[start + length :]
        # Without a change it would be a true one, and is no example.
        return content if content != true else true[:-1]

    # One number an example: hypothesis makes these ten times as fast as lists of places, and so makes more.
    return st.integers(0, 2**32).map(splice)


def only_our_errors(read: Callable[[], object]) -> None:
    """Fail for an error of another tree."""
    try:
        read()
    except ChainError:
        return


# Of the 100 examples that hypothesis makes by default 5,000, of the 1,000 with --all 50,000.
fuzz = settings(
    max_examples=50 * settings().max_examples, deadline=None, suppress_health_check=list(HealthCheck), database=None
)

LINES = (*(line.encode() + b"\n" for line in STATEMENT.split("\n")), b"Z", b"+24:00", b"\xf0\x9f\x92\xb3", b"%")


@fuzz
@given(splices(STATEMENT.encode(), LINES))
def test_a_statement_is_read_back_exactly_or_refused(content: bytes) -> None:
    text = content.decode(errors="surrogateescape")

    def read() -> None:
        assert format_statement(parse_statement(text)) == text

    only_our_errors(read)


@cache
def evm_transactions() -> tuple[bytes, ...]:
    """Return a signed transaction of each type."""
    common = {"nonce": 7, "to": SPENDER, "value": 0, "data": "0x095ea7b3" + "00" * 64, "gas": 60_000, "chainId": 59144}
    fees = {"maxFeePerGas": 9, "maxPriorityFeePerGas": 1}
    access = {"accessList": [{"address": SPENDER, "storageKeys": ["0x" + "01" * 32]}]}
    authorization = OWNER.sign_authorization({"chainId": 59144, "address": SPENDER, "nonce": 8})
    kinds = (
        common | {"gasPrice": 9},
        common | {"gasPrice": 9, "type": 1} | access,
        common | fees | {"type": 2} | access,
        common | fees | {"type": 4, "authorizationList": [authorization]} | access,
    )
    return tuple(bytes(Account.sign_transaction(kind, OWNER.key).raw_transaction) for kind in kinds)


@fuzz
@given(st.sampled_from(evm_transactions()).flatmap(splices))
def test_an_evm_transaction_is_read_or_refused(raw: bytes) -> None:
    only_our_errors(lambda: decode_transaction(raw))
    only_our_errors(lambda: evm_signed_from_raw("0x" + raw.hex()))


@cache
def solana_transaction() -> bytes:
    """Return a signed approval."""
    payer = Keypair.from_seed(b"\x05" * 32)
    keys = [str(Pubkey.from_bytes(bytes([number]) * 32)) for number in (1, 2)]
    step = build_approve("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA", keys[0], keys[1], str(payer.pubkey()), 5)
    message = to_bytes_versioned(MessageV0.try_compile(payer.pubkey(), [step], [], Hash.default()))
    return bytes([1]) + bytes(payer.sign_message(message)) + message


@fuzz
@given(splices(solana_transaction(), (b"\xff", b"\x80", b"\x01\x00", b"\xff\x03\x09\x04")))
def test_a_solana_transaction_is_read_or_refused(raw: bytes) -> None:
    only_our_errors(lambda: walk(read_message(parse_wire(raw)[1]), {"innerInstructions": [], "loadedAddresses": None}))
    only_our_errors(lambda: solana_signed_from_raw(b64encode(raw).decode()))


@cache
def evidence() -> bytes:
    """Return an evidence file of a node that did not answer everything."""
    token = Token("usdc", "0x176211869cA2b568f2A7D4EE941E073a821EE1ff", 6)
    approval = ClaimedApproval(
        network="linea",
        chain="59144",
        transaction="0x" + "ab" * 32,
        token=token,
        owner=OWNER.address,
        spender=SPENDER,
        amount=5,
    )
    claim = Claim(approval=approval)
    answer = json.dumps({"jsonrpc": "2.0", "id": 1, "result": "0xe708"})
    exchanges = (Exchange("eth_chainId", "[]", answer), Exchange("eth_getBlockByNumber", '["latest",false]', None))
    result = NodeResult(Endpoint("https://one.example", "one.example"), exchanges, problem="It did not answer.")
    return write_evidence(claim, Policy(), [result], make_report(claim, Policy(), [result], now=utc_now()))


@fuzz
@given(splices(evidence(), (b'"', b"}", b"]", b"null", b"1e999", b"NaN", b"\\u0000", b'{"a":' * 300, b"\xed\xa0\x80")))
def test_a_spliced_evidence_file_is_never_verified(file: bytes) -> None:
    assert verify_evidence(file).verdict in {"REFUTED", "UNDETERMINED"}
