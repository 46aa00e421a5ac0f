"""Atomic writes on a real file system."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from vitrina import files
from vitrina.errors import InputError
from vitrina.files import atomic_path, refuse_existing, write_json
from vitrina.sealed import FolderKind, seal


def one_line(error: pytest.ExceptionInfo[InputError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


def entries(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def write(path: Path, kind: str, text: str) -> None:
    """Write a file, or a folder with a file, through atomic_path."""
    with atomic_path(path) as temporary:
        if kind == "folder":
            temporary.mkdir()
            temporary = temporary / "inside"
        temporary.write_text(text)


def text_of(path: Path) -> str:
    return (path / "inside" if path.is_dir() else path).read_text()


@pytest.mark.parametrize("new", ["file", "folder"])
@pytest.mark.parametrize("old", [None, "file", "folder", "link"])
def test_the_new_content_replaces_the_old(tmp_path: Path, old: str | None, new: str) -> None:
    path = tmp_path / "out"
    if old == "link":
        (tmp_path / "target").mkdir()
        path.symlink_to(tmp_path / "target")
    elif old:
        write(path, old, "old")
    write(path, new, "new")
    assert text_of(path) == "new"
    assert not path.is_symlink()
    assert entries(tmp_path) == (["out", "target"] if old == "link" else ["out"])


@pytest.mark.parametrize("new", ["file", "folder"])
@pytest.mark.parametrize("old", [None, "file", "folder"])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, InputError])
def test_an_error_leaves_the_old_content_and_nothing_else(
    tmp_path: Path, old: str | None, new: str, error: type[BaseException]
) -> None:
    path = tmp_path / "out"
    if old:
        write(path, old, "old")

    def fail() -> None:
        with atomic_path(path) as temporary:
            if new == "folder":
                temporary.mkdir()
                (temporary / "half").write_text("half")
            else:
                temporary.write_text("half")
            raise error("in the middle")

    with pytest.raises(error, match="in the middle"):
        fail()
    assert entries(tmp_path) == (["out"] if old else [])
    if old:
        assert text_of(path) == "old"


KILLED = """
import os, pathlib, signal, sys
from vitrina import files
def die(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[2] == "new":  # after the old content was moved away
    pathlib.Path.replace = die
with files.atomic_path(pathlib.Path(sys.argv[1])) as path:
    path.mkdir()
    (path / "inside").write_text("half")
    if sys.argv[2] == "writing":
        die()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="leftovers are recognised by POSIX's locks")
@pytest.mark.parametrize("old", [None, "file", "folder"])
@pytest.mark.parametrize("moment", ["writing", "new"])
def test_the_next_run_removes_what_a_killed_one_left(
    tmp_path: Path, old: str | None, moment: str
) -> None:
    path = tmp_path / "out"
    if old:
        write(path, old, "old")
    ran = subprocess.run([sys.executable, "-c", KILLED, path, moment], check=False)
    assert ran.returncode == -signal.SIGKILL
    assert len(entries(tmp_path)) == (1 if old is None or moment == "new" else 2)

    def fail() -> None:
        with atomic_path(path):
            raise RuntimeError

    # the next run puts the old content back, whatever becomes of its own
    with pytest.raises(RuntimeError):
        fail()
    assert entries(tmp_path) == (["out"] if old else [])
    if old:
        assert text_of(path) == "old"
    write(path, "folder", "new")
    assert entries(tmp_path) == ["out"]


def test_only_leftovers_are_removed(tmp_path: Path) -> None:
    others = [".out.abcdefgh.partial", ".out.abc.partial", ".put.abcdefgh.partial", "linked"]
    for name in others:
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis").write_text("years of work")
    (tmp_path / ".out.12345678.partial").symlink_to(tmp_path / "linked")
    (tmp_path / ".out.87654321.partial").write_text("a file")
    before = entries(tmp_path)
    write(tmp_path / "out", "file", "new")
    assert entries(tmp_path) == sorted([*before, "out"])
    assert (tmp_path / "linked" / "thesis").exists()


