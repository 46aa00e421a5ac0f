"""`vitrina doctor` as a user calls it."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version

import pytest

from vitrina.cli.entry import _exit_code


def test_doctor_tells_the_versions_that_are_installed(capsys: pytest.CaptureFixture[str]) -> None:
    assert _exit_code(["doctor"]) == 0
    said = capsys.readouterr().out
    for package in ("numpy", "polars", "sentencepiece"):
        assert f"{package} {version(package)}" in said
    assert f"train: filelock {version('filelock')}, torch {version('torch')}" in said
    assert sys.executable in said
    assert "machine code" in said


MISSING = """
import importlib.metadata as metadata
found = metadata.version
def version(name):
    if name == "torch":
        raise metadata.PackageNotFoundError(name)
    return found(name)
metadata.version = version
from vitrina.cli.entry import _exit_code
assert _exit_code(["doctor"]) == 0
"""


def test_doctor_tells_how_to_install_what_is_missing() -> None:
    with pytest.raises(PackageNotFoundError):
        version("a-package-that-nobody-has")
    done = subprocess.run(
        [sys.executable, "-c", MISSING], capture_output=True, text=True, check=True
    )
    assert "train: lacks torch; pip install 'vitrina[train]'" in done.stdout
