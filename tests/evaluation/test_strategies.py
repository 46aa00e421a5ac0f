"""The comparison of query strategies: its protocol, its report, and a run that is resumed."""

import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from vitrina.classification.classifier import TitleClassifier
from vitrina.cli.entry import _exit_code
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.errors import InputError
from vitrina.evaluation.strategies import COMPARED, compare_strategies, learning_curve
from vitrina.evaluation.task_file import read_tasks
from vitrina.labelling.catalogue_features import CatalogueFeatures
from vitrina.pages.curves import panels_html

TASKS = """
[[task]]
name = "ounces"
file = "titles.csv"
label = "unit"
kind = "binary"
positive = ["OZ"]

[[task]]
name = "cheese"
file = "titles.csv"
label = "cheese"
kind = "binary"

[[task]]
name = "first letter"
file = "titles.csv"
label = "letter"
kind = "multiclass"

[[task]]
name = "letters"
file = "titles.csv"
label = "letters"
kind = "regression"
"""


@pytest.fixture
def folder(
    tmp_path: Path,
    encoder: TitleEncoder,
    grocery_titles: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A folder with tasks and an encoder, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    titles = [title for title in grocery_titles[1::6] if title[0].isalpha()]
    pl.DataFrame(
        {
            "title": titles,
            "unit": [title.split()[-1] for title in titles],
            "cheese": ["CHEESE" in title for title in titles],
            "letter": [title[0] if title[0] in "BC" else "other" for title in titles],
            "letters": [len(title) for title in titles],
        }
    ).write_csv("titles.csv")
    Path("tasks.toml").write_text(TASKS)
    encoder.save("encoder")
    return tmp_path


def test_a_curve_is_that_of_the_classifier_on_validation_rows(
    folder: Path, encoder: TitleEncoder
) -> None:
    tasks, _ = read_tasks("tasks.toml")
    task = tasks[0]
    features = CatalogueFeatures(encoder, task.titles)
    (point,) = learning_curve(task, features, "random", [60], 4)
    rows = np.random.default_rng([4, 0]).choice(task.train, 60, replace=False)
    classifier = TitleClassifier(encoder, C=2.0).fit(task.titles_of(rows), task.labels[rows])
    scores = classifier.decision_function(task.titles_of(task.validation))
    truth = task.labels[task.validation]
    assert point == pytest.approx(
        {
            "size": 60,
            "auc": roc_auc_score(truth, scores),
            "average_precision": average_precision_score(truth, scores),
        }
    )


@pytest.mark.parametrize("strategy", COMPARED)
def test_each_strategy_labels_training_rows_only(
    folder: Path, encoder: TitleEncoder, strategy: str
) -> None:
    """Other labels of the rows outside training change no choice, only what is measured."""
    tasks, _ = read_tasks("tasks.toml")
    task = tasks[0]
    features = CatalogueFeatures(encoder, task.titles)
    before = list(learning_curve(task, features, strategy, [20, 40], 0))
    assert before == list(learning_curve(task, features, strategy, [20, 40], 0))
    task.labels[task.validation] = ~task.labels[task.validation]
    after = list(learning_curve(task, features, strategy, [20, 40], 0))
    for one, other in zip(before, after, strict=True):
        assert other["auc"] == pytest.approx(1 - one["auc"])


def test_the_command_writes_a_report_and_resumes(folder: Path) -> None:
    command = ["evaluate", "tasks.toml", "--strategies", "--encoder", "encoder", "--out", "out"]
    command += ["--sizes", "20,40", "--subsamples", "2", "--quiet"]
    assert _exit_code(command) == 0
    results = pl.read_parquet("out/strategies.parquet")
    # the regression is left out
    tasks = ["ounces", "cheese", "first letter"]
    assert results["task"].unique(maintain_order=True).to_list() == tasks
    assert len(results) == 3 * len(COMPARED) * 2 * 2
    assert results.filter(pl.col("rare"))["task"].unique().to_list() == ["cheese"]

    markdown = Path("out/strategies.md").read_text()
    of_top = results.filter(task="cheese", strategy="top", size=40)["average_precision"]
    mean = of_top.to_numpy().mean()
    table = markdown.split("## Rare classes: mean average precision")[1]
    assert re.search(rf"\| top \| [\d.]+ \| {mean:.3f} \|", table)
    assert "learning curves" in Path("out/strategies.html").read_text()

    assert _exit_code(command) == 2  # the folder holds a run
    # the curves that are there aren't computed again: a changed one stays
    curve = sorted(Path("out/cache").iterdir())[0]
    text = re.sub(r'"auc": [\d.]+', '"auc": 0.125', curve.read_text())
    curve.write_text(text)
    sorted(Path("out/cache").iterdir())[1].write_text("damaged")
    assert _exit_code([*command, "--resume"]) == 0
    resumed = pl.read_parquet("out/strategies.parquet")
    assert (resumed["auc"] == 0.125).sum() == 2
    others = resumed["auc"] != 0.125
    assert resumed.filter(others).equals(results.filter(others))


def test_mistakes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["evaluate", "tasks.toml", "--strategies", "--out", "out"]
    assert _exit_code(command) == 2
    assert "--strategies needs one --encoder" in capsys.readouterr().err
    assert _exit_code([*command, "--encoder", "encoder", "--alphas", "0.5"]) == 2
    assert "leave out --baselines, --alphas" in capsys.readouterr().err
    with pytest.raises(InputError, match="didn't write"):
        compare_strategies("tasks.toml", folder, encoder="encoder")
    Path("tasks.toml").write_text(TASKS[TASKS.rindex("[[task]]") :])
    with pytest.raises(InputError, match="regressions only"):
        compare_strategies("tasks.toml", "out", encoder="encoder")


def test_curves_of_the_average_precision_say_so() -> None:
    from vitrina.pages.curves import styles_of

    row = {"panel": "cheese", "model": "top", "metric": "average_precision"}
    curves = pl.DataFrame([{**row, "size": size, "mean": 0.5, "std": 0.1} for size in (50, 100)])
    assert ">average precision<" in panels_html(curves, styles_of(["top"], "top"), "rare")
