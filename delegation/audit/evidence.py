"""Evidence: one canonical JSON file from which a report follows again with no network at all.

The file holds the claim and the policy, every question that nodes were asked with the body of the answer as it was
received, the exhibits that follow from these, the report, a SHA-256 of each body, and as `digest` a SHA-256 of the file
itself with an empty `digest`. A reader trusts none of the conclusions: it checks the hashes, runs the same checks over
the recorded answers and compares.

A file is evidence for years, so every format that was ever written stays readable. Whoever changes what is written,
what nodes are asked or a word of a report raises `VERSION` and adds to `_UPGRADES` the step from the format before;
steps change what was parsed, after the hashes were checked. Within one format number the whole report of a file must
follow again. Of a file of an earlier one the report is made anew, by the rules of today: what these ask and the file
does not hold is as if the node did not serve it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final, Literal

from pydantic import ValidationError

from chains.claims import Finding
from chains.errors import ToolkitError
from chains.json_text import decode_json
from chains.rpc.transcript import Exchange
from delegation.audit.claims import Claim, claimed_chain
from delegation.audit.nodes import Endpoint, NodeResult, replay_nodes
from delegation.audit.policy import Policy, Tier, operator_of
from delegation.audit.report import Report
from delegation.audit.verdict import add_findings, make_report
from delegation.models import Frozen

VERSION: Final = 3
FORMAT: Final = f"delegation-evidence/{VERSION}"
_FORMAT: Final = re.compile(r"delegation-evidence/([1-9][0-9]{0,3})", re.ASCII)

# Numbers with a fraction, which a node may put beside what is used of its answers, are written as strings.
_ENCODER: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False, default=str)


class RecordedExchange(Frozen):
    """One question and the body of its answer; `body` is None, and `problem` says why, where none could be read."""

    method: str
    params: str
    body: str | None
    problem: str | None = None


class RecordedEndpoint(Frozen):
    """One node, and what it was asked in the order of asking; `silent` says why nothing of it counts, where so."""

    url: str
    operator: str
    silent: str | None = None
    exchanges: tuple[RecordedExchange, ...]


class Evidence(Frozen):
    """The content of an evidence file; `exhibits` are those of the nodes whose result counts, by their URL."""

    format: Literal["delegation-evidence/3"]
    claim: Claim
    policy: Policy
    endpoints: tuple[RecordedEndpoint, ...]
    exhibits: dict[str, Any]
    report: Report
    manifest: dict[str, str]
    digest: str


def evidence_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of an evidence file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Evidence.model_json_schema(mode="serialization"),
    }


def write_evidence(claim: Claim, policy: Policy, results: Sequence[NodeResult], report: Report) -> bytes:
    """Return the evidence file of a report: canonical JSON in UTF-8, ended by one line feed.

    The file holds the quorum of the policy as the number that it came to.
    """
    quorum = policy.needed(result.endpoint.operator for result in results)
    endpoints = [
        RecordedEndpoint(
            url=result.endpoint.url,
            operator=result.endpoint.operator,
            silent=result.endpoint.silent,
            exchanges=tuple(
                RecordedExchange(method=one.method, params=one.params, body=one.body, problem=one.problem)
                for one in result.exchanges
            ),
        )
        for result in results
    ]
    content: dict[str, Any] = {
        "digest": "",
        "format": FORMAT,
        "claim": claim.model_dump(mode="json"),
        "policy": policy.model_copy(update={"quorum": quorum}).model_dump(mode="json"),
        "endpoints": [endpoint.model_dump(mode="json") for endpoint in endpoints],
        "exhibits": _exhibits(results),
        "report": report.model_dump(mode="json"),
        "manifest": _manifest(endpoints),
    }
    return _canonical({**content, "digest": _sha256(_canonical(content))})


def verify_evidence(
    file: bytes, *, trusted_blocks: Sequence[str] = (), least_tier: Tier = "T0", active: bool = False
) -> Report:
    """Return the report that follows from an evidence file, with no network at all.

    A file that was altered is REFUTED, one that cannot be read UNDETERMINED; nothing is raised for its content. Who the
    operators are, and that they answered so, is the file's own word: T2 means "if these block hashes are real".
    `trusted_blocks` are hashes of blocks that you have authenticated elsewhere; those that the file names are its
    writer's, and count for nothing. `least_tier` and `active` are as of `Policy`, and ask for more than the file did.
    """
    evidence, version, findings = _read(file)
    if evidence is None:
        return _rejected(findings)
    claim = evidence.claim
    policy = evidence.policy.model_copy(
        update={
            "trusted_blocks": tuple(trusted_blocks),
            "least_tier": max(least_tier, evidence.policy.least_tier),
            "active": active or evidence.policy.active,
        }
    )
    recorded = [
        (
            Endpoint(endpoint.url, operator_of(endpoint.url), endpoint.silent),
            tuple(Exchange(one.method, one.params, one.body, one.problem) for one in endpoint.exchanges),
        )
        for endpoint in evidence.endpoints
    ]
    try:
        claimed_chain(claim.approval)
        results = replay_nodes(claim, recorded, policy)
    except ToolkitError as error:
        return _rejected([Finding("evidence", "UNDETERMINED", f"The claim cannot be checked: {error.message}")])
    now = evidence.report.checked_at
    report = make_report(claim, policy, results, now=now, from_file=True)
    ours = make_report(claim, evidence.policy, results, now=now)
    if version < VERSION:
        findings.append(_made_anew(version))
        differing = _older_differences(evidence.report, ours)
    else:
        differing = _differences(evidence, ours, results)
    if differing:
        findings.append(
            Finding(
                "evidence",
                "REFUTED",
                "What the file concludes does not follow from the answers that it holds: "
                f"{', '.join(differing)} differ.",
            )
        )
    return add_findings(report, findings)


def _differences(evidence: Evidence, report: Report, results: Sequence[NodeResult]) -> list[str]:
    """Return the names of what the file concludes and its answers, under the file's own policy, do not bear out."""
    names = [name for name in Report.model_fields if name not in {"checked_at", "software"}]
    written, ours = (each.model_dump(mode="json") for each in (evidence.report, report))
    differing = [name for name in names if written[name] != ours[name]]
    if _canonical(evidence.exhibits) != _canonical(_exhibits(results)):
        differing.append("exhibits")
    return differing


