"""Which tests cover which attack of `tests/ATTACKS.md`, and that what is cited by number is there to be read.

A test that covers an attack says so in its name, `test_a5_…`. As a program this file prints the table.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

import chains
import delegation

TESTS = Path(__file__).parent
CHAINS, DELEGATION = Path(chains.__path__[0]), Path(delegation.__path__[0])

# The attacks that no test here covers, with the reason; a device is needed for none that is left.
LEFT_OUT: dict[int, str] = {}

# Documents that whoever reads this repository does not have.
ABSENT = re.compile(
    r"gateway[-]api|real[-]clients|local[-]chains|on-?chain[ ](?:rules?|facts?|fact sheet|A[0-9])"
    r"|design,[ ]rule|delegation[ ]rules\b|of[ ]the[ ]reference[:;.,]"
)


def read_attacks() -> dict[int, str]:
    """Return the attacks of the list by number."""
    entries = re.findall(r"^- A([0-9]+)\. (.*)$", (TESTS / "ATTACKS.md").read_text(), re.MULTILINE)
    attacks = {int(number): words for number, words in entries}
    assert len(attacks) == len(entries), "a number stands twice in ATTACKS.md"
    return attacks


def read_rules(package: Path) -> dict[int, str]:
    """Return the rules of a package by number."""
    entries = re.findall(r"^([0-9]+)\. (.*)$", (package / "RULES.md").read_text(), re.MULTILINE)
    assert [int(number) for number, _ in entries] == list(range(1, len(entries) + 1))
    return {int(number): words for number, words in entries}


def find_tests() -> dict[int, list[str]]:
    """Return the names of the tests that cover each attack."""
    found: dict[int, list[str]] = defaultdict(list)
    for path in sorted(TESTS.glob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                match = re.match(r"test_a([0-9]+)_", node.name)
                if match:
                    found[int(match[1])].append(f"{path.name}::{node.name}")
    return found


ATTACKS = read_attacks()
COVERED = find_tests()


def texts() -> Iterator[tuple[Path, str]]:
    """Return every file of ours that may cite something, and its text; a line that is broken is made whole."""
    for folder in (CHAINS, DELEGATION, TESTS):
        for path in sorted(folder.rglob("*")):
            if path.suffix in {".py", ".md", ".sol"}:
                yield path, re.sub(r"\n[ #]*", " ", path.read_text())


def numbers(words: str) -> set[int]:
    """Return the numbers that `1, 4 and 7 to 9` names."""
    named = {int(number) for number in re.findall(r"[0-9]+", words)}
    for first, last in re.findall(r"([0-9]+) to A?([0-9]+)", words):
        named |= set(range(int(first), int(last) + 1))
    return named


_LIST = r"[0-9]+(?:(?:,| and| to)+ [0-9]+)*"


def cited_rules(text: str) -> tuple[set[int], set[int]]:
    """Return the rules of `chains/RULES.md` that a text cites, and those of `delegation/RULES.md`."""
    of_the_line = rf"\b[Rr]ules? ({_LIST}) of the line\b"
    line = re.findall(of_the_line, text)
    ground = re.findall(rf"\b[Rr]ules? ({_LIST})", re.sub(of_the_line, "", text))
    return {n for one in ground for n in numbers(one)}, {n for one in line for n in numbers(one)}


@pytest.mark.parametrize("number", ATTACKS, ids=lambda number: f"A{number}")
def test_an_attack_is_covered_unless_it_is_left_out_for_a_reason(number: int) -> None:
    assert (number in COVERED) != (number in LEFT_OUT)


def test_no_test_names_an_attack_that_is_not_on_the_list() -> None:
    assert set(COVERED) <= set(ATTACKS)


def test_the_list_of_attacks_has_no_gap() -> None:
    assert set(ATTACKS) == set(range(1, len(ATTACKS) + 1))


def test_every_attack_that_is_cited_is_on_the_list() -> None:
    cited = {
        (path.name, int(number))
        for path, text in texts()
        for number in re.findall(r"(?<![\w$])A([0-9]{1,3})(?!\w)", text)
    }
    assert len(cited) > len(ATTACKS)
    assert not {(name, number) for name, number in cited if number not in ATTACKS}


def test_every_rule_that_is_cited_can_be_read_beside_the_code() -> None:
    ground, line = read_rules(CHAINS), read_rules(DELEGATION)
    cited = {path: cited_rules(text) for path, text in texts() if path != Path(__file__)}
    assert {
        path.name for path, (of_ground, of_line) in cited.items() if of_ground - set(ground) or of_line - set(line)
    } == set()
    # The reading of citations finds what is there.
    assert cited[CHAINS / "claims.py"] == ({16, 26}, set())
    assert cited[DELEGATION / "flow.py"] == (set(), set(range(1, 9)))


def test_nothing_cites_a_document_that_is_not_here() -> None:
    assert not [f"{path.name}: {found[0]}" for path, text in texts() if (found := ABSENT.search(text))]


if __name__ == "__main__":
    lines = (
        (attack, line) for attack in sorted(ATTACKS) for line in COVERED[attack] or [f"left out: {LEFT_OUT[attack]}"]
    )
    sys.stdout.writelines(f"A{attack:<3} {line}\n" for attack, line in lines)
