"""An encoder's folder as a folder of sentence-transformers, and its vectors bit for bit."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vitrina.encoder.sentence_files import MODULE, SENTENCE_FILES
from vitrina.encoder.title_encoder import TitleEncoder, unit_length
from vitrina.encoder.weights import ENCODER
from vitrina.errors import InputError
from vitrina.sealed import MANIFEST, seal

sentence_transformers = pytest.importorskip("sentence_transformers")
SentenceTransformer = sentence_transformers.SentenceTransformer


@pytest.fixture
def folder(lexical_encoder: TitleEncoder, tmp_path: Path) -> Path:
    lexical_encoder.save(tmp_path / "encoder")
    return tmp_path / "encoder"


@pytest.fixture
def titles(grocery_titles: list[str]) -> list[str]:
    return [*grocery_titles[:100], "", "   ", "日本語", "x" * 500]


def test_a_model_of_our_module(
    lexical_encoder: TitleEncoder, folder: Path, titles: list[str], tmp_path: Path
) -> None:
    from vitrina.encoder.sentence_module import TitleModule

    assert f"{TitleModule.__module__}.{TitleModule.__name__}" == MODULE
    expected = lexical_encoder.encode(titles)
    module = TitleModule(TitleEncoder.load(folder))
    model = SentenceTransformer(modules=[module], device="cpu")
    for batch_size in (1, 7, 1_000):
        found = model.encode(titles, batch_size=batch_size)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(model.encode(titles[0]), expected[0])
    np.testing.assert_array_equal(
        model.encode(["sauce"], prompt="apple "), lexical_encoder.encode(["apple sauce"])
    )
    assert model.get_embedding_dimension() == expected.shape[1]
    similarity = model.similarity(expected, expected).numpy()
    unit = unit_length(expected)
    np.testing.assert_allclose(similarity, unit @ unit.T, atol=1e-6)

    # the vectors go to the module's device; "meta" is one that every machine has
    moved = TitleModule(lexical_encoder).to("meta").forward({"titles": titles})
    assert moved["sentence_embedding"].device.type == "meta"

    # what sentence-transformers saves is an encoder again, and so is a second one over it
    for _ in range(2):
        model.save_pretrained(str(tmp_path / "model"))
        again = TitleEncoder.load(tmp_path / "model")
        assert again.weights.digest == lexical_encoder.weights.digest
        np.testing.assert_array_equal(again.encode(titles), expected)
    reloaded = SentenceTransformer(str(tmp_path / "model"), trust_remote_code=True, device="cpu")
    np.testing.assert_array_equal(reloaded.encode(titles), expected)


def test_a_saved_folder(lexical_encoder: TitleEncoder, folder: Path, titles: list[str]) -> None:
    with pytest.raises(ValueError, match="trust_remote_code=True"):
        SentenceTransformer(str(folder))
    model = SentenceTransformer(str(folder), trust_remote_code=True, device="cpu")
    np.testing.assert_array_equal(model.encode(titles), lexical_encoder.encode(titles))
    (folder / "tokenizer.model").write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"tokenizer\.model: is damaged"):
        SentenceTransformer(str(folder), trust_remote_code=True)


def sealed_again(folder: Path) -> None:
    (folder / MANIFEST).unlink()
    seal(folder, ENCODER)


def test_the_files_are_checked_and_change_no_digest(
    lexical_encoder: TitleEncoder, folder: Path
) -> None:
    digest = lexical_encoder.weights.digest
    assert TitleEncoder.load(folder).weights.digest == digest
    wrong = {
        "modules.json": [{"idx": 0, "name": "0", "path": "", "type": "os.system"}],
        "config_sentence_transformers.json": {"prompts": {"a": "b"}, "default_prompt_name": "a"},
    }
    assert wrong.keys() == SENTENCE_FILES.keys()
    for name, content in wrong.items():
        right = (folder / name).read_bytes()
        (folder / name).write_text(json.dumps(content))
        with pytest.raises(InputError, match=f"{name}: is damaged"):
            TitleEncoder.load(folder)
        sealed_again(folder)
        with pytest.raises(InputError, match=f"{name}: is not the file that vitrina writes"):
            TitleEncoder.load(folder)
        (folder / name).write_bytes(right)
        sealed_again(folder)
    # folders of earlier versions don't have them
    for name in wrong:
        (folder / name).unlink()
    sealed_again(folder)
    assert TitleEncoder.load(folder).weights.digest == digest


def test_the_examples_of_the_page_run(
    lexical_encoder: TitleEncoder, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    page = Path(__file__).parents[2] / "docs" / "hub.md"
    of_hub, *examples = re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), flags=re.S)
    assert "push_to_hub" in of_hub  # test_hub.py runs it
    assert len(examples) == 2
    names: dict[str, Any] = {"TitleEncoder": TitleEncoder}
    for example in examples:
        exec(example, names)
        found = names["model"].encode(["APPLE SAUCE 24 OZ"])
        np.testing.assert_array_equal(found, lexical_encoder.encode(["APPLE SAUCE 24 OZ"]))