def _older_differences(written: Report, ours: Report) -> list[str]:
    """Return the names of values that a file of an earlier format gives otherwise than its answers do.

    Rules and words have changed since; what was read has not.
    """
    names = ("method", "via", "block", "included")
    values = [(name, getattr(written, name), getattr(ours, name)) for name in names]
    values += [("amounts", each, getattr(ours.amounts, name)) for name, each in asdict(written.amounts).items()]
    return list(dict.fromkeys(name for name, theirs, value in values if value is not None and value != theirs))


def _made_anew(version: int) -> Finding:
    message = (
        f"The file has format {version}, of an earlier version of this software: this report is made anew from the "
        "answers that it holds, by the rules of today."
    )
    return Finding("evidence", "NOTED", message)


def _read(file: bytes) -> tuple[Evidence | None, int, list[Finding]]:
    """Return the content of a file whose hashes are right, its format's number and what there is to say of it.

    None, and what is wrong with it, where they are not or it cannot be read.
    """
    try:
        content = decode_json(file)
        version = _version(content)
        if version > VERSION:
            return _unreadable(
                f"This evidence file has format {version}, and this software reads formats up to {VERSION}: whether it "
                "verifies is not known. Upgrade the software, and verify the file again."
            )
        integrity = _check_digest(content, file)
        evidence = Evidence.model_validate(_upgrade(content, version))
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors(include_url=False, include_input=False)[0]["loc"])
        return _unreadable(f"This is no evidence file of a format that is known: {where or 'all'}.")
    except ValueError as error:
        return _unreadable(f"This cannot be read as an evidence file: {error}.")
    if integrity.verdict != "REFUTED" and _manifest(evidence.endpoints) != evidence.manifest:
        message = "An answer in the file is not the one that its manifest names."
        integrity = Finding("integrity", "REFUTED", message)
    return None if integrity.verdict == "REFUTED" else evidence, version, [integrity]


def _version(content: Any) -> int:
    """Return the number of a file's format; raises `ValueError` if it is no evidence file."""
    named = content.get("format") if isinstance(content, dict) else None
    found = _FORMAT.fullmatch(named) if isinstance(named, str) else None
    if found is None:
        raise ValueError("it does not say that it is one")
    return int(found[1])


