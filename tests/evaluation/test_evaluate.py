"""`vitrina evaluate` from start to end: real processes, real models, a run that is killed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from vitrina.classification.classifier import TitleClassifier
from vitrina.cli import main
from vitrina.data.sources import load_public_dataset
from vitrina.demo.demo_products import product_table
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.evaluation.evaluate import evaluate
from vitrina.evaluation.models.bag_of_words import BagOfWords
from vitrina.evaluation.protocol import run_cell, split_titles, subsamples
from vitrina.evaluation.task_file import read_tasks
from vitrina.pretraining.settings import Settings
from vitrina.text.normalize import Normalizer

FILES = {"report.html", "results.parquet", "results.csv", "results.md", "figure3.png"}


@pytest.fixture(scope="module")
def groceries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Complete Journey's tasks and sessions, without the test titles in the catalogue."""
    folder = tmp_path_factory.mktemp("groceries")
    source = load_public_dataset("completejourney")
    from vitrina.data.catalogue import read_catalogue

    table = product_table(read_catalogue(source.products))
    test = split_titles(Normalizer("en")(table["title"]))["test"]
    seen = table.with_row_index().filter(~pl.col("index").is_in(pl.Series(test).implode()))
    seen.select("product_id", "title", "category").write_parquet(folder / "products.parquet")
    source.events.head(60_000).sink_parquet(folder / "events.parquet")
    labelled = table.with_columns(
        private=pl.col("brand") == "Private", log_purchases=pl.col("purchases").log()
    )
    common = table["department"].value_counts(sort=True)["department"].head(4)
    labelled.filter(pl.col("department").is_in(common.implode())).write_parquet(
        folder / "tasks.parquet"
    )
    shared = 'file = "tasks.parquet"\nproduct = "product_id"\nsessions = "shop"\n'
    (folder / "tasks.toml").write_text(
        '[sessions.shop]\nevents = "events.parquet"\nproducts = "products.parquet"\n'
        f'language = "en"\n[[task]]\nname = "private label"\nlabel = "private"\nkind = "binary"\n'
        f'group = "type"\n{shared}'
        f'[[task]]\nname = "department"\nlabel = "department"\nkind = "multiclass"\n{shared}'
        f'[[task]]\nname = "purchases"\nlabel = "log_purchases"\nkind = "regression"\n{shared}'
    )
    return folder


@pytest.fixture
def words(tmp_path: Path) -> Path:
    """A small binary task for fast runs."""
    rng = np.random.default_rng(0)
    label = rng.random(900) < 0.4
    titles = [
        " ".join(rng.choice(["x", "old", "a"] if y else ["x", "new", "b"], 3)) + f" {i}"
        for i, y in enumerate(label)
    ]
    pl.DataFrame({"title": titles, "label": label}).write_csv(tmp_path / "words.csv")
    (tmp_path / "tasks.toml").write_text(
        '[[task]]\nname = "words"\nfile = "words.csv"\nlabel = "label"\nkind = "binary"\n'
    )
    return tmp_path


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", *arguments])
    assert isinstance(stop.value.code, int)
    return stop.value.code


