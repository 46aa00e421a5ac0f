"""The reader in Java gives vitrina's vectors to the last bit, and refuses damaged folders."""

import hashlib
import json
import random
import runpy
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

from vitrina.encoder.golden import TITLES
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.encoder.weights import EncoderWeights, initial_weights
from vitrina.text.normalize import Normalizer
from vitrina.text.tokenizer import TitleTokenizer

READERS = Path(__file__).parents[2] / "readers"
SOURCE = READERS / "java" / "VitrinaEncoder.java"

pytestmark = [
    pytest.mark.java,
    pytest.mark.skipif(shutil.which("javac") is None, reason="there is no javac"),
]

# Encodes each title in four threads at once, and compares with the vectors of one thread.
THREADS = """
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;

class Threads {
    public static void main(String[] arguments) throws Exception {
        List<String> titles = Files.readAllLines(Path.of(arguments[1]));
        VitrinaEncoder alone = VitrinaEncoder.load(Path.of(arguments[0]));
        float[][] expected = titles.stream().map(alone::encode).toArray(float[][]::new);
        VitrinaEncoder shared = VitrinaEncoder.load(Path.of(arguments[0]));
        Thread[] threads = new Thread[4];
        int[] wrong = new int[threads.length];
        for (int t = 0; t < threads.length; t++) {
            int number = t;
            threads[t] = new Thread(() -> {
                for (int i = 0; i < titles.size(); i++) {
                    if (!Arrays.equals(expected[i], shared.encode(titles.get(i)))) {
                        wrong[number]++;
                    }
                }
            });
            threads[t].start();
        }
        for (Thread thread : threads) {
            thread.join();
        }
        System.out.println(titles.size() + " titles, " + IntStream.of(wrong).sum() + " wrong");
    }
}
"""

