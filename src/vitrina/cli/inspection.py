"""What `vitrina inspect` shows of each kind of folder and file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from vitrina.errors import InputError, shown
from vitrina.progress import console

if TYPE_CHECKING:
    from vitrina.classification.title_model import TitleModel
    from vitrina.encoder.weights import EncoderWeights

_SHOWN_LETTERS = 2_000


def inspected(path: Path) -> None:
    """Check a folder or file, and print what it is and which encoder it belongs to.

    Parameters
    ----------
    path : Path

    Raises
    ------
    InputError
        If it is damaged, is nothing that vitrina wrote, or mixes two encoders.
    """
    from vitrina.classification.saved import CLASSIFIER, REGRESSOR
    from vitrina.sealed import kind_of
    from vitrina.search.index_folder import INDEX

    if path.is_file():
        _show_file(path)
        return
    kind = kind_of(path)
    if kind == INDEX.name:
        _show_index(path)
    elif kind == CLASSIFIER.name:
        _show_classifier(path)
    elif kind == REGRESSOR.name:
        _show_regressor(path)
    else:
        from vitrina.encoder.weights import EncoderWeights

        _show_encoder(path, EncoderWeights.load(path))


def _show_index(path: Path) -> None:
    from vitrina.cli.commands_search import description
    from vitrina.search.index import TitleIndex

    index = TitleIndex.load(path)
    _show(description(index), index.encoder_digest)


def _show_classifier(path: Path) -> None:
    from vitrina.classification.classifier import TitleClassifier

    classifier = TitleClassifier.load(path)
    names = shown(", ".join(map(str, classifier.classes_.tolist())), _SHOWN_LETTERS)
    console().print(f"classifier of: {names}")
    _show_model(path, classifier)


def _show_regressor(path: Path) -> None:
    from vitrina.classification.regressor import TitleRegressor

    console().print("regressor")
    _show_model(path, TitleRegressor.load(path))


def _show_model(path: Path, model: TitleModel) -> None:
    """Show the encoder in the folder of a classifier or regressor."""
    weights = model.encoder.weights
    _require_digest(path / "config.json", "encoder", weights.digest)
    _show_encoder(path / "encoder", weights)


def _show_encoder(folder: Path, weights: EncoderWeights) -> None:
    from rich.console import Console
    from rich.markdown import Markdown

    from vitrina.encoder.golden import compare_golden
    from vitrina.encoder.weights import ENCODER
    from vitrina.sealed import SealedFolder

    _require_digest(folder / "config.json", "digest", weights.digest)
    console().print(f"encoder: {weights.digest}\nchecked: complete and undamaged")
    console().print(f"{compare_golden(SealedFolder(folder, ENCODER), weights)}\n")
    Console().print(Markdown(weights.model_card()))


def _require_digest(config: Path, field: str, digest: str) -> None:
    """Raise InputError if a config.json names another encoder; earlier versions named none."""
    from vitrina.encoder.vector_file import SHORT_DIGEST

    named = json.loads(config.read_bytes()).get(field, digest)
    if named != digest:
        raise InputError(
            f"{config}: names the encoder {shown(str(named), SHORT_DIGEST)}, but the folder's is "
            f"{digest[:SHORT_DIGEST]}; save it again"
        )


def _show_file(path: Path) -> None:
    """Show a file of vectors or of labels."""
    import pyarrow.parquet as pq

    from vitrina.data.tables import readable
    from vitrina.encoder.vector_file import VECTOR

    if path.suffix.lower() in (".parquet", ".pq"):
        with readable(path):
            names = pq.read_schema(path).names
        if VECTOR in names:
            _show_vectors(path)
            return
    _show_labels(path)


def _show_vectors(path: Path) -> None:
    from vitrina.encoder.vector_file import VectorFile

    with VectorFile(path) as file:
        for _ in file.batches():
            pass  # each row names the encoder of the file
        key = "" if file.key_column is None else f", key: {shown(file.key_column)}"
        text = (
            f"{file.rows:,} vectors of {file.width:,} numbers, titles: {shown(file.title_column)}"
            f"{key}, table of {shown(file.table)}"
        )
        _show(text, file.encoder)


def _show_labels(path: Path) -> None:
    from vitrina.data.tables import readable, scan
    from vitrina.labelling.label_file import ENCODER, LABEL, TITLE, read_labels

    with readable(path):
        names = scan(path, "labels").collect_schema().names()
    if TITLE not in names or LABEL not in names:
        raise InputError(
            f"{path}: has neither vectors nor labels; give a folder that vitrina saved, a file of "
            "vitrina embed, or a label file"
        )
    table = read_labels(path)
    labels = table[LABEL].drop_nulls()
    classes = labels.value_counts(sort=True).rows()
    counts = shown(", ".join(f"{count:,} {name}" for name, count in classes), _SHOWN_LETTERS)
    console().print(f"{len(labels):,} labels ({counts}), {len(table) - len(labels):,} skipped")
    if ENCODER not in table.columns:
        console().print("encoder: unknown; the file doesn't say which one chose the titles")
        return
    for digest, count in table[ENCODER].value_counts(sort=True).rows():
        name = "unknown" if digest is None else shown(str(digest), 64)
        console().print(f"encoder: {name} ({count:,} titles)")


def _show(text: str, digest: str) -> None:
    console().print(f"{text}\nencoder: {shown(digest, 64)}\nchecked: complete and undamaged")