def test_all_models_in_a_quick_run(groceries: Path, tmp_path: Path, tiny_bert: Path) -> None:
    out = tmp_path / "report"
    baselines = [
        *("encoder", "encoder-alone", "paper", "random", "simclr", "bag-of-words", "tf-idf"),
        *(
            "fasttext",
            "fasttext-autotune",
            "text-cnn",
            "prod2vec",
            "meta-prod2vec",
            f"transformer:{tiny_bert}",
        ),
        *(f"transformer-mean:{tiny_bert}", f"setfit:{tiny_bert}"),
    ]
    options = ["--baselines", *baselines, "--alphas", "0,0.9", "--quick", "--quiet"]
    assert run(str(groceries / "tasks.toml"), "--out", str(out), *options) == 0
    assert {file.name for file in out.iterdir()} == {*FILES, "figure2.png", "cache", "encoders"}
    cells = pl.read_parquet(out / "results.parquet")
    test = cells.filter(pl.col("part") == "test")
    classify_only = 3  # fastText, its autotune and SetFit learn no numbers
    blocks = 4 * len(baselines) - classify_only
    assert len(test) == blocks * 2 * 2  # two sizes, two subsamples
    assert cells.filter(pl.col("part") == "validation")["model"].n_unique() == 3
    binary = test.filter(pl.col("kind") == "binary")
    assert binary["auc"].is_between(0, 1).all()
    assert cells["value"].is_finite().all()
    # the study trains one encoder by BYOL for each α
    curves = cells.filter(pl.col("part") == "validation", pl.col("model").str.starts_with("α"))
    recipes = map(json.loads, curves["settings"].unique())
    assert {(recipe["objective"], recipe["alpha"]) for recipe in recipes} == {
        ("byol", 0.0),
        ("byol", 0.9),
    }
    # and the other encoders are trained with the default settings
    encoders = test.filter(pl.col("model").is_in(["encoder", "encoder alone"]))
    recipes = map(json.loads, encoders["settings"].unique())
    default = Settings()
    assert {(recipe["objective"], recipe["alpha"]) for recipe in recipes} == {
        (default.objective, default.alpha)
    }
    html = (out / "report.html").read_text("utf-8")
    assert "This is a quick run" in html
    for name in test["model"].unique():
        assert name in html
    # vectors find next products too, and the saved encoder's model card holds the findings
    means = pl.read_csv(out / "results.csv").filter(pl.col("task").str.starts_with("next product"))
    assert means["metric"].unique().sort().to_list() == ["category", "recall@10", "recall@100"]
    assert means["mean"].is_between(0, 1).all()
    with_vectors = {"encoder", "encoder alone", "TF-IDF", "tiny-bert mean", "most visited"}
    assert with_vectors <= set(means["model"])
    card = (out / "encoders" / "shop" / "README.md").read_text("utf-8")
    assert "## What wins where" in card
    assert "## The next product" in card
    assert TitleEncoder.load(out / "encoders" / "shop").transform(["milk"]).shape == (1, 1024)

    # all cells are in the cache: the same figures, without any work
    files = list((out / "cache").rglob("*"))
    assert run(str(groceries / "tasks.toml"), "--out", str(out), *options, "--resume") == 0
    assert list((out / "cache").rglob("*")) == files
    assert pl.read_parquet(out / "results.parquet").equals(cells)


def test_figures_are_those_of_the_models(words: Path) -> None:
    cells = evaluate(
        words / "tasks.toml",
        words / "out",
        baselines=["tf-idf", "bag-of-words[max_subsamples=1]"],
        sizes=[50, 200, 100_000],
        subsamples=2,
        quiet=True,
    )
    (task,), _ = read_tasks(words / "tasks.toml")
    drawn = subsamples(task, [50, 200], 2)
    expected = [
        run_cell(task, model, drawn[size, sample])["auc"]
        for model in (BagOfWords(name="TF-IDF"), BagOfWords(name="counts", tfidf=False))
        for size in (50, 200)
        for sample in (range(2) if model.tfidf else range(1))
    ]
    assert cells["auc"].to_list() == expected
    assert cells["model"].unique(maintain_order=True).to_list() == ["TF-IDF", "bag of words"]
    assert cells["size"].to_list() == [50, 50, 200, 200, 50, 200]


