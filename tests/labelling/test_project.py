"""A labelling project as a user meets it: label, stop, go on, export."""

import threading
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from vitrina.classification.classifier import TitleClassifier
from vitrina.cli.entry import _exit_code
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.errors import InputError
from vitrina.labelling.label_file import LabelFile
from vitrina.labelling.project import LabellingProject


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory, grocery_titles: list[str]) -> Path:
    path = tmp_path_factory.mktemp("catalogue") / "catalogue.parquet"
    titles = [None, "", *grocery_titles[1:4201:7], grocery_titles[1].lower()]
    pl.DataFrame({"id": range(len(titles)), "title": titles}).write_parquet(path)
    return path


def answer(title: str) -> str:
    return "yes" if title.endswith("OZ") else "no"


def label(project: LabellingProject, n: int) -> None:
    for _ in range(n):
        title, strategy = project.next_titles(1).select("title", "strategy").row(0)
        project.label(title, answer(title), strategy)


@pytest.fixture(scope="module")
def labels(encoder: TitleEncoder, catalogue: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file with 60 labels."""
    path = tmp_path_factory.mktemp("labels") / "labels.csv"
    label(LabellingProject(encoder, catalogue, path), 60)
    return path.read_text("utf-8")


@pytest.fixture
def project(
    encoder: TitleEncoder, catalogue: Path, labels: str, tmp_path: Path
) -> LabellingProject:
    """A project with 60 labels that a test may change."""
    (tmp_path / "labels.csv").write_text(labels, "utf-8")
    return LabellingProject(encoder, catalogue, tmp_path / "labels.csv")


def test_each_title_is_asked_once(project: LabellingProject, catalogue: Path) -> None:
    table = project.file.read()
    assert len(table) == table["title"].n_unique() == 60
    assert set(table["title"]) <= set(pl.read_parquet(catalogue)["title"])
    assert set(table["strategy"]) == {"audit", "diverse"}
    assert table["label"].to_list() == [answer(title) for title in table["title"]]


def test_the_file_is_the_only_state(
    project: LabellingProject, encoder: TitleEncoder, catalogue: Path
) -> None:
    again = LabellingProject(encoder, catalogue, project.file.path)
    assert again.next_titles(15).equals(project.next_titles(15))
    assert again.score() == project.score()
    assert again.probabilities().equals(project.probabilities())
    assert again.curve() == project.curve()
    other = LabellingProject(encoder, catalogue, project.file.path, seed=1)
    assert not other.next_titles(15).equals(project.next_titles(15))
    # what another process writes shows at once
    title = project.next_titles(1)["title"][0]
    again.label(title, "yes", "audit")
    assert title not in project.next_titles(15)["title"]
    assert len(project.labelled().rows) == 61


def test_the_classifier_is_that_of_the_labels(
    project: LabellingProject, encoder: TitleEncoder, catalogue: Path
) -> None:
    table = project.file.read()
    expected = TitleClassifier(encoder, C=2.0).fit(table["title"], table["label"])
    fitted = project.classifier()
    assert fitted is not None
    assert np.array_equal(fitted.coef_, expected.coef_)
    scored = project.probabilities()
    assert len(scored) == len(project) == 600  # one row for each distinct title
    probability = expected.predict_proba(scored["title"])[:, 1]
    assert np.allclose(scored["probability_yes"], probability, atol=1e-9)
    assert scored["label"].drop_nulls().len() == 60
    counts, _ = np.histogram(probability, 10, (0, 1))
    assert np.array_equal(project.histogram("yes", 10), counts)
    parts = project.explain(scored["title"][0])
    assert parts is not None
    assert parts.equals(expected.explain([scored["title"][0]]))


def test_undo_takes_the_last_label_back(project: LabellingProject) -> None:
    before = project.next_titles(3)
    title, strategy = before.select("title", "strategy").row(0)
    project.label(title, "yes", strategy)
    assert project.undo() == title
    assert project.next_titles(3).equals(before)
    while project.undo() is not None:
        pass
    assert project.file.read().is_empty()
    assert project.score() == []


def test_a_skipped_title_does_not_come_again(project: LabellingProject) -> None:
    first, second = project.next_titles(2)["title"]
    project.label(first, None, "audit")
    assert project.next_titles(1)["title"][0] == second
    assert len(project.labelled().rows) == 60
    assert first not in project.next_titles(100)["title"]


def test_titles_of_the_audit_wait_for_their_turn(project: LabellingProject) -> None:
    """Labelled out of turn, as by another tool, they neither teach nor count."""
    before = project.labelled()
    first, _, third = project.next_titles(3)["title"]
    project.label(third, "yes", "audit")
    assert np.array_equal(project.labelled().rows, before.rows)
    assert third not in project.next_titles(5)["title"]
    for title in project.next_titles(2)["title"]:
        project.label(title, answer(title), "audit")
    now = project.labelled()
    assert len(now.rows) == len(before.rows) + 3
    assert now.is_audit[-3:].all()
    assert first in [project.features.titles[row] for row in now.rows[-3:]]


def test_the_search_finds_words_and_likeness_but_no_title_of_the_audit(
    project: LabellingProject,
) -> None:
    audit = {project.features.titles[row] for row in project._sampler.audit_rows}
    labelled = set(project.file.read()["title"])
    free = [t for t in project.features.titles[:600] if t not in audit and t not in labelled]
    expected = [t for t in free if " CH" in f" {t}"]
    assert expected
    found = project.search("Ch", n=600)
    assert set(found["title"]) <= set(free)
    assert set(expected) <= set(found["title"])
    assert set(found["strategy"]) == {"search"}
    assert project.search(free[7], by="likeness", n=3)["title"][0] == free[7]
    assert project.search("", n=5).is_empty()
    with pytest.raises(InputError, match="`by`"):
        project.search("milk", by="smell")


def test_a_wrong_label_comes_back_for_review(project: LabellingProject) -> None:
    titles = [project.features.titles[row] for row in project._sampler.other_rows[:120]]
    for title in titles:
        project.file.add(title, answer(title), "random")
    wrong = next(title for title in titles if title.endswith(" OZ"))
    project.label(wrong, "no", "random")
    doubtful = project.doubtful()
    assert wrong in doubtful["title"].to_list()
    row = doubtful.row(by_predicate=pl.col("title") == wrong)
    assert row[1:4] == ("no", "review", "yes")
    # confirmed: it does not come again
    project.label(wrong, "no", "review")
    assert wrong not in project.doubtful()["title"].to_list()


def test_the_curve_ends_with_the_score(project: LabellingProject) -> None:
    curve = project.curve()
    assert [size for size, _ in curve] == [20, 25, 31, 39, 48, 60]
    assert curve[-1][1] == project.score()
    assert [scores[0].titles for _, scores in curve] == [10, 15, 21, 29, 38, 50]
    # a point depends on the labels until then only
    label(project, 5)
    assert project.curve()[:5] == curve[:5]


def test_exports_work_with_the_other_commands(project: LabellingProject, catalogue: Path) -> None:
    folder = project.file.path.parent
    project.save_classifier(folder / "classifier")
    rows = project.save_scores(folder / "scores.parquet")
    predict = ["classify", "predict", str(folder / "classifier"), str(catalogue), "--quiet"]
    assert _exit_code([*predict, "--out", str(folder / "predicted.parquet")]) == 0
    scores = pl.read_parquet(folder / "scores.parquet")
    assert rows == len(scores) == 603
    assert scores.equals(pl.read_parquet(folder / "predicted.parquet"))


def test_labels_of_other_titles_teach_too(
    encoder: TitleEncoder, catalogue: Path, tmp_path: Path
) -> None:
    """A team may bring labels of titles that the catalogue lacks."""
    file = LabelFile(tmp_path / "labels.csv")
    for i in range(6):
        file.add(f"LAMP {i}", "yes" if i % 2 else "no", "")
    project = LabellingProject(encoder, catalogue, file.path)
    table = file.read()
    expected = TitleClassifier(encoder, C=2.0).fit(table["title"], table["label"])
    fitted = project.classifier()
    assert fitted is not None
    assert np.array_equal(fitted.coef_, expected.coef_)
    offered = project.next_titles(600)["title"]
    assert offered.n_unique() == len(project) == 600
    assert not offered.str.starts_with("LAMP").any()
    assert not project.probabilities()["title"].str.starts_with("LAMP").any()
    assert project.search("lamp").filter(pl.col("title").str.starts_with("LAMP ")).is_empty()


def test_several_classes(encoder: TitleEncoder, catalogue: Path, tmp_path: Path) -> None:
    project = LabellingProject(encoder, catalogue, tmp_path / "labels.parquet")
    for title, strategy in project.next_titles(60).select("title", "strategy").iter_rows():
        project.label(title, title[0], strategy)
    classes = sorted(set(project.file.read()["label"]))
    assert [score.label for score in project.score()] == classes
    scored = project.probabilities().select(pl.exclude("title", "label"))
    assert scored.columns == [f"probability_{name}" for name in classes]
    assert np.allclose(scored.to_numpy().sum(axis=1), 1)
    assert project.next_titles(5)["prediction"].is_in(classes).all()


def test_threads_label_at_once(project: LabellingProject) -> None:
    titles = project.next_titles(12).select("title", "strategy").rows()

    def work(part: list[tuple[str, str]]) -> None:
        for title, strategy in part:
            project.label(title, answer(title), strategy)
            project.next_titles(1)
            project.score()

    threads = [threading.Thread(target=work, args=(titles[i::3],)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(project.labelled().rows) == 72
    assert set(project.file.read()["title"]) >= {title for title, _ in titles}


def test_mistakes(encoder: TitleEncoder, catalogue: Path, tmp_path: Path) -> None:
    project = LabellingProject(encoder, catalogue, tmp_path / "labels.csv")
    with pytest.raises(InputError, match="no title 'a lamp'"):
        project.label("a lamp", "yes", "search")
    with pytest.raises(InputError, match="two classes"):
        project.save_classifier(tmp_path / "classifier")
    with pytest.raises(InputError, match="`n`"):
        project.next_titles(0)
    with pytest.raises(InputError, match="name it with `title_column`"):
        LabellingProject(encoder, catalogue, tmp_path / "labels.csv", title_column="name")
    few = pl.DataFrame({"title": ["milk", "bread"]})
    with pytest.raises(InputError, match="at least 10"):
        LabellingProject(encoder, few, tmp_path / "labels.csv")
    assert not LabelFile(tmp_path / "labels.csv").path.exists()
