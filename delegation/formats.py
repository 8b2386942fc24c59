"""The format of a saved delegation, version by version, and how an older document becomes one of today.

    version 1   named no format; `approval` and `token` are today's `approvals` and `delegation_token`
    version 2   says "format": "delegation/2"
    version 3   `failure` is now one way to end among others: `ended`; answers that were lost are counted

A change of the fields of `Delegation` that older documents do not bear is a new version: name it in `Format`, add the
step that leads to it to `STEPS`, and keep a journal with documents of the version before in tests/documents. Steps
work on plain JSON objects and never on models, so that they stay true when the models move on.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, Literal

from delegation.errors import NewerVersionError

Format = Literal["delegation/3"]
FORMAT: Final[Format] = "delegation/3"

Document = dict[str, Any]

_FORMAT_NAME: Final = re.compile(r"delegation/([1-9][0-9]{0,8})", re.ASCII)


def _from_1(document: Document) -> Document:
    renamed = {"approval": "approvals", "token": "delegation_token"}
    # A document with both names is nobody's: it is left to be refused for the one that is unknown.
    return {
        renamed[name] if name in renamed and renamed[name] not in document else name: value
        for name, value in document.items()
    }


def _from_2(document: Document) -> Document:
    document = dict(document)
    if document.get("submission") is not None and document.get("proof") is None:
        # It was kept beside a new token, signed for or not, as a reminder that an answer had been lost.
        document |= {"submission": None, "lost_answers": 1}
    if "failure" not in document or "ended" in document:
        return document
    failure = document.pop("failure")
    if isinstance(failure, dict):
        renamed = {"at" if name == "failed_at" else name: value for name, value in failure.items()}
        failure = {"kind": "superseded" if failure.get("error") == "DelegationEndedError" else "failed", **renamed}
    return {**document, "ended": failure}


STEPS: Final[dict[int, Callable[[Document], Document]]] = {1: _from_1, 2: _from_2}
"""From each version to the next."""

NEWEST: Final = max(STEPS) + 1


def version_of(document: Document) -> int | None:
    """Return the version of a document, or None if what it calls its format is none of ours."""
    if "format" not in document:
        return 1
    name = document["format"]
    found = _FORMAT_NAME.fullmatch(name) if isinstance(name, str) else None
    return int(found[1]) if found else None


def upgrade(document: Document) -> Document:
    """Return a document in today's format; one whose format is none of ours is returned as it is, to be refused.

    Raises `NewerVersionError` for a document of a version that this toolkit does not know.
    """
    version = version_of(document)
    if version is None:
        return document
    if version > NEWEST:
        raise NewerVersionError(
            f"This delegation was written in the format delegation/{version}, and this toolkit reads formats up to "
            f"{FORMAT}.",
            hint="Upgrade this toolkit to go on with it. Nothing is lost: it stays as it was written.",
            expected=FORMAT,
            found=f"delegation/{version}",
        )
    for step in range(version, NEWEST):
        document = STEPS[step](document)
    return {"format": FORMAT, **{name: value for name, value in document.items() if name != "format"}}
