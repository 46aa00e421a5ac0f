"""A teacher: its vectors are those of the model, and a model that can't be used is named."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from vitrina import cli
from vitrina.errors import InputError, MissingExtraError
from vitrina.files import file_digest
from vitrina.pretraining.settings import Settings
from vitrina.pretraining.teacher import (
    open_teacher,
    require_teacher,
    stated_licence,
    teacher_seconds,
)

transformers = pytest.importorskip("transformers")
pytest.importorskip("sentence_transformers")

CPU = torch.device("cpu")
TITLES = ["New red phones 64 GB", "used", "milk 1 l", "blue lamp kit " * 30, "Apple", "öñ unknown"]
ROUNDING = 0.03
"""Vectors have numbers around 1, and some processors round factors to bfloat16."""


def last_layer(folder: Path, title: str) -> torch.Tensor:
    """The vectors of a title's tokens, from transformers itself."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    tokens = tokenizer(title, return_tensors="pt", truncation=True, max_length=64)
    with torch.no_grad():
        return model(**tokens).last_hidden_state[0]


def test_a_plain_transformer_gives_the_mean_of_its_tokens(tiny_bert: Path) -> None:
    encode, about = open_teacher(str(tiny_bert), CPU)
    expected = [last_layer(tiny_bert, title).mean(0).numpy() for title in TITLES]
    np.testing.assert_allclose(encode(TITLES), expected, atol=ROUNDING)
    assert about == {
        "name": str(tiny_bert),
        "dimension": 32,
        "digest": file_digest(tiny_bert / "model.safetensors"),
    }


def test_the_models_own_pooling_is_used(tiny_bert: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    folder = tmp_path / "first-token"
    SentenceTransformer(str(tiny_bert), device="cpu").save_pretrained(str(folder))
    pooling = folder / "1_Pooling" / "config.json"
    mean = json.loads(pooling.read_text())
    pooling.write_text(json.dumps({**mean, "pooling_mode": "cls"}))
    encode, _ = open_teacher(str(folder), CPU)
    expected = [last_layer(tiny_bert, title)[0].numpy() for title in TITLES]
    np.testing.assert_allclose(encode(TITLES), expected, atol=ROUNDING)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("config.json", "has no configuration"),
        ("model.safetensors", "has no weights"),
        ("tokenizer*", "has no tokenizer"),
    ],
)
def test_a_folder_that_is_no_model(bert_copy: Path, broken: str, message: str) -> None:
    for file in [*bert_copy.glob(broken), *bert_copy.glob("vocab.txt")]:
        file.unlink()
    with pytest.raises(InputError, match=f"`teacher` is '{bert_copy}', which {message}"):
        require_teacher(Settings(teacher=str(bert_copy)))


def test_a_model_that_is_no_sentence_transformer(bert_copy: Path) -> None:
    (bert_copy / "config.json").write_text('{"model_type": "nothing\\nknown"}')
    with pytest.raises(InputError, match="is no sentence transformer that can be read") as error:
        open_teacher(str(bert_copy), CPU)
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="a file; give the folder"):
        require_teacher(Settings(teacher=str(bert_copy / "config.json")))


def test_a_model_without_a_transformer_and_with_a_broken_config(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    tokenizer = Tokenizer(WordLevel({"[UNK]": 0, "red": 1, "lamp": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    static = StaticEmbedding(tokenizer, embedding_dim=8)
    SentenceTransformer(modules=[static], device="cpu").save_pretrained(str(tmp_path))
    encode, about = open_teacher(str(tmp_path), CPU)
    vector = static.embedding.weight.detach()[1:].mean(0).numpy()
    np.testing.assert_allclose(encode(["red lamp"])[0], vector, atol=ROUNDING)
    assert about["dimension"] == 8

    (tmp_path / "config.json").write_text("{")  # read for the licence only
    with pytest.raises(InputError, match=r"can be read \(JSONDecodeError"):
        open_teacher(str(tmp_path), CPU)


def test_a_teacher_that_is_nowhere_is_named_by_its_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    tables = ["--events", "nowhere.csv", "--products", "nowhere.csv"]
    with pytest.raises(SystemExit) as end:
        cli.main(["train", *tables, "--out", str(tmp_path / "e"), "--teacher", "no-such/teacher"])
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("vitrina: --teacher is 'no-such/teacher', which is no folder here")
    assert error.count("\n") == 1


def test_without_the_package_the_message_has_the_command(
    monkeypatch: pytest.MonkeyPatch, tiny_bert: Path
) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'vitrina\[teacher\]'"):
        require_teacher(Settings(teacher=str(tiny_bert)))


@pytest.mark.parametrize(
    ("card", "config", "licence"),
    [
        ("---\nlanguage: en\nlicense: mit\n---\n", {}, "mit"),
        ("---\nlicense: other\nlicense_name: 'gemma'\n---\n", {}, "gemma"),
        ("No front matter.\nlicense: mit\n", {"license": "cc-by-4.0"}, "cc-by-4.0"),
        ("---\ntags:\n- license: mit\n---\n", {}, None),
    ],
)
def test_the_licence(tmp_path: Path, card: str, config: dict[str, str], licence: str) -> None:
    (tmp_path / "README.md").write_text(card)
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert stated_licence(tmp_path) == licence


def test_the_budget() -> None:
    assert teacher_seconds(Settings()) == 0
    assert teacher_seconds(Settings(teacher="t")) == 8 * 60
    assert teacher_seconds(Settings(teacher="t", max_minutes=10)) == 5 * 60
    for minutes in (0, -1, float("nan")):
        with pytest.raises(InputError, match=r"`teacher_minutes` is .*; it must be more than 0"):
            Settings(teacher="t", teacher_minutes=minutes)
