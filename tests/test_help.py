"""What a newcomer sees of the library: `help`, `dir`, and names that are found where they are said to be."""

from __future__ import annotations

import ast
import pydoc
import re
import types
from pathlib import Path

import pytest
from pydantic import BaseModel

import delegation
import delegation.audit
from delegation import Claim, DelegationRequest, Policy


@pytest.mark.parametrize("package", [delegation, delegation.audit], ids=lambda package: package.__name__)
def test_help_starts_with_what_a_person_does_first(package: types.ModuleType) -> None:
    lines = pydoc.plain(pydoc.render_doc(package)).splitlines()
    start = "\n".join(lines[:40])
    first = ["carry", "verify_claim"] if package is delegation else ["verify_claim", "verify_evidence"]
    assert all(name in start for name in first)
    assert len(lines) < 1400, "since Python 3.13 long signatures have a line for each parameter"


def test_help_hides_the_machinery_of_pydantic() -> None:
    shown = pydoc.plain(pydoc.render_doc(delegation))
    for name in ("model_validate_json", "model_config", "__pydantic", "inherited from pydantic"):
        assert name not in shown
    # Python 3.13 breaks long signatures into lines.
    unbroken = re.sub(r"\(\s*\|\s*\*,\s*\|\s*", "(*, ", shown)
    for name in ("Claim(*, approval:", "Policy(*, at: str", "public_document(self)"):
        assert name in unbroken


def test_what_help_hides_works_as_before() -> None:
    assert dir(Policy) == ["needed"]
    assert "model_dump" in dir(Policy())
    assert Policy.model_validate_json(Policy(quorum=2).model_dump_json()) == Policy(quorum=2)
    assert isinstance(Policy(), BaseModel)
    assert set(Claim.model_json_schema()["properties"]) == {"approval", "statement"}


@pytest.mark.parametrize("package", [delegation, delegation.audit], ids=lambda package: package.__name__)
def test_every_public_name_is_there_and_typed_from_where_it_lives(package: types.ModuleType) -> None:
    assert package.__file__ is not None
    (typed,) = [node for node in ast.parse(Path(package.__file__).read_text()).body if isinstance(node, ast.If)]
    imports = [node for node in typed.body if isinstance(node, ast.ImportFrom)]
    homes = {alias.asname: str(node.module) for node in imports for alias in node.names}
    assert homes == package._HOMES
    assert set(package.__all__) == set(dir(package)) == set(homes)
    for name in package.__all__:
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError):
        package.examine  # noqa: B018


def test_the_verbs_that_the_description_names_are_public() -> None:
    described = str(delegation.__doc__)
    functions = [name for name in delegation.__all__ if isinstance(getattr(delegation, name), types.FunctionType)]
    others = {"open_journal", "save_profile", "utc_now"}
    assert {name for name in functions if name not in described} == others
    assert DelegationRequest.__name__ in delegation.__all__
