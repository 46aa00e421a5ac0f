"""The report of a comparison: agrees with its cells, complete for all shapes of results, atomic."""

import re
import sys

import numpy as np
import polars as pl
import pytest
from PIL import Image

from vitrina.errors import InputError, MissingExtraError
from vitrina.evaluation.report import write_report
from vitrina.evaluation.statistics import differences, summarise

TASKS = [(f"task {i}", "title", "binary") for i in range(9)]
TASKS += [("task 0", "query", "binary"), ("kinds", "title", "multiclass")]
TASKS += [("price", "title", "regression"), ("size", "query", "regression")]
LEVELS = {f"model {i}": 0.5 + i / 40 for i in range(13)}
LEVELS |= {"encoder": 0.75, "random encoder": 0.5, "fasttext": 0.7}
ALPHAS = {"random encoder": 0.5, "α = 0": 0.6, "α = 0.9": 0.7, "α = 1": 0.55}
FACTS = {
    "title": "Models & tasks",
    "lead": "How good a title <encoder> is.",
    "command": "vitrina evaluate tasks.toml --out evaluation",
    "versions": {"vitrina": "0.1.0", "numpy": "2.4"},
    "seed": 7,
    "notes": ["Training rows were subsampled."],
    "seen": ["encoder: pre-training saw no test title."],
    "encoder": "encoder",
    "tasks": [
        {"name": name, "split": split, "kind": kind, "rows": 12_000, "positive_share": None}
        for name, split, kind in TASKS
    ],
}

NOTHING = pl.DataFrame()


def costs(models):
    row = (2.5, None, 346_000.0, 1.25, "product ids", True, "a | note")
    columns = ["model", "pretraining_minutes", "fit_seconds", "titles_per_second", "megabytes"]
    rows = [(model, *row) for model in models]
    return pl.DataFrame(
        rows,
        [*columns, "needs", "repeatable", "note"],
        schema_overrides={"fit_seconds": pl.Float64},
        orient="row",
    )


