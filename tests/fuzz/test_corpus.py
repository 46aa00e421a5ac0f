"""Folders that a stranger could make: what made earlier versions crash or compute nonsense."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from vitrina import TitleClassifier, TitleEncoder
from vitrina.encoder.weights import EncoderWeights, initial_weights
from vitrina.errors import InputError
from vitrina.text.tokenizer import TitleTokenizer

from .client import Worker
from .folders import SAVED, change_arrays, change_config, copy_of, refusal, seal_all
from .mutations import ESCAPES, Field, read_fields, write_fields

F = np.float32


@pytest.mark.parametrize("source", ["encoder-1", "classifier-3", "classifier-3-vectors"])
def test_unchanged_folders_load(worker: Worker, tmp_path: Path, source: str) -> None:
    folder = copy_of(source, tmp_path)
    seal_all(folder)
    kind = "encoder-config" if source == "encoder-1" else "classifier-config"
    assert worker.run(kind, path=folder)["outcome"] == "loaded"


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("table", {"values": np.zeros((1, 56), np.int8)}),
        ("table", {"values": np.zeros((0, 56), np.int8)}),
        ("table", {"values": np.zeros((100, 55), np.int8)}),
        ("table", {"values": np.zeros((100, 1), np.int8)}),
        ("table", {"values": np.zeros((56, 100), np.int8)}),
        ("table", {"values": np.zeros(5600, np.int8)}),
        ("table", {"values": np.zeros((100, 56), F)}),
        ("table", {"values": np.zeros((101, 56), np.int8)}),
        ("table", {"scale": np.full(16, np.nan, F)}),
        ("table", {"scale": np.full(16, np.inf, F)}),
        ("table", {"scale": np.full(16, -1, F)}),
        ("table", {"scale": np.full(16, 3e38, F)}),
        ("table", {"scale": np.ones(15, F)}),
        ("table", {"scale": np.ones(16, np.float64)}),
        ("table", {"scale": None}),
        ("table", {"values": None}),
        ("table", {"x": np.ones(1, F)}),
        ("model", {"embeddings": np.full((100, 8), np.nan, F)}),
        ("model", {"embeddings": np.full((100, 8), np.inf, F)}),
        ("model", {"embeddings": np.full((100, 8), 1e30, F)}),
        ("model", {"embeddings": np.zeros((100, 8), np.int8)}),
        ("model", {"embeddings": np.zeros((100, 8), np.float16)}),
        ("model", {"embeddings": np.zeros((99, 8), F)}),
        ("model", {"embeddings": np.zeros((100, 0), F), "filters": np.zeros((0, 56), F)}),
        ("model", {"filters": np.zeros((8, 0), F), "bias": np.zeros(0, F)}),
        ("model", {"filters": np.zeros((7, 56), F)}),
        ("model", {"bias": np.full(16, np.nan, F)}),
        ("model", {"bias": np.zeros((16, 1), F)}),
        ("model", {"bias": None}),
    ],
)
def test_arrays_of_an_encoder(
    worker: Worker, tmp_path: Path, file: str, changes: dict[str, Any]
) -> None:
    folder = copy_of("encoder-1", tmp_path)
    change_arrays(folder, f"{file}.safetensors", changes)
    assert f"{file}.safetensors: " in refusal(worker, "encoder-arrays", folder)


def test_arrays_that_fit_a_config_of_absurd_sizes(worker: Worker, tmp_path: Path) -> None:
    """Millions of filters over a table of one number: this ended with signal 11."""
    folder = copy_of("encoder-1", tmp_path)
    change_config(folder, {"model.dim": 1, "model.filters": 400_000})
    change_arrays(
        folder,
        "model.safetensors",
        {
            "embeddings": np.zeros((100, 1), F),
            "filters": np.zeros((1, 5_600_000), F),
            "bias": np.zeros(1_600_000, F),
        },
    )
    change_arrays(folder, "table.safetensors", {"values": np.zeros((1, 1), np.int8)})
    message = refusal(worker, "encoder-arrays", folder)
    assert "filters is 400000; it should be a whole number from 1 to 1,024" in message


@pytest.mark.parametrize("name", ["pad", "nonsense"])
def test_values_of_a_table_can_be_anything(worker: Worker, tmp_path: Path, name: str) -> None:
    folder = copy_of("encoder-1", tmp_path)
    low = np.full((100, 56), -128, np.int8)
    values = low if name == "pad" else np.random.default_rng(0).integers(-128, 128, low.shape)
    scale = np.array([0, 1e-45, 1e6, 1] * 4, F)
    changes = {"values": values.astype(np.int8), "scale": scale}
    change_arrays(folder, "table.safetensors", changes)
    seal_all(folder)
    assert worker.run("encoder-arrays", path=folder)["outcome"] == "loaded"


def test_a_missing_table_that_would_need_gigabytes(worker: Worker, tmp_path: Path) -> None:
    folder = copy_of("encoder-1", tmp_path)
    model = folder / "tokenizer.model"
    pieces = [Field(1, 2, write_fields([Field(1, 2, b"%x" % i)])) for i in range(10_000, 20_000)]
    model.write_bytes(write_fields(pieces + read_fields(model.read_bytes())))
    change_config(folder, {"model.dim": 1, "model.filters": 1024})
    arrays = {
        "embeddings": np.zeros((10_100, 1), F),
        "filters": np.zeros((1, 14 * 1024), F),
        "bias": np.zeros(4096, F),
    }
    (folder / "model.safetensors").write_bytes(safetensors.numpy.save(arrays))
    (folder / "table.safetensors").unlink()
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["files"]["table.safetensors"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert "too large to be computed" in refusal(worker, "encoder-arrays", folder)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model", None),
        ("model", []),
        ("model.dim", 9),
        ("model.dim", 0),
        ("model.dim", -8),
        ("model.dim", True),
        ("model.dim", 8.0),
        ("model.dim", "8"),
        ("model.dim", 10**400),
        ("model.filters", 5),
        ("model.filters", 2**62),
        ("model.widths", [2, 3, 4]),
        ("model.widths", None),
        ("normalization", "x" * 10**6),
        ("normalization.language", 5),
        ("normalization.language", []),
        ("normalization.language", "xx"),
        ("normalization.language", ESCAPES),
        ("normalization.language", "\ud800"),
        ("normalization.language", "a" * 10**6),
        ("normalization.style", []),
        ("normalization.style", "other"),
        ("normalization.stop_words", 5),
        ("normalization.stop_words", {"a": 1}),
        ("normalization.stop_words", [5]),
        ("normalization.stop_words", ["\u0301" * 10**6]),
        ("normalization.stop_words", ["a"] * 100_001),
        ("normalization.stop_words", [[ESCAPES]]),
        ("training", []),
        ("training", None),
    ],
)
def test_configs_of_an_encoder(worker: Worker, tmp_path: Path, name: str, value: Any) -> None:
    folder = copy_of("encoder-1", tmp_path)
    change_config(folder, {name: value})
    refusal(worker, "encoder-config", folder)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"a":' * 100_000,
        '{"training": ' + "[" * 950 + "]" * 950 + "}",
        '{"training": ' + "[" * 40 + "]" * 40 + "}",
        '{"a": ' + "9" * 5_000 + "}",
        '{"model": 1e999}',
        "\ufeff{}",
        "",
        "{}",
    ],
)
@pytest.mark.parametrize("source", ["encoder-1", "classifier-3"])
def test_json_that_is_no_config(worker: Worker, tmp_path: Path, source: str, text: str) -> None:
    folder = copy_of(source, tmp_path)
    (folder / "config.json").write_text(text, "utf-8")
    kind = "encoder-config" if source == "encoder-1" else "classifier-config"
    assert f"{folder / 'config.json'}: " in refusal(worker, kind, folder)


@pytest.mark.parametrize(
    "training",
    [
        {ESCAPES: ESCAPES},
        {"a|b": "| c |\n\n# d", "<b>": "[x](http://example.org) <script>"},
        {"half": "\ud800", "\udfff": ["\ud800"]},
        {"none": math.nan, "inf": [math.inf, -math.inf]},
        {str(i): i for i in range(50_000)},
        {"long": "a" * 10**6, "list": list(range(200_000))},
        {"deep": [[[[[[[[{"a": [[[]]]}]]]]]]]]},
    ],
)
def test_records_of_training_are_kept_and_can_be_shown(
    worker: Worker, tmp_path: Path, training: dict[str, Any]
) -> None:
    folder = copy_of("encoder-1", tmp_path)
    change_config(folder, {"training": training})
    seal_all(folder)
    result = worker.run("encoder-config", path=folder)
    assert result["outcome"] == "loaded", result
    loaded = EncoderWeights.load(folder)
    loaded.save(tmp_path / "again")
    again = EncoderWeights.load(tmp_path / "again")
    assert json.dumps(again.training) == json.dumps(training)
    card = (tmp_path / "again" / "README.md").read_text("utf-8")
    assert card.endswith("---\n\n" + loaded.model_card())
    assert "](" not in card
    assert card.replace("\n", "").isprintable()


def changed_model(folder: Path, more: list[Field], kept: tuple[int, ...] = (1, 2, 3)) -> None:
    """Write a tokenizer with the fields of some numbers, and then more."""
    model = folder / "tokenizer.model"
    fields = [field for field in read_fields(model.read_bytes()) if field.number in kept]
    model.write_bytes(write_fields(fields + more))


def message_field(number: int, *parts: Field) -> Field:
    return Field(number, 2, write_fields(list(parts)))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ([message_field(2, Field(3, 0, 2))], "is no unigram model"),
        ([message_field(2, Field(3, 0, 2**32 + 2))], "is no unigram model"),
        ([message_field(3, Field(2, 2, bytes(2048)))], "has a compiled map of characters"),
        ([message_field(5, Field(2, 2, bytes(2048)))], "has a compiled map of characters"),
        ([message_field(4, message_field(1, Field(1, 2, b"a")))], "has test data of its own"),
        ([message_field(1, Field(1, 2, b"a" * 10**5))], "has a piece that is too long"),
        ([message_field(1, Field(1, 2, ESCAPES.encode()))] * 2, "is not a SentencePiece model"),
        ([message_field(1, Field(1, 2, b""))], "is not a SentencePiece model"),
        ([message_field(1, Field(3, 0, 2))], "is not a SentencePiece model"),
        ([message_field(1, Field(1, 2, b"\xff"))], ""),
        ([Field(2, 3, b"")], "has a malformed field"),
    ],
)
def test_tokenizers(worker: Worker, tmp_path: Path, fields: list[Field], reason: str) -> None:
    folder = copy_of("encoder-1", tmp_path)
    changed_model(folder, fields)
    message = refusal(worker, "tokenizer", folder)
    assert f"{folder / 'tokenizer.model'}: {reason}" in message or not reason


@pytest.mark.parametrize("size", [0, 1, 2, 5, 700, 1343])
def test_a_tokenizer_that_is_cut(worker: Worker, tmp_path: Path, size: int) -> None:
    folder = copy_of("encoder-1", tmp_path)
    model = folder / "tokenizer.model"
    model.write_bytes(model.read_bytes()[:size])
    assert f"{model}: " in refusal(worker, "tokenizer", folder)


@pytest.mark.parametrize(
    "change",
    [
        {"hashes": lambda a: a[::-1].copy()},
        {"hashes": lambda a: np.repeat(a[:1], len(a))},
        {"hashes": lambda a: a.astype(np.float64)},
        {"hashes": lambda a: a[:-1].copy()},
        {"hashes": lambda a: a.reshape(1, -1)},
        {"hashes": lambda a: None},
        {"idf": lambda a: a * 0},
        {"idf": lambda a: a * np.nan},
        {"idf": lambda a: a * 1e-200},
        {"idf": lambda a: a * 1e300},
        {"idf": lambda a: a[:-1].copy()},
        {"idf": lambda a: None},
        {"coef": lambda a: a * np.nan},
        {"coef": lambda a: a * 0 + 1e300},
        {"coef": lambda a: a[:, :-1].copy()},
        {"coef": lambda a: np.repeat(a, 2, axis=0)},
        {"coef": lambda a: a.T.copy()},
        {"coef": lambda a: a.astype(F)},
        {"coef": lambda a: a[:, :0].copy()},
        {"intercept": lambda a: np.zeros(2)},
        {"intercept": lambda a: np.zeros((1, 1))},
        {"intercept": lambda a: np.zeros(0)},
        {"intercept": lambda a: a * np.inf},
        {"intercept": lambda a: None},
    ],
)
def test_arrays_of_a_classifier(worker: Worker, tmp_path: Path, change: dict[str, Any]) -> None:
    folder = copy_of("classifier-3", tmp_path)
    arrays = safetensors.numpy.load_file(folder / "classifier.safetensors")
    changes = {name: function(arrays[name]) for name, function in change.items()}
    change_arrays(folder, "classifier.safetensors", changes)
    message = refusal(worker, "classifier-arrays", folder)
    assert f"{folder / 'classifier.safetensors'}: " in message


@pytest.mark.parametrize(
    "classes",
    [
        ["other", "milk"],
        ["milk", "milk"],
        ["milk", None],
        [None, None],
        ["milk"],
        [],
        "mo",
        {"milk": 1, "other": 2},
        ["1", 2],
        [True, 2],
        [0.5, 1.5],
        [[1], [2]],
        [1, 2**63],
        [0, 2**70, 1],
        ["a", "a\0"],
        ["a", "b\0"],
        ["a", "\ud800"],
        ["a", "b" * 1_001],
        ["a", "b", "c"],
        list(range(10_001)),
    ],
)
def test_classes_of_a_classifier(worker: Worker, tmp_path: Path, classes: Any) -> None:
    folder = copy_of("classifier-3", tmp_path)
    change_config(folder, {"classes": classes})
    refusal(worker, "classifier-config", folder)


def test_a_long_class_among_many_needs_no_terabytes(worker: Worker, tmp_path: Path) -> None:
    """NumPy gives each text the room of the longest."""
    folder = copy_of("classifier-3-vectors", tmp_path)
    change_config(folder, {"classes": [f"{i:06}" for i in range(100_000)] + ["z" * 10**6]})
    n = 100_001
    change_arrays(
        folder, "classifier.safetensors", {"coef": np.zeros((n, 16)), "intercept": np.zeros(n)}
    )
    assert "classes is " in refusal(worker, "classifier-config", folder)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("setting", None),
        ("setting", []),
        ("setting.weight", 1e300),
        ("setting.weight", 10**400),
        ("setting.weight", math.nan),
        ("setting.weight", 0),
        ("setting.weight", True),
        ("setting.C", 10**400),
        ("setting.C", -1),
        ("setting.C", "1"),
        ("C", 10**400),
        ("C", math.inf),
        ("C", False),
        ("lexical", 5),
        ("lexical", None),
        ("use_words", "yes"),
        ("params", {}),
    ],
)
def test_configs_of_a_classifier(worker: Worker, tmp_path: Path, name: str, value: Any) -> None:
    folder = copy_of("classifier-3", tmp_path)
    change_config(folder, {name: value})
    assert f"{folder / 'config.json'}: " in refusal(worker, "classifier-config", folder)


def test_a_classifier_on_another_encoder(worker: Worker, tmp_path: Path) -> None:
    folder = copy_of("classifier-3", tmp_path)
    tokenizer = TitleEncoder.load(SAVED / "encoder-1").weights.tokenizer
    wide = initial_weights(tokenizer, dim=4, filters=8)
    shutil.rmtree(folder / "encoder")
    wide.save(folder / "encoder")
    assert "coef is float64 of shape" in refusal(worker, "classifier-arrays", folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "vitrina encoder" + ESCAPES},
        {"kind": "x" * 10_000},
        {"format_version": 10**4000},
        {"format_version": True},
        {"format_version": -1},
        {"format_version": 2.0},
        {"files": {ESCAPES: {}}},
        {"files": {"x" * 100_000: {}}},
        {"files": {}},
    ],
)
def test_manifests(worker: Worker, tmp_path: Path, changes: dict[str, Any]) -> None:
    folder = copy_of("encoder-1", tmp_path)
    manifest = json.loads((folder / "manifest.json").read_text()) | changes
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert worker.run("encoder-odd-folder", path=folder)["outcome"] == "refused"


def test_all_sizes_are_compared_before_any_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copy_of("encoder-1", tmp_path)
    with (folder / "tokenizer.model").open("ab") as file:  # the last in the manifest
        file.write(b"x")
    monkeypatch.setattr("hashlib.sha256", lambda data: pytest.fail("a file was read"))
    with pytest.raises(InputError, match="checksum differs"):
        TitleEncoder.load(folder)


@pytest.mark.parametrize(
    "title",
    [
        "a" + "\u0301" * 300_000,
        "\u0f71\u0f72\u0f74" * 100_000,
        "x" * 300_000,
        "\0" * 100_000,
        "\ud800 \udfff a",
        "e\u0301 " * 200_000,
        " " * 1_000_000,
        "\u1100\u1161\u11a8" * 50_000,
        "\ufdfa" * 10_000,
        "1,5." * 200_000,
    ],
)
def test_titles(worker: Worker, tmp_path: Path, title: str) -> None:
    path = tmp_path / "titles.json"
    path.write_text(json.dumps([title, "milk", title[: len(title) // 2], ""]))
    result = worker.run("titles", path=path)
    assert result["outcome"] == "loaded", result


# what can't be loaded isn't saved


@pytest.mark.parametrize("sizes", [{"dim": 20_000}, {"filters": 2_000}])
def test_an_encoder_that_is_too_large_is_not_made(sizes: dict[str, int]) -> None:
    tokenizer = TitleEncoder.load(SAVED / "encoder-1").weights.tokenizer
    with pytest.raises(InputError, match="are too large") as error:
        initial_weights(tokenizer, **sizes)
    assert "\n" not in str(error.value)


def test_stop_words_that_could_not_be_loaded(tmp_path: Path) -> None:
    old = EncoderWeights.load(SAVED / "encoder-1")
    normalizer = type(old.tokenizer.normalizer)("es", stop_words=["a" * 300])
    tokenizer = TitleTokenizer(old.tokenizer.model, normalizer)
    weights = EncoderWeights(old.embeddings, old.filters, old.bias, tokenizer)
    with pytest.raises(InputError, match="stop_words is"):
        weights.save(tmp_path / "encoder")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a", "b" * 1_001], "row 1 has a label of 1,001 letters that can't be saved"),
        (["a", "b\0"], "row 1 has a label of 2 letters"),
        (["a", "\ud800"], "row 1 has a label of 1 letters"),
        (list(range(10_001)), "10,001 classes, more than the 10,000"),
    ],
)
def test_labels_that_could_not_be_loaded(labels: list[Any], message: str) -> None:
    encoder = TitleEncoder.load(SAVED / "encoder-1")
    with pytest.raises(InputError, match=message):
        TitleClassifier(encoder, C=1.0).fit([str(i) for i in range(len(labels))], labels)
