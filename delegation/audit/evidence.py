"""Evidence: one canonical JSON file from which a report follows again with no network at all (rule 39).

The file holds the claim, every question that nodes were asked with the body of the answer as it was received, the
exhibits that follow from these, the report, a SHA-256 of each body, and as `digest` a SHA-256 of the file itself with
an empty `digest`. A reader trusts none of the conclusions: it checks the hashes, runs the same checks over the recorded
answers and compares.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal

from pydantic import ValidationError

from chains.claims import Finding
from chains.errors import ChainError
from chains.json_text import decode_json
from chains.rpc.transcript import Exchange
from delegation.audit.claims import Claim, claimed_chain
from delegation.audit.nodes import Endpoint, Testimony, examine_again, operator_of
from delegation.audit.quorum import judge
from delegation.audit.report import Report
from delegation.errors import DelegationError
from delegation.models import Frozen

FORMAT: Final = "delegation-evidence/1"

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
    """The content of an evidence file; `exhibits` are those of the nodes whose testimony counts, by their URL."""

    format: Literal["delegation-evidence/1"]
    claim: Claim
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


def write_evidence(claim: Claim, testimonies: Sequence[Testimony], report: Report) -> bytes:
    """Return the evidence file of a report: canonical JSON in UTF-8, ended by one line feed."""
    endpoints = [
        {
            "url": testimony.endpoint.url,
            "operator": testimony.endpoint.operator,
            "exchanges": [
                {"method": one.method, "params": one.params, "body": one.body} for one in testimony.exchanges
            ],
        }
        for testimony in testimonies
    ]
    content: dict[str, Any] = {
        "digest": "",
        "format": FORMAT,
        "claim": claim.model_dump(mode="json"),
        "endpoints": endpoints,
        "exhibits": _exhibits(testimonies),
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
    terms = evidence.claim.terms.model_copy(update={"trusted_blocks": tuple(trusted_blocks)})
    claim = evidence.claim.model_copy(update={"terms": terms})
    recorded = [
        (
            Endpoint(endpoint.url, operator_of(endpoint.url)),
            tuple(Exchange(one.method, one.params, one.body) for one in endpoint.exchanges),
        )
        for endpoint in evidence.endpoints
    ]
    try:
        claimed_chain(claim.approval)
        testimonies = examine_again(claim, recorded)
    except (ChainError, DelegationError) as error:
        return _rejected(Finding("evidence", "UNDETERMINED", f"The claim cannot be checked: {error.message}"))
    report = judge(claim, testimonies, now=evidence.report.checked_at)
    differing = _differences(evidence, report, testimonies, same_terms=claim == evidence.claim)
    if not differing:
        return report
    finding = Finding(
        "evidence",
        "REFUTED",
        f"What the file concludes does not follow from the answers that it holds: {', '.join(differing)} differ.",
    )
    return report.model_copy(update={"verdict": "REFUTED", "findings": (*report.findings, finding)})


def _differences(
    evidence: Evidence, report: Report, testimonies: Sequence[Testimony], *, same_terms: bool
) -> list[str]:
    """Return the names of what the file concludes and its answers do not bear out."""
    names = ["method", "via", "state", "amounts", "blocked", "block", "included", "finality", "ownership"]
    # Under terms of the reader's own, verdict and tier may rightly be others.
    names += ["verdict", "tier"] if same_terms else []
    differing = [name for name in names if getattr(evidence.report, name) != getattr(report, name)]
    exhibits = _exhibits(testimonies)
    if evidence.exhibits != exhibits and _canonical(evidence.exhibits) != _canonical(exhibits):
        differing.append("exhibits")
    return differing


def _read(file: bytes) -> tuple[Evidence | None, Finding]:
    """Return the content of a file whose hashes are right, or None and what is wrong with it."""
    try:
        content = decode_json(file)
        evidence = Evidence.model_validate(content)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors(include_url=False, include_input=False)[0]["loc"])
        return None, Finding("evidence", "UNDETERMINED", f"This is no evidence file of this version: {where or 'all'}.")
    except ValueError as error:
        return None, Finding("evidence", "UNDETERMINED", f"The file cannot be read as JSON: {error}.")
    unsealed = file.replace(f'"digest":"{evidence.digest}"'.encode(), b'"digest":""', 1)
    if _canonical(content) != file or _sha256(unsealed) != evidence.digest:
        return None, Finding(
            "integrity",
            "REFUTED",
            "The file is not as it was written: its content and its digest do not fit.",
            expected=evidence.digest,
            found=_sha256(unsealed),
        )
    if _manifest(content["endpoints"]) != evidence.manifest:
        return None, Finding("integrity", "REFUTED", "An answer in the file is not the one that its manifest names.")
    return evidence, Finding("integrity", "VERIFIED", "The file is as it was written.")


def _rejected(finding: Finding) -> Report:
    return Report(verdict=finding.verdict, findings=(finding,), checked_at=datetime.now(UTC))


def _exhibits(testimonies: Sequence[Testimony]) -> dict[str, Any]:
    """Return the exhibits of the nodes whose testimony counts."""
    return {
        f"{number} {testimony.endpoint.url}": dict(testimony.approval.exhibits)
        for number, testimony in enumerate(testimonies)
        if testimony.approval is not None
    }


def _manifest(endpoints: Sequence[dict[str, Any]]) -> dict[str, str]:
    return {
        f"endpoints/{number}/exchanges/{index}/body": _sha256(exchange["body"].encode(errors="surrogatepass"))
        for number, endpoint in enumerate(endpoints)
        for index, exchange in enumerate(endpoint["exchanges"])
        if exchange["body"] is not None
    }


def _canonical(content: Any) -> bytes:
    """Return JSON of one spelling: members sorted, no spaces, ASCII only, one line feed at its end."""
    return _ENCODER.encode(content).encode() + b"\n"


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
