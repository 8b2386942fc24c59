"""What docs/sandbox.md says of the simulated platform is so: its examples are taken, and nothing is left out."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest
from platform_lab import REDIRECT_URI, PlatformLab

from delegation.sandbox.platform import app
from delegation.sandbox.platform.conduct import Conduct
from delegation.sandbox.platform.limits import Limit
from delegation.sandbox.platform.misbehaviour import Misbehaviour
from delegation.sandbox.platform.shapes import SHAPES

PAGE = (Path(__file__).parent.parent / "docs" / "sandbox.md").read_text()
EXAMPLES = re.findall(r"^ {4}POST (/\S+) (\{.*\})$", PAGE, re.MULTILINE)
DEFAULTS = Conduct(redirect_uris=[REDIRECT_URI])


def section(heading: str) -> str:
    return PAGE.split(heading, 1)[1].split("\n##", 1)[0]


def rows(heading: str) -> list[tuple[list[str], list[str]]]:
    """Return the rows of a table: the names in the first cell, and the other cells."""
    cells = [line.strip("| ").split(" | ") for line in section(heading).splitlines() if line.startswith("| `")]
    return [(re.findall(r"`(\w+)`", first), others) for first, *others in cells]


@pytest.mark.parametrize(("path", "body"), EXAMPLES)
async def test_every_example_is_taken(platform: PlatformLab, path: str, body: str):
    answer = await platform.client.post(path, json=json.loads(body))
    assert answer.status_code == 200, answer.text


def test_every_switch_of_sign_in_is_there_once_with_its_default_first_and_all_its_values():
    names = [name for found, _ in rows("/sandbox/sign-in`\n") for name in found]
    assert sorted(names) == sorted(Conduct.model_fields)
    for found, (values, _) in rows("/sandbox/sign-in`\n"):
        listed = [json.loads(value) for value in re.findall(r'"[^"]*"|\bfalse\b|\btrue\b|\bnull\b|\d+', values)]
        for place, name in enumerate(found):
            if name == "redirect_uris":
                continue
            assert listed[place if len(found) > 1 else 0] == getattr(DEFAULTS, name), name
            choices = [choice for part in (Conduct.model_fields[name].annotation,) for choice in get_args(part)]
            literals = [choice for part in choices for choice in (get_args(part) or (part,))]
            assert set(listed) >= {choice for choice in literals if isinstance(choice, str | int)}, name


def test_every_field_of_a_misbehaviour_and_of_a_limit_and_every_shape_is_there():
    named = {name for found, _ in rows("/sandbox/misbehave`\n") for name in found}
    assert named == {field.name for field in fields(Misbehaviour)}
    [shapes] = [cells[0] for found, cells in rows("/sandbox/misbehave`\n") if found == ["shape"]]
    assert re.findall(r'"([^"]*)"', shapes) == list(SHAPES)
    assert all(f'"{name}"' in section("/sandbox/limit`\n") or f"`{name}`" in PAGE for name in Limit.model_fields)


def test_every_address_of_the_sandbox_alone_is_there():
    addresses = {route.path for route in app._ROUTES if route.path.startswith("/sandbox/")}
    assert {address for address in addresses if address not in PAGE} == set()
