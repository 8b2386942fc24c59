"""Which file may know which: no circles, two floors, bytes that ask no node, and a ground floor that knows no command.

Imports inside functions count, because they only hide a circle; those under `TYPE_CHECKING` never run and do not.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import click
import pytest

from delegation.cli import main

ROOT = Path(__file__).parents[1]
PACKAGES = ("chains", "delegation")


@dataclass(frozen=True)
class Import:
    """One module that imports another, at a line; prints as an editor opens it."""

    importer: str
    imported: str
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.importer} imports {self.imported}"


def modules() -> dict[str, Path]:
    """Return the files of both packages by the names of their modules."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """Yield a node and all below it, without what only a type checker reads."""
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
            for otherwise in child.orelse:
                yield from statements(otherwise)
        else:
            yield from statements(child)


def named_modules(importer: str, node: ast.AST) -> Iterator[str]:
    """Yield the modules that a statement imports, and what of them, as dotted names."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"{importer} imports relatively"
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in MODULES:
        # The homes of names that are imported when they are used, in `__init__` and in the command line.
        yield node.value


def home_of(name: str) -> str | None:
    """Return the module of ours that a dotted name is, or is in."""
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name or None


def package_of(module: str) -> str:
    return module.partition(".")[0]


@cache
def imports() -> tuple[Import, ...]:
    """Return every import of a module of ours by another."""
    found = []
    for importer, path in MODULES.items():
        file = path.relative_to(ROOT).as_posix()
        for node in statements(ast.parse(path.read_text())):
            for name in named_modules(importer, node):
                imported = home_of(name)
                # A constant `"chains"` or `"delegation"` is a word and no module that is imported.
                if imported is None or imported == importer or (isinstance(node, ast.Constant) and "." not in name):
                    continue
                found.append(Import(importer, imported, file, getattr(node, "lineno", 0)))
    return tuple(dict.fromkeys(found))


def knots(edges: list[Import]) -> list[set[str]]:
    """Return the strongly connected components of more than one module (Tarjan 1972)."""
    below: dict[str, list[str]] = {}
    for edge in edges:
        below.setdefault(edge.importer, []).append(edge.imported)
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[set[str]] = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for other in below.get(module, ()):
            if other not in index:
                visit(other)
            if other in stack:
                low[module] = min(low[module], low[other])
        if low[module] == index[module]:
            at = stack.index(module)
            component = set(stack[at:])
            del stack[at:]
            if len(component) > 1:
                found.append(component)

    for module in list(below):
        if module not in index:
            visit(module)
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_no_modules_of_a_package_import_each_other_in_a_circle(package: str) -> None:
    edges = [edge for edge in imports() if package_of(edge.importer) == package]
    assert len(edges) > 100, "the walk sees the imports at all"
    circles = [
        "\n".join(str(edge) for edge in edges if {edge.importer, edge.imported} <= component)
        for component in knots(edges)
    ]
    assert circles == [], "\n\n".join(circles)


