"""Folders of stopped runs that are damaged, or made to do harm: one line, and never a crash."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from vitrina.data.catalogue import Catalogue
from vitrina.data.sessions import Sessions
from vitrina.errors import InputError
from vitrina.files import write_json
from vitrina.pretraining import checkpoint, stored
from vitrina.pretraining.batches import Batch
from vitrina.pretraining.dataset import TrainingData
from vitrina.pretraining.objective import Losses
from vitrina.pretraining.run_folder import Interrupted, RunFolder
from vitrina.pretraining.settings import Settings
from vitrina.pretraining.train import train
from vitrina.pretraining.trainer import Trainer


def refused(call: Callable[[], object], folder: Path) -> str:
    """The message of the error that `call` must raise, which names a file and what to do."""
    with pytest.raises(InputError) as error:
        call()
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(str(folder))
    assert "set `force` to start over" in message
    return message


def result_of(call: Callable[[], Any]) -> tuple[Any, str]:
    """What `call` returns, or None and the message of its InputError, which is one line."""
    message = ""
    try:
        return call(), message
    except InputError as error:
        message = str(error)
    assert "\n" not in message
    return None, message


@pytest.fixture
def saved(data: TrainingData, tmp_path: Path) -> Path:
    data.save(tmp_path / "data")
    return tmp_path / "data"


def test_data_is_loaded_as_it_was_saved(data: TrainingData, saved: Path) -> None:
    again = TrainingData.load(saved)
    assert again.digest() == data.digest()
    assert not again.titles.values.flags.writeable


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("sessions", lambda a: a.astype(np.int64), "not a list of int32"),
        ("sessions", lambda a: a.astype(">i4"), "not a list of int32"),
        ("sessions", lambda a: a[None], "not a list"),
        ("sessions", lambda a: a[:-1], "does not fit its values"),
        ("sessions", lambda a: np.where(a == a.max(), 10**6, a).astype(np.int32), "number is not"),
        ("sessions", lambda a: np.where(a == a.max(), -1, a).astype(np.int32), "number is not"),
        ("session_offsets", lambda a: a[:1], "does not fit"),
        ("session_offsets", lambda a: a[1:], "does not fit"),
        ("session_offsets", lambda a: np.r_[0, -(2**62), a[2:]], "number is not"),
        ("session_offsets", lambda a: np.r_[0, a[2], a[1], a[3:]], "shorter than 1"),
        ("session_offsets", lambda a: np.r_[0, 0, a[2:]], "shorter than 1"),
        ("pair_ends", lambda a: a + (a > 0), "does not fit the sessions"),
        ("pair_ends", lambda a: a[:-1], "does not fit the sessions"),
        ("pair_ends", lambda a: np.r_[a[:-1], -1], "does not fit the sessions"),
        ("pair_ends", lambda a: np.r_[0, -(2**63), a[2:]], "number is not"),
        ("views", lambda a: a + 1, "number is not"),
        ("view_offsets", lambda a: np.r_[0, 0, a[2:]], "shorter than 1"),
        ("titles", lambda a: a - 1, "number is not"),
        ("titles", lambda a: np.full_like(a, 300), "number is not"),
        ("title_offsets", lambda a: np.r_[0, 4, a[2:]], "shorter than 5"),
        ("category", lambda a: np.full_like(a, 12), "number is not"),
        ("category", lambda a: np.full_like(a, -2), "number is not"),
        ("category", lambda a: a[:-1], "does not fit the products"),
        ("category", lambda a: a.astype(object), "no array|not a list"),
        ("word_hashes", lambda a: a[::-1].copy(), "not in increasing order"),
        ("word_hashes", lambda a: a[:-1], "it does not fit the hashes"),
        ("word_rows", lambda a: a[:-1], "it does not fit the hashes"),
        ("word_rows", lambda a: a.astype(np.int16), "not a list of int8"),
        ("word_scale", lambda a: a[:-1], "numbers from 0"),
        ("word_scale", lambda a: -a, "numbers from 0"),
        ("word_scale", lambda a: a * np.float32(np.nan), "numbers from 0"),
    ],
)
def test_an_array_that_does_not_fit(
    saved: Path, name: str, change: Callable[[Any], Any], message: str
) -> None:
    file = saved / f"{name}.npy"
    np.save(file, change(np.load(file)), allow_pickle=True)
    with pytest.raises(InputError, match=message):
        TrainingData.load(saved)
    refused(lambda: TrainingData.load(saved), saved)


def test_rows_are_checked_across_parts(
    data: TrainingData, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "_CHUNK", 7)
    TrainingData.load(saved)
    rng = np.random.default_rng(0)
    for name in ("session_offsets", "pair_ends", "view_offsets", "title_offsets"):
        good = np.load(saved / f"{name}.npy")
        for place in rng.integers(0, len(good), 20).tolist():
            bad = good.copy()
            bad[place] += 10**6
            np.save(saved / f"{name}.npy", bad)
            refused(lambda: TrainingData.load(saved), saved)
        np.save(saved / f"{name}.npy", good)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        b'{"categories": NaN}',
        {"categories": None},
        {"categories": [1]},
        {"normalization": []},
        {"normalization": {"language": 5, "style": "default", "stop_words": []}},
        {"normalization": {"language": "xx", "style": "default", "stop_words": []}},
        {"normalization": {"language": "en", "style": [], "stop_words": []}},
        {"normalization": {"language": "en", "style": "other", "stop_words": []}},
        {"normalization": {"language": "en", "style": "default", "stop_words": [1]}},
        {"normalization": {"language": "en", "style": "default", "stop_words": [], "x": 1}},
        {"lexical_dim": 0},
        {"lexical_dim": 3.0},
        {"lexical_dim": 10**9},
    ],
)
def test_a_description_that_is_none(saved: Path, content: Any) -> None:
    file = saved / "data.json"
    if isinstance(content, dict):
        write_json(file, json.loads(file.read_text()) | content)
    else:
        file.write_bytes(content)
    refused(lambda: TrainingData.load(saved), saved)


def test_special_files_and_links_are_not_opened(saved: Path, monkeypatch: Any) -> None:
    for file in sorted(saved.iterdir()):
        whole = file.read_bytes()
        file.unlink()
        assert "is missing" in refused(lambda: TrainingData.load(saved), saved)
        os.mkfifo(file)
        assert "not a regular file" in refused(lambda: TrainingData.load(saved), saved)
        file.unlink()
        file.symlink_to("/dev/zero")
        assert "a link" in refused(lambda: TrainingData.load(saved), saved)
        file.unlink()
        file.mkdir()
        assert "not a regular file" in refused(lambda: TrainingData.load(saved), saved)
        file.rmdir()
        file.touch()
        os.truncate(file, 2**40)  # a file that is all hole
        assert "more than" in refused(lambda: TrainingData.load(saved), saved)
        file.write_bytes(whole)
    TrainingData.load(saved)
    elsewhere = saved.rename(saved.with_name("elsewhere"))
    saved.symlink_to(elsewhere)
    assert "a link" in refused(lambda: TrainingData.load(saved), saved)


def test_random_damage_is_refused_or_changes_the_digest(data: TrainingData, saved: Path) -> None:
    rng = np.random.default_rng(3)
    files = sorted(saved.iterdir())
    for _ in range(300):
        file = files[rng.integers(len(files))]
        whole = file.read_bytes()
        broken = bytearray(whole)
        # the header and the first numbers are the most interesting
        place = int(rng.integers(min(len(whole), 400) if rng.random() < 0.5 else len(whole)))
        match rng.integers(3):
            case 0:
                broken[place] ^= 1 << int(rng.integers(8))
            case 1:
                del broken[place:]
            case 2:
                broken[place : place + 8] = rng.bytes(8)
        file.write_bytes(broken)
        loaded, message = result_of(lambda: TrainingData.load(saved))
        if loaded is None:
            assert message.startswith(str(saved))
        elif loaded.digest() == data.digest():
            # the digest has not the normalisation, and white space in a header means nothing
            assert broken == whole or file.name == "data.json" or place < 128
        file.write_bytes(whole)


@pytest.fixture(scope="module")
def stopped_run(
    catalogue: Catalogue,
    sessions: Sessions,
    small_sizes: dict[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, Settings]:
    """The output and the settings of a run that was interrupted at its fifth step."""
    out = tmp_path_factory.mktemp("stopped") / "encoder"
    settings = Settings(batch_size=16, epochs=3, **small_sizes)
    step = Trainer.step

    def press(self: Trainer, batch: Batch, number: int) -> Losses:
        if number == 4:
            signal.raise_signal(signal.SIGINT)
        return step(self, batch, number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "step", press)
        with pytest.raises(Interrupted):
            train(catalogue, sessions, out, settings, threads=1, quiet=True)
    return out, settings


@pytest.fixture
def stopped(stopped_run: tuple[Path, Settings], tmp_path: Path) -> tuple[RunFolder, Callable]:
    """A copy of that run, and a function that resumes it."""
    run = RunFolder.of(tmp_path / "encoder")
    shutil.copytree(RunFolder.of(stopped_run[0]).path, run.path)

    def resume() -> object:
        out = tmp_path / "encoder"
        return train(None, None, out, stopped_run[1], resume=True, quiet=True)

    return run, resume


@pytest.mark.parametrize(
    "change",
    [
        {"threads": 0},
        {"threads": "many"},
        {"threads": True},
        {"steps": 0},
        {"steps": 10**9},
        {"steps": 1.5},
        {"settings": None},
        {"settings": []},
        {"inputs": [1]},
        {"device": 5},
        {"data_digest": None},
        {"versions": 1},
        {"steps_of_all_epochs": None},
        {"epochs": "many"},
        b"",
        b"[" * 100_000,
        b'{"threads": NaN}',
    ],
)
def test_a_damaged_plan(stopped: tuple[RunFolder, Callable], change: Any) -> None:
    run, resume = stopped
    if isinstance(change, dict):
        write_json(run.plan, json.loads(run.plan.read_text()) | change)
    else:
        run.plan.write_bytes(change)
    assert "run.json: is damaged" in refused(resume, run.path)


def test_a_plan_with_other_inputs_is_named_in_one_short_line(
    stopped: tuple[RunFolder, Callable],
) -> None:
    run, resume = stopped
    plan = json.loads(run.plan.read_text())
    write_json(run.plan, plan | {"inputs": {"files\n" * 100: "x\n" * 1_000_000}})
    with pytest.raises(InputError, match="started with x x x") as error:
        resume()
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 1_000


def rewrite(file: Path, change: Callable[[dict[str, torch.Tensor], dict[str, Any]], Any]) -> None:
    """Change the tensors or the state of a checkpoint, in place or by what `change` returns."""
    with safe_open(file, "pt") as opened:
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        state = json.loads(opened.metadata()["state"])
    text = change(tensors, state)
    if not isinstance(text, str):
        text = json.dumps(state)
    save_file(tensors, file, {"state": text})


FIRST = "networks.encoder.embeddings"
MOMENT = "optimizer.0.exp_avg"


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors, state: tensors.pop(FIRST),
        lambda tensors, state: tensors.pop(MOMENT),
        lambda tensors, state: tensors.update(x=torch.ones(3)),
        lambda tensors, state: tensors.update({"optimizer.x.step": torch.ones(())}),
        lambda tensors, state: tensors.update({"optimizer.99.step": torch.ones(())}),
        lambda tensors, state: tensors.update({FIRST: tensors[FIRST][:, :3].contiguous()}),
        lambda tensors, state: tensors.update({FIRST: tensors[FIRST].half()}),
        lambda tensors, state: tensors.update({FIRST: tensors[FIRST].int()}),
        lambda tensors, state: tensors.update({FIRST: tensors[FIRST] * torch.nan}),
        lambda tensors, state: tensors.update({MOMENT: tensors[MOMENT] + torch.inf}),
        lambda tensors, state: tensors.update({MOMENT: torch.ones(3)}),
        lambda tensors, state: state.update(step=0),
        lambda tensors, state: state.update(step=state["steps"] + 1),
        lambda tensors, state: state.update(steps=10**9, step=10**8),
        lambda tensors, state: state.update(step="5"),
        lambda tensors, state: state.update(pairs=-1),
        lambda tensors, state: state.update(log_bytes=-1),
        lambda tensors, state: state.update(log_bytes=2**70),
        lambda tensors, state: state.update(record=[]),
        lambda tensors, state: state.update(record={"loss": "low"}),
        lambda tensors, state: state.update(initial_std="x"),
        lambda tensors, state: state.update(more=1),
        lambda tensors, state: state.pop("pairs"),
        lambda tensors, state: json.dumps(state).replace('"seconds": ', '"seconds": 1e999, "x": '),
        lambda tensors, state: "",
        lambda tensors, state: "[" * 100_000,
    ],
)
def test_a_damaged_checkpoint(stopped: tuple[RunFolder, Callable], change: Callable) -> None:
    run, resume = stopped
    rewrite(run.checkpoint, change)
    assert "checkpoint.safetensors: is damaged" in refused(resume, run.path)


def test_random_damage_of_a_checkpoint_is_refused_or_resumed(
    stopped: tuple[RunFolder, Callable], tmp_path: Path
) -> None:
    run, _ = stopped
    data = TrainingData.load(run.data)
    settings = Settings(**json.loads(run.plan.read_text())["settings"])
    trainer = Trainer(data, settings, 30, torch.device("cpu"))
    loader = checkpoint.Checkpointer(run.checkpoint, trainer.networks, trainer.optimizer)
    whole = run.checkpoint.read_bytes()
    header = int.from_bytes(whole[:8], "little")
    rng = np.random.default_rng(4)
    refused = 0
    for _ in range(200):
        broken = bytearray(whole)
        place = int(rng.integers(header + 8 if rng.random() < 0.7 else len(whole)))
        if rng.random() < 0.2:
            del broken[place:]
        else:
            broken[place] ^= 1 << int(rng.integers(8))
        run.checkpoint.write_bytes(broken)
        state, _ = result_of(lambda: loader.load(steps=1_000))
        refused += state is None
    assert refused > 100


def test_special_files_of_a_run_are_not_opened(
    stopped: tuple[RunFolder, Callable], tmp_path: Path
) -> None:
    run, resume = stopped
    precious = tmp_path / "precious"
    precious.write_text("years of work")
    for file in (run.plan, run.checkpoint, run.log, run.lock):
        file.rename(tmp_path / "aside")
        file.symlink_to(precious)
        assert "a link" in refused(resume, run.path)
        file.unlink()
        os.mkfifo(file)
        assert "not a regular file" in refused(resume, run.path)
        file.unlink()
        (tmp_path / "aside").rename(file)
    assert precious.read_text() == "years of work"
    # a link is deleted, not what it leads to
    (run.path / ".x.partial").symlink_to(tmp_path)
    (run.path / "linked").symlink_to(tmp_path)
    resume()
    assert precious.exists()
    assert not run.path.exists()