def tables(markdown):
    """Return the rows of each table, as mappings from heading to cell."""
    found = []
    for block in re.findall(r"(?:^\|.*\n?)+", markdown, re.M):
        head, _, *rows = [
            [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            for line in block.strip().split("\n")
        ]
        found.append([dict(zip(head, row, strict=True)) for row in rows])
    return found


@pytest.fixture(scope="module")
def large(tmp_path_factory, make_cells):
    """A report of 13 tasks and splits, 16 models, 5 sizes and 5 subsamples.

    One model lacks sizes, and another one lacks tasks.
    """
    folder = tmp_path_factory.mktemp("large") / "evaluation"
    cells = make_cells(TASKS, LEVELS, (100, 500, 1000, 5000, 10_000), 5)
    cells = cells.filter(
        ~((pl.col("model") == "model 3") & (pl.col("size") > 1000)),
        ~((pl.col("model") == "model 12") & (pl.col("task") != "task 0")),
    )
    write_report(folder, cells, costs(LEVELS), NOTHING, FACTS)
    return folder, cells


def small(
    make_cells, folder, tasks=TASKS[:1], levels=None, facts=FACTS, retrieved=NOTHING, **shape
):
    """Return a report of few cells, as HTML and Markdown."""
    levels = {"encoder": 0.7, "words": 0.6} if levels is None else levels
    write_report(folder, make_cells(tasks, levels, **shape), costs(levels), retrieved, facts)
    return (folder / "report.html").read_text(), (folder / "results.md").read_text()


def test_page_is_complete_small_and_self_contained(large, parse):
    folder, _ = large
    html = (folder / "report.html").read_text()
    assert len(html) < 3_000_000
    parsed = parse(html)
    assert not {"script", "link", "img", "iframe"} & set(parsed.tags)
    assert parsed.tags.count("figure") == 13
    assert len(set(parsed.ids)) == len(parsed.ids)
    assert {reference[1:] for reference in parsed.references} <= set(parsed.ids)
    assert not re.search(r"https?://|@import|url\((?!#)", html)
    assert "How good a title <encoder> is." in parsed.texts
    assert "346,000" in parsed.texts


def test_figure_is_small_and_there_is_none_without_validation_cells(large):
    folder, _ = large
    names = {"figure3.png", "report.html", "results.csv", "results.md", "results.parquet"}
    assert {file.name for file in folder.iterdir()} == names
    assert (folder / "figure3.png").stat().st_size < 300_000
    assert Image.open(folder / "figure3.png").width > 1000


def test_data_files_hold_cells_and_means(large):
    folder, cells = large
    kept = pl.read_parquet(folder / "results.parquet")
    assert kept.drop("seed", "versions").equals(cells)
    assert kept["seed"].unique().to_list() == [7]
    assert kept["versions"][0] == '{"vitrina": "0.1.0", "numpy": "2.4"}'
    means = pl.read_csv(folder / "results.csv")
    columns = ["task", "split", "part", "model", "size", "metric", "mean", "std", "samples"]
    assert means.columns == [*columns, "command", "versions"]
    assert means.select(columns).equals(summarise(cells))
    assert means["versions"].unique().to_list() == kept["versions"].unique().to_list()
    assert means["command"][0].startswith("vitrina evaluate ")


def test_tables_agree_with_the_cells(large):
    folder, cells = large
    markdown = (folder / "results.md").read_text()
    found = tables(markdown)
    auc = cells.filter(pl.col("metric") == "auc").group_by("task", "split", "model", "size")
    auc = auc.agg(pl.col("value").mean())
    mean = next(table for table in found if "mean AUC" in table[0])
    head = "1,000 labels, 11 tasks"
    shown = {row["mean AUC"]: row[head] for row in mean}
    assert len(mean) == 16
    assert mean[0]["mean AUC"] == "encoder"  # the encoder is the first row
    for model in ("encoder", "model 3", "model 12"):
        expected = auc.filter(model=model, size=1000)["value"].mean()
        text = f"{expected:.3f}"
        if model == "model 12":  # a mean over two tasks only
            text += " (2)"
        assert shown[model].strip("*") == text
    assert [model for model, text in shown.items() if "**" in text] == [
        max(
            LEVELS.keys() - {"model 12"},
            key=lambda m: auc.filter(model=m, size=1000)["value"].mean(),
        )
    ]
    assert {row["mean AUC"]: row["5,000 labels, 11 tasks"] for row in mean}["model 3"] == "–"

    kinds = markdown[markdown.rindex("### kinds") :].split("### price")[0]
    primary, accuracy = tables(kinds)
    last = cells.filter(task="kinds", model="model 5", size=10_000)
    row = next(row for row in primary if row["AUC"] == "model 5")
    text = f"{last['auc'].mean():.3f} ± {last['auc'].std():.3f}"
    assert row["10,000 labels"].strip("*") == text
    row = next(row for row in accuracy if row["accuracy"] == "model 5")
    assert row["10,000 labels"].startswith(f"{last['accuracy'].mean():.3f}")


def test_best_error_is_the_smallest(large):
    folder, cells = large
    markdown = (folder / "results.md").read_text()
    _, mae = tables(markdown[markdown.rindex("### price") :].split("### size")[0])
    best = next(row["MAE"] for row in mae if "**" in row["100 labels"])
    errors = cells.filter(task="price", size=100).group_by("model").agg(pl.col("mae").mean())
    assert best == errors.sort("mae")["model"][0]


def test_differences_are_bold_where_they_are_clear(large):
    folder, cells = large
    markdown = (folder / "results.md").read_text()
    gaps = differences(cells, "encoder").filter(task="mean AUC", size=1000)
    table = next(table for table in tables(markdown) if "difference of AUC" in table[0])
    assert list(table[0]) == ["difference of AUC", "100 labels", "1,000 labels", "10,000 labels"]
    shown = {row["difference of AUC"]: row["1,000 labels"] for row in table}
    assert len(shown) == 15
    for model, difference, low, high in gaps.select(
        "model", "difference", "low", "high"
    ).iter_rows():
        text = shown[model.replace("fasttext", r"fasttext\*")]
        assert ("**" in text) == (low > 0 or high < 0)
        figures = [float(f) for f in re.findall(r"[-+]?\d\.\d+", text.replace("−", "-"))]
        assert figures == pytest.approx([difference, low, high], abs=6e-4)
    assert shown["model 12"].strip("*").endswith("[2]")  # a mean over two tasks only


def test_models_that_are_not_repeatable_are_marked_everywhere(large, parse):
    texts = parse((large[0] / "report.html").read_text()).texts
    assert "fasttext" not in texts
    assert texts.count("fasttext*") > 13
    assert any("An asterisk marks" in text for text in texts)
    assert "fasttext" in (large[0] / "results.csv").read_text()


def test_every_task_has_its_findings(large):
    markdown = (large[0] / "results.md").read_text()
    winners = markdown.split("## What wins where")[1].split("##")[0]
    lines = re.findall(r"^- \*\*(.*?)\*\*: .* leads .*\.$", winners, re.M)
    names = [task if split == "title" else f"{task}, split by {split}" for task, split, _ in TASKS]
    assert lines == ["mean AUC", *names]


def test_alpha_study_has_its_own_figure(make_cells, tmp_path, parse):
    cells = make_cells(TASKS[:2], {"encoder": 0.7, "words": 0.6})
    study = make_cells(TASKS[:2], ALPHAS, part="validation")
    write_report(tmp_path, pl.concat([cells, study]), costs(LEVELS), NOTHING, FACTS)
    html = (tmp_path / "report.html").read_text()
    parsed = parse(html)
    assert parsed.tags.count("figure") == 4
    assert len(set(parsed.ids)) == len(parsed.ids)
    assert "BYOL's weight" in parsed.texts
    picture = np.asarray(Image.open(tmp_path / "figure2.png").convert("RGB"), int)
    ours = np.abs(picture - [0xD5, 0x5E, 0x00]).sum(axis=2) < 60
    assert not ours.any()  # the compared encoder isn't in the study
    # neither the test figures nor the tables have the models of the study
    assert "α = 0.9" not in str(tables((tmp_path / "results.md").read_text())[:-1])
    write_report(tmp_path, cells, costs(LEVELS), NOTHING, FACTS)
    assert not (tmp_path / "figure2.png").exists()  # it was of the earlier report


def test_one_model_has_no_comparison(make_cells, tmp_path, parse):
    html, markdown = small(make_cells, tmp_path, levels={"encoder": 0.7})
    parse(html)
    assert "Only encoder was run, at all sizes" in html
    assert "minus each other" not in html
    assert "Labels saved" not in html
    assert "An asterisk" not in html
    assert "nan" not in html.lower()
    assert "difference of" not in markdown


def test_one_task_needs_no_mean(make_cells, tmp_path):
    html, _ = small(make_cells, tmp_path)
    assert "mean AUC" not in html
    assert "encoder minus each other model" in html


def test_regression_alone_has_no_auc(make_cells, tmp_path):
    cells = make_cells(TASKS[-2:], {"encoder": 0.7, "words": 0.6})
    cells = cells.with_columns(auc=None, accuracy=None)  # columns without a type
    write_report(tmp_path, cells, costs(["encoder", "words"]), NOTHING, FACTS)
    html, markdown = ((tmp_path / name).read_text() for name in ("report.html", "results.md"))
    assert "R²" in html
    assert "MAE" in html
    assert "AUC" not in markdown.replace("evaluated by AUC", "")


def test_metrics_of_rare_classes_have_tables(make_cells, tmp_path):
    cells = make_cells(TASKS[:2], {"encoder": 0.7, "words": 0.6})
    rare = pl.when(pl.col("task") == "task 0")
    cells = cells.with_columns(
        average_precision=rare.then(pl.col("value") / 2), precision_at_k=rare.then(0.25)
    )
    write_report(tmp_path, cells, costs(["encoder", "words"]), NOTHING, FACTS)
    markdown = (tmp_path / "results.md").read_text()
    by_task = markdown.split("## Task by task")[1]
    rare_task, other = by_task.split("### task 1")
    _, average, at_k = tables(rare_task)
    mean = cells.filter(task="task 0", model="words", size=100)["average_precision"].mean()
    row = next(row for row in average if row["average precision"] == "words")
    assert row["100 labels"].startswith(f"{mean:.3f}")
    assert {row["precision at k"] for row in at_k} == {"encoder", "words"}
    assert "precision" not in other.split("\n## ")[0]
    means = pl.read_csv(tmp_path / "results.csv")
    assert set(means.filter(task="task 1")["metric"]) == {"auc"}


def test_what_pre_training_saw_is_in_the_model_card(make_cells, tmp_path):
    cells = make_cells(TASKS[:1], {"encoder": 0.7, "words": 0.6})
    card = write_report(tmp_path, cells, costs(["encoder"]), NOTHING, FACTS)
    section = "## Test titles that pre-training saw\n\n- encoder: pre-training saw no test title."
    assert section in card
    assert section in (tmp_path / "results.md").read_text()
    card = write_report(tmp_path, cells, costs(["encoder"]), NOTHING, FACTS | {"seen": []})
    assert "Test titles" not in card


def test_one_subsample_has_no_spread(make_cells, tmp_path, parse):
    html, _ = small(make_cells, tmp_path, samples=1, sizes=(300,))
    texts = parse(html).texts
    assert not any("±" in text or text in ("nan", "None", "NaN") for text in texts)
    assert any("Each size has one subsample only" in text for text in texts)
    assert any("the mean of encoder at 300 labels" in text for text in texts)


def test_encoder_without_results_is_named(make_cells, tmp_path):
    with pytest.raises(InputError, match="encoder: 'ours' has no results on test rows"):
        small(make_cells, tmp_path / "out", facts=FACTS | {"encoder": "ours"})
    assert not (tmp_path / "out").exists()


def test_missing_matplotlib_leaves_an_earlier_report(make_cells, tmp_path, monkeypatch):
    small(make_cells, tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError):
        small(make_cells, tmp_path, levels={"encoder": 0.7, "words": 0.5})
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_same_cells_same_files(make_cells, tmp_path):
    small(make_cells, tmp_path / "a")
    small(make_cells, tmp_path / "b")
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes(), file.name


def test_vectors_and_classifiers_have_tables_of_their_own(make_cells, tmp_path, parse):
    levels = {"words": 0.72, "LSA": 0.64, "encoder": 0.75, "encoder alone": 0.66, "e5": 0.68}
    alone = ["LSA", "encoder alone", "e5"]
    cells = make_cells(TASKS[:3], levels, samples=3)
    cells = cells.with_columns(vectors_alone=pl.col("model").is_in(alone))
    write_report(tmp_path, cells, costs(levels), NOTHING, FACTS)
    html, markdown = ((tmp_path / name).read_text() for name in ("report.html", "results.md"))
    parse(html)
    kept = pl.read_parquet(tmp_path / "results.parquet")
    assert sorted(kept.filter("vectors_alone")["model"].unique()) == sorted(alone)

    # our model of each kind is the first row, and the best of each kind is bold
    means = markdown.split("## Mean AUC by number of labels")[1].split("\n## ")[0]
    assert means.index("### Vectors alone") < means.index("### Whole classifiers")
    vectors, classifiers = tables(means)
    assert [row["mean AUC"] for row in vectors] == ["encoder alone", "LSA", "e5"]
    assert [row["mean AUC"] for row in classifiers] == ["encoder", "words"]
    auc = cells.filter(size=100).group_by("model").agg(pl.col("auc").mean())
    for table in (vectors, classifiers):
        shown = {row["mean AUC"]: row["100 labels, 3 tasks"] for row in table}
        figures = {model: auc.filter(model=model)["auc"].item() for model in shown}
        for model, figure in figures.items():
            bold = "**" if figure == max(figures.values()) else ""
            assert shown[model] == f"{bold}{figure:.3f}{bold}"
    assert html.count("<tr class=own><td>encoder alone</td>") == 1

    # the sentences compare within each kind, and our vectors with the best classifier
    winners = dict(re.findall(r"^- \*\*(.*?)\*\*: (.*)$", markdown, re.M))
    assert list(winners)[:2] == ["mean AUC, vectors alone", "mean AUC, whole classifiers"]
    ours = winners["mean AUC, vectors alone"]
    assert ours.startswith("e5 leads at all sizes (AUC ")
    for size in ("100", "1,000"):
        start = f"At {size} labels, the best "
        assert f"{start}other model is e5: encoder alone is " in ours
        assert f"{start}whole classifier besides encoder is words: encoder alone is " in ours
    assert "LSA" not in winners["mean AUC, whole classifiers"]
    assert "At 100 labels, the best other model is words" in winners["mean AUC, whole classifiers"]

    # each of our two models has its differences to all others
    for model in ("encoder", "encoder alone"):
        section = markdown.split(f"## {model} minus each other model")[1].split("\n## ")[0]
        mean, *by_task = tables(section)
        assert len(by_task) == 3
        gaps = differences(cells, model).filter(task="mean AUC", size=1000)
        rows = {row["difference of AUC"]: row["1,000 labels"].strip("*") for row in mean}
        assert set(rows) == levels.keys() - {model}
        for other, gap in gaps.select("model", "difference").iter_rows():
            assert rows[other].startswith(f"{gap:+.3f} (".replace("-", "−"))


def test_vectors_without_ours_only_have_a_leader(make_cells, tmp_path):
    cells = make_cells(TASKS[:2], {"encoder": 0.75, "LSA": 0.64, "e5": 0.68})
    cells = cells.with_columns(vectors_alone=pl.col("model") != "encoder")
    write_report(tmp_path, cells, costs(["encoder", "LSA", "e5"]), NOTHING, FACTS)
    markdown = (tmp_path / "results.md").read_text()
    winners = dict(re.findall(r"^- \*\*(.*?)\*\*: (.*)$", markdown, re.M))
    assert re.fullmatch(r"e5 leads at all sizes \(AUC .*\)\.", winners["mean AUC, vectors alone"])
    assert "Only encoder was run" in winners["mean AUC, whole classifiers"]
    assert markdown.count("minus each other model\n") == 1


def test_one_kind_of_models_has_one_table(make_cells, tmp_path):
    cells = make_cells(TASKS[:2], {"encoder": 0.75, "LSA": 0.64})
    pages = []
    for kind in (True, False):
        same = cells.with_columns(vectors_alone=pl.lit(kind))
        write_report(tmp_path, same, costs(["encoder", "LSA"]), NOTHING, FACTS)
        pages.append((tmp_path / "results.md").read_text())
    assert pages[0] == pages[1]
    assert "alone" not in pages[0]


def test_next_products_have_a_table_each(make_cells, tmp_path):
    rows = [
        ("next (a)", "user", "test", model, metric, mean, 0.5, 100)
        for model, means in {"words": (0.1, 0.9), "encoder": (0.2, 0.5)}.items()
        for metric, mean in zip(("recall@10", "category"), means, strict=True)
    ]
    rows += [("next (b)", "user", "test", "words", "recall@10", 0.25, 0.5, 400)]
    columns = ["task", "split", "part", "model", "metric", "mean", "std", "samples"]
    retrieved = pl.DataFrame(rows, columns, orient="row")
    html, markdown = small(make_cells, tmp_path, retrieved=retrieved)
    first, second = [t for t in tables(markdown) if "recall@10, " in "".join(t[0])]
    assert first == [
        {"model": "encoder", "recall@10, 100 queries": "**0.200 ± 0.098**",
         "category, 100 queries": "0.500 ± 0.098"},
        {"model": "words", "recall@10, 100 queries": "0.100 ± 0.098",
         "category, 100 queries": "**0.900 ± 0.098**"},
    ]  # fmt: skip
    assert second == [{"model": "words", "recall@10, 400 queries": "**0.250 ± 0.049**"}]
    assert "next (a)" in html
    means = pl.read_csv(tmp_path / "results.csv").filter(metric="recall@10")
    assert means["mean"].to_list() == [0.1, 0.2, 0.25]
    assert means["size"].null_count() == 3
