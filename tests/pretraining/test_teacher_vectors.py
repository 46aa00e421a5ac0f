"""A teacher's vectors: stored with the run, so that stopping and damage lose nothing."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vitrina.data.catalogue import Catalogue
from vitrina.data.sessions import Sessions
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.errors import InputError
from vitrina.files import file_digest
from vitrina.pretraining import teacher_vectors as module
from vitrina.pretraining.dataset import TrainingData, title_texts
from vitrina.pretraining.run_folder import Interrupted, RunFolder
from vitrina.pretraining.settings import Settings
from vitrina.pretraining.teacher import open_teacher
from vitrina.pretraining.teacher_vectors import StoredVectors
from vitrina.pretraining.train import train
from vitrina.pretraining.trainer import Trainer, estimate_steps

pytest.importorskip("sentence_transformers")

CPU = torch.device("cpu")
PART = 32


@pytest.fixture
def settings(small_sizes: dict[str, Any], tiny_bert: Path) -> Settings:
    return Settings(batch_size=16, epochs=2, teacher=str(tiny_bert), **small_sizes)


@pytest.fixture(autouse=True)
def short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Save the teacher's vectors after every 32 titles, so that 200 titles have several parts."""
    monkeypatch.setattr(module, "_PART", PART)


def test_the_sample_has_the_titles_of_the_data(
    catalogue: Catalogue, sessions: Sessions, small_sizes: dict[str, Any]
) -> None:
    for own_category in (True, False):
        settings = Settings(own_category=own_category, **small_sizes)
        data = TrainingData.prepare(catalogue, sessions, settings)
        texts = title_texts(catalogue, sessions, settings)
        again = data.tokenizer(texts)
        np.testing.assert_array_equal(again.values, data.titles.values)
        np.testing.assert_array_equal(again.offsets, data.titles.offsets)


