"""Evidence: one canonical JSON file from which a report follows again with no network at all.

The file holds the claim and the policy, every question that nodes were asked with the body of the answer as it was
received, the exhibits that follow from these, the report, a SHA-256 of each body, and as `digest` a SHA-256 of the file
itself with an empty `digest`. A reader trusts none of the conclusions: it checks the hashes, runs the same checks over
the recorded answers and compares.

A file is evidence for years, so every format that was ever written stays readable. Whoever changes what is written
raises `FORMAT` and adds to `_UPGRADES` the step from the format before; steps change what was parsed, after the hashes
were checked over the bytes as they are. What nodes are asked must not change within a format: a recorded transcript
answers no other questions.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal

from pydantic import ValidationError

from chains.claims import Finding
from chains.errors import ToolkitError
from chains.json_text import decode_json
from chains.rpc.transcript import Exchange
from delegation.audit.claims import Claim, claimed_chain
from delegation.audit.nodes import Endpoint, NodeResult, replay_nodes
from delegation.audit.policy import Policy, operator_of
from delegation.audit.quorum import make_report
from delegation.audit.report import Report
from delegation.models import Frozen

VERSION: Final = 2
FORMAT: Final = f"delegation-evidence/{VERSION}"
_FORMAT: Final = re.compile(r"delegation-evidence/([1-9][0-9]{0,3})", re.ASCII)

# Numbers with a fraction, which a node may put beside what is used of its answers, are written as strings.
_ENCODER: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False, default=str)


class RecordedExchange(Frozen):
    """One question and the body of its answer; `body` is None where none could be read."""

    method: str
    params: str
    body: str | None


class RecordedEndpoint(Frozen):
    """One node, and what it was asked in the order of asking."""

    url: str
    operator: str
    exchanges: tuple[RecordedExchange, ...]


class Evidence(Frozen):
    """The content of an evidence file; `exhibits` are those of the nodes whose result counts, by their URL."""

    format: Literal["delegation-evidence/2"]
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
            exchanges=tuple(
                RecordedExchange(method=one.method, params=one.params, body=one.body) for one in result.exchanges
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


def verify_evidence(file: bytes, *, trusted_blocks: Sequence[str] = ()) -> Report:
    """Return the report that follows from an evidence file, with no network at all.

    A file that was altered is REFUTED, one that cannot be read UNDETERMINED; nothing is raised for its content.
    `trusted_blocks` are hashes of blocks that you have authenticated elsewhere; those that the file names are its
    writer's, and count for nothing.
    """
    evidence, problem = _read(file)
    if evidence is None:
        return _rejected(problem)
    claim = evidence.claim
    policy = evidence.policy.model_copy(update={"trusted_blocks": tuple(trusted_blocks)})
    recorded = [
        (
            Endpoint(endpoint.url, operator_of(endpoint.url)),
            tuple(Exchange(one.method, one.params, one.body) for one in endpoint.exchanges),
        )
        for endpoint in evidence.endpoints
    ]
    try:
        claimed_chain(claim.approval)
        results = replay_nodes(claim, recorded, policy)
    except ToolkitError as error:
        return _rejected(Finding("evidence", "UNDETERMINED", f"The claim cannot be checked: {error.message}"))
    report = make_report(claim, policy, results, now=evidence.report.checked_at)
    differing = _differences(evidence, report, results, same_policy=policy == evidence.policy)
    if not differing:
        return report
    finding = Finding(
        "evidence",
        "REFUTED",
        f"What the file concludes does not follow from the answers that it holds: {', '.join(differing)} differ.",
    )
    return report.model_copy(update={"verdict": "REFUTED", "findings": (*report.findings, finding)})


def _differences(evidence: Evidence, report: Report, results: Sequence[NodeResult], *, same_policy: bool) -> list[str]:
    """Return the names of what the file concludes and its answers do not bear out."""
    names = ["method", "via", "state", "amounts", "blocked", "block", "included", "finality", "ownership"]
    # Under a policy of the reader's own, verdict and tier may rightly be others.
    names += ["verdict", "tier"] if same_policy else []
    differing = [name for name in names if getattr(evidence.report, name) != getattr(report, name)]
    exhibits = _exhibits(results)
    if evidence.exhibits != exhibits and _canonical(evidence.exhibits) != _canonical(exhibits):
        differing.append("exhibits")
    return differing


def _read(file: bytes) -> tuple[Evidence | None, Finding]:
    """Return the content of a file whose hashes are right, or None and what is wrong with it."""
    try:
        content = decode_json(file)
        version = _version(content)
        if version > VERSION:
            return None, _unreadable(
                f"This evidence file has format {version}, and this software reads formats up to {VERSION}: whether it "
                "verifies is not known. Upgrade the software, and verify the file again."
            )
        integrity = _check_digest(content, file)
        evidence = Evidence.model_validate(_upgrade(content, version))
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors(include_url=False, include_input=False)[0]["loc"])
        return None, _unreadable(f"This is no evidence file of a format that is known: {where or 'all'}.")
    except ValueError as error:
        return None, _unreadable(f"This cannot be read as an evidence file: {error}.")
    if integrity.verdict == "VERIFIED" and _manifest(evidence.endpoints) != evidence.manifest:
        message = "An answer in the file is not the one that its manifest names."
        integrity = Finding("integrity", "REFUTED", message)
    return evidence if integrity.verdict == "VERIFIED" else None, integrity


def _version(content: Any) -> int:
    """Return the number of a file's format; raises `ValueError` if it is no evidence file."""
    named = content.get("format") if isinstance(content, dict) else None
    found = _FORMAT.fullmatch(named) if isinstance(named, str) else None
    if found is None:
        raise ValueError("it does not say that it is one")
    return int(found[1])


def _check_digest(content: dict[str, Any], file: bytes) -> Finding:
    """Return whether the bytes of a file are those that were written; raises `ValueError` if it has no digest."""
    digest = content.get("digest")
    if not isinstance(digest, str):
        raise ValueError("it has no digest")
    unsealed = _sha256(file.replace(b'"digest":' + json.dumps(digest).encode(), b'"digest":""', 1))
    if _canonical(content) == file and unsealed == digest:
        return Finding("integrity", "VERIFIED", "The file is as it was written.")
    message = "The file is not as it was written: its content and its digest do not fit."
    return Finding("integrity", "REFUTED", message, expected=digest, found=unsealed)


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


# The first leads from format 1 to 2, and so on; the last one to `VERSION`.
_UPGRADES: Final[tuple[Callable[[dict[str, Any]], dict[str, Any]], ...]] = (_policy_apart,)


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


def _unreadable(message: str) -> Finding:
    return Finding("evidence", "UNDETERMINED", message)


def _rejected(finding: Finding) -> Report:
    return Report(verdict=finding.verdict, findings=(finding,), checked_at=datetime.now(UTC))


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
