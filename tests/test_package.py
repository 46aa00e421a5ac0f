"""The package as a whole: its public names, which package imports which, and what loads when."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from graphlib import TopologicalSorter
from importlib import import_module
from pathlib import Path

import pytest

import vitrina
from vitrina.encoder.title_encoder import TitleEncoder

ROOT = Path(vitrina.__file__).parent
CONTRIBUTING = Path(__file__).parents[1] / "CONTRIBUTING.md"

# Package -> packages that its modules may import, also inside functions, from bottom to top. Every
# package may import the root modules. CONTRIBUTING.md has the same table for people.
MAY_IMPORT = {
    "data": set(),
    "text": set(),
    "encoder": {"data", "text"},
    "classification": {"data", "text", "encoder"},
    "search": {"data", "text", "encoder"},
    "labelling": {"data", "text", "encoder", "classification"},
    "pretraining": {"data", "text", "encoder"},
    "pages": set(),
    "serving": {"encoder", "classification", "search", "labelling", "pages"},
    "spark": {"data", "encoder", "classification"},
    "tracking": {"encoder", "classification", "pretraining"},
    "comparison": {"data", "text", "encoder", "classification", "search", "pages"},
    "evaluation": {
        "data",
        "text",
        "encoder",
        "classification",
        "labelling",
        "pages",
        "evaluation.models",
    },
    "evaluation.models": {"text", "encoder", "classification", "pretraining", "evaluation"},
    "demo": {
        "data",
        "text",
        "encoder",
        "pretraining",
        "pages",
        "evaluation",
        "evaluation.models",
    },
    "cli": {
        "data",
        "encoder",
        "classification",
        "labelling",
        "search",
        "pretraining",
        "serving",
        "tracking",
        "comparison",
        "evaluation",
        "evaluation.models",
        "demo",
    },
}
ROOT_MODULES = "root modules"


def module_name(path: Path, root: Path) -> str:
    parts = path.relative_to(root.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def imports_by_module(root: Path) -> dict[str, set[str]]:
    """Each module of the package with the modules of the package that it imports."""
    files = {module_name(path, root): path for path in sorted(root.rglob("*.py"))}
    return {
        name: set(imported_modules(path.read_text("utf-8"), files)) for name, path in files.items()
    }


def imported_modules(source: str, modules: dict[str, Path]) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name in modules:
                    yield alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are not read by this test"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"  # `from package import module`
                if whole in modules:
                    yield whole
                elif node.module in modules:
                    yield str(node.module)


def package_of(module: str) -> str:
    """The key of `MAY_IMPORT` that a module belongs to: its longest prefix, or the root modules."""
    inner = module.partition(".")[2]
    for package in sorted(MAY_IMPORT, key=len, reverse=True):
        if inner == package or inner.startswith(package + "."):
            return package
    assert "." not in inner, f"{module}: add its package to MAY_IMPORT and to CONTRIBUTING.md"
    return ROOT_MODULES


def wrong_imports(imports: dict[str, set[str]]) -> list[str]:
    """Imports that `MAY_IMPORT` does not allow, as 'importer -> imported'."""
    wrong = []
    for module, imported_names in imports.items():
        if module in ("vitrina", "vitrina.__main__"):
            continue  # the table of contents and the command line: loaded when they are used
        importer = package_of(module)
        allowed = {importer, ROOT_MODULES} | MAY_IMPORT.get(importer, set())
        for imported in imported_names:
            # Importing from `vitrina` itself would be an import of everything.
            if imported == "vitrina" or package_of(imported) not in allowed:
                wrong.append(f"{module} -> {imported}")
    return wrong


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    return imports_by_module(ROOT)


def test_each_package_imports_only_those_below(imports: dict[str, set[str]]) -> None:
    assert wrong_imports(imports) == []
    # The one import against the order of the packages has one place.
    upwards = [
        module
        for module, imported in imports.items()
        if package_of(module) == "evaluation"
        and any(package_of(name) == "evaluation.models" for name in imported)
    ]
    assert upwards == ["vitrina.evaluation.evaluate"]


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("classification/linear.py", "from vitrina.evaluation.protocol import run_cell"),
        ("classification/linear.py", "import vitrina.evaluation.protocol"),
        ("classification/linear.py", "from vitrina.evaluation import protocol"),
        ("data/tables.py", "from vitrina.text.normalize import Normalizer"),
        ("encoder/embed.py", "def embed():\n    from vitrina.pretraining.train import train"),
        ("files.py", "from vitrina.data.tables import scan"),
        ("ragged.py", "from vitrina import InputError"),
        ("pages/html.py", "from vitrina.evaluation.report import write_report"),
    ],
)
def test_a_wrong_import_is_found(tmp_path: Path, module: str, line: str) -> None:
    """The check above can fail: it finds a wrong import in a copy of the package's modules."""
    root = tmp_path / "vitrina"
    for path in ROOT.rglob("*.py"):
        copy = root / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.touch()
    (root / module).write_text(line)
    (found,) = wrong_imports(imports_by_module(root))
    assert found.startswith(module_name(root / module, root) + " -> ")


