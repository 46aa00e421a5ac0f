"""Sealed folders: damage is found, and a stranger's folder can't make a program misbehave."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from vitrina.errors import InputError
from vitrina.files import file_digest
from vitrina.sealed import MANIFEST, FolderKind, SealedFolder, kind_of, seal
from vitrina.untrusted import ArraySpec

JAM = FolderKind(
    "jam", 3, {"a.txt": 100, "sub/b.txt": 100, "c.safetensors": 10_000}, frozenset(("a.txt",))
)
SPECS = {"x": ArraySpec(np.float32, (3, 4)), "y": ArraySpec(np.int8, (5,))}
ARRAYS: dict[str, Any] = {
    "x": np.arange(12, dtype=np.float32).reshape(3, 4),
    "y": np.arange(5, dtype=np.int8),
}


def one_line(error: pytest.ExceptionInfo[InputError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    folder = tmp_path / "sealed"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_text("abc")
    (folder / "sub" / "b.txt").write_text("defg")
    seal(folder, JAM)
    return folder


def test_a_sealed_folder_is_whole(sealed: Path) -> None:
    SealedFolder(sealed, JAM)
    SealedFolder(sealed, replace(JAM, format_version=4))
    assert kind_of(sealed) == "jam"
    files = json.loads((sealed / MANIFEST).read_text())["files"]
    assert set(files) == {"a.txt", "sub/b.txt"}
    # the checksum that `sha256sum` prints
    assert files["a.txt"] == {
        "bytes": 3,
        "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    }
    assert file_digest(sealed / "a.txt") == files["a.txt"]["sha256"]


def says_the_same(damaged: bytes, whole: bytes) -> bool:
    """Whether two manifests differ only in white space, or by an older format number."""
    try:
        manifest = json.loads(damaged)
        older = manifest["format_version"] <= 3
    except (ValueError, KeyError, TypeError):
        return False
    return older and manifest | {"format_version": 3} == json.loads(whole)


def test_any_flipped_bit_is_found(sealed: Path) -> None:
    found = 0
    for path in (sealed / "a.txt", sealed / "sub" / "b.txt", sealed / MANIFEST):
        whole = path.read_bytes()
        for place in range(len(whole)):
            for bit in (0, 3, 6):
                damaged = bytearray(whole)
                damaged[place] ^= 1 << bit
                path.write_bytes(damaged)
                if path.name == MANIFEST and says_the_same(bytes(damaged), whole):
                    SealedFolder(sealed, JAM)
                    continue
                with pytest.raises(InputError) as error:
                    SealedFolder(sealed, JAM)
                assert one_line(error).startswith(str(sealed))
                found += 1
        path.write_bytes(whole)
    assert found > 300
    SealedFolder(sealed, JAM)


@pytest.mark.parametrize(
    "manifest",
    [
        "",
        "[]",
        "3",
        "null",
        '["kind", "format_version", "files"]',
        '{"kind": "jam", "format_version": "x", "files": {}}',
        '{"kind": "jam", "format_version": 3, "files": [1]}',
        "\udcff",
    ],
)
def test_a_damaged_manifest(sealed: Path, manifest: str) -> None:
    (sealed / MANIFEST).write_bytes(manifest.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError) as error:
        SealedFolder(sealed, JAM)
    assert f"{sealed / MANIFEST}: is damaged" in one_line(error)


def test_folders_that_are_no_good(sealed: Path) -> None:
    def message(folder: Path, kind: str = "jam", version: int = 3) -> str:
        with pytest.raises(InputError) as error:
            SealedFolder(folder, replace(JAM, name=kind, format_version=version))
        return one_line(error)

    assert "no such folder" in message(sealed / "nowhere")
    assert "is a file" in message(sealed / "a.txt")
    assert f"no {MANIFEST}" in message(sealed / "sub")
    assert "holds a jam, not a cake" in message(sealed, kind="cake")
    assert "has format 3, newer than 2" in message(sealed, version=2)
    (sealed / "a.txt").write_text("ab")
    assert f"{sealed / 'a.txt'}: is damaged" in message(sealed)
    (sealed / "a.txt").unlink()
    assert f"{sealed / 'a.txt'}: is missing" in message(sealed)


def reseal(folder: Path, **files: Any) -> None:
    """Write the manifest as an attacker would: right checksums, and any entries."""
    (folder / MANIFEST).unlink()
    seal(folder, JAM)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"] |= files
    (folder / MANIFEST).write_text(json.dumps(manifest))


def refusal(folder: Path) -> str:
    with pytest.raises(InputError) as error:
        SealedFolder(folder, JAM)
    return one_line(error)


def test_sealing_twice_is_the_same(sealed: Path) -> None:
    before = (sealed / MANIFEST).read_text()
    seal(sealed, JAM)
    assert (sealed / MANIFEST).read_text() == before
    SealedFolder(sealed, JAM)


@pytest.mark.parametrize(
    "name", ["../outside", "/etc/passwd", "sub/../a.txt", "x.txt", "", "a.txt/"]
)
def test_files_that_the_kind_does_not_know(sealed: Path, name: str) -> None:
    (sealed.parent / "outside").write_text("secret")
    reseal(sealed, **{name: {"bytes": 6, "sha256": file_digest(sealed.parent / "outside")}})
    assert "which no jam has" in refusal(sealed)


def test_a_file_that_the_manifest_does_not_list_is_not_read(sealed: Path) -> None:
    (sealed / "c.safetensors").write_bytes(b"unchecked")
    assert "c.safetensors" not in SealedFolder(sealed, JAM)


def test_a_required_file_that_the_manifest_does_not_list(sealed: Path) -> None:
    manifest = json.loads((sealed / MANIFEST).read_text())
    del manifest["files"]["a.txt"]
    (sealed / MANIFEST).write_text(json.dumps(manifest))
    assert f"{sealed / 'a.txt'}: is not in the manifest" in refusal(sealed)


@pytest.mark.parametrize("target", ["a.txt", "sub", MANIFEST])
def test_links_are_not_followed(sealed: Path, tmp_path: Path, target: str) -> None:
    (sealed / target).rename(tmp_path / "elsewhere")
    (sealed / target).symlink_to(tmp_path / "elsewhere")
    assert f"{sealed / target}: is a link" in refusal(sealed)


@pytest.mark.parametrize("target", ["a.txt", MANIFEST])
def test_a_pipe_does_not_block(sealed: Path, target: str) -> None:
    (sealed / target).unlink()
    os.mkfifo(sealed / target)
    assert f"{sealed / target}: is not a regular file" in refusal(sealed)


@pytest.mark.parametrize(("target", "size"), [("a.txt", 2**40), (MANIFEST, 2**40)])
def test_a_huge_sparse_file_is_refused_unread(sealed: Path, target: str, size: int) -> None:
    with (sealed / target).open("ab") as file:
        file.truncate(size)
    assert f"{sealed / target}: has {size:,} bytes, more than the" in refusal(sealed)


@pytest.mark.parametrize("entry", [None, 3, [], {}, {"bytes": "3"}, {"bytes": 3, "sha256": 7}])
def test_entries_of_a_manifest_that_are_no_entries(sealed: Path, entry: Any) -> None:
    reseal(sealed, **{"a.txt": entry})
    assert "is damaged" in refusal(sealed)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"a":' * 100_000,
        '{"a":' + "[" * 32 + "]" * 32 + "}",
        "NaN",
        "1" * 10_000,
        "[]",
        "\udcff",
    ],
)
def test_json_that_is_no_object(sealed: Path, text: str) -> None:
    (sealed / "a.txt").write_bytes(text.encode("utf-8", "surrogateescape"))
    kind = replace(JAM, files={**JAM.files, "a.txt": 10**7})
    seal(sealed, kind)
    with pytest.raises(InputError) as error:
        SealedFolder(sealed, kind).json("a.txt")
    assert one_line(error) == f"{sealed / 'a.txt'}: is damaged (no JSON object); save it again"


def store(folder: Path, data: bytes) -> SealedFolder:
    (folder / "c.safetensors").write_bytes(data)
    seal(folder, JAM)
    return SealedFolder(folder, JAM)


def test_arrays_are_those_that_were_stored(sealed: Path) -> None:
    stored = store(sealed, safetensors.numpy.save(ARRAYS, {"note": "x"}))
    found = stored.arrays("c.safetensors", SPECS)
    assert stored.shapes("c.safetensors") == {"x": (3, 4), "y": (5,)}
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
        assert not found[name].flags.writeable


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"x": np.zeros((3, 5), np.float32)},
            "x is float32 of shape (3, 5), not float32",
        ),
        ({"x": np.zeros((4, 3), np.float32)}, "x is float32 of shape (4, 3)"),
        ({"x": np.zeros((3, 4), np.int8)}, "x is int8"),
        ({"x": np.full((3, 4), np.nan, np.float32)}, "x holds a number that is not from"),
        ({"x": np.full((3, 4), -np.inf, np.float32)}, "x holds a number that is not from"),
        ({"x": np.full((3, 4), 1e30, np.float32)}, "x holds a number that is not from"),
        ({"z": np.zeros(3, np.float32)}, "holds the arrays x, y, z, not x, y"),
        ({"x": None}, "holds the arrays y, not x, y"),
    ],
)
def test_arrays_of_another_kind(sealed: Path, change: dict[str, Any], reason: str) -> None:
    arrays = {name: array for name, array in (ARRAYS | change).items() if array is not None}
    stored = store(sealed, safetensors.numpy.save(arrays))
    with pytest.raises(InputError) as error:
        stored.arrays("c.safetensors", SPECS)
    assert one_line(error).startswith(f"{sealed / 'c.safetensors'}: {reason}")


def header_of(**entries: Any) -> bytes:
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


X = {"dtype": "F32", "shape": [3, 4], "data_offsets": [0, 48]}
Y = {"dtype": "I8", "shape": [5], "data_offsets": [48, 53]}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x08",
        b"\xff" * 100,
        (2**63).to_bytes(8, "little") + b"{}",
        header_of(x=X, y=Y),
        header_of(x=X, y=Y) + bytes(52),
        header_of(x=X, y=Y) + bytes(54),
        header_of(x=X, y=Y | {"data_offsets": [40, 45]}) + bytes(48),
        header_of(x=X, y=Y | {"data_offsets": [50, 55]}) + bytes(55),
        header_of(x=X | {"data_offsets": [-48, 0]}, y=Y) + bytes(53),
        header_of(x=X | {"data_offsets": [0, 2**70]}, y=Y) + bytes(53),
        header_of(x=X | {"data_offsets": [0.0, 48]}, y=Y) + bytes(53),
        header_of(x=X | {"data_offsets": [True, 48]}, y=Y) + bytes(53),
        header_of(x=X | {"shape": [-3, -4]}, y=Y) + bytes(53),
        header_of(x=X | {"shape": [2**62, 4]}, y=Y) + bytes(53),
        header_of(x=X | {"shape": 12}, y=Y) + bytes(53),
        header_of(x=X | {"dtype": "F16"}, y=Y) + bytes(53),
        header_of(x=X | {"dtype": []}, y=Y) + bytes(53),
        header_of(x=None, y=Y) + bytes(53),
        header_of(y=Y | {"data_offsets": [0, 5]}, x=X | {"data_offsets": [5, 53]}) + bytes(53),
        (10**5).to_bytes(8, "little") + b"[" * 10**5,
    ],
)
def test_headers_that_lie(sealed: Path, data: bytes) -> None:
    (sealed / "c.safetensors").write_bytes(data)
    kind = replace(JAM, files={**JAM.files, "c.safetensors": 10**6})
    seal(sealed, kind)
    with pytest.raises(InputError) as error:
        SealedFolder(sealed, kind).arrays("c.safetensors", SPECS)
    assert one_line(error).startswith(f"{sealed / 'c.safetensors'}: ")


WHOLE = safetensors.numpy.save(ARRAYS)


@given(
    st.lists(
        st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=4
    ),
    st.integers(0, len(WHOLE)),
)
def test_any_change_is_refused_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]], length: int
) -> None:
    """Whatever the bytes: the declared arrays, finite, or one line."""
    data = bytearray(WHOLE)
    for place, byte in changes:
        data[place] = byte
    folder = tmp_path_factory.mktemp("sealed")
    (folder / "a.txt").write_text("abc")
    for content in (bytes(data), bytes(data[:length])):
        stored = store(folder, content)
        message = ""
        found: dict[str, Any] = {}
        try:
            found = stored.arrays("c.safetensors", SPECS)
        except InputError as error:
            message = str(error)
        if message:
            assert message.startswith(f"{folder / 'c.safetensors'}: ")
            assert "\n" not in message
        else:
            assert {name: (a.dtype, a.shape) for name, a in found.items()} == {
                name: (a.dtype, a.shape) for name, a in ARRAYS.items()
            }
            assert np.isfinite(found["x"]).all()


def test_a_file_replaced_after_the_check_is_not_read(sealed: Path) -> None:
    stored = SealedFolder(sealed, JAM)
    (sealed / "new").write_text("xyz")
    (sealed / "new").replace(sealed / "a.txt")
    assert stored.read("a.txt") == b"abc"


def test_without_numpy_extras() -> None:
    """Checking a folder imports nothing that needs compiling or training."""
    program = "import vitrina.sealed, sys; print({'numba', 'torch', 'polars'} & set(sys.modules))"
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "set()"
