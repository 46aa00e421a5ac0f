"""`vitrina track` and `track_run`, with a real database of MLflow."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from vitrina.cli.entry import _exit_code
from vitrina.errors import InputError
from vitrina.pretraining.run_folder import RunFolder
from vitrina.tracking import track_run


def log_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "training.jsonl").open()]


def running(trained: Path, folder: Path, lines: int) -> Path:
    """What the folders of a training look like after some records, in the middle of the next."""
    run = RunFolder.of(folder)
    run.path.mkdir(exist_ok=True)
    about = json.loads((trained / "config.json").read_text())["training"]
    run.plan.write_text(json.dumps(about))
    text = (trained / "training.jsonl").read_text().splitlines(keepends=True)
    run.log.write_text("".join(text[:lines]) + text[lines][:30])
    return run.path


def require_whole(client: Any, run_id: str, log: list[dict[str, Any]]) -> None:
    """Demand that each figure of a log is in MLflow once, at its step and time."""
    start = client.get_run(run_id).info.start_time
    for name in {name for record in log for name in record} - {"step"}:
        history = client.get_metric_history(run_id, name)
        found = sorted((metric.step, metric.value, metric.timestamp) for metric in history)
        expected = []
        for record in log:
            if record.get(name) is not None:
                time = int(start + 1000 * record["seconds"])
                expected.append((record["step"], record[name], time))
        assert found == expected, name


def test_a_finished_run(trained: Path, store: str, capsys: pytest.CaptureFixture[str]) -> None:
    from mlflow import MlflowClient

    command = ["track", str(trained), "--mlflow", store, "--experiment", "finished"]
    assert _exit_code(command) == 0
    run_id = capsys.readouterr().out.strip()
    client = MlflowClient(store)
    run = client.get_run(run_id)
    log = log_of(trained)
    require_whole(client, run_id, log)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "encoder"
    assert run.info.end_time == int(run.info.start_time + 1000 * log[-1]["seconds"])
    config = json.loads((trained / "config.json").read_text())
    assert run.data.tags["vitrina_encoder"] == config["digest"]
    assert run.data.params["batch_size"] == "16"
    assert run.data.params["inputs.odd name_ 100 _"] == "1"
    assert run.data.params["sessions.pairs"] == str(config["training"]["sessions"]["pairs"])

    # nothing happens if it is called again
    assert _exit_code(command) == 0
    said = capsys.readouterr()
    assert said.out.strip() == run_id
    assert "0 new records; finished" in said.err
    assert client.get_run(run_id).info.end_time == run.info.end_time
    require_whole(client, run_id, log)


def test_a_run_that_goes_on(trained: Path, store: str, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(store)
    log = log_of(trained)
    folder = tmp_path / "encoder"
    run_ids = set()
    for lines, new in [(1, 1), (5, 4), (5, 0), (9, 4)]:
        running(trained, folder, lines)
        done = track_run(folder, store, experiment="running", quiet=True)
        assert (done.records, done.finished) == (new, False)
        run_ids.add(done.run_id)
        require_whole(client, done.run_id, log[:lines])
        assert client.get_run(done.run_id).info.status == "RUNNING"
    shutil.rmtree(RunFolder.of(folder).path)
    shutil.copytree(trained, folder)
    done = track_run(folder, store, experiment="running", quiet=True)
    assert (done.records, done.finished) == (len(log) - 9, True)
    assert run_ids == {done.run_id}
    require_whole(client, done.run_id, log)
    assert client.get_run(done.run_id).info.status == "FINISHED"


def test_stopped_between_the_requests(trained: Path, store: str, tmp_path: Path) -> None:
    """A process may be stopped after each request: the next one completes what is missing."""
    from mlflow import MlflowClient

    class Stopped(Exception):
        pass

    class Stopping(MlflowClient):
        def log_batch(self, *arguments: Any, **options: Any) -> None:
            super().log_batch(*arguments, **options)
            raise Stopped

    client = MlflowClient(store)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlflow.MlflowClient", Stopping)
        for _ in range(2):  # the parameters, then the metrics
            with pytest.raises(Stopped):
                track_run(trained, store, experiment="stopped", quiet=True)
    done = track_run(trained, store, experiment="stopped", quiet=True)
    require_whole(client, done.run_id, log_of(trained))
    assert len(client.get_run(done.run_id).data.params) > 40
    experiment = client.get_experiment_by_name("stopped")
    assert experiment is not None
    assert len(client.search_runs([experiment.experiment_id])) == 1


@pytest.mark.parametrize(
    "line",
    ["{", "[]", "{}", '{"step": "1", "seconds": 1}', '{"step": 1, "seconds": NaN}', '{"step": 1}'],
)
def test_a_damaged_log(trained: Path, store: str, tmp_path: Path, line: str) -> None:
    folder = tmp_path / "encoder"
    log = running(trained, folder, 1) / "training.jsonl"
    text = log.read_text().splitlines(keepends=True)
    log.write_text(text[0] + line + "\n")
    with pytest.raises(InputError, match=r"training\.jsonl: line 2 is damaged"):
        track_run(folder, store, quiet=True)


def test_mistakes(
    trained: Path, store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*arguments: object) -> str:
        assert _exit_code(["track", *map(str, arguments)]) == 2
        line = capsys.readouterr().err
        assert line.count("\n") == 1
        return line

    assert "no such folder" in said(tmp_path / "nothing", "--mlflow", store)
    assert "vitrina: --mlflow" in said(trained, "--mlflow", "what://ever")
    run = RunFolder.of(tmp_path / "encoder")
    running(trained, tmp_path / "encoder", 1)
    run.log.write_text("")
    assert "has no record; wait for the first" in said(tmp_path / "encoder", "--mlflow", store)
    run.log.unlink()
    assert "wait until the training has begun" in said(tmp_path / "encoder", "--mlflow", store)
    run.plan.unlink()
    run.lock.touch()
    assert "still prepares the data" in said(tmp_path / "encoder", "--mlflow", store)


WITHOUT_MLFLOW = """
import sys
from importlib.machinery import PathFinder
found = PathFinder.find_spec
PathFinder.find_spec = lambda name, *rest: None if name == "mlflow" else found(name, *rest)
from vitrina.cli.entry import _exit_code
code = _exit_code(["track", sys.argv[1], "--mlflow", "sqlite://"])
assert "torch" not in sys.modules
sys.exit(code)
"""


def test_without_mlflow(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_MLFLOW, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "pip install 'vitrina[mlflow]'" in done.stderr
