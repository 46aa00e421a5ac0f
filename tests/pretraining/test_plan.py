"""How long a run trains: planned from the data unless the settings say it."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vitrina.data.catalogue import Catalogue
from vitrina.data.sessions import Sessions
from vitrina.pretraining.plan import planned_epochs
from vitrina.pretraining.run_folder import Interrupted
from vitrina.pretraining.settings import Settings, preset
from vitrina.pretraining.train import train
from vitrina.pretraining.trainer import Trainer


@pytest.fixture
def settings(small_sizes: dict[str, Any]) -> Settings:
    return Settings(batch_size=16, **small_sizes)


@pytest.mark.parametrize(
    ("steps_per_epoch", "epochs"),
    [(1, 8), (37, 8), (43, 7), (79, 4), (100, 3), (150, 2), (299, 2), (300, 1), (10**6, 1)],
)
def test_few_steps_an_epoch_make_several_epochs(steps_per_epoch: int, epochs: int) -> None:
    assert planned_epochs(Settings(), steps_per_epoch) == epochs


def test_epochs_that_are_set_hold_and_the_paper_preset_has_one() -> None:
    assert planned_epochs(Settings(epochs=1), 1) == 1
    assert planned_epochs(Settings(epochs=7), 10**6) == 7
    assert planned_epochs(preset("paper"), 1) == 1


def test_the_plan_is_printed_with_its_reason_and_recorded(
    catalogue: Catalogue,
    sessions: Sessions,
    settings: Settings,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def plan_of(name: str, **changes: Any) -> tuple[dict[str, Any], str]:
        chosen = replace(settings, **changes)
        encoder = train(catalogue, sessions, tmp_path / name, chosen, threads=1)
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("plan:")]
        assert len(lines) == 1
        return encoder.weights.training, lines[0]

    record, line = plan_of("planned")
    per_epoch = record["steps_of_all_epochs"] // 8
    assert (record["epochs"], record["epochs_done"]) == (8, 8.0)
    assert record["steps_done"] == record["steps"] == 8 * per_epoch
    assert record["settings"]["epochs"] is None
    assert f"8 epochs, {8 * per_epoch} steps: one epoch of such small data is too short" in line

    record, line = plan_of("set", epochs=1)
    assert record["epochs"] == record["epochs_done"] == 1
    assert line == f"plan: 1 epoch, {per_epoch} steps: as the settings say"

    record, line = plan_of("limited", max_steps=5)
    assert (record["epochs"], record["steps"]) == (8, 5)
    assert f"5 steps are the limit, of {8 * per_epoch} in 8 epochs" in line


def test_a_planned_run_that_was_stopped_in_its_last_epoch_resumes_to_the_same_weights(
    catalogue: Catalogue,
    sessions: Sessions,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = train(catalogue, sessions, tmp_path / "whole", settings, threads=1, quiet=True)
    last_epoch = whole.weights.training["steps"] * 7 // 8
    step = Trainer.step

    def press(self: Trainer, batch: Any, number: int) -> Any:
        if number == last_epoch + 1:
            signal.raise_signal(signal.SIGINT)
        return step(self, batch, number)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", press)
        with pytest.raises(Interrupted):
            train(catalogue, sessions, tmp_path / "stopped", settings, threads=1, quiet=True)
    resumed = train(None, None, tmp_path / "stopped", settings, resume=True, quiet=True)
    np.testing.assert_array_equal(resumed.weights.embeddings, whole.weights.embeddings)
    np.testing.assert_array_equal(resumed.weights.filters, whole.weights.filters)