def test_a_circle_that_hides_in_functions_is_found() -> None:
    edges = [Import("a", "b", "a.py", 1), Import("b", "c", "b.py", 1), Import("c", "b", "c.py", 9)]
    assert knots(edges) == [{"b", "c"}]
    source = "if TYPE_CHECKING:\n    import chains.types\ndef f():\n    from chains.types import Block\n"
    lines = [node.lineno for node in statements(ast.parse(source)) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert lines == [4]


def test_the_ground_floor_imports_nothing_of_the_floor_that_stands_on_it() -> None:
    up = [
        str(edge)
        for edge in imports()
        if package_of(edge.importer) == "chains" and package_of(edge.imported) != "chains"
    ]
    assert up == [], "\n".join(up)


def test_the_codec_asks_no_node_and_imports_nothing_that_does() -> None:
    reached = {module: [module] for module in MODULES if module.startswith("chains.evm.codec")}
    assert len(reached) > 5
    waiting = list(reached)
    while waiting:
        module = waiting.pop()
        for edge in imports():
            if edge.importer == module and edge.imported not in reached:
                reached[edge.imported] = [*reached[module], f"{edge.imported} ({edge.file}:{edge.line})"]
                waiting.append(edge.imported)
    asking = [" -> ".join(way) for module, way in reached.items() if module.startswith("chains.rpc")]
    assert asking == []


def test_the_room_of_evm_networks_stays_small_enough_to_look_around_in() -> None:
    files = sorted(path.name for path in (ROOT / "chains" / "evm").glob("*.py"))
    assert len(files) <= 15, files


def test_evidence_is_checked_without_network_database_gateway_or_journal() -> None:
    code = "import sys; from delegation.audit.evidence import verify_evidence; print('\\n'.join(sys.modules))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    loaded = set(printed.split())
    assert "delegation.audit.evidence" in loaded
    heavy = {"httpx", "sqlite3", "delegation.gateway", "delegation.gateway.client", "delegation.journal"}
    assert loaded & heavy == set()


def test_the_simulated_platform_shares_nothing_with_the_client_that_it_judges() -> None:
    shared = [
        str(edge)
        for edge in imports()
        if edge.importer.startswith("delegation.sandbox.platform") and edge.imported.startswith("delegation.gateway")
    ]
    assert shared == []
    borrowed = [
        f"{path.relative_to(ROOT).as_posix()}: {node.module}"
        for module, path in MODULES.items()
        if module.startswith("delegation.sandbox.platform")
        for node in statements(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("oauthlib", "httpx"))
    ]
    assert borrowed == [], "nor the libraries by which that client signs in"


# What a person types


@cache
def typed() -> re.Pattern[str]:
    """Return what matches an option or a command of the command line.

    Commands that are English words count after `delegation`, those with a hyphen by themselves.
    """
    options, commands = set(), set()

    def walk(command: click.Command, above: click.Context | None) -> None:
        context = click.Context(command, parent=above, info_name=command.name, **command.context_settings)
        for parameter in command.get_params(context):
            if isinstance(parameter, click.Option):
                options.update([*parameter.opts, *parameter.secondary_opts])
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                below = command.get_command(context, name)
                assert below is not None
                commands.add(name)
                walk(below, context)

    walk(main, None)
    assert {"--rpc", "--profile", "--help", "-h", "-o"} <= options
    assert {"grant", "resume", "verify"} <= commands
    flags = "|".join(re.escape(option) for option in sorted(options))
    words = "|".join(re.escape(command) for command in sorted(commands))
    own = [re.escape(command) for command in sorted(commands) if "-" in command]
    alone = "".join(f"|\\b{command}\\b" for command in own)
    return re.compile(rf"(?<![\w-])(?:{flags})(?![\w-])|\bdelegation (?:--?\w|(?:{words})\b){alone}")


def strings(path: Path) -> Iterator[tuple[int, str, bool]]:
    """Yield the line and the text of each string of a file, and whether it documents."""
    tree = ast.parse(path.read_text())
    documents = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value, id(node) in documents


def test_the_ground_floor_names_no_option_or_command_of_the_command_line() -> None:
    named = []
    for module, path in MODULES.items():
        if package_of(module) != "chains":
            continue
        for line, text, documents in strings(path):
            match = typed().search(text) or (None if documents else re.search(r"\bresume\b", text, re.IGNORECASE))
            if match is not None:
                named.append(f"{path.relative_to(ROOT).as_posix()}:{line}: {match[0]!r} in {text[:100]!r}")
    assert named == [], "\n" + "\n".join(named)


def test_the_ground_floor_has_never_heard_of_the_platform() -> None:
    heard = [
        f"{path.relative_to(ROOT).as_posix()}:{line}: {text[:100]!r}"
        for module, path in MODULES.items()
        # Whose fault an error is can be the platform's, whose errors stand on the floor above.
        if package_of(module) == "chains" and path.name != "errors.py"
        for line, text, _ in strings(path)
        if re.search(r"\bplatform\b|\bBaanx\b", text)
    ]
    assert heard == [], "\n" + "\n".join(heard)


@pytest.mark.parametrize("text", ["Name one with --rpc.", "delegation grant", "Say delegation --json", "-h prints it"])
def test_what_a_person_types_is_recognised(text: str) -> None:
    assert typed().search(text)


@pytest.mark.parametrize("text", ["the list of networks", "as geth --lightkdf does", "verify it", "a delegation of"])
def test_english_is_not_taken_for_what_a_person_types(text: str) -> None:
    assert not typed().search(text)
