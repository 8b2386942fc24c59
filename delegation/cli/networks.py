"""`networks`: what the platform supports, and whether it agrees with the pins."""

from __future__ import annotations

import click

from delegation.cli.session import DONE, FAILED, Session, command


@click.command("networks")
@click.option("--trust", metavar="NETWORK", help="Accept a changed spender or token of this network after checking it.")
@click.option("--yes", is_flag=True, help="With --trust: do not ask.")
@command
async def networks_command(session: Session, /, *, trust: str | None, yes: bool) -> int:
    """Show the networks and tokens that the platform supports, and whether they agree with what is pinned.

    Exit status 1 if something disagrees.
    """
    from delegation.journal import open_journal
    from delegation.pins import Pins
    from delegation.plan import find_asset
    from delegation.profile import journal_location

    profile = session.load_profile()
    gateway = profile.gateway_door()
    journal = open_journal(journal_location(profile))
    try:
        config = await gateway.get_networks()
        pins = Pins(journal, gateway.base_url, gateway.region)
        assets = [find_asset(config, network.network, key) for network in config.networks for key in network.tokens]
        if trust is not None:
            network = profile.chain(trust).name
            offered = [asset for asset in assets if asset.network == network]
            changed = {check.subject: check for asset in offered for check in pins.check(asset) if not check.agrees}
            for check in changed.values():
                session.insist(f"{check.subject}\n  pinned: {check.pinned}\n  now:    {check.found}")
            if not changed:
                session.say(f"Nothing to trust: what is pinned for {network} has not changed.")
            elif yes or session.confirm("Trust what the platform names now?"):
                for asset in offered:
                    pins.trust(asset)
        checks = [(asset, pins.check(asset)) for asset in assets]
    finally:
        journal.close()
        await gateway.aclose()
    agrees = all(check.agrees for _, both in checks for check in both)
    if session.as_json:
        session.print_document(
            {
                "agrees": agrees,
                "assets": [
                    {
                        "network": asset.network,
                        "environment": asset.environment,
                        "currency": asset.token.symbol,
                        "token": asset.token.address,
                        "decimals": asset.token.decimals,
                        "spender": asset.spender,
                        "pins": [
                            {
                                "subject": check.subject,
                                "source": check.source,
                                "pinned": check.pinned,
                                "found": check.found,
                                "agrees": check.agrees,
                            }
                            for check in both
                        ],
                    }
                    for asset, both in checks
                ],
                "left_out": [{"what": left.what, "reason": left.reason} for left in config.left_out],
            }
        )
    else:
        rows = []
        for asset, both in checks:
            words = "CHANGED" if not all(check.agrees for check in both) else "agrees"
            if all(check.pinned is None for check in both):
                words = "not pinned yet"
            rows.append((asset.network, asset.token.symbol, asset.token.address, asset.spender, words))
        session.print_table(("NETWORK", "TOKEN", "TOKEN ADDRESS", "SPENDER", "PINS"), rows)
        for left in config.left_out:
            session.say(f"Left out: {left.what}: {left.reason}")
    return DONE if agrees else FAILED