def test_no_circle_of_imports(imports: dict[str, set[str]]) -> None:
    # `__init__` files are left out: that of the root names everything, the others are empty.
    circle_free = {
        module: {name for name in imported if name != "vitrina"}
        for module, imported in imports.items()
        if module != "vitrina"
    }
    TopologicalSorter(circle_free).prepare()  # CycleError names the circle


def test_no_two_modules_have_the_same_file_name() -> None:
    names = Counter(path.name for path in ROOT.rglob("*.py") if path.name != "__init__.py")
    assert [name for name, count in names.items() if count > 1] == []


def test_contributing_has_the_same_table() -> None:
    """The rows of `| step | package | may import |`, in their order."""
    lines = CONTRIBUTING.read_text("utf-8").splitlines()
    start = lines.index("| step | package | may import |") + 2
    table: dict[str, set[str]] = {}
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        _, _, package, may_import, _ = line.split("|")
        for name in re.findall(r"`vitrina\.([\w.]+)`", package):
            table[name] = set(re.findall(r"`vitrina\.([\w.]+)`", may_import))
    assert table == MAY_IMPORT
    assert list(table) == list(MAY_IMPORT)


def test_public_names_agree_and_resolve() -> None:
    """The imports for type checkers name the same things from the same modules as `_HOME`."""
    for_checkers = {}
    for node in ast.walk(ast.parse((ROOT / "__init__.py").read_text("utf-8"))):
        if isinstance(node, ast.If):
            for statement in node.body:
                if isinstance(statement, ast.ImportFrom):
                    for alias in statement.names:
                        assert alias.asname == alias.name  # else checkers hold it for private
                        for_checkers[alias.name] = statement.module
    assert for_checkers == vitrina._HOME
    assert vitrina.__all__ == dir(vitrina) == sorted(["__version__", *for_checkers])
    for name, module in for_checkers.items():
        assert getattr(vitrina, name) is getattr(import_module(str(module)), name)
        assert getattr(vitrina, name).__module__ == module  # where it is defined
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = vitrina.trian


WITHOUT_TORCH = """
from importlib.machinery import PathFinder
found = PathFinder.find_spec
PathFinder.find_spec = lambda name, *rest: None if name == "torch" else found(name, *rest)
"""


@pytest.mark.parametrize(
    "code",
    [
        "from vitrina import *; TitleEncoder, TitleClassifier",
        "import inspect, vitrina; inspect.getmembers(vitrina)",
        "import pydoc, vitrina; pydoc.render_doc(vitrina)",
    ],
)
def test_the_package_can_be_looked_at_without_torch(code: str) -> None:
    subprocess.run([sys.executable, "-c", WITHOUT_TORCH + code], check=True)


def loaded_by(code: str, *arguments: str | Path) -> set[str]:
    """The modules that a new process has loaded after running the code."""
    report = "\nimport sys; print('\\n'.join(sys.modules), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code + report, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stderr.split())


def test_import_vitrina_loads_nothing_else() -> None:
    loaded = loaded_by("import vitrina")
    assert "numpy" not in loaded
    assert {name for name in loaded if name.startswith("vitrina.")} == {"vitrina._version"}


def test_using_an_encoder_loads_only_what_it_needs(encoder: TitleEncoder, tmp_path: Path) -> None:
    encoder.save(tmp_path / "encoder")
    loaded = loaded_by(
        "import sys, vitrina; vitrina.TitleEncoder.load(sys.argv[1]).transform(['milk'])",
        tmp_path / "encoder",
    )
    assert not loaded & {"torch", "sklearn", "matplotlib", "polars", "pandas", "pyarrow"}
    packages = {name.split(".")[1] for name in loaded if name.startswith("vitrina.")}
    assert not packages & {"data", "pretraining", "classification", "evaluation", "pages", "demo"}


HELP = "from vitrina.cli.entry import _exit_code; assert _exit_code(sys.argv[1:]) == 0"


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["embed", "--help"]])
def test_help_loads_no_library_for_data(arguments: list[str]) -> None:
    loaded = loaded_by(f"import sys; {HELP}", *arguments)
    assert not loaded & {"torch", "sklearn", "matplotlib", "numba", "polars", "numpy"}


def test_help_on_training_loads_no_torch() -> None:
    loaded = loaded_by(f"import sys; {HELP}", "train", "--help")
    assert not loaded & {"torch", "sklearn", "matplotlib"}


def test_help_on_evaluation_loads_no_torch() -> None:
    loaded = loaded_by(f"import sys; {HELP}", "evaluate", "--help")
    assert not loaded & {"torch", "matplotlib"}
