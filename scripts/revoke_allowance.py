"""Take an allowance back, as a script: revoke_allowance.py NETWORK CURRENCY [PROFILE].

For example, with a sandbox running: .venv/bin/python scripts/revoke_allowance.py linea usdc sandbox
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


if len(sys.argv) not in (3, 4):
    print(__doc__, file=sys.stderr)
    sys.exit(2)
network, currency, profile = [*sys.argv[1:], "default"][:3]
resume = f"If anything was signed, finish it with: delegation --profile {profile} resume"
try:
    done = delegate(network, currency, "0", agree=ask, profile=profile)
except ToolkitError as error:
    print(f"Error: {error}", file=sys.stderr)
    sys.exit(2 if isinstance(error, (InputError, InvalidRequestError)) else resume)
except KeyboardInterrupt:
    sys.exit(f"Interrupted. {resume}")
print(f"{done.result.verdict}: {filled(done.plan, 'plan').spender} may spend nothing any more.")
print(f"Transaction: {done.approvals[-1].hash}")
sys.exit(0 if done.result.verdict == "VERIFIED" else 1)