def test_an_output_that_is_being_written_is_no_leftover(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with atomic_path(path) as temporary:
        temporary.write_text("first")
        write(path, "file", "second")
        assert temporary.exists()
        assert text_of(path) == "second"
    assert text_of(path) == "first"
    assert entries(tmp_path) == ["out"]


@pytest.mark.parametrize("new", ["file", "folder"])
@pytest.mark.parametrize("other", ["file", "folder", "link"])
def test_what_was_put_there_meanwhile_stays(tmp_path: Path, new: str, other: str) -> None:
    path = tmp_path / "out"
    kind = "shelf" if new == "folder" else None

    def write_slowly(force: bool) -> None:
        with atomic_path(path, force=force, kind=kind) as temporary:
            (temporary.mkdir if new == "folder" else temporary.touch)()
            if other == "link":
                path.symlink_to("nowhere")
            else:
                write(path, other, "other")

    with pytest.raises(InputError) as error:
        write_slowly(force=False)
    assert one_line(error).startswith(f"{path}: exists already")
    assert entries(tmp_path) == ["out"]
    if other == "link":
        return
    assert text_of(path) == "other"
    path.unlink() if other == "file" else shutil.rmtree(path)
    if new == other == "file":
        write_slowly(force=True)
        assert text_of(path) == ""
    else:
        with pytest.raises(InputError):
            write_slowly(force=True)
        assert text_of(path) == "other"
    assert entries(tmp_path) == ["out"]


RACE = """
import pathlib, sys
from vitrina.files import InputError, atomic_path
path, kind = pathlib.Path(sys.argv[1]), sys.argv[2] or None
for number in range(int(sys.argv[3])):
    try:
        with atomic_path(path.with_name(f"out{number}"), force=False, kind=kind) as temporary:
            if kind:
                temporary.mkdir()
                temporary /= "inside"
            temporary.write_text(sys.argv[4])
            print("ready", flush=True)
            sys.stdin.readline()
        print("won", flush=True)
    except InputError as error:
        print(error, flush=True)
"""


@pytest.mark.parametrize("kind", ["", "shelf"])
@pytest.mark.parametrize("links", [True, False])
def test_one_of_several_processes_wins(tmp_path: Path, kind: str, links: bool) -> None:
    rounds, program = 20, RACE
    if not links:
        program = "import os\ndef refuse(*a): raise PermissionError(1, 'no links')\n"
        program += "os.link = refuse\n" + RACE
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, tmp_path / "out", kind, str(rounds), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(3)
    ]

    def lines() -> list[str]:
        return [process.stdout.readline() for process in processes if process.stdout]

    for number in range(rounds):
        # all have written their output before the first is renamed
        assert lines() == ["ready\n"] * 3
        for process in processes:
            assert process.stdin
            process.stdin.write("\n")
            process.stdin.flush()
        results = lines()
        winners = [i for i, result in enumerate(results) if result == "won\n"]
        assert len(winners) == 1
        assert text_of(tmp_path / f"out{number}") == str(winners[0])
        assert sum("exists already" in result for result in results) == 2
    for process in processes:
        process.communicate()
    assert entries(tmp_path) == sorted(f"out{number}" for number in range(rounds))


