"""A process that carries delegations in forks of itself, each of which is killed (SIGKILL) at a save or at a moment.

Started by test_crash.py. Reads one JSON job a line on stdin and answers `{"job": N, "status": S}` on stdout, where S is
the exit status of the fork: -9 if it was killed, 0 if it came to the end first.
"""

import asyncio
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from importlib import import_module
from typing import Any

from chains.wallets import load_wallet
from delegation import Context, Delegation, DelegationRequest, Journal, Profile, carry, new_delegation, open_context
from delegation.replacement import cancel, speed_up

# What a line imports when it needs it, imported once here and not in every fork.
for heavy in ("eth_account", "httpx", "rlp", "solders", "chains.evm.node", "chains.solana.node"):
    import_module(heavy)


class KillingJournal(Journal):
    """A journal at whose n-th save the power fails, just before or just after it is on the disk."""

    def __init__(self, journal: Journal, *, save: int, when: str) -> None:
        super().__init__(journal._database)
        self._left = save
        self._when = when

    def save(self, delegation: Delegation, *, others: Sequence[Delegation] = ()) -> Delegation:
        self._left -= 1
        if self._left == 0 and self._when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        saved = super().save(delegation, others=others)
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return saved


async def carry_until_killed(job: dict[str, Any]) -> None:
    profile = Profile.model_validate(job["profile"])
    wallet = load_wallet(job["key_file"])
    request = DelegationRequest(
        network=job["network"], currency=job["currency"], amount=Decimal(job["amount"]), owner=wallet.address
    )
    async with open_context(profile, job["network"], wallet=wallet) as context:
        journal = KillingJournal(context.journal, save=job["save"], when=job["when"])
        await do(job["what"], request, replace(context, journal=journal))


async def do(what: str, request: DelegationRequest, context: Context) -> None:
    """Carry a new delegation, or take the way out of the one that is stuck."""
    if what == "carry":
        await carry(new_delegation(request, context), context)
        return
    (stuck,) = context.journal.list()
    if what == "speed up":
        await carry(await speed_up(stuck, context), context)
    else:
        await cancel(stuck, context)


def report(number: int, pid: int) -> None:
    _, status = os.waitpid(pid, 0)
    os.write(1, json.dumps({"job": number, "status": os.waitstatus_to_exitcode(status)}).encode() + b"\n")


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):  # it came to the end first
        os.kill(pid, signal.SIGKILL)


for line in sys.stdin:
    given = json.loads(line)
    child = os.fork()
    if child == 0:
        asyncio.run(carry_until_killed(given))
        os._exit(0)
    if given["moment"] is not None:
        timer = threading.Timer(given["moment"], kill, (child,))
        timer.daemon = True
        timer.start()
    threading.Thread(target=report, args=(given["job"], child)).start()
