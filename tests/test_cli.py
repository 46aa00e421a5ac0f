"""The commands as a user runs them: real files, exit codes, one line for a mistake."""

import gzip
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from vitrina._version import __version__
from vitrina.classification.regressor import TitleRegressor
from vitrina.cli import app, main
from vitrina.cli.entry import _name_options
from vitrina.data.sources import SOURCES
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.evaluation.models.registry import MODELS
from vitrina.pretraining import settings as training


@pytest.fixture
def shop(grocery_titles: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a small shop's tables, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(5)
    titles = grocery_titles[:200]
    category = [f"c{i % 12}" for i in range(200)]
    pl.DataFrame({"product_id": range(200), "title": titles, "category": category}).write_csv(
        "products.csv"
    )
    users = np.sort(rng.integers(0, 150, 500))
    events = pl.DataFrame(
        {
            "user": users,
            "timestamp": 1_700_000_000 + np.arange(500),
            "product_id": rng.integers(0, 200, 500),
        }
    )
    events.write_parquet("events.parquet")
    pl.DataFrame({"title": titles, "ounces": ["OZ" in title for title in titles]}).write_csv(
        "labels.csv"
    )
    return tmp_path


@pytest.fixture
def small_recipe(small_sizes: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """The default recipe with small networks, so that a test trains in a second."""
    full = training.preset
    monkeypatch.setattr(
        training, "preset", lambda name, **changes: full(name, **{**small_sizes, **changes})
    )


@pytest.fixture
def saved(encoder: TitleEncoder, shop: Path) -> Path:
    encoder.save("encoder")
    return shop


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    assert isinstance(stop.value.code, int)
    return stop.value.code


TRAIN = ("train", "--events", "events.parquet", "--products", "products.csv", "--out", "encoder")


@pytest.mark.usefixtures("shop", "small_recipe")
def test_from_events_to_predictions(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*TRAIN, "--gap", "1h", "--threads", "1") == 0
    shown = capsys.readouterr()
    assert "sessions: events 500" in shown.err
    assert shown.out == ""
    assert run("embed", "encoder", "products.csv", "--out", "vectors.parquet", "--quiet") == 0
    assert capsys.readouterr().err == ""
    vectors = pl.read_parquet("vectors.parquet")
    assert vectors.columns == ["product_id", "title", "category", "vector", "encoder"]
    assert vectors["vector"].dtype == pl.Array(pl.Float32, 24)  # 16 contextual, 8 lexical
    expected = TitleEncoder.load("encoder").transform(vectors["title"])
    np.testing.assert_array_equal(vectors["vector"].to_numpy(), expected)

    keyed = ("embed", "encoder", "products.csv", "--out", "keyed.parquet", "--key", "product_id")
    assert run(*keyed, "--quiet") == 0
    products = pl.read_csv("products.csv", infer_schema=False)
    products.with_columns(title=pl.col("title").replace(products["title"][3], "SOAP 3 OZ"))[
        :150
    ].write_csv("newer.csv")
    refresh = ("refresh", "encoder", "newer.csv", "--vectors", "keyed.parquet")
    capsys.readouterr()
    assert run(*refresh, "--changes", "changes.parquet") == 0
    notes = capsys.readouterr().err
    assert "vectors: unchanged 149 · changed 1 · deleted 50\nrefreshed: keyed.parquet" in notes
    assert len(pl.read_parquet("changes.parquet")) == 51

    fit = ("classify", "fit", "encoder", "labels.csv", "--label", "ounces", "--out", "classifier")
    labels = pl.read_csv("labels.csv", infer_schema=False)
    labels.rename({"title": "product name"}).write_csv("named.csv")
    named = ("classify", "fit", "encoder", "named.csv", "--label", "ounces", "--out", "classifier")
    assert run(*named, "--title-column", "product name") == 0
    command = "next: vitrina classify predict classifier TITLES --title-column 'product name' --out"
    assert command in capsys.readouterr().err
    assert run(*fit, "--force") == 0
    shown = capsys.readouterr()
    assert "5-fold AUC ROC" in shown.out
    assert "next: vitrina classify predict classifier TITLES --out scores.parquet" in shown.err
    assert run("classify", "predict", "classifier", "products.csv", "--out", "scores.parquet") == 0
    scores = pl.read_parquet("scores.parquet")
    assert scores.columns[-3:] == ["prediction", "probability_false", "probability_true"]
    assert len(scores) == 200
    assert run("classify", "explain", "classifier", "MILK 12 OZ", "--", "-5 oz") == 0
    explained = capsys.readouterr().out
    assert "MILK 12 OZ: true" in explained
    assert "-5 oz: " in explained
    assert "(intercept)" in explained
    assert run("similar", "encoder", "products.csv", vectors["title"][7], "-k", "3") == 0
    assert vectors["title"][7] in capsys.readouterr().out
    odd = "Zapatillas [nike] [/x] talla 42"  # not markup of ours
    pl.DataFrame({"title": [odd]}).write_csv("odd.csv")
    assert run("similar", "encoder", "odd.csv", "zapatillas") == 0
    assert odd in capsys.readouterr().out
    for folder in ("encoder", "classifier"):
        assert run("inspect", folder) == 0
        assert "data digest" in capsys.readouterr().out


@pytest.mark.usefixtures("saved")
def test_from_numbers_to_predictions(capsys: pytest.CaptureFixture[str]) -> None:
    products = pl.read_csv("products.csv")
    rng = np.random.default_rng(0)
    sizes = np.exp(3 * rng.normal(size=200))
    products.with_columns(size=pl.Series(sizes)).write_csv("sizes.csv")
    fit = ("regress", "fit", "encoder", "sizes.csv", "--label", "size", "--out", "regressor")
    assert run(*fit, "--quiet") == 0
    shown = capsys.readouterr()
    assert "5-fold R²" in shown.out
    assert shown.err.startswith("warning: the numbers in 'size' are all above 0")
    assert run("regress", "predict", "regressor", "products.csv", "--out", "sizes.parquet") == 0
    found = pl.read_parquet("sizes.parquet")
    expected = TitleRegressor.load("regressor").predict(products["title"])
    np.testing.assert_array_equal(found["prediction"], expected)

    assert run("regress", "explain", "regressor", "--input", "products.csv") == 0
    shown = capsys.readouterr()
    assert all(f"{title}: " in shown.out for title in products["title"][:3])
    line = mistake(capsys, "regress", "explain", "regressor")
    assert "give either TITLES or --input" in line
    assert "TITLES" in mistake(capsys, "regress", "explain", "regressor", "a", "--input", "a.csv")
    assert "regressor" in mistake(capsys, "classify", "explain", "regressor", "milk")


def mistake(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command that must end with code 2 and exactly one line; returns the line."""
    before = sorted(Path().rglob("*"))
    capsys.readouterr()
    assert run(*arguments) == 2
    shown = capsys.readouterr()
    lines = [line for line in shown.err.splitlines() if line.startswith("vitrina: ")]
    assert len(lines) == 1
    assert "Traceback" not in shown.err
    assert "`" not in lines[0]  # parameters of the library are shown as options
    assert sorted(Path().rglob("*")) == before  # nothing written, nothing lost
    return lines[0]


@pytest.mark.usefixtures("shop")
def test_mistakes_in_training_input(capsys: pytest.CaptureFixture[str]) -> None:
    def line(*changed: str) -> str:
        return mistake(capsys, "train", "--out", "encoder", *changed)

    products = ("--products", "products.csv")
    events = ("--events", "events.parquet")
    assert "nowhere.parquet" in line("--events", "nowhere.parquet", *products)
    assert "'visitor'" in line(*events, *products, "--user-column", "visitor")
    assert "'heading'" in line(*events, *products, "--title-column", "heading")
    assert "'kind'" in line(*events, *products, "--category-column", "kind")
    assert "--products" in line(*events)
    assert "--source" in line(*events, *products, "--source-dir", ".")
    assert "--force" in line(*events, *products, "--resume", "--force")
    assert "no name" in mistake(capsys, "train", "--out", ".", *events, *products)
    assert "--source" in line()
    assert "gap" in line(*events, *products, "--gap", "soon")
    assert "klingon" in line(*events, *products, "--language", "klingon")
    assert "alpha" in line(*events, *products, "--alpha", "2")
    assert "nothing to resume" in line(*events, *products, "--resume")
    assert "--max-session-products" in line(*events, *products, "--max-session-products", "1")
    assert "completejourney" in line("--source", "nothing")
    assert "meli2020" in line("--source", "meli2020")

    Path("empty.csv").touch()
    assert "empty.csv" in line("--events", "empty.csv", *products)
    whole = Path("events.parquet").read_bytes()
    Path("cut.parquet").write_bytes(whole[: len(whole) // 2])
    assert "cut.parquet" in line("--events", "cut.parquet", *products)
    rows = pl.read_parquet("events.parquet")
    text = gzip.compress(rows.write_csv().encode())
    Path("cut.csv.gz").write_bytes(text[: len(text) // 2])
    assert "cut.csv.gz" in line("--events", "cut.csv.gz", *products)
    rows.with_columns(timestamp=pl.lit("yesterday")).write_csv("when.csv")
    assert "'yesterday'" in line("--events", "when.csv", *products)
    rows.with_columns(product_id=pl.col("product_id") + 1000).write_csv("other.csv")
    assert "catalogue" in line("--events", "other.csv", *products)
    rows.with_columns(user=pl.int_range(pl.len())).write_csv("alone.csv")
    assert "two products" in line("--events", "alone.csv", *products)


@pytest.mark.usefixtures("saved")
def test_mistakes_with_an_encoder(capsys: pytest.CaptureFixture[str]) -> None:
    embed = ("embed", "encoder", "products.csv", "--out", "vectors.parquet")
    assert "nowhere" in mistake(capsys, "embed", "nowhere", *embed[2:])
    assert "'name'" in mistake(capsys, *embed, "--title-column", "name")
    Path("vectors.parquet").write_text("precious")
    assert "--force" in mistake(capsys, *embed)
    assert Path("vectors.parquet").read_text() == "precious"
    assert run(*embed, "--force") == 0
    keyed = ("embed", "encoder", "products.csv", "--out", "keyed.parquet", "--key")
    assert "name it with --key" in mistake(capsys, *keyed, "sku")
    pl.concat([pl.read_csv("products.csv")] * 2).write_csv("twice.csv")
    twice = ("embed", "encoder", "twice.csv", "--out", "keyed.parquet", "--key", "product_id")
    assert "a key must be unique" in mistake(capsys, *twice)
    refresh = ("refresh", "encoder", "products.csv", "--vectors")
    assert "has no key" in mistake(capsys, *refresh, "vectors.parquet")
    assert "nowhere.parquet" in mistake(capsys, *refresh, "nowhere.parquet")
    assert run(*keyed, "product_id") == 0
    assert "a key must be unique" in mistake(
        capsys, "refresh", "encoder", "twice.csv", "--vectors", "keyed.parquet"
    )
    assert "no column 'product_id'" in mistake(
        capsys, "refresh", "encoder", "labels.csv", "--vectors", "keyed.parquet"
    )
    changes = ("--changes", "keyed.parquet")
    assert "--changes" in mistake(capsys, *refresh, "keyed.parquet", *changes)

    fit = ("classify", "fit", "encoder", "labels.csv", "--out", "classifier", "--label")
    assert "'nolabel'" in mistake(capsys, *fit, "nolabel")
    pl.read_csv("labels.csv").with_columns(ounces=pl.lit(1)).write_csv("same.csv")
    assert "classes" in mistake(capsys, *fit[:3], "same.csv", *fit[4:], "ounces")
    assert "encoder" in mistake(capsys, "classify", "predict", *embed[1:3], "--out", "scores")
    assert "no number in row 0" in mistake(capsys, "regress", *fit[1:], "ounces")
    assert "Unknown option" in mistake(capsys, *embed, "--bogus")
    assert "--out" in mistake(capsys, *embed[:3])
    assert "-k" in mistake(capsys, "similar", "encoder", "products.csv", "milk", "-k", "many")
    assert "no word" in mistake(capsys, "similar", "encoder", "products.csv", "!?")
    assert run("similar", "encoder", "products.csv", "--", "-5 gloves") == 0

    Path("encoder/README.md").write_text("our notes")  # a model card is for people to edit
    assert run("inspect", "encoder") == 0
    config = json.loads(Path("encoder/manifest.json").read_text())
    Path("encoder/manifest.json").write_text(json.dumps({**config, "format_version": 99}))
    assert "pip install -U vitrina" in mistake(capsys, "inspect", "encoder")
    Path("encoder/manifest.json").write_text(json.dumps(config))
    model = Path("encoder/model.safetensors")
    model.write_bytes(model.read_bytes()[:-1] + b"?")
    assert "model.safetensors" in mistake(capsys, "inspect", "encoder")
    model.unlink()
    assert "model.safetensors" in mistake(capsys, "inspect", "encoder")


@pytest.mark.usefixtures("shop")
def test_a_disk_that_fills_says_so_and_keeps_the_run() -> None:
    """The limit on a file's size stands for a full disk: the same error, at the same place."""
    code = (
        "import resource, signal, sys;"
        "from vitrina.pretraining import settings;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, -1));"
        "from vitrina.cli import main; main(sys.argv[1:])"
    )
    command = [sys.executable, "-c", code, *TRAIN, "--gap", "1h", "--threads", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "disk is full" in done.stderr
    assert "Traceback" not in done.stderr
    assert not Path("encoder").exists()


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out.strip() == __version__
    assert run("train", "--help") == 0
    shown = capsys.readouterr().out
    assert "--time-column" in shown
    for name in SOURCES:
        assert name in shown
    assert run("evaluate", "--help") == 0
    shown = capsys.readouterr().out
    for name in MODELS:
        assert name in shown


def test_the_presets_are_those_of_the_library() -> None:
    (argument,) = [
        argument
        for argument in app["train"].assemble_argument_collection()
        if argument.name == "--preset"
    ]
    assert argument.hint == training.PresetName


@pytest.mark.parametrize(
    ("command", "message", "shown"),
    [
        ("train", "set `force` or `resume`", "set --force or --resume"),
        ("train", "`max_products` is 1", "--max-session-products is 1"),
        ("train", "`path`: no such folder", "--source-dir: no such folder"),
        ("train", "set `title_column` or `max_minutes`", "set --title-column or --max-minutes"),
        ("train", "`vocab_size` is 3", "vocab_size is 3"),  # not an option of this command
        ("embed", "`source` is empty", "INPUT is empty"),
        ("embed", "set `max_products`", "set max_products"),
        ("similar", "`k` is 0; `query` is empty", "-k is 0; TITLE is empty"),
        ("classify fit", "`label_column`, `encoder`", "--label, ENCODER"),
        ("evaluate", "`encoders`, `tasks_file`, `sizes`", "--encoder, TASKS, --sizes"),
        ("demo", "`max_minutes` is 0", "--minutes is 0"),
        ("demo", "titles `two words` stay", "titles `two words` stay"),
    ],
)
def test_parameters_in_messages_become_options(command: str, message: str, shown: str) -> None:
    assert _name_options(message, command.split()) == shown


@pytest.mark.usefixtures("shop")
def test_training_without_torch_names_the_command_that_installs_it() -> None:
    Path("without_torch.py").write_text(
        "import sys\n"
        "from importlib.machinery import PathFinder\n"
        "found = PathFinder.find_spec\n"
        "PathFinder.find_spec = lambda name, *rest: (\n"
        "    None if name == 'torch' else found(name, *rest))\n"
        "from vitrina.cli import main; main(sys.argv[1:])\n"
    )
    command = [sys.executable, "without_torch.py", *TRAIN]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        "vitrina: this needs the package 'torch': install it with: pip install 'vitrina[train]'\n"
    )


@pytest.mark.usefixtures("shop", "small_recipe")
def test_unusable_events_are_said_even_when_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    events = pl.read_parquet("events.parquet")
    time = [None if row < 50 else t for row, t in enumerate(events["timestamp"])]
    events.with_columns(timestamp=pl.Series(time)).write_parquet("events.parquet")
    assert run(*TRAIN, "--gap", "1h", "--threads", "1", "--quiet") == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: events that can't be used: null time 50")


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize("signal_name", ["SIGINT", "SIGTERM"])
def test_a_stopped_command_says_how_to_go_on(signal_name: str) -> None:
    Path("slow.py").write_text(
        "import sys, time\n"
        "from vitrina.pretraining import settings, train\n"
        "full, step = settings.preset, train.Trainer.step\n"
        "small = dict(vocab_size=300, dim=16, filters=4, hidden=24, projection=8, epochs=1000)\n"
        "settings.preset = lambda name, **changes: full(name, **{**small, **changes})\n"
        "def slow(self, batch, number):\n"
        "    print('step', flush=True); time.sleep(0.1); return step(self, batch, number)\n"
        "train.Trainer.step = slow\n"
        "from vitrina.cli import main; main(sys.argv[1:])\n"
    )
    pipe = subprocess.PIPE
    command = [sys.executable, "slow.py", *TRAIN, "--gap", "1h", "--threads", "1", "--quiet"]
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.send_signal(getattr(signal, signal_name))
        message = process.stderr.read().splitlines()[-1]
        assert process.wait() == 1
    assert message.startswith("vitrina: stopped and saved at step 1 ")
    assert "--resume" in message
    assert not Path("encoder").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")
@pytest.mark.usefixtures("saved")
def test_too_little_memory_is_one_line() -> None:
    """30 MiB are not enough for the tokenizer's store of words."""
    program = (
        "import resource\n"
        "from pathlib import Path\n"
        "from vitrina.cli import main\n"
        "from vitrina.encoder.embed import TitleEncoder\n"
        "TitleEncoder.load('encoder')  # imports what the command needs\n"
        "pages = int(Path('/proc/self/statm').read_text().split()[0])\n"
        "limit = pages * resource.getpagesize() + 30 * 2**20\n"
        "resource.setrlimit(resource.RLIMIT_AS, (limit, limit))\n"
        "main(['embed', 'encoder', 'products.csv', '--out', 'vectors.parquet'])\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.returncode == 2, ran.stderr
    assert re.fullmatch(r"vitrina: [^\n]*memory[^\n]*\n", ran.stderr)
    assert not Path("vectors.parquet").exists()
