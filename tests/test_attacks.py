"""Which tests cover which attack of the list that this project is held against (A1 to A49).

A test that covers an attack says so in its name, `test_a5_…`. As a program this file prints the table.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from pathlib import Path

import pytest

ATTACKS = range(1, 50)
# The attacks that no test here covers, with the reason; a device is needed for none that is left.
LEFT_OUT: dict[int, str] = {}


def find_tests() -> dict[int, list[str]]:
    """Return the names of the tests that cover each attack."""
    found: dict[int, list[str]] = defaultdict(list)
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                match = re.match(r"test_a([0-9]+)_", node.name)
                if match:
                    found[int(match[1])].append(f"{path.name}::{node.name}")
    return found


TESTS = find_tests()


@pytest.mark.parametrize("number", ATTACKS, ids=lambda number: f"A{number}")
def test_an_attack_is_covered_unless_it_is_left_out_for_a_reason(number: int) -> None:
    assert (number in TESTS) != (number in LEFT_OUT)


def test_no_test_names_an_attack_that_is_not_on_the_list() -> None:
    assert set(TESTS) <= {*ATTACKS, 50}


if __name__ == "__main__":
    lines = ((attack, line) for attack in ATTACKS for line in TESTS[attack] or [f"left out: {LEFT_OUT[attack]}"])
    sys.stdout.writelines(f"A{attack:<3} {line}\n" for attack, line in lines)