def test_a_run_with_a_teacher_says_so_and_needs_it_no_more(
    catalogue: Catalogue,
    sessions: Sessions,
    settings: Settings,
    bert_copy: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (bert_copy / "README.md").write_text("---\nlicense: apache-2.0\n---\nA model.\n")
    out = tmp_path / "encoder"
    encoder = train(catalogue, sessions, out, replace(settings, teacher=str(bert_copy)), threads=1)
    assert f"teacher: {bert_copy} encodes titles for 8 minutes at most" in capsys.readouterr().err

    about = encoder.weights.training["teacher"]
    texts = title_texts(catalogue, sessions, settings)
    assert 0 <= about.pop("minutes") < 8
    assert about == {
        "name": str(bert_copy),
        "dimension": 32,
        "digest": file_digest(bert_copy / "model.safetensors"),
        "licence": "apache-2.0",
        "titles": len(texts),
    }
    card = (out / "README.md").read_text()
    assert "apache-2.0" in card
    assert file_digest(bert_copy / "model.safetensors") in card
    log = [json.loads(line) for line in (out / "training.jsonl").read_text().splitlines()]
    assert log[-1]["distillation"] < log[0]["distillation"]
    assert not RunFolder.of(out).path.exists()

    # only the encoder's own folder and packages are needed
    shutil.rmtree(bert_copy)
    script = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'sentence_transformers'): sys.modules[name] = None\n"
        "from vitrina.encoder.title_encoder import TitleEncoder\n"
        "print(TitleEncoder.load(sys.argv[1]).transform(['MILK 1 GA']).tobytes().hex())\n"
    )
    command = [sys.executable, "-c", script, str(out)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed.strip() == encoder.transform(["MILK 1 GA"]).tobytes().hex()


def stop_at(monkeypatch: pytest.MonkeyPatch, call: int, stop: Callable[[], object]) -> None:
    """Stop the process at a call of the teacher, in the given way."""
    calls = 0

    def opened(source: str, device: torch.device) -> Any:
        encode, about = open_teacher(source, device)

        def encode_or_stop(titles: list[str]) -> Any:
            nonlocal calls
            calls += 1
            if calls == call:
                stop()
            return encode(titles)

        return encode_or_stop, about

    monkeypatch.setattr(module, "open_teacher", opened)


def kill() -> None:
    raise SystemError("the process ends here, without saving anything")


def test_stopped_in_each_phase_it_ends_with_the_same_weights(
    catalogue: Catalogue,
    sessions: Sessions,
    settings: Settings,
    bert_copy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = replace(settings, teacher=str(bert_copy))
    train(catalogue, sessions, tmp_path / "whole", settings, threads=1, quiet=True)
    cut = tmp_path / "cut"
    folder = RunFolder.of(cut).teacher

    def go_on(**options: Any) -> TitleEncoder:
        return train(None, None, cut, settings, quiet=True, resume=True, **options)

    # killed while the teacher encodes, then interrupted
    stop_at(monkeypatch, 3, kill)
    with pytest.raises(SystemError):
        train(catalogue, sessions, cut, settings, threads=1, quiet=True)
    assert StoredVectors(folder).done == 2 * PART
    stop_at(monkeypatch, 2, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(Interrupted, match=f"vectors of {4 * PART} titles; .* set `resume`"):
        go_on()

    # interrupted while it trains: the teacher is not needed from here on
    step = Trainer.step

    def press(self: Trainer, batch: Any, number: int) -> Any:
        if number == 3:
            signal.raise_signal(signal.SIGINT)
        return step(self, batch, number)

    monkeypatch.setattr(Trainer, "step", press)
    monkeypatch.setattr(module, "open_teacher", open_teacher)
    with pytest.raises(Interrupted, match="step 4"):
        go_on()
    shutil.rmtree(bert_copy)
    monkeypatch.setattr(Trainer, "step", step)
    go_on()
    for name in ("model.safetensors", "table.safetensors", "tokenizer.model"):
        assert (cut / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_ctrl_c_at_the_last_titles_is_not_lost(
    catalogue: Catalogue,
    sessions: Sessions,
    settings: Settings,
    bert_copy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = replace(settings, teacher=str(bert_copy))
    titles = len(title_texts(catalogue, sessions, settings))
    stop_at(monkeypatch, -(-titles // PART), lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(Interrupted, match=f"vectors of {titles} titles"):
        train(catalogue, sessions, tmp_path / "encoder", settings, threads=1, quiet=True)
    shutil.rmtree(bert_copy)  # the vectors are complete
    train(None, None, tmp_path / "encoder", settings, resume=True, quiet=True)


@pytest.fixture(scope="module")
def half_encoded_run(
    catalogue: Catalogue,
    sessions: Sessions,
    small_sizes: dict[str, Any],
    tiny_bert: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, Settings]:
    """The folder and the settings of a run that was killed while the teacher encoded."""
    folder = tmp_path_factory.mktemp("half-encoded")
    teacher = shutil.copytree(tiny_bert, folder / "model")
    settings = Settings(batch_size=16, teacher=str(teacher), **small_sizes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_PART", PART)
        stop_at(patch, 3, kill)
        with pytest.raises(SystemError):
            train(catalogue, sessions, folder / "encoder", settings, threads=1, quiet=True)
    return folder, settings


@pytest.fixture
def half_encoded(half_encoded_run: tuple[Path, Settings], tmp_path: Path) -> Callable[[], object]:
    """Resumes a copy of that run, tmp_path / "encoder"."""
    folder, settings = half_encoded_run
    out = tmp_path / "encoder"
    shutil.copytree(RunFolder.of(folder / "encoder").path, RunFolder.of(out).path)
    return lambda: train(None, None, out, settings, resume=True, quiet=True)


def test_other_weights_of_the_teacher_are_refused(
    half_encoded: Callable[[], object], tmp_path: Path
) -> None:
    about = RunFolder.of(tmp_path / "encoder").teacher / "about.json"
    content = json.loads(about.read_text())
    content["teacher"]["digest"] = "0" * 64
    about.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"begun with another `teacher`.* set `force`"):
        half_encoded()


def test_a_new_licence_of_the_teacher_is_no_other_teacher(
    half_encoded: Callable[[], object], tmp_path: Path
) -> None:
    about = RunFolder.of(tmp_path / "encoder").teacher / "about.json"
    content = json.loads(about.read_text())
    content["teacher"]["licence"] = "mit"
    about.write_text(json.dumps(content))
    half_encoded()


@pytest.mark.parametrize("name", ["text.npy", "text_offsets.npy", "vectors-00001.npy"])
def test_damage_of_the_stored_files_is_found(
    half_encoded: Callable[[], object], tmp_path: Path, name: str
) -> None:
    file = RunFolder.of(tmp_path / "encoder").teacher / name
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(InputError, match=f"{name}: is damaged .its checksum differs.; set `force`"):
        half_encoded()


@pytest.mark.parametrize(
    "change",
    [
        {"texts": None},
        {"texts": ["0" * 64]},
        {"vectors": [1]},
        {"vectors": ["0" * 64] * 100},
        {"seconds": "1"},
        {"teacher": {}},
        {"teacher": {"name": "t", "digest": "0" * 64, "dimension": 10**9}},
        {"teacher": {"name": [], "digest": "0" * 64, "dimension": 32}},
        {"teacher": {"name": "t", "digest": "0" * 64, "dimension": 32, "licence": 1}},
        {"teacher": {"name": "t", "digest": "0" * 64, "dimension": 32, "more": "x"}},
        {"seconds": -1},
        {"seconds": float("nan")},
        {"finished": 1},
        {"finished": True, "vectors": []},
    ],
)
def test_a_damaged_record_of_the_teacher(
    half_encoded: Callable[[], object], tmp_path: Path, change: dict[str, Any]
) -> None:
    file = RunFolder.of(tmp_path / "encoder").teacher / "about.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(InputError, match="set `force`"):
        half_encoded()


def test_the_teacher_stops_when_its_time_is_up(
    catalogue: Catalogue, sessions: Sessions, settings: Settings, tmp_path: Path
) -> None:
    hurried = replace(settings, teacher_minutes=1e-9)
    encoder = train(catalogue, sessions, tmp_path / "encoder", hurried, threads=1, quiet=True)
    assert encoder.weights.training["teacher"]["titles"] == PART


def test_the_plan_leaves_the_teacher_its_time(data: TrainingData, settings: Settings) -> None:
    settings = replace(settings, teacher_minutes=10.0)
    without = replace(settings, teacher=None)
    assert estimate_steps(60.0, 10**6, data, without, CPU) > 1
    assert estimate_steps(660.0, 10**6, data, settings, CPU) > 1
    assert estimate_steps(599.0, 10**6, data, settings, CPU) == 1
