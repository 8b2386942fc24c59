"""This toolkit: the strict parser, and the whole check of an ownership claim with every expectation given."""

from __future__ import annotations

import sys
from datetime import datetime
from functools import cache

from rounds import Case, serve

from chains import get_chain
from chains.claims import Expectations, OwnershipClaim, verdict_of
from chains.family import check_ownership
from chains.ownership import parse_statement
from chains.rpc.transcript import run_offline


def parse(case: Case) -> bool:
    """Return whether the text is a statement."""
    return parse_statement(case["message"]) is not None


def verify(case: Case) -> bool:
    """Return whether the statement is what is expected, and signed."""
    expectations = Expectations(case["domain"], case["uri"], case["nonce"], _moment(case["at"]))
    chain = get_chain(case["network"])
    claim = OwnershipClaim(chain, case["owner"], case["message"], case["signature"], expectations)
    return verdict_of(run_offline(check_ownership(claim)).findings) == "VERIFIED"


@cache
def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


if __name__ == "__main__":
    serve(parse, verify, sys.argv[1:])
