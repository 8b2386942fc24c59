"""Grant, raise or lower the platform's allowance:  grant_allowance.py NETWORK CURRENCY AMOUNT [PROFILE]

    .venv/bin/python scripts/grant_allowance.py linea usdc 5000 sandbox
"""

import sys

from chains import ChainError, InvalidAmountError
from delegation import DelegationError, delegate, describe_plan


def ask(request, plan):
    for label, words in describe_plan(request, plan):
        print(f"{label:>9}  {words}")
    if input("Sign and send this? [y/N] ") != "y":
        sys.exit("Declined; nothing was signed.")
