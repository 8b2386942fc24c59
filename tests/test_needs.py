"""What tests need: found, skipped where it is missing, failed for under continuous integration, and told at the end."""

import os
import subprocess
import sys
from pathlib import Path

import needs
import pytest
from needs import need_program, need_vectors

TESTS = Path(__file__).parent
NOWHERE = "no-program-of-this-name"


@pytest.fixture(autouse=True)
def on_no_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)


def make_program(path: Path, mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True)
    path.touch(mode)
    return path


def test_a_program_on_the_path_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = make_program(tmp_path / "bin" / NOWHERE)
    monkeypatch.setenv("PATH", str(program.parent))
    assert need_program(NOWHERE, package="none") == program


def test_of_several_versions_elsewhere_the_newest_is_found_by_number(tmp_path: Path) -> None:
    newest = [make_program(tmp_path / "lib" / version / "bin" / NOWHERE) for version in ("9", "15", "14")][1]
    make_program(tmp_path / "lib" / "16" / "bin" / NOWHERE, mode=0o644)
    assert need_program(NOWHERE, package="none", places=[f"{tmp_path}/lib/*/bin/{NOWHERE}"]) == newest


@pytest.mark.parametrize("value", [None, "", "false"])
def test_a_missing_program_skips_its_tests_and_says_which_package_has_it(
    monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    if value is not None:
        monkeypatch.setenv("CI", value)
    with pytest.raises(pytest.skip.Exception, match=f"{NOWHERE} is not installed .Debian package the-package."):
        need_program(NOWHERE, package="the-package", places=["/nowhere/*/bin/program"])


def test_a_missing_program_fails_its_tests_under_continuous_integration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=f"{NOWHERE} is not installed"):
        need_program(NOWHERE, package="the-package")


def test_missing_vectors_are_skipped_also_under_continuous_integration(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CI", "true")
    monkeypatch.setattr(needs, "VECTORS", tmp_path / "nowhere")
    with pytest.raises(pytest.skip.Exception, match="do not lie in shared/vectors"):
        need_vectors("any.json")


# A test file of its own, run by the tests below: what it skips, it skips so that the run has to say so.
SAMPLE = """
import pytest

@pytest.mark.parametrize("number", [1, 2, 3])
def test_skipped(number):
    pytest.skip("the sea is rough")

@pytest.mark.skip(reason="it rains")  # right here: it is what the run of this text has to count and to name
def test_also_skipped(): ...

@pytest.mark.parametrize("days", [1, pytest.param(7, marks=pytest.mark.long)])
def test_that_runs(days): ...
"""


@pytest.mark.parametrize(("arguments", "passed"), [((), 1), (("--all",), 2), (("-n", "2", "--all"), 2)])
def test_a_run_ends_with_how_many_were_skipped_and_why_and_leaves_out_what_is_long(
    tmp_path: Path, arguments: tuple[str, ...], passed: int
) -> None:
    sample = tmp_path / "test_sample.py"
    sample.write_text(SAMPLE)
    options = ["-c", str(TESTS.parent / "pyproject.toml"), "-p", "conftest", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *options, str(sample), *arguments]
    environment = os.environ | {"PYTHONPATH": str(TESTS)}
    ran = subprocess.run(command, cwd=TESTS.parent, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout
    *_, why, totals = ran.stdout.splitlines()
    assert why == "Skipped 4: 3 because the sea is rough; 1 because it rains"
    assert f"{passed} passed, 4 skipped" in totals
