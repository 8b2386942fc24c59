"""New files are written whole or not at all, and never over another one."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from delegation.errors import InvalidRequestError
from delegation.files import require_new_file, write_new_file


def test_a_new_file_holds_what_was_written_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    write_new_file(tmp_path / "evidence.json", b"{}\n")
    assert (tmp_path / "evidence.json").read_bytes() == b"{}\n"
    assert os.listdir(tmp_path) == ["evidence.json"]


@pytest.mark.parametrize("name", ["taken", "link", "absent/x", "taken/x", "n" * 300])
def test_where_no_new_file_can_be_it_is_refused_and_nothing_changes(tmp_path: Path, name: str) -> None:
    (tmp_path / "taken").write_text("before")
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(InvalidRequestError):
        write_new_file(tmp_path / name, b"after")
    if len(name) < 255:
        with pytest.raises(InvalidRequestError):
            require_new_file(tmp_path / name)
    assert sorted(os.listdir(tmp_path)) == ["link", "taken"]
    assert (tmp_path / "taken").read_text() == "before"


def test_a_file_system_without_links_takes_a_new_file_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    write_new_file(tmp_path / "evidence.json", b"{}\n")
    with pytest.raises(InvalidRequestError):
        write_new_file(tmp_path / "evidence.json", b"[]\n")
    assert (tmp_path / "evidence.json").read_bytes() == b"{}\n"
    assert os.listdir(tmp_path) == ["evidence.json"]
