"""Install the built package into clean environments and use it there.

    python .ci/matrix.py [--python 3.11 ...] [--extras none train ...] [--resolutions lowest ...]

Builds the wheel and the sdist, checks them with twine, and for each Python, resolution and extra
makes an environment outside the checkout: with the newest dependencies, or with the lowest that
pyproject.toml declares. There it imports vitrina, runs the command line and the quick start, and
compares vectors with the golden ones. Needs `build`, `twine` and `uv`; prints a table.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SMOKE = ROOT / ".ci" / "smoke.py"
# With vitrina's range of torch, the newest would be installed, with gigabytes of CUDA on Linux.
# UV_FIND_LINKS or UV_EXTRA_INDEX_URL can name a place of CPU builds.
PINNED = ("torch",)
NOT_FOR_USERS = ("dev", "docs")


def main() -> int:
    """Run the matrix and return the exit code: 1 if a cell failed."""
    extras = list(
        tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    )
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", nargs="+", default=["3.11", "3.12", "3.13"])
    parser.add_argument("--resolutions", nargs="+", default=["highest", "lowest"])
    users = [extra for extra in extras if extra not in NOT_FOR_USERS]
    parser.add_argument("--extras", nargs="+", default=["none", *users])
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        wheel = build(Path(folder))
        rows = []
        for python in options.python:
            for resolution in options.resolutions:
                for extra in options.extras:
                    outcome = cell(Path(folder), wheel, python, resolution, extra)
                    rows.append((python, resolution, extra, outcome))
                    print("| " + " | ".join(rows[-1]) + " |", flush=True)
    failed = [row for row in rows if not row[-1].startswith("works")]
    print(f"{len(rows) - len(failed)} of {len(rows)} work")
    return 1 if failed else 0


def build(folder: Path) -> Path:
    """Build the wheel from the sdist, check both, and return the wheel."""
    run([sys.executable, "-m", "build", "--outdir", str(folder / "dist"), str(ROOT)])
    files = sorted((folder / "dist").iterdir())
    run([sys.executable, "-m", "twine", "check", "--strict", *map(str, files)])
    (wheel,) = (folder / "dist").glob("*.whl")
    return wheel


def cell(folder: Path, wheel: Path, python: str, resolution: str, extra: str) -> str:
    """Install and use vitrina in one environment, and describe the outcome."""
    start = time.monotonic()
    place = folder / "environment"
    shutil.rmtree(place, ignore_errors=True)
    uv = [sys.executable, "-m", "uv"]
    try:
        run([*uv, "venv", "--quiet", "--python", python, str(place)])
        target = str(wheel) if extra == "none" else f"{wheel}[{extra}]"
        install = [*uv, "pip", "install", "--quiet", "--python", str(place / "bin" / "python")]
        install += ["--overrides", str(overrides(folder))]
        if resolution == "lowest":
            install += ["--resolution", "lowest-direct"]
        run([*install, target])
        work = folder / "work"
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(ROOT / "tests" / "saved" / "encoder-2", work / "encoder")
        run([str(place / "bin" / "python"), str(SMOKE), extra], cwd=work)
    except subprocess.CalledProcessError as error:
        lines = (error.stderr or error.stdout or "").strip().splitlines()
        return f"fails: {' '.join(lines[-3:])[:300]}"
    return f"works, {time.monotonic() - start:.0f} s"


def overrides(folder: Path) -> Path:
    """The pins of constraints.txt that hold in each environment."""
    pins = []
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line.partition("==")[0] in PINNED:
            pins.append(line.partition("+")[0])
    path = folder / "overrides.txt"
    path.write_text("\n".join(pins))
    return path


def run(command: list[str], cwd: Path | None = None) -> None:
    # packages of this checkout must not be found in the new environment
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(command, check=True, text=True, capture_output=True, cwd=cwd, env=environment)


if __name__ == "__main__":
    sys.exit(main())