def _check_digest(content: dict[str, Any], file: bytes) -> Finding:
    """Return whether the content of a file is what was written; raises `ValueError` if it has no digest.

    It is compared in its canonical form: spaces and the order of members say nothing.
    """
    digest = content.get("digest")
    if not isinstance(digest, str):
        raise ValueError("it has no digest")
    computed = _sha256(_canonical({**content, "digest": ""}))
    if computed != digest:
        message = "The file is not as it was written: its content and its digest do not fit."
        return Finding("integrity", "REFUTED", message, expected=digest, found=computed)
    if _canonical(content) != file:
        message = "The content of the file is as it was written, but the file was reformatted: its bytes are others."
        return Finding("integrity", "NOTED", message)
    return Finding("integrity", "NOTED", "The file is as it was written.")


def _upgrade(content: dict[str, Any], version: int) -> dict[str, Any]:
    """Return the content of a file as the newest format holds it, step by step from its own."""
    for step in _UPGRADES[version - 1 :]:
        content = step(content)
    return content


def _policy_apart(content: dict[str, Any]) -> dict[str, Any]:
    """Format 1 to 2: what it takes to believe a claim was a part of it, `terms`; endpoints had a `standing`."""
    report = _part(content, "report")
    claim, reported = _part(content, "claim"), _part(report, "claim")
    endpoints = [
        _without(endpoint, "standing")
        | {"outcome": "undetermined" if endpoint.get("standing") == "abstains" else endpoint.get("standing")}
        for endpoint in _parts(report, "endpoints")
    ]
    return content | {
        "format": "delegation-evidence/2",
        "claim": _without(claim, "terms"),
        "policy": _policy_of_1(claim),
        "report": report
        | {
            "format": "delegation-report/2",
            "claim": _without(reported, "terms"),
            "policy": _policy_of_1(reported),
            "endpoints": endpoints,
        },
    }


def _policy_of_1(claim: dict[str, Any]) -> dict[str, Any]:
    # Where format 1 named no quorum, one operator was enough.
    return {"quorum": 1} | (_part(claim, "terms") if "terms" in claim else {})


def _findings_with_basis(content: dict[str, Any]) -> dict[str, Any]:
    """Format 2 to 3: findings of a report say what they rest on, which an old report did not; it is made anew."""
    report = _part(content, "report") | {"format": "delegation-report/3"}
    return content | {"format": "delegation-evidence/3", "report": report}


# The first leads from format 1 to 2, and so on; the last one to `VERSION`.
_UPGRADES: Final[tuple[Callable[[dict[str, Any]], dict[str, Any]], ...]] = (_policy_apart, _findings_with_basis)


def _part(content: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a member that is an object; raises `ValueError`: a forger's file can hold anything in its place."""
    part = content.get(name)
    if isinstance(part, dict):
        return part
    raise ValueError(f"it has no {name}")


def _parts(content: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Return a member that is a list of objects; raises `ValueError`."""
    parts = content.get(name)
    if isinstance(parts, list) and all(isinstance(part, dict) for part in parts):
        return parts
    raise ValueError(f"it has no {name}")


def _without(content: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in content.items() if key != name}


def _unreadable(message: str) -> tuple[None, int, list[Finding]]:
    return None, 0, [Finding("evidence", "UNDETERMINED", message)]


def _rejected(findings: Sequence[Finding]) -> Report:
    empty = Report(verdict="UNDETERMINED", findings=(), checked_at=datetime.now(UTC))
    return add_findings(empty, findings)


def _exhibits(results: Sequence[NodeResult]) -> dict[str, Any]:
    """Return the exhibits of the nodes whose result counts."""
    return {
        f"{number} {result.endpoint.url}": dict(result.approval.exhibits)
        for number, result in enumerate(results)
        if result.approval is not None
    }


def _manifest(endpoints: Sequence[RecordedEndpoint]) -> dict[str, str]:
    return {
        f"endpoints/{number}/exchanges/{index}/body": _sha256(exchange.body.encode())
        for number, endpoint in enumerate(endpoints)
        for index, exchange in enumerate(endpoint.exchanges)
        if exchange.body is not None
    }


def _canonical(content: Any) -> bytes:
    """Return JSON of one spelling: members sorted, no spaces, ASCII only, one line feed at its end."""
    return _ENCODER.encode(content).encode() + b"\n"


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
