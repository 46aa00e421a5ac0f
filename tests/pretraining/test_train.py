"""Whole runs: what they leave, and that stopping them in any way changes nothing."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vitrina.data.catalogue import Catalogue
from vitrina.data.sessions import Sessions
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.errors import InputError
from vitrina.pretraining import train as module
from vitrina.pretraining.batches import Batch
from vitrina.pretraining.objective import Losses
from vitrina.pretraining.run_folder import Interrupted, RunFolder
from vitrina.pretraining.settings import Settings, preset
from vitrina.pretraining.train import train
from vitrina.pretraining.trainer import Trainer, learning_rate


@pytest.fixture
def settings(small_sizes: dict[str, Any]) -> Settings:
    return Settings(batch_size=16, epochs=3, **small_sizes)


def run(catalogue: Catalogue, sessions: Sessions, out: Path, settings: Settings) -> TitleEncoder:
    return train(catalogue, sessions, out, settings, threads=1, quiet=True)


def test_a_run_learns_and_leaves_an_encoder_that_says_how(
    catalogue: Catalogue, sessions: Sessions, settings: Settings, tmp_path: Path
) -> None:
    encoder = run(catalogue, sessions, tmp_path / "encoder", settings)
    assert not RunFolder.of(tmp_path / "encoder").path.exists()
    again = TitleEncoder.load(tmp_path / "encoder")
    np.testing.assert_array_equal(again.transform(["MILK 1 GA"]), encoder.transform(["MILK 1 GA"]))
    assert again.weights.lexical_dim == settings.lexical_dim
    assert again.transform(["MILK 1 GA"])[0, -settings.lexical_dim :].any()

    about = json.loads((tmp_path / "encoder" / "config.json").read_text())["training"]
    assert about["settings"] == json.loads(json.dumps(settings.asdict()))
    assert about["pairs_seen"] == 3 * sessions.pairs
    assert {"versions", "data_digest", "threads", "catalogue", "sessions"} <= set(about)
    log = (tmp_path / "encoder" / "training.jsonl").read_text().splitlines()
    first, last = json.loads(log[0]), json.loads(log[-1])
    assert last["loss"] < first["loss"]
    assert last["step"] == about["steps_done"] == about["steps"]


@pytest.mark.parametrize(("name", "alpha"), [("default", 0.0), ("default", 1.0), ("paper", 0.9)])
def test_both_ends_of_alpha_and_the_paper_preset_run(
    catalogue: Catalogue,
    sessions: Sessions,
    small_sizes: dict[str, int],
    tmp_path: Path,
    name: str,
    alpha: float,
) -> None:
    settings = preset(name, alpha=alpha, batch_size=64, learning_rate=0.01, **small_sizes)
    encoder = run(catalogue, sessions, tmp_path / "encoder", settings)
    assert np.isfinite(encoder.transform(["MILK 1 GA", None])).all()
    last = encoder.weights.training["last"]
    assert (last["alignment"] is None) == (alpha == 0)
    assert (last["cross_entropy"] is None) == (alpha == 1)


def test_an_unknown_objective_is_refused() -> None:
    with pytest.raises(InputError, match=r"`objective` is BYOL; it must be one of byol, simclr"):
        Settings(objective="BYOL")  # type: ignore[arg-type]


def test_the_same_seed_gives_the_same_weights_and_another_does_not(
    catalogue: Catalogue, sessions: Sessions, settings: Settings, tmp_path: Path
) -> None:
    runs = [run(catalogue, sessions, tmp_path / name, settings) for name in "ab"]
    np.testing.assert_array_equal(runs[0].weights.filters, runs[1].weights.filters)
    other = Settings(**{**settings.asdict(), "seed": 1})
    third = run(catalogue, sessions, tmp_path / "c", other)
    assert not np.array_equal(runs[0].weights.filters, third.weights.filters)


def test_no_category_at_all_needs_alpha_one(
    catalogue: Catalogue, sessions: Sessions, settings: Settings, tmp_path: Path
) -> None:
    bare = Catalogue(
        catalogue.product_ids,
        catalogue.titles,
        catalogue.product_titles,
        catalogue.categories.clear(),
        np.full_like(catalogue.product_category, -1),
        {},
    )
    with pytest.raises(InputError, match="`alpha` to 1"):
        run(bare, sessions, tmp_path / "encoder", settings)
    run(bare, sessions, tmp_path / "encoder", Settings(**{**settings.asdict(), "alpha": 1.0}))


# A run in a process of its own, with a checkpoint after every step, slow enough to be caught.
SCRIPT = """
import sys, time
import numpy as np, polars as pl
from vitrina.data.sessions import sessionize
from vitrina.data.catalogue import read_catalogue
from vitrina.pretraining import checkpoint, train as module
from vitrina.pretraining.batches import Batch
from vitrina.pretraining.objective import Losses
from vitrina.pretraining.settings import Settings

