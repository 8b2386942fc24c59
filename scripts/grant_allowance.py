"""Grant, raise or lower an allowance, as a script: grant_allowance.py NETWORK CURRENCY AMOUNT [PROFILE].

For example, with a sandbox running: .venv/bin/python scripts/grant_allowance.py linea usdc 5000 sandbox
"""

import sys

from chains import InputError
from delegation import InvalidRequestError, Plan, ToolkitError, delegate, describe_plan
from delegation.models import filled


def ask(plan: Plan) -> None:
    """Show the plan and go on only if the owner says so."""
    for label, words in describe_plan(plan):
        print(f"{label:>9}  {words}")
    print("Sign and send this? [y/N] ", end="", flush=True)
    if sys.stdin.readline().strip().lower() != "y":
        sys.exit("Declined; nothing was signed.")


if len(sys.argv) not in (4, 5):
    print(__doc__, file=sys.stderr)
    sys.exit(2)
network, currency, amount, profile = [*sys.argv[1:], "default"][:4]
resume = f"If anything was signed, finish it with: delegation --profile {profile} resume"
try:
    done = delegate(network, currency, amount, agree=ask, profile=profile)
except ToolkitError as error:
    print(f"Error: {error}", file=sys.stderr)
    sys.exit(2 if isinstance(error, (InputError, InvalidRequestError)) else resume)
except KeyboardInterrupt:
    sys.exit(f"Interrupted. {resume}")
print(f"{done.result.verdict}: {filled(done.plan, 'plan').spender} may spend {done.request.amount} {currency.upper()}.")
print(f"Transaction: {done.approvals[-1].hash}")
sys.exit(0 if done.result.verdict == "VERIFIED" else 1)
