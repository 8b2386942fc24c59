"""siwe (Python) as a peer: its own parser and verification, with libsecp256k1, and the comparisons it leaves out.

With the argument `regex` it parses with its regular expression instead of the grammar that it parses with by default.
"""

from __future__ import annotations

import sys
from datetime import datetime
from functools import cache

from eth_keys.backends import get_backend  # type: ignore[import-not-found,unused-ignore]
from rounds import Case, serve
from siwe import SiweMessage, VerificationError  # type: ignore[import-not-found,unused-ignore]


def parse(case: Case) -> bool:
    """Return whether the text is a statement."""
    return _read(case) is not None


def verify(case: Case) -> bool:
    """Return whether the statement is what is expected, and signed."""
    statement = _read(case)
    said = (statement.address, statement.uri, statement.chain_id)
    if said != (case["owner"], case["uri"], case["chain_id"]):
        return False
    try:
        statement.verify(case["signature"], domain=case["domain"], nonce=case["nonce"], timestamp=_moment(case["at"]))
    except VerificationError:
        return False
    return True


def _read(case: Case) -> SiweMessage:
    return SiweMessage.from_message(case["message"], abnf="regex" not in sys.argv)


@cache
def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


if __name__ == "__main__":
    if type(get_backend()).__name__ != "CoinCurveECCBackend":
        sys.exit("siwe would not use libsecp256k1, so that the comparison would not be a fair one")
    serve(parse, verify, sys.argv[-2:])