def test_a_new_encoder_costs_its_own_cells(
    words: Path, encoder: TitleEncoder, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder.save(words / "ours")
    options = ["--sizes", "50,100", "--subsamples", "2", "--quiet"]
    task, out = str(words / "tasks.toml"), words / "out"
    assert run(task, "--out", str(out), "--baselines", "tf-idf", *options) == 0
    before = {file: file.stat().st_mtime_ns for file in (out / "cache" / "cells").rglob("*.json")}
    assert len(before) == 4
    twice = ["--encoder", str(words / "ours"), "--baselines", "encoder"]
    assert run(task, "--out", str(out), *twice, *options, "--resume") == 2
    assert "the saved encoder is compared without it" in capsys.readouterr().err
    more = ["--encoder", str(words / "ours"), "--baselines", "tf-idf,random", "encoder-alone"]
    assert run(task, "--out", str(out), *more, *options, "--resume") == 0
    after = {file: file.stat().st_mtime_ns for file in (out / "cache" / "cells").rglob("*.json")}
    assert before.items() <= after.items()
    assert len(after) == 16
    cells = pl.read_parquet(out / "results.parquet")
    models = cells["model"].unique(maintain_order=True).to_list()
    assert models == ["ours", "TF-IDF", "random encoder", "encoder alone"]
    # what a user of the library gets
    (opened,), _ = read_tasks(task)
    classifiers = {
        "ours": TitleClassifier(encoder),
        "encoder alone": TitleClassifier(encoder, C=1.0, use_words=False),
    }
    for (size, sample), rows in subsamples(opened, [50, 100], 2).items():
        for name, classifier in classifiers.items():
            classifier.fit(opened.titles_of(rows), opened.labels[rows].astype(bool))
            scores = classifier.decision_function(opened.titles_of(opened.test))
            cell = cells.filter(model=name, size=size, sample=sample)
            assert roc_auc_score(opened.labels[opened.test], scores) == pytest.approx(
                cell["auc"].item(), abs=1e-9
            )


def test_a_stopped_run_goes_on(words: Path) -> None:
    table = pl.read_csv(words / "words.csv").with_columns(number=pl.col("label").cast(pl.Float64))
    table.write_csv(words / "words.csv")
    with (words / "tasks.toml").open("a") as file:
        file.write('[[task]]\nname = "number"\nfile = "words.csv"\nlabel = "number"\n')
        file.write('kind = "regression"\n')
    command = [sys.executable, "-m", "vitrina", "evaluate", "tasks.toml", "--out", "out"]
    command += [
        "--baselines",
        "tf-idf",
        "bag-of-words",
        "--sizes",
        "50,100,200",
        "--subsamples",
        "30",
    ]
    done = 0
    for number in (signal.SIGINT, signal.SIGKILL):
        more = ["--resume"] if done else []
        process = subprocess.Popen([*command, *more], cwd=words, stderr=subprocess.PIPE, text=True)
        deadline, before = time.monotonic() + 120, done
        while done < before + 20:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
            done = len(list(words.glob("out/cache/cells/*/*.json")))
        assert done < 200
        os.kill(process.pid, number)
        _, said = process.communicate(timeout=60)
        if number == signal.SIGINT:
            assert process.returncode == 1
            assert re.search(
                r"stopped after \d+ of 360 cells; set --resume to continue$", said.strip()
            )
    refused = subprocess.run(command, cwd=words, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "--resume" in refused.stderr
    subprocess.run([*command, "--resume", "--quiet"], cwd=words, check=True, capture_output=True)
    resumed = pl.read_parquet(words / "out" / "results.parquet")
    assert len(resumed) == 2 * 2 * 3 * 30
    whole = evaluate(
        words / "tasks.toml",
        words / "whole",
        baselines=["tf-idf", "bag-of-words"],
        sizes=[50, 100, 200],
        subsamples=30,
        quiet=True,
    )
    figures = ["task", "model", "size", "sample", "value", "bootstrap"]
    assert resumed.select(figures).equals(whole.select(figures))


MISTAKES = [
    (
        ["--baselines", "tfidf"],
        "'tfidf' is unknown; the names are encoder, encoder-alone, paper",
    ),
    (["--baselines", "tf-idf:x"], "tf-idf takes nothing after a colon"),
    (["--baselines", "text-cnn[seed=1]"], "text-cnn has no option 'seed'; it has .*seeds"),
    (["--baselines", "text-cnn[seeds=no]"], r"text-cnn\[seeds=no\] should be a whole number"),
    (["--baselines", "text-cnn[seeds"], "should look like NAME"),
    (["--baselines", "model2vec"], "model2vec needs a model; write model2vec:MODEL"),
    (["--baselines", "encoder"], "encoder needs sessions"),
    (["--baselines", "tf-idf", "tf-idf"], "TF-IDF is given twice"),
    (["--baselines", "transformer:nowhere"], "nowhere"),
    (["--encoder", "nowhere"], "nowhere"),
    (["--sizes", "many"], "--sizes.*'many'"),
    (["--sizes", "1,10"], "--sizes: 1 labels can't contain two classes"),
    (["--sizes", "5000"], "'words' has 5[0-9][0-9] training rows .*too few for 5,000 labels"),
    (["--alphas", "2"], "--alphas contains 2.0; each must be a number from 0 to 1"),
    (["--alphas", "0.5", "--baselines", "tf-idf"], "--alphas: pre-training needs sessions"),
]


@pytest.mark.parametrize(("options", "message"), MISTAKES)
def test_a_mistake_ends_at_once(
    words: Path,
    options: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(words)
    assert run("tasks.toml", "--out", "out", *options) == 2
    line = capsys.readouterr().err
    assert line.startswith("vitrina: ")
    assert line.count("\n") == 1
    assert re.search(message, line)
    assert not Path("out").exists()


def test_a_script_without_a_guard_gets_a_hint(words: Path) -> None:
    script = "from vitrina import evaluate\nevaluate('tasks.toml', 'out', sizes=[50], subsamples=1)"
    (words / "script.py").write_text(script)
    command = [sys.executable, "script.py"]
    ended = subprocess.run(
        command, cwd=words, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode != 0
    assert "put the call below if __name__ == '__main__':" in ended.stderr


def test_a_missing_package_is_named(
    words: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fasttext", None)  # as if it weren't installed
    arguments = [str(words / "tasks.toml"), "--out", str(words / "out")]
    assert run(*arguments, "--baselines", "fasttext") == 2
    assert "pip install 'vitrina[baselines]'" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "torch", None)  # by default, the models that can run
    assert run(*arguments, "--sizes", "50", "--subsamples", "1") == 0
    assert "packages are missing: fasttext, fasttext-autotune, text-cnn;" in capsys.readouterr().err
    models = pl.read_parquet(words / "out" / "results.parquet")["model"].unique()
    assert sorted(models) == ["LSA", "TF-IDF", "TF-IDF of n-grams", "bag of words"]
    events = pl.DataFrame({"user": [1, 1], "timestamp": [1_700_000_000] * 2, "product_id": [1, 2]})
    events.write_csv(words / "events.csv")
    products = pl.DataFrame({"product_id": [1, 2], "title": ["a", "b"], "category": ["c", "c"]})
    products.write_csv(words / "products.csv")
    sessions = '[sessions.shop]\nevents = "events.csv"\nproducts = "products.csv"\n'
    text = (words / "tasks.toml").read_text("utf-8") + 'sessions = "shop"\n' + sessions
    (words / "shop.toml").write_text(text, "utf-8")
    shop = [str(words / "shop.toml"), *arguments[1:], "--resume", "--baselines", "encoder"]
    assert run(*shop) == 2
    assert "package 'torch': install it with: pip install" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert run(*arguments, "--resume") == 2
    assert "pip install 'vitrina[report]'" in capsys.readouterr().err


def test_somebody_elses_folder_is_left_alone(
    words: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (words / "out").mkdir()
    (words / "out" / "thesis.txt").write_text("all of it")
    for more in ([], ["--resume"]):
        assert run(str(words / "tasks.toml"), "--out", str(words / "out"), *more) == 2
        assert "vitrina didn't write" in capsys.readouterr().err
