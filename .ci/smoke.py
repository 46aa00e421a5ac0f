"""Use an installed vitrina as a new user would, in a folder with an encoder; see matrix.py."""

from __future__ import annotations

import csv
import subprocess
import sys
from importlib import import_module
from pathlib import Path

EXTRA = sys.argv[1]
BIN = Path(sys.executable).parent
TITLES = ["ORANGE JUICE 64 OZ", "APPLE SAUCE 24 OZ", "DOG FOOD 20 LB", "CAT FOOD 16 LB"] * 10


def run(*arguments: str) -> str:
    """Run the command line and return what it printed."""
    command = [str(BIN / "vitrina"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments[:2])}: {done.stderr or done.stdout}")
    return done.stdout + done.stderr


def main() -> None:
    import vitrina
    from vitrina import TitleClassifier, TitleEncoder

    # import and quick start
    assert "site-packages" in str(vitrina.__file__), vitrina.__file__
    encoder = TitleEncoder.load("encoder")
    vectors = encoder.transform(TITLES)
    assert vectors.shape == (40, encoder.weights.width), vectors.shape
    labels = ["drink" if "JUICE" in title else "other" for title in TITLES]
    assert TitleClassifier(encoder).fit(TITLES, labels).predict(TITLES).tolist() == labels

    # command line
    with Path("titles.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["product_id", "title", "kind", "user", "timestamp"])
        for number, (title, label) in enumerate(zip(TITLES, labels, strict=True)):
            row = [number % 20, f"{title} {number % 20}", label, number % 8, 1_700_000_000 + number]
            writer.writerow(row)
    assert vitrina.__version__ in run("--version")
    assert "golden" in run("inspect", "encoder")
    run("embed", "encoder", "titles.csv", "--out", "vectors.parquet")
    assert "JUICE" in run("similar", "encoder", "titles.csv", "orange juice")
    run("classify", "fit", "encoder", "titles.csv", "--label", "kind", "--out", "classifier")
    run("classify", "predict", "classifier", "titles.csv", "--out", "scores.parquet")
    said = run("doctor")
    if EXTRA != "none":
        assert f"  {EXTRA}: lacks" not in said, said
    of_extra()


def of_extra() -> None:
    """Use what an extra is for, where that needs no more than the package."""
    if EXTRA in ("train", "demo", "baselines"):
        table = ["--events", "titles.csv", "--products", "titles.csv", "--category-column", "kind"]
        run("train", *table, "--epochs", "1", "--out", "trained")
        run("embed", "trained", "titles.csv", "--out", "trained.parquet")
    if EXTRA == "index":
        run("index", "build", "encoder", "titles.csv", "--out", "index")
        run("index", "query", "encoder", "index", "orange juice")
    if EXTRA == "serve":
        for module in ("vitrina.labelling.page_routes", "vitrina.serving.application"):
            import_module(module)


if __name__ == "__main__":
    main()
