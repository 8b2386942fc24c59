"""Processes that resume one journal at once, each in a fork: started by test_many_processes.py.

Reads one JSON job from stdin: `profile`, `keys` (owner to secret key) and `processes`. Each fork carries whatever is
unfinished, the oldest first, until nothing is, and passes over what another one has or has moved on. Prints one JSON
line for each: what it carried to its end, and how often it passed something over for which error.
"""

import asyncio
import json
import os
import sys
import time
import traceback
from collections import Counter
from importlib import import_module
from typing import Any

from chains.wallets import EvmKeyWallet
from delegation import Profile, carry, open_context, open_journal
from delegation.errors import JournalConflictError, LeasedError

# What a line imports when it needs it, imported once here and not in every fork.
for name in ("chains.evm.family", "chains.evm.transactions", "httpx", "sqlite3", "sqlalchemy", "psycopg"):
    import_module(name)

PATIENCE = 120  # seconds
_PASSED_OVER = (LeasedError, JournalConflictError)


async def resume_all(profile: Profile, keys: dict[str, str]) -> dict[str, Any]:
    """Carry everything to its end that nobody else does."""
    journal = open_journal(str(profile.journal))
    carried: list[str] = []
    passed_over: Counter[str] = Counter()
    ends = time.monotonic() + PATIENCE
    while left := [d for d in journal.list() if d.unfinished]:
        if time.monotonic() > ends:
            raise TimeoutError(f"nobody finishes {[(d.id, d.state) for d in left]}")
        for listed in left:
            d = journal.load(listed.id)
            if not d.unfinished:
                continue
            wallet = EvmKeyWallet(keys[d.request.owner])
            try:
                async with open_context(profile, d.request.network, wallet=wallet) as context:
                    carried.append((await carry(d, context)).id)
            except _PASSED_OVER as error:
                passed_over[type(error).__name__] += 1
        await asyncio.sleep(0.02)
    journal.close()
    return {"carried": carried, "passed_over": passed_over}


def fork(job: dict[str, Any], start: int) -> int:
    child = os.fork()
    if child:
        return child
    try:
        os.read(start, 1)
        told = asyncio.run(resume_all(Profile.model_validate(job["profile"]), job["keys"]))
        os.write(1, json.dumps(told).encode() + b"\n")
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        os._exit(1)


given = json.load(sys.stdin)
gate, opened = os.pipe()
children = [fork(given, gate) for _ in range(given["processes"])]
os.write(opened, b"." * len(children))
statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
if any(statuses):
    sys.exit(f"they ended with {statuses}")
