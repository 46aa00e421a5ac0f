"""Copies of saved folders, changed and sealed again as an attacker would."""

from __future__ import annotations

import json
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any

import safetensors.numpy

from .client import Worker

SAVED = Path(__file__).parents[1] / "saved"


def seal_again(folder: Path, manifest: dict[str, Any] | None = None) -> None:
    """Write a manifest whose sizes and checksums are right, as an attacker would."""
    if manifest is None:
        manifest = json.loads((folder / "manifest.json").read_text())
    for name in list(manifest["files"]):
        path = folder / name
        if path.is_file() and path.stat().st_size < 2**30:
            data = path.read_bytes()
            manifest["files"][name] = {"bytes": len(data), "sha256": sha256(data).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def seal_all(folder: Path) -> None:
    """Seal a folder again, and first the encoder inside it."""
    if (folder / "encoder").is_dir():
        seal_again(folder / "encoder")
    seal_again(folder)


def copy_of(source: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(SAVED / source, tmp_path / "case"))


def change_config(folder: Path, changes: dict[str, Any]) -> None:
    """Set fields of config.json; a name such as 'model.dim' is that of a field in an object."""
    config = json.loads((folder / "config.json").read_text())
    for name, value in changes.items():
        place = config
        *outer, last = name.split(".")
        for part in outer:
            place = place[part]
        place[last] = value
    (folder / "config.json").write_text(json.dumps(config))


def change_arrays(folder: Path, file: str, changes: dict[str, Any]) -> None:
    """Replace arrays of a file, or remove those that become None."""
    arrays = safetensors.numpy.load_file(folder / file) | changes
    kept = {name: array for name, array in arrays.items() if array is not None}
    (folder / file).write_bytes(safetensors.numpy.save(kept))


def refusal(worker: Worker, kind: str, folder: Path) -> str:
    """Use a folder in another process; it must refuse it with one line."""
    seal_all(folder)
    result = worker.run(kind, path=folder)
    assert result["outcome"] == "refused", result
    message: str = result["message"]
    assert message.startswith(str(folder))
    return message