folder, out, pause, resume = sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4] == "resume"
resume = resume and module.RunFolder.of(out).exists
checkpoint._SECONDS_BETWEEN_CHECKPOINTS = 0.0
step = module.Trainer.step
def slow(self, batch, number):
    time.sleep(pause)
    return step(self, batch, number)
module.Trainer.step = slow
catalogue = read_catalogue(folder + "/products.parquet")
sessions = sessionize(folder + "/events.parquet", "1h", 6, product_ids=catalogue.product_ids)
small = dict(vocab_size=300, dim=16, filters=4, hidden=24, projection=8)
settings = Settings(batch_size=16, epochs=3, **small)
module.train(catalogue, sessions, out, settings, threads=2, quiet=True, resume=resume)
"""


@pytest.fixture
def tables(grocery_titles: list[str], tmp_path: Path) -> Path:
    import polars as pl

    rng = np.random.default_rng(5)
    products = {"product_id": range(200), "title": grocery_titles[:200]}
    pl.DataFrame({**products, "category": [f"c{i % 12}" for i in range(200)]}).write_parquet(
        tmp_path / "products.parquet"
    )
    users = np.sort(rng.integers(0, 150, 500))
    pl.DataFrame(
        {
            "user": users,
            "timestamp": 1_700_000_000 + np.arange(500),
            "product_id": rng.integers(0, 200, 500),
        }
    ).write_parquet(tmp_path / "events.parquet")
    return tmp_path


def start(tables: Path, out: Path, pause: float, how: str = "new") -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", SCRIPT, str(tables), str(out), str(pause), how]
    return subprocess.Popen(command, stderr=subprocess.PIPE)


def wait_for(condition: object, process: subprocess.Popen[bytes]) -> None:
    for _ in range(2400):
        if condition():  # type: ignore[operator]
            return
        if process.poll() is not None:
            assert process.stderr
            pytest.fail(f"the run ended: {process.stderr.read().decode()}")
        time.sleep(0.025)
    pytest.fail("the run never got there")


def test_killed_three_times_and_interrupted_gives_the_same_weights(tables: Path) -> None:
    whole, cut = tables / "whole", tables / "cut"
    assert start(tables, whole, 0).wait() == 0

    rng = random.Random()  # other moments in every run of the tests
    state = RunFolder.of(cut)
    how = "new"
    for stop in (signal.SIGKILL, signal.SIGKILL, signal.SIGKILL, signal.SIGINT, signal.SIGTERM):
        process = start(tables, cut, 0.1, how)
        before = state.checkpoint.stat().st_mtime_ns if state.checkpoint.exists() else 0

        def moved(before: int = before) -> bool:
            return state.checkpoint.exists() and state.checkpoint.stat().st_mtime_ns > before

        wait_for(moved, process)
        time.sleep(rng.uniform(0, 0.3))
        process.send_signal(stop)
        code = process.wait()
        assert code != 0
        if stop != signal.SIGKILL:
            assert process.stderr
            assert b"`resume`" in process.stderr.read()
        assert not cut.exists()
        how = "resume"
    assert start(tables, cut, 0, "resume").wait() == 0
    for name in ("model.safetensors", "tokenizer.model"):
        assert (whole / name).read_bytes() == (cut / name).read_bytes()
    steps = [json.loads(line)["step"] for line in (cut / "training.jsonl").read_text().splitlines()]
    assert steps == list(range(1, len(steps) + 1))  # no step missing, none logged twice


def test_ctrl_c_in_a_library_call_saves_and_resumes(
    catalogue: Catalogue,
    sessions: Sessions,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, step = tmp_path / "encoder", Trainer.step

    def press(self: Trainer, batch: Batch, number: int) -> Losses:
        if number == 4:
            signal.raise_signal(signal.SIGINT)
        return step(self, batch, number)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", press)
        with pytest.raises(Interrupted, match=r"step 5 .*`resume`"):
            run(catalogue, sessions, out, settings)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(InputError, match="`resume`"):  # it is not thrown away by accident
        run(catalogue, sessions, out, settings)
    other = Settings(**{**settings.asdict(), "alpha": 0.3})
    with pytest.raises(InputError, match=r"alpha.*0\.3.*0\.5"):
        train(None, None, out, other, resume=True, quiet=True)
    resumed = train(None, None, out, settings, resume=True, quiet=True)
    whole = run(catalogue, sessions, tmp_path / "whole", settings)
    np.testing.assert_array_equal(resumed.weights.embeddings, whole.weights.embeddings)
    with pytest.raises(InputError, match="finished already"):
        train(None, None, out, settings, resume=True, quiet=True)


def test_damaged_data_is_found_on_resume(
    catalogue: Catalogue,
    sessions: Sessions,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "encoder"
    with monkeypatch.context() as patch:
        patch.setattr(
            module, "_training_loop", lambda *a: (_ for _ in ()).throw(RuntimeError("lost"))
        )
        with pytest.raises(RuntimeError):
            run(catalogue, sessions, out, settings)
    titles = RunFolder.of(out).path / "data" / "titles.npy"
    damaged = np.load(titles)
    damaged[3] += 1
    np.save(titles, damaged)
    with pytest.raises(InputError, match="damaged"):
        train(None, None, out, settings, resume=True, quiet=True)
    shutil.rmtree(RunFolder.of(out).path)
    with pytest.raises(InputError, match="never started"):
        train(None, None, out, settings, resume=True, quiet=True)


def test_a_run_of_another_version_is_refused_in_one_line_and_can_be_replaced(
    catalogue: Catalogue,
    sessions: Sessions,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "encoder"
    with monkeypatch.context() as patch:
        patch.setattr(module, "_training_loop", lambda *a: (_ for _ in ()).throw(RuntimeError))
        with pytest.raises(RuntimeError):
            run(catalogue, sessions, out, settings)
    plan_file = RunFolder.of(out).plan
    plan = json.loads(plan_file.read_text())
    plan["settings"]["tau"] = plan["settings"].pop("ema_decay")  # its former name
    plan_file.write_text(json.dumps(plan))
    with pytest.raises(InputError, match=r"another version of vitrina; set `force`"):
        train(None, None, out, settings, resume=True, quiet=True)
    train(catalogue, sessions, out, settings, threads=1, force=True, quiet=True)
    assert not RunFolder.of(out).path.exists()


def test_a_bad_output_is_refused_without_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from vitrina.pretraining.run_folder import check_output\n"
        "try: check_output(sys.argv[1], resume=True, force=False)\n"
        "except ValueError: assert 'torch' not in sys.modules; sys.exit(3)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "encoder")]
    assert subprocess.run(command, check=False).returncode == 3


def test_max_minutes_plans_the_schedule_and_ends(
    catalogue: Catalogue, sessions: Sessions, settings: Settings, tmp_path: Path
) -> None:
    long = Settings(**{**settings.asdict(), "epochs": 100_000, "max_minutes": 0.1})
    begun = time.monotonic()
    encoder = run(catalogue, sessions, tmp_path / "encoder", long)
    assert time.monotonic() - begun < 60
    about = encoder.weights.training
    assert about["steps_done"] <= about["steps"] < about["steps_of_all_epochs"]
    log = (tmp_path / "encoder" / "training.jsonl").read_text().splitlines()
    last = json.loads(log[-1])  # the schedule ends with the steps that were planned
    expected = learning_rate(long, about["steps_done"] - 1, about["steps"])
    assert last["learning_rate"] == pytest.approx(expected)


def test_max_steps_ends_the_run_and_its_schedules(
    catalogue: Catalogue, sessions: Sessions, settings: Settings, tmp_path: Path
) -> None:
    some = Settings(**{**settings.asdict(), "max_steps": 5, "max_minutes": 10.0})
    about = run(catalogue, sessions, tmp_path / "encoder", some).weights.training
    assert about["steps_done"] == about["steps"] == 5 < about["steps_of_all_epochs"]
    log = (tmp_path / "encoder" / "training.jsonl").read_text().splitlines()
    assert json.loads(log[-1])["learning_rate"] == pytest.approx(learning_rate(some, 4, 5))
    more = Settings(**{**settings.asdict(), "epochs": 1, "max_steps": 1_000_000})
    about = run(catalogue, sessions, tmp_path / "whole", more).weights.training
    assert about["steps_done"] == about["steps"] == about["steps_of_all_epochs"]


def test_max_minutes_bounds_a_run_of_max_steps(
    catalogue: Catalogue,
    sessions: Sessions,
    settings: Settings,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    both = Settings(
        **{**settings.asdict(), "epochs": 100_000, "max_steps": 90_000, "max_minutes": 0.03}
    )
    about = run(catalogue, sessions, tmp_path / "encoder", both).weights.training
    assert about["steps"] == 90_000  # the clock plans nothing
    assert about["steps_done"] < 90_000
    assert "time is up" in capsys.readouterr().err


def test_collapse_is_said(
    catalogue: Catalogue,
    sessions: Sessions,
    small_sizes: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # weights that shrink towards 0 let every title look like every other; 3 is far too much
    settings = Settings(alpha=1.0, ema_decay=0.0, learning_rate=0.1, batch_size=64, **small_sizes)
    for decay in (0.0, 3.0):
        hard = Settings(**{**settings.asdict(), "weight_decay": decay, "epochs": 80})
        train(catalogue, sessions, tmp_path / f"encoder{decay}", hard, threads=1, quiet=True)
        assert ("collapse" in capsys.readouterr().err) == (decay > 0)
        assert len(list(tmp_path.glob("*.training"))) == 0


def test_time_that_is_up_ends_the_run_for_good_and_nothing_foreign_is_replaced(
    catalogue: Catalogue,
    sessions: Sessions,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, step = tmp_path / "encoder", Trainer.step
    long = Settings(**{**settings.asdict(), "epochs": 100_000, "max_minutes": 0.05})
    thesis = out / "thesis.txt"

    def slow(self: Trainer, batch: Batch, number: int) -> Losses:
        out.mkdir(exist_ok=True)
        thesis.write_text("years of work")  # somebody else uses the name meanwhile
        time.sleep(0.05 if number > 20 else 0)  # slower than the run was planned for
        return step(self, batch, number)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", slow)
        with pytest.raises(InputError, match=r"exists already.*`resume`"):
            run(catalogue, sessions, out, long)
    assert thesis.read_text() == "years of work"
    log = [json.loads(line) for line in RunFolder.of(out).log.read_text().splitlines()]
    shutil.rmtree(out)
    resumed = train(None, None, out, long, resume=True, quiet=True)
    assert resumed.weights.training["steps_done"] == log[-1]["step"]
    assert resumed.weights.training["last"]["loss"] == log[-1]["loss"]


def test_the_runs_folder_is_held_by_one_process_and_never_taken_from_others(
    catalogue: Catalogue, sessions: Sessions, settings: Settings, tmp_path: Path
) -> None:
    folder = RunFolder.of(tmp_path / "shop")
    folder.path.mkdir()
    (folder.path / "precious.csv").write_text("1")
    with pytest.raises(InputError, match="not the folder of a training run"):
        run(catalogue, sessions, tmp_path / "shop", settings)
    assert (folder.path / "precious.csv").exists()
    (folder.path / "precious.csv").unlink()
    hold = (
        "import sys, filelock; lock = filelock.FileLock(sys.argv[1]); lock.acquire();"
        "print(flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", hold, str(folder.lock)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as other:
        assert other.stdout
        other.stdout.readline()
        with pytest.raises(InputError, match="another process"):
            run(catalogue, sessions, tmp_path / "shop", settings)
        other.communicate()
    run(catalogue, sessions, tmp_path / "shop", settings)
    assert not folder.path.exists()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_training_on_cuda_learns(
    catalogue: Catalogue, sessions: Sessions, settings: Settings, tmp_path: Path
) -> None:
    encoder = train(catalogue, sessions, tmp_path / "e", settings, device="cuda", quiet=True)
    log = [json.loads(line) for line in (tmp_path / "e" / "training.jsonl").open()]
    assert log[-1]["loss"] < log[0]["loss"]
    assert np.isfinite(encoder.transform(["MILK 1 GA"])).all()
