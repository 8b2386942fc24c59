"""`grant`, `revoke`, `resume` and what reads: done, stopped midway and finished, in JSON and in words."""

import asyncio
import json
import re
import signal
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from command_line import CommandLine, Owner, Result, planned

from chains import Token
from chains.family import open_node
from chains.types import AllowanceIntent
from chains.wallets import load_wallet
from delegation import open_context
from delegation.cli.line import carry_and_report
from delegation.cli.progress import Progress
from delegation.cli.session import Session
from delegation.sandbox import Sandbox
from delegation.sandbox.profile import profile_of

WIRE_FIELDS = {"address", "network", "currency", "amount", "txHash", "sigHash", "sigMessage", "token"}
EVM_PROOF, CONFIG = "/v1/delegation/evm/post-approval", "/v1/delegation/chain/config"


@pytest.fixture
async def cli(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[CommandLine]:
    cli = CommandLine(sandbox, tmp_path)
    yield cli
    await cli.close()


def grant(network: str, currency: str, amount: str, owner: Owner, *more: str) -> tuple[str, ...]:
    """Return the arguments of a grant that asks nothing."""
    place = ("--network", network, "--currency", currency, "--amount", amount)
    return ("grant", *place, "--wallet", str(owner.key_file), "--yes", *more)


def of(network: str, currency: str, owner: Owner) -> tuple[str, ...]:
    """Return the options that name an allowance."""
    return ("--network", network, "--currency", currency, "--owner", owner.address)


async def test_a_grant_ends_with_one_document_in_which_every_station_is_filled(cli: CommandLine) -> None:
    lines = [("linea", "usdc"), ("ethereum", "usdt"), ("solana", "usdc")]
    owners = [await cli.owner(network) for network, _ in lines]
    await cli.call(*grant("ethereum", "usdt", "100", owners[1]))

    results = await asyncio.gather(
        *(
            cli.run("--json", *grant(network, currency, "5000", owner))
            for (network, currency), owner in zip(lines, owners, strict=True)
        )
    )

    proofs = await cli.platform("GET", "/sandbox/proofs")
    for (network, currency), owner, result in zip(lines, owners, results, strict=True):
        assert result.status == 0
        document = result.document
        assert document["station"] == "done"
        assert set(document["proof"]) == WIRE_FIELDS
        assert {**document["proof"], "sigHash": "", "sigMessage": "", "token": ""} == {
            "address": owner.address,
            "network": network,
            "currency": currency,
            "amount": "5000",
            "txHash": document["approvals"][-1]["hash"],
            "sigHash": "",
            "sigMessage": "",
            "token": "",
        }
        taken = [proof["tx_hash"] for proof in proofs if proof["accepted"] and proof["address"] == owner.address]
        assert taken[-1] == document["proof"]["txHash"]
        assert document["submission"]["outcome"] == "accepted"
        assert document["verification"]["verdict"] == "VERIFIED"
        assert [step["hash"] is not None for step in document["approvals"]] == [True] * (2 if currency == "usdt" else 1)
        assert re.search(rf"Allow +5000 {currency.upper()} on .*(\n.*)*Owner +{owner.address}", result.err), "the plan"
        for words in ("plan: reading", "approval 1 of", "submission: telling the platform"):
            assert re.search(f"^{words}", result.err, re.MULTILINE), "what is being done, a line each"
        assert "\x1b" not in result.err
    assert {d.id for d in cli.delegations()} >= {result.document["id"] for result in results}


async def test_what_was_granted_can_be_read_prioritized_and_revoked(cli: CommandLine) -> None:
    owner = await cli.owner("linea")
    granted = await cli.call("--quiet", "--json", *grant("linea", "usdc", "5000", owner))
    assert granted.err == "", "--quiet leaves questions and errors"
    delegation_id = granted.document["id"]

    status = (await cli.call("--json", "status", *of("linea", "usdc", owner))).document
    assert (status["allowance"], status["spendable"], status["decimals"]) == ("5000000000", "5000000000", 6)

    wallets = (await cli.call("--json", "wallets")).document["wallets"]
    mine = next(wallet for wallet in wallets if wallet["address"] == owner.address)
    assert (mine["network"], mine["currency"], mine["allowance"]) == ("linea", "usdc", "5000")
    prioritized = (await cli.call("--json", "wallets", "prioritize", str(mine["id"]))).document["wallets"]
    assert (prioritized[0]["id"], prioritized[0]["priority"]) == (mine["id"], 1)

    networks = (await cli.call("--json", "networks")).document
    assert networks["agrees"] is True
    usdc = next(a for a in networks["assets"] if (a["network"], a["currency"]) == ("linea", "usdc"))
    assert {pin["pinned"] == pin["found"] for pin in usdc["pins"]} == {True}
    assert usdc["spender"] == cli.sandbox.document.networks["linea"].delegation_contract

    assert [d["id"] for d in (await cli.call("--json", "list")).document["delegations"]] == [delegation_id]
    shown = (await cli.call("--json", "show", delegation_id[:5])).document
    assert shown == granted.document

    revoked = await cli.call("--json", "revoke", *of("linea", "usdc", owner), "--wallet", str(owner.key_file), "--yes")
    assert (revoked.status, revoked.document["verification"]["verdict"]) == (0, "VERIFIED")
    assert (await cli.call("--json", "status", *of("linea", "usdc", owner))).document["allowance"] == "0"


async def test_the_same_is_told_in_words_without_json(cli: CommandLine) -> None:
    owner = await cli.owner("ethereum")
    spender = cli.sandbox.document.networks["ethereum"].delegation_contract
    await cli.call(*grant("ethereum", "usdt", "100", owner))
    granted = await cli.call(*grant("ethereum", "usdt", "5000.5", owner))
    assert re.search(rf"Allow +5000\.5 USDT on Ethereum\n +Spender +{spender}", granted.err)
    assert re.search(r"Replaces +100 USDT", granted.err)
    assert re.search(r"Step 1 +approve 0 USDT, fee at most 0\.\d+ ETH\n +Step 2 +approve 5000\.5 USDT", granted.err)
    assert "Verification     VERIFIED" in granted.out
    delegation_id = cli.delegations()[-1].id
    words = {
        ("status", *of("ethereum", "usdt", owner)): "Allowance  5000.5 USDT",
        ("wallets",): owner.address,
        ("networks",): "not pinned yet",
        ("list",): f"{delegation_id}  ",
        ("show", delegation_id): "Submission       accepted",
        ("resume",): "Nothing to resume",
    }
    for arguments, expected in words.items():
        result = await cli.call(*arguments)
        assert result.status == 0
        assert expected in result.out + result.err
    revoked = await cli.call(
        "revoke", "--network", "ethereum", "--currency", "usdt", "--wallet", str(owner.key_file), "--yes"
    )
    assert "Verification     VERIFIED" in revoked.out
    assert "Allowance  0 USDT" in (await cli.call("status", *of("ethereum", "usdt", owner))).out


async def test_a_revocation_on_chain_alone_needs_no_platform_and_says_when_it_is_undone(cli: CommandLine) -> None:
    owner = await cli.owner("linea")
    await cli.call(*grant("linea", "usdc", "5", owner))
    await cli.platform("POST", "/sandbox/misbehave", {"method": "GET", "path": CONFIG, "drop": True, "times": 100})
    place = ("--network", "linea", "--currency", "usdc", "--wallet", str(owner.key_file))
    revoked = await cli.call("--json", "revoke", *place, "--yes", "--chain-only")
    await cli.platform("DELETE", "/sandbox/misbehave")
    assert (revoked.status, revoked.document["verification"]["verdict"]) == (0, "VERIFIED")
    assert revoked.document["verification"]["allowance"] == "0"
    assert revoked.document["submission"] is None

    await cli.call(*grant("linea", "usdc", "6", owner))
    undone = await cli.call("--json", "resume", revoked.document["id"])
    verification = undone.document["verification"]
    # The verdict is about the block of the revocation, as that of an audit is.
    assert (undone.status, verification["verdict"], verification["state"]) == (0, "VERIFIED", "exceeds")
    assert verification["allowance"] == "6000000"


@pytest.mark.parametrize(("network", "currency", "steps"), [("ethereum", "usdt", 2), ("solana", "usdc", 1)])
async def test_a_dry_run_shows_the_plan_and_what_would_be_signed_and_does_nothing(
    cli: CommandLine, network: str, currency: str, steps: int
) -> None:
    owner = await cli.owner(network)
    if steps == 2:
        await cli.call(*grant(network, currency, "100", owner))
    before = [d.id for d in cli.delegations()]
    proofs = await cli.platform("GET", "/sandbox/proofs")
    state = (await cli.call("--json", "status", *of(network, currency, owner))).document

    words = await cli.call(*grant(network, currency, "5000", owner, "--dry-run"))
    document = (await cli.call("--json", *grant(network, currency, "5000", owner, "--dry-run"))).document

    assert words.status == 0
    assert "Dry run: nothing was signed and nothing was sent." in words.out
    assert "wants you to sign in with your" in words.out
    assert cli.sandbox.document.networks[network].delegation_contract in words.out
    assert len(document["plan"]["steps"]) == steps
    transaction, message = document["would_sign"]
    if network == "ethereum":
        assert transaction["method"] == "eth_sendTransaction"
        assert transaction["params"][0]["data"].startswith("0x095ea7b3")
        assert message["method"] == "personal_sign"
    else:
        assert message["method"] == "signMessage"
        assert owner.address in message["message"]
    assert [d.id for d in cli.delegations()] == before
    assert await cli.platform("GET", "/sandbox/proofs") == proofs
    after = (await cli.call("--json", "status", *of(network, currency, owner))).document
    assert after["allowance"] == state["allowance"]
    if network == "ethereum":
        assert await cli.nonce(network, owner) == 1


async def test_ctrl_c_while_it_waits_leaves_a_delegation_that_resume_finishes(cli: CommandLine) -> None:
    owner = await cli.owner("linea")
    await cli.platform("POST", "/sandbox/misbehave", {"method": "POST", "path": EVM_PROOF, "delay": 3})
    process = await cli.start("--json", *grant("linea", "usdc", "5000", owner))
    assert process.stderr is not None
    said = ""
    while "telling the platform" not in said:
        line = await asyncio.wait_for(process.stderr.readline(), 30)
        assert line, said
        said += line.decode()
    process.send_signal(signal.SIGINT)
    stopped = await cli.finish(process)

    assert stopped.status == 4
    (saved,) = cli.delegations()
    assert (stopped.document["id"], stopped.document["station"]) == (saved.id, "submission")
    assert stopped.document["error"]["message"] == "Interrupted."
    assert f"Nothing is lost; finish it with: delegation --profile sandbox resume {saved.id}" in stopped.err

    resumed = await cli.run("--json", "resume")
    assert resumed.status == 0
    assert resumed.document["id"] == saved.id
    assert resumed.document["verification"]["verdict"] == "VERIFIED"
    assert resumed.document["approvals"][0]["hash"] == saved.approvals[0].hash
    assert await cli.nonce("linea", owner) == 1
    assert len(cli.delegations()) == 1


async def stopped_by_the_platform(cli: CommandLine, owner: Owner) -> Result:
    """Return how a grant ends while the platform fails at every proof."""
    await cli.platform("POST", "/sandbox/misbehave", {"method": "POST", "path": EVM_PROOF, "status": 500, "times": 9})
    stopped = await cli.call("--json", *grant("linea", "usdc", "5000", owner))
    await cli.platform("DELETE", "/sandbox/misbehave")
    return stopped


async def test_a_failing_platform_stops_it_midway_and_no_live_token_is_shown(cli: CommandLine) -> None:
    owner = await cli.owner("linea")
    stopped = await stopped_by_the_platform(cli, owner)
    assert stopped.status == 4
    assert (stopped.document["error"]["fault"], stopped.document["error"]["status"]) == ("platform", 500)
    (saved,) = cli.delegations()
    assert saved.delegation_token is not None
    cli.secrets.append(saved.delegation_token.token)
    for arguments in (("show", saved.id), ("--json", "show", saved.id), ("--json", "list"), ("list",)):
        shown = await cli.call(*arguments)
        assert shown.status == 0
        assert "submission" in shown.out
    cli.secrets.pop()  # the token can be used once
    # Nothing is left to sign: neither a wallet of the profile nor any other is needed.
    resumed = await cli.call("--json", "resume", saved.id)
    assert (resumed.status, resumed.document["verification"]["verdict"]) == (0, "VERIFIED")
    assert await cli.nonce("linea", owner) == 1


async def test_resume_asks_for_the_owners_wallet_only_when_something_has_to_be_signed(cli: CommandLine) -> None:
    owner, stranger = await cli.owner("linea"), await cli.owner("linea")
    await stopped_by_the_platform(cli, owner)
    await cli.platform(
        "POST", "/sandbox/clock", {"advance": 3600}
    )  # the platform's token is dead: it refuses the proof, and another has to be signed
    refused = await cli.call("--json", "resume", "--wallet", str(stranger.key_file))
    assert refused.status == 4
    assert refused.document["error"]["type"] == "OwnerMismatchError"
    (saved,) = cli.delegations()

    without = await cli.call("--json", "resume")
    assert without.status == 4
    assert "--wallet" in without.document["error"]["hint"]
    other = await cli.call("--json", "resume", "--wallet", str(stranger.key_file))
    assert other.status == 4
    assert other.document["error"]["type"] == "OwnerMismatchError"
    assert (owner.address, stranger.address) == (other.document["error"]["expected"], other.document["error"]["found"])
    assert "--wallet" in other.error

    await cli.platform("DELETE", "/sandbox/clock")
    resumed = await cli.call("--json", "resume", "--wallet", str(owner.key_file))
    assert (resumed.status, resumed.document["id"]) == (0, saved.id)
    assert await cli.nonce("linea", owner) == 1


async def test_a_plan_of_which_nothing_was_signed_is_shown_again_and_asked_for(cli: CommandLine) -> None:
    owner = await cli.owner("linea")
    saved = await planned(cli, owner, 5000)
    unasked = await cli.call("--json", "resume", "--wallet", str(owner.key_file))
    assert unasked.status == 2
    assert "Allow     5000 USDC on Linea" in unasked.err
    assert await cli.nonce("linea", owner) == 0
    resumed = await cli.call("--json", "resume", "--wallet", str(owner.key_file), "--yes")
    assert (resumed.status, resumed.document["id"]) == (0, saved.id)
    assert await cli.nonce("linea", owner) == 1


async def test_an_old_request_never_comes_back_by_a_loop_of_resume(cli: CommandLine) -> None:
    owner = await cli.owner("linea")
    old = await planned(cli, owner, 900)
    assert (await cli.call(*grant("linea", "usdc", "500", owner))).status == 0
    assert (await cli.call("revoke", *of("linea", "usdc", owner), "--wallet", str(owner.key_file), "--yes")).status == 0
    newest = cli.delegations()[-1]
    listed = await cli.call("list")
    assert f"over: {newest.id}" in listed.out
    assert "Nothing to resume" in (await cli.call("resume")).err
    for _ in range(2):
        refused = await cli.call("--json", "resume", old.id, "--wallet", str(owner.key_file), "--yes")
        assert refused.status == 2
        assert newest.id in refused.document["error"]["message"]
    assert "superseded" in (await cli.call("list")).out
    assert (await cli.call("--json", "show", old.id)).document["station"] == "superseded"
    status = await cli.call("--json", "status", *of("linea", "usdc", owner))
    assert (status.document["allowance"], await cli.nonce("linea", owner)) == ("0", 2)


async def test_what_was_planned_from_another_allowance_is_asked_for_again_also_with_yes(cli: CommandLine) -> None:
    owner = await cli.owner("linea")
    old = await planned(cli, owner, 900)
    (cli.home / "elsewhere").mkdir()
    elsewhere = CommandLine(cli.sandbox, cli.home / "elsewhere")
    assert (await elsewhere.call(*grant("linea", "usdc", "500", owner))).status == 0
    stopped = await cli.call("--json", "resume", old.id, "--wallet", str(owner.key_file), "--yes")
    assert (stopped.status, stopped.document["error"]["type"]) == (4, "OutdatedPlanError")
    assert "the allowance was 0 USDC" in stopped.err
    assert "Now the allowance is 500 USDC" in stopped.err
    assert f"delegation --profile sandbox resume {old.id}" in stopped.err
    assert await cli.nonce("linea", owner) == 1


async def test_a_refused_request_stays_in_the_list_as_failed_with_its_reason(cli: CommandLine) -> None:
    owner = await cli.owner("linea", gas=False)
    refused = await cli.call("--json", *grant("linea", "usdc", "5", owner))
    assert (refused.status, refused.document["station"]) == (2, "failed")
    (failed,) = (await cli.call("--json", "list")).document["delegations"]
    assert failed["ended"]["error"] == "NoGasError"
    assert "failed" in (await cli.call("list")).out
    assert "Failed      The fee can take up to" in (await cli.call("show", failed["id"])).out
    assert "Nothing to resume" in (await cli.call("resume")).err
    again = await cli.call("--json", "resume", failed["id"], "--wallet", str(owner.key_file), "--yes")
    assert (again.status, again.document["error"]["type"]) == (2, "DelegationEndedError")


async def test_a_request_that_could_not_be_asked_about_can_be_resumed(cli: CommandLine) -> None:
    owner = await cli.owner("linea")
    stopped = await cli.call("--json", *grant("linea", "usdc", "5", owner, "--rpc", "http://127.0.0.1:9"))
    assert (stopped.status, stopped.document["station"]) == (3, "plan")
    resumed = await cli.call("--json", "resume", "--wallet", str(owner.key_file), "--yes")
    assert (resumed.status, resumed.document["id"]) == (0, stopped.document["id"])


async def test_a_request_of_days_ago_that_was_never_planned_is_asked_about_again(cli: CommandLine) -> None:
    owner = await cli.owner("linea")
    asked = await cli.call("--json", *grant("linea", "usdc", "5", owner, "--rpc", "http://127.0.0.1:9"))
    with sqlite3.connect(cli.journal_file) as database:
        database.execute("UPDATE delegations SET document = json_set(document, '$.created_at', '2026-01-01T00:00:00Z')")
    database.close()
    stopped = await cli.call("--json", "resume", asked.document["id"], "--wallet", str(owner.key_file), "--yes")
    assert (stopped.status, stopped.document["error"]["type"]) == (4, "OutdatedPlanError")
    assert "and never planned" in stopped.err
    assert await cli.nonce("linea", owner) == 0


async def test_resume_without_an_id_takes_the_only_unfinished_and_names_several(cli: CommandLine) -> None:
    owners = [await cli.owner("linea") for _ in range(2)]
    await cli.call(*grant("linea", "usdc", "5", await cli.owner("linea")))
    for owner in owners:
        await stopped_by_the_platform(cli, owner)
    finished, *unfinished = cli.delegations()
    several = await cli.call("--json", "resume")
    assert several.status == 2
    for d in unfinished:
        assert f"delegation --profile sandbox resume {d.id}" in several.err
    assert finished.id not in several.err
    for d in unfinished:
        assert (await cli.call("--json", "resume", d.id)).document["id"] == d.id
    nothing = await cli.call("--json", "resume")
    assert (nothing.status, nothing.document["station"]) == (0, "done")
    assert "Nothing to resume" in nothing.err


async def test_resuming_a_finished_delegation_only_verifies_it_again(cli: CommandLine) -> None:
    owner = await cli.owner("linea")
    granted = (await cli.call("--json", *grant("linea", "usdc", "5000", owner))).document
    proofs = await cli.platform("GET", "/sandbox/proofs")
    await cli.sandbox.spend("linea", "usdc", owner.address, 1_200_000_000)
    again = await cli.call("--json", "resume", granted["id"])
    assert again.status == 0
    assert "is finished; verifying it again" in again.err
    assert again.document["verification"]["allowance"] == "3800000000"
    for station in ("plan", "approvals", "ownership", "proof", "submission"):
        assert again.document[station] == granted[station]
    assert await cli.platform("GET", "/sandbox/proofs") == proofs
    assert await cli.nonce("linea", owner) == 1


async def test_what_could_not_be_checked_ends_with_3(cli: CommandLine, capsys: pytest.CaptureFixture[str]) -> None:
    owner = await cli.owner("linea")
    granted = (await cli.call("--json", *grant("linea", "usdc", "5", owner))).document
    dead = ("--rpc", "http://127.0.0.1:1")
    unreachable = await cli.call("--json", "status", *of("linea", "usdc", owner), *dead)
    assert (unreachable.status, unreachable.document["error"]["fault"]) == (3, "network")
    assert (await cli.call("--json", "resume", granted["id"], *dead)).status == 3

    failing = {"method": "GET", "path": "/v1/wallet/external", "status": 500, "times": 99}
    await cli.platform("POST", "/sandbox/misbehave", failing)
    session = Session(profile_name="sandbox", as_json=True, quiet=True, progress=Progress(quiet=True))
    profile = profile_of(cli.sandbox.document, journal=cli.journal_file)
    async with open_context(profile, "linea", list_timeout=0.0) as context:
        status = await carry_and_report(session, context.journal.load(granted["id"]), context)
    out, err = capsys.readouterr()
    assert (status, json.loads(out)["verification"]["verdict"]) == (3, "UNDETERMINED")
    assert f"delegation --profile sandbox resume {granted['id']}" in err


async def test_a_platform_out_of_reach_is_neither_yes_nor_no(cli: CommandLine) -> None:
    profile = profile_of(cli.sandbox.document, journal=cli.journal_file)
    gone = profile.gateway.model_copy(update={"base_url": "http://127.0.0.1:1"})
    cli.write_profile(profile.model_copy(update={"gateway": gone}))
    result = await cli.call("--json", "wallets")
    assert (result.status, result.document["error"]["type"]) == (3, "GatewayUnreachableError")


async def test_another_delegate_on_solana_stops_it_until_it_is_named(cli: CommandLine) -> None:
    owner, other = await cli.owner("solana"), await cli.owner("solana")
    network = cli.sandbox.document.networks["solana"]
    chain = profile_of(cli.sandbox.document, journal=cli.journal_file).chain("solana")
    node, wallet = open_node(chain), load_wallet(str(owner.key_file))
    intent = AllowanceIntent(Token("usdc", network.tokens["usdc"].address, 6), owner.address, other.address, 7)
    plan = await node.plan_approval(intent)
    unsigned = await node.prepare(intent, plan.steps[0])
    signed = await wallet.authorise(unsigned)
    await node.send(signed)
    await node.settle(intent, plan.steps[0], unsigned, signed, timeout=60)
    await node.aclose()

    stopped = await cli.call("--json", *grant("solana", "usdc", "5000", owner))
    assert (stopped.status, stopped.document["error"]["found"]) == (2, other.address)
    assert "--overwrite-delegate" in stopped.err
    assert [d.station for d in cli.delegations()] == ["failed"]

    allowed = await cli.call("--json", *grant("solana", "usdc", "5000", owner, "--overwrite-delegate"))
    assert (allowed.status, allowed.document["verification"]["verdict"]) == (0, "VERIFIED")


async def test_without_gas_the_faucet_is_offered_and_helps(cli: CommandLine) -> None:
    owner = await cli.owner("linea", gas=False)
    stopped = await cli.call("--json", *grant("linea", "usdc", "5", owner))
    assert (stopped.status, stopped.document["error"]["type"]) == (2, "NoGasError")
    assert "--faucet" in stopped.err
    assert [d.station for d in cli.delegations()] == ["failed"]
    helped = await cli.call("--json", *grant("linea", "usdc", "5", owner, "--faucet"))
    assert (helped.status, helped.document["verification"]["verdict"]) == (0, "VERIFIED")

    second = await cli.owner("linea", gas=False)
    declined = await cli.call("--json", *grant("linea", "usdc", "5", second, "--faucet"))
    assert (declined.status, declined.document["error"]["type"]) == (2, "NoGasError")
    assert "faucet did not help" in declined.err
    on_ethereum = await cli.call("--json", *grant("ethereum", "usdc", "5", second))
    assert on_ethereum.status == 2
    assert "--faucet" not in on_ethereum.err


async def test_words_of_the_platform_cannot_repaint_the_plan(cli: CommandLine) -> None:
    owner = await cli.owner("linea")
    await cli.platform(
        "POST", "/sandbox/config", {"network": "linea", "environment": "ok)\r\x1b[2K  Spender   0x00\n  Own"}
    )
    result = await cli.call(*grant("linea", "usdc", "5", owner, "--dry-run"))
    assert result.status == 0
    assert not {"\x1b", "\r"} & set(result.out)
    assert len(re.findall("^ +Spender +0x", result.out, re.MULTILINE)) == 1
