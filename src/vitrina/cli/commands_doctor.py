"""The command `vitrina doctor`."""

from __future__ import annotations

import os
import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path

from rich.table import Table

from vitrina._version import __version__
from vitrina.cli.app import app
from vitrina.progress import console

# what the kernels use where the processor has it
_FEATURES = ("sse4.2", "avx2", "fma", "avx512f", "avx512bf16", "amx-bf16", "neon")
_DEVELOPMENT = ("dev", "docs")


@app.command
def doctor() -> None:
    """Show the versions, the processor, the cache, and what is missing for which extra.

    Paste the output into a report of a problem. It names no files but vitrina's own.

    Example: `vitrina doctor`
    """
    from vitrina.compiled import default_threads

    facts = {
        "vitrina": f"{__version__}, in {Path(__file__).parents[1]}",
        "Python": f"{platform.python_version()}, {sys.executable}",
        "system": platform.platform(),
        "processor": f"{platform.machine()}, {', '.join(_cpu_features()) or 'no known features'}",
        "threads": f"{default_threads()} by default, of {os.cpu_count()} processors",
        "machine code": _compile_cache(),
    }
    table = Table.grid(padding=(0, 2))
    for name, fact in facts.items():
        table.add_row(name, fact)
    console().print(table)

    needed = [*_requirements(None)]
    console().print("\npackages: " + ", ".join(f"{name} {_version(name)}" for name in needed))
    console().print("\nextras:")
    for extra in metadata("vitrina").get_all("Provides-Extra") or []:
        if extra not in _DEVELOPMENT:
            console().print(f"  {extra}: {_state(extra)}")


def _cpu_features() -> list[str]:
    """The features of the processor that the kernels use."""
    from llvmlite import binding

    found = binding.get_host_cpu_features()
    return [name for name in _FEATURES if found.get(name)]


def _compile_cache() -> str:
    """Where compiled kernels are kept, or that they can't be."""
    from vitrina.encoder import kernels

    for name in vars(kernels):
        store = getattr(getattr(kernels, name), "_cache", None)
        if store is not None and hasattr(store, "cache_path"):
            return f"kept in {store.cache_path}"
    return "compiled anew in each process: no folder for it is writable; set NUMBA_CACHE_DIR"


def _requirements(extra: str | None) -> list[str]:
    """The packages that vitrina needs, or that one of its extras adds."""
    names = []
    for requirement in requires("vitrina") or []:
        of_extra = re.search(r"""extra\s*==\s*["']([^"']+)""", requirement)
        if (of_extra and of_extra[1]) == extra:
            name = re.match(r"[\w.-]+", requirement)
            assert name is not None
            names.append(name[0])
    return [name for name in names if name != "vitrina"]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def _state(extra: str) -> str:
    """The versions of an extra's packages, or the command that installs it."""
    versions = {name: _version(name) for name in _requirements(extra)}
    missing = [name for name, found in versions.items() if found == "missing"]
    if missing:
        return f"lacks {', '.join(missing)}; pip install 'vitrina[{extra}]'"
    return ", ".join(f"{name} {found}" for name, found in versions.items())
