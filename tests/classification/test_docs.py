"""The Python examples of docs/classify.md, run one after the other."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from vitrina.encoder.title_encoder import TitleEncoder

PAGE = Path(__file__).parents[2] / "docs" / "classify.md"


def test_the_examples_run(
    encoder: TitleEncoder,
    grocery_titles: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    encoder.save("encoder")
    titles = grocery_titles[:120]
    rng = np.random.default_rng(0)
    labels = ["pets" if i % 3 == 0 else "grocery" for i in range(len(titles))]
    table = pl.DataFrame({"title": titles, "price": rng.random(120), "category": labels})
    names: dict[str, Any] = {
        "pl": pl,
        "titles": titles,
        "labels": labels,
        "lengths": rng.random(120) + 1,
        "weights": rng.random(120),
        "table": table,
    }
    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), flags=re.S)
    assert len(examples) == 6
    for example in examples:
        exec(example, names)
    assert set(names["model"].predict(table)) <= {"pets", "grocery"}
    assert (tmp_path / "classifier" / "manifest.json").exists()
    assert (tmp_path / "regressor" / "manifest.json").exists()