FORCED = """
import pathlib, sys
from vitrina.files import atomic_path
from vitrina.sealed import FolderKind, seal
for number in range(int(sys.argv[2])):
    with atomic_path(pathlib.Path(sys.argv[1]), force=True, kind="shelf") as folder:
        folder.mkdir()
        seal(folder, FolderKind("shelf", 1, {}, frozenset()))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="locks are POSIX's")
def test_the_lock_of_another_program_does_not_stop_an_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    monkeypatch.setattr(files, "_LONGEST_WAIT", 0.05)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    write(tmp_path / "out", "file", "new")
    os.close(descriptor)
    assert text_of(tmp_path / "out") == "new"
    assert entries(tmp_path) == ["out"]


def test_several_processes_replace_one_folder(tmp_path: Path) -> None:
    write(tmp_path / "out", "folder", "old")
    seal(tmp_path / "out", FolderKind("shelf", 1, {"inside": 100}, frozenset()))
    arguments = [sys.executable, "-c", FORCED, str(tmp_path / "out"), "200"]
    processes = [subprocess.Popen(arguments, stderr=subprocess.PIPE) for _ in range(3)]
    errors = [process.communicate()[1].decode() for process in processes]
    assert errors == [""] * 3
    assert entries(tmp_path) == ["out"]
    assert entries(tmp_path / "out") == ["manifest.json"]


def test_an_old_folder_comes_back_when_the_new_one_can_not_be_moved_in(tmp_path: Path) -> None:
    path = tmp_path / "out"
    write(path, "folder", "old")

    def write_nothing() -> None:
        with atomic_path(path):
            pass

    with pytest.raises(FileNotFoundError):
        write_nothing()
    (tmp_path / "out").rename(tmp_path / "seen")
    assert entries(tmp_path) == ["seen"]
    assert text_of(tmp_path / "seen") == "old"


def test_folders_above_are_made(tmp_path: Path) -> None:
    write(tmp_path / "a" / "b" / "out", "file", "new")
    assert text_of(tmp_path / "a" / "b" / "out") == "new"


def test_a_crash_leaves_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "out"
    write(path, "folder", "old")
    program = (
        "import os, pathlib, sys\n"
        "from vitrina.files import atomic_path\n"
        "with atomic_path(pathlib.Path(sys.argv[1])) as folder:\n"
        "    folder.mkdir()\n"
        "    (folder / 'inside').write_text('half')\n"
        "    os._exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", program, path], check=False).returncode == 9
    assert text_of(path) == "old"
    write(path, "folder", "new")
    assert text_of(path) == "new"


# Limits files to 1,000 bytes, which looks like a full disk to a program.
FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import numpy as np, polars as pl, pyarrow as pa, pyarrow.parquet as pq, safetensors.numpy
from vitrina.files import atomic_path
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
numbers = np.random.default_rng(0).random(100_000)
def in_folder(path):
    path.mkdir()
    (path / "small").write_text("fits")
    (path / "large").write_bytes(bytes(100_000))
writers = {
    "bytes": lambda path: path.write_bytes(bytes(100_000)),
    "folder": in_folder,
    "safetensors": lambda path: safetensors.numpy.save_file({"a": numbers}, path),
    "pyarrow": lambda path: pq.write_table(pa.table({"a": numbers}), path),
    "polars": lambda path: pl.DataFrame({"a": numbers}).write_parquet(path),
    "numpy": lambda path: np.save(path.open("wb"), numbers),
}
for name, writer in writers.items():
    try:
        with atomic_path(Path(sys.argv[1]) / name) as temporary:
            writer(temporary)
    except BaseException as error:
        print(type(error).__name__, error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process are POSIX's")
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", FULL_DISK, tmp_path], capture_output=True, text=True, check=True
    )
    names = ["bytes", "folder", "safetensors", "pyarrow", "polars", "numpy"]
    assert ran.stdout.splitlines() == [
        f"InputError {tmp_path / name}: the disk is full; free some space and run the command again"
        for name in names
    ]
    assert entries(tmp_path) == []


def test_a_parent_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    for path in (tmp_path / "file" / "out", tmp_path / "file" / "deeper" / "out"):
        with pytest.raises(InputError) as error:
            refuse_existing(path, force=True)
        assert f"{tmp_path / 'file'} is a file, not a folder" in one_line(error)
        with pytest.raises(InputError) as error:
            write(path, "file", "new")
        assert one_line(error).startswith(f"{path}: can't be written")
    assert text_of(tmp_path / "file") == "kept"


def test_a_name_too_long(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        write(tmp_path / ("x" * 250), "file", "new")
    assert "can't be written (File name too long); choose another path" in one_line(error)


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="permissions are POSIX's")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    program = (
        "import os, pathlib, sys\n"
        "from vitrina.files import atomic_path\n"
        "if os.geteuid() == 0:\n"
        "    os.seteuid(65534)  # root may write anywhere, nobody (65534) may not\n"
        "try:\n"
        "    with atomic_path(pathlib.Path(sys.argv[1])) as temporary:\n"
        "        temporary.write_text('new')\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, error)\n"
    )
    out = tmp_path / "closed" / "out"
    ran = subprocess.run(
        [sys.executable, "-c", program, out], capture_output=True, text=True, check=True
    )
    expected = f"InputError {out}: can't be written (Permission denied); choose another path\n"
    assert ran.stdout == expected


def test_other_errors_pass_unchanged(tmp_path: Path) -> None:
    def fail(error: Exception) -> None:
        with atomic_path(tmp_path / "out"):
            raise error

    # a message of a reader about its own file stays as it is
    with pytest.raises(InputError) as error:
        fail(InputError("in.csv: can't be read (Permission denied (os error 13)): is it yours?"))
    assert str(error.value).startswith("in.csv")
    with pytest.raises(ZeroDivisionError) as other:
        fail(ZeroDivisionError("x"))
    assert other.value.__cause__ is None


def test_existing_paths_are_refused(tmp_path: Path) -> None:
    refuse_existing(tmp_path / "new" / "deeper", force=False)
    with pytest.raises(InputError) as error:
        refuse_existing(tmp_path, force=False)
    assert one_line(error).startswith(f"{tmp_path}: exists already")
    refuse_existing(tmp_path, force=True, kind="shelf")  # an empty folder


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("file", "shelf", "is a file"),
        ("shelf", None, "is a folder"),
        ("shelf", "box", "holds a shelf"),
        ("foreign", "shelf", "didn't write"),
        (".", "shelf", "no name"),
        ("file/below", None, "is a file, not a folder"),
    ],
)
def test_force_replaces_like_with_like(
    tmp_path: Path, name: str, kind: str | None, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("x")
    Path("shelf").mkdir()
    seal(Path("shelf"), FolderKind("shelf", 1, {}, frozenset()))
    Path("foreign").mkdir()
    Path("foreign/thesis.txt").write_text("years of work")
    refuse_existing(Path("file"), force=True)
    refuse_existing(Path("shelf"), force=True, kind="shelf")
    with pytest.raises(InputError, match=message):
        refuse_existing(Path(name), force=True, kind=kind)


def test_json(tmp_path: Path) -> None:
    content = {"title": "niños ½", "n": [1, 2.5, None]}
    write_json(tmp_path / "a.json", content)
    text = (tmp_path / "a.json").read_text("utf-8")
    assert json.loads(text) == content
    assert "niños" in text
    assert text.endswith("\n")