Vectors = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled reader."""
    folder = tmp_path_factory.mktemp("java")
    subprocess.run(["javac", "--release", "17", "-d", folder, SOURCE], check=True)
    return folder


@pytest.fixture
def java(classes: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = ["java", "-cp", str(classes), "VitrinaEncoder", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, encoding="utf-8")

    return run


def small_encoder(lexical_encoder: TitleEncoder, kind: str) -> TitleEncoder:
    """Encoders that differ in all that a reader has to know."""
    weights = lexical_encoder.weights
    tokenizer = weights.tokenizer
    if kind == "lexical":
        return lexical_encoder
    if kind == "contextual":  # without a lexical part, and with filters that aren't a multiple of 8
        return TitleEncoder(
            initial_weights(
                TitleTokenizer(tokenizer.model, tokenizer.normalizer), dim=8, filters=5, seed=1
            )
        )
    normalizer = Normalizer("en", style="paper")
    paper = TitleTokenizer(tokenizer.model, normalizer, tokenizer.word_vectors)
    return TitleEncoder(
        EncoderWeights(weights.embeddings, weights.filters, weights.bias, paper, lexical_weight=1.3)
    )


def random_titles(number: int, seed: int) -> list[str]:
    """Titles of random characters: all assigned ones, letters with marks, spaces and digits."""
    rng = random.Random(seed)
    characters = [
        chr(code)
        for code in range(sys.maxunicode + 1)
        if chr(code) != "\n" and unicodedata.category(chr(code)) not in ("Cs", "Cn", "Co")
    ]
    pools = [
        characters,
        [char for char in characters if unicodedata.combining(char)],
        [char for char in characters if ord(char) < 0x600],
        list("aeionñΣσиЙ\u0303\u0306\u0301 \u00a0.,0123٣٤½™"),
        list("한글\u1100\u1112\u1161\u11a8\u11ab"),
        list("greentapl 24oz-"),
    ]
    titles = []
    for _ in range(number):
        title = ""
        for _ in range(rng.randrange(7)):
            title += "".join(rng.choices(rng.choice(pools), k=rng.randint(1, 15)))
            title += rng.choice(["", " "])
        titles.append(title)
    return titles


def vectors_of(
    java: Callable[..., subprocess.CompletedProcess[str]],
    encoder: TitleEncoder,
    titles: list[str],
    folder: Path,
) -> Vectors:
    """Save an encoder and let the reader compute the vectors of titles."""
    encoder.save(folder / "encoder")
    lines = "".join(f"{title}\n" for title in titles)
    (folder / "titles.txt").write_bytes(lines.encode())
    done = java("encode", folder / "encoder", folder / "titles.txt", folder / "out.f32")
    assert (done.returncode, done.stderr) == (0, "")
    width = encoder.weights.width
    assert done.stdout == f"{len(titles)} vectors of {width} dimensions\n"
    return np.fromfile(folder / "out.f32", "<f4").reshape(-1, width)


def assert_equal_bits(found: Vectors, expected: Vectors, titles: list[str]) -> None:
    assert found.shape == expected.shape
    different = (found.view(np.uint32) != expected.view(np.uint32)).any(axis=1)
    assert [ascii(titles[row]) for row in np.flatnonzero(different)[:5]] == []


@pytest.mark.parametrize("kind", ["lexical", "contextual", "paper"])
def test_vectors_of_random_titles_are_equal_to_the_last_bit(
    kind: str,
    lexical_encoder: TitleEncoder,
    java: Callable[..., subprocess.CompletedProcess[str]],
    grocery_titles: list[str],
    tmp_path: Path,
) -> None:
    # The reader knows the characters of Unicode 14; a newer Python knows further ones.
    titles = random_titles(5_000, seed=7)
    if unicodedata.unidata_version != "14.0.0":
        titles = [title for title in titles if max(title, default="") < "\u3000"]
    titles += [title for title in TITLES if "\n" not in title]
    titles += grocery_titles
    titles += [" ".join(grocery_titles[:100])]
    encoder = small_encoder(lexical_encoder, kind)
    found = vectors_of(java, encoder, titles, tmp_path)
    assert_equal_bits(found, encoder.encode(titles), titles)


@pytest.mark.shared
def test_vectors_of_real_titles_are_equal_to_the_last_bit(
    lexical_encoder: TitleEncoder,
    java: Callable[..., subprocess.CompletedProcess[str]],
    shared: Path,
    tmp_path: Path,
) -> None:
    titles: list[str] = []
    for name in (
        "ebay/listings",
        "mercadolibre/titles_portuguese",
        "mercadolibre/listings_multisite",
    ):
        column = pl.read_parquet(shared / f"{name}.parquet")["title"].drop_nulls()
        titles += column.head(40_000).str.replace_all("\n", " ").to_list()
    assert len(titles) > 100_000
    found = vectors_of(java, lexical_encoder, titles, tmp_path)
    assert_equal_bits(found, lexical_encoder.encode(titles), titles)


def test_the_golden_vectors_are_reproduced_and_a_wrong_one_is_told(
    lexical_encoder: TitleEncoder,
    java: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
) -> None:
    folder = tmp_path / "encoder"
    lexical_encoder.save(folder)
    done = java("check", folder)
    number = len(TITLES)
    assert done.stdout == f"{number} of {number} golden titles are reproduced\n"
    assert done.returncode == 0

    # another encoder with the golden vectors of the first
    golden = (folder / "golden.json").read_bytes()
    small_encoder(lexical_encoder, "paper").save(folder, force=True)
    (folder / "golden.json").write_bytes(golden)
    reseal(folder, "golden.json")
    done = java("check", folder)
    assert done.returncode == 1
    assert "another normal form: " in done.stdout
    assert "another vector: " in done.stdout


def reseal(folder: Path, name: str) -> None:
    """Write the size and the checksum of a changed file to the manifest."""
    manifest = json.loads((folder / "manifest.json").read_text())
    content = (folder / name).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    manifest["files"][name] = {"bytes": len(content), "sha256": digest}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def flip_bit(folder: Path) -> None:
    path = folder / "table.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def cut_tokenizer(folder: Path) -> None:
    path = folder / "tokenizer.model"
    path.write_bytes(path.read_bytes()[:-3])
    reseal(folder, path.name)


def remove_lexical_part(folder: Path) -> None:
    (folder / "lexical.safetensors").unlink()


def raise_format(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": 99}))


def claim_more_filters(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(path.read_text().replace('"filters": 16', '"filters": 17'))
    reseal(folder, path.name)


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (flip_bit, "table.safetensors: is damaged (its checksum differs)"),
        (cut_tokenizer, "tokenizer.model: is damaged"),
        (remove_lexical_part, "lexical.safetensors: is missing or damaged"),
        (raise_format, "has a format that is newer than this reader"),
        (claim_more_filters, "model.safetensors: bias has another type or shape"),
        (shutil.rmtree, "has no manifest.json, so it is no encoder"),
    ],
)
def test_a_damaged_folder_is_refused_with_one_line(
    damage: Callable[[Path], None],
    expected: str,
    lexical_encoder: TitleEncoder,
    java: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
) -> None:
    folder = tmp_path / "encoder"
    lexical_encoder.save(folder)
    damage(folder)
    done = java("check", folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(str(folder))
    assert expected in done.stderr


def test_threads_share_a_reader(
    lexical_encoder: TitleEncoder, classes: Path, grocery_titles: list[str], tmp_path: Path
) -> None:
    lexical_encoder.save(tmp_path / "encoder")
    (tmp_path / "titles.txt").write_text("".join(f"{title}\n" for title in grocery_titles))
    (tmp_path / "Threads.java").write_text(THREADS)
    command = ["java", "-cp", str(classes), str(tmp_path / "Threads.java")]
    done = subprocess.run(
        [*command, str(tmp_path / "encoder"), str(tmp_path / "titles.txt")],
        capture_output=True,
        text=True,
    )
    assert done.stdout == f"{len(grocery_titles)} titles, 0 wrong\n", done.stderr


@pytest.mark.skipif(
    unicodedata.unidata_version != "14.0.0", reason="the table is that of Unicode 14"
)
def test_the_table_of_characters_is_the_one_that_its_program_writes() -> None:
    program = runpy.run_path(str(READERS / "unicode_table.py"))
    source = SOURCE.read_text("utf-8")
    assert program["with_table"](source) == source
