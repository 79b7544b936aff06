"""The one direction of the architecture, enforced by reading every import statement."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# A unit imports from itself and from units above it in this list, so there is no circle. `graph` and `lm` do not know
# each other.
ORDER = (
    "base", "fact", "fact_table",
    "graph", "graph.stores", "graph.sparql", "graph.wording", "graph.reading",
    "lm.load", "lm.run", "lm.say",
    "search.directions", "search",
    "write", "write.writers",
    "measure",
    "forecast",
    "editing",
    "inspect", "calibrate", "research",
    "evaluate.datasets", "evaluate.runs", "evaluate.tables", "evaluate.card",
    "cli", "__main__",
)  # fmt: skip
APP_ORDER = ("wording", "running", "state", "drawing", "shared", "screens", "shell", "app")
FREE_OF_STREAMLIT = ("drawing",)
FREE_OF_STREAMLIT_ENDING = ("view.py", "tables.py", "text.py")
IMPORT_NAME = {"pytest-xdist": "xdist", "pyyaml": "yaml", "pillow": "PIL"}


def python_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


@cache
def imports_of(path: Path) -> list[tuple[str, int]]:
    """Every module a file imports, as absolute dotted names with their line, wherever the statement stands."""
    return list(_imports_of(path))


def _imports_of(path: Path) -> Iterator[tuple[str, int]]:
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            stem = list(package[: len(package) - node.level + 1]) if node.level else []
            base = ".".join([*stem, *([node.module] if node.module else [])])
            # `from kgmet import graph` imports kgmet.graph
            yield from ((f"{base}.{alias.name}" if is_package(base) else base, node.lineno) for alias in node.names)


def is_package(module: str) -> bool:
    return module.split(".")[0] in {"kgmet", "workbench"} and (ROOT / module.replace(".", "/")).is_dir()


def unit_of(module: str, order: tuple[str, ...] = ORDER, package: str = "kgmet") -> str | None:
    """`kgmet.graph.stores.memory` → `graph.stores`, `kgmet.graph.triple` → `graph`; other modules → None."""
    parts = module.split(".")
    if parts[0] != package or len(parts) < 2:
        return None
    found = (".".join(parts[1:length]) for length in (3, 2))
    return next((unit for unit in found if unit in order), parts[1])


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def wrong_arrow(importer: str, imported: str, order: tuple[str, ...] = ORDER) -> str | None:
    """Why `importer` may not import `imported`, or None."""
    if importer == imported or importer == "__init__":
        return None
    for unit in (importer, imported):
        if unit not in order:
            return f"{unit} has no place in the order; give it one"
    if {importer.split(".")[0], imported.split(".")[0]} == {"graph", "lm"}:
        return "lm and graph do not know each other"
    if order.index(imported) > order.index(importer):
        return f"{importer} stands before {imported}"
    return None


@pytest.mark.parametrize("path", python_files("kgmet"), ids=lambda path: str(path.relative_to(ROOT)))
def test_kgmet_imports_only_what_stands_before_it(path: Path) -> None:
    faults = []
    for module, line in imports_of(path):
        top = module.split(".")[0]
        if top in {"streamlit", "workbench", "pages"}:
            faults.append(f"line {line}: kgmet knows nothing of {top}")
        imported, importer = unit_of(module), unit_of(module_of(path)) or "__init__"
        if imported is not None and (fault := wrong_arrow(importer, imported)):
            faults.append(f"line {line}: imports {module}: {fault}")
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("path", python_files("workbench"), ids=lambda path: str(path.relative_to(ROOT)))
def test_workbench_imports_only_what_stands_before_it(path: Path) -> None:
    """No circle, and no screen imports another: a page can be read, changed or deleted without opening a sibling."""
    faults = []
    own = path.relative_to(ROOT).parts[1:3]
    for module, line in imports_of(path):
        imported = unit_of(module, APP_ORDER, "workbench")
        importer = unit_of(module_of(path), APP_ORDER, "workbench") or "__init__"
        if imported is not None and (fault := wrong_arrow(importer, imported, APP_ORDER)):
            faults.append(f"line {line}: imports {module}: {fault}")
        if own[0] == imported == "screens" and module.split(".")[2] != own[1]:
            faults.append(f"line {line}: the screen {own[1]} imports another one: {module}")
    assert not faults, "\n".join(faults)


def test_workbench_does_not_import_pages() -> None:
    faults = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in python_files("workbench")
        for module, line in imports_of(path)
        if module.split(".")[0] == "pages"
    ]
    assert not faults


def way_to_streamlit(path: Path, seen: set[Path]) -> list[str]:
    """The modules through which `path` imports Streamlit, itself first; empty if it does not."""
    seen.add(path)
    here = module_of(path)
    for module, _ in imports_of(path):
        if module.split(".")[0] == "streamlit":
            return [here, module]
        for file in files_of(module):
            if file not in seen and (way := way_to_streamlit(file, seen)):
                return [here, *way]
    return []


@cache
def files_of(module: str) -> list[Path]:
    """What Python runs to import a module of ours: its file and each `__init__` above it."""
    parts = module.split(".")
    if parts[0] not in {"kgmet", "workbench"}:
        return []
    inits = [ROOT.joinpath(*parts[:length], "__init__.py") for length in range(1, len(parts) + 1)]
    return [file for file in (*inits, ROOT.joinpath(*parts).with_suffix(".py")) if file.is_file()]


@pytest.mark.parametrize(
    "path",
    [
        path
        for path in python_files("workbench")
        if path.parent.name in FREE_OF_STREAMLIT or path.name.endswith(FREE_OF_STREAMLIT_ENDING)
    ],
    ids=module_of,
)
def test_figures_and_tables_are_made_without_streamlit(path: Path) -> None:
    """Neither directly nor through a module they import."""
    assert way_to_streamlit(path, set()) == []


def test_a_way_to_streamlit_is_found() -> None:
    way = way_to_streamlit(ROOT / "workbench" / "app.py", set())
    assert way[0] == "workbench.app"
    assert way[-1].startswith("streamlit")


def declared(*files: str) -> set[str]:
    lines = [line for name in files for line in (ROOT / name).read_text(encoding="utf-8").splitlines()]
    names = {re.split(r"[^A-Za-z0-9._-]", line)[0].lower() for line in lines if line and line[0] not in "#-"}
    return {IMPORT_NAME.get(name, name).replace("-", "_") for name in names}


@pytest.mark.parametrize(
    ("folders", "files"),
    [
        (("kgmet", "workbench", "pages"), ("requirements.txt",)),
        (("tests", "scripts", "benchmarks"), ("requirements.txt", "requirements-dev.txt", "requirements-data.txt")),
    ],
    ids=["user", "developer"],
)
def test_every_package_imported_is_declared(folders: tuple[str, ...], files: tuple[str, ...]) -> None:
    """What works here only because something else happened to install it fails at the user's."""
    own = {"kgmet", "workbench", "pages", "tests", "scripts", "benchmarks", "conftest"}
    own |= {path.stem for folder in ("tests", "scripts", "benchmarks") for path in (ROOT / folder).rglob("*.py")}
    own |= {path.name for folder in ("tests", "scripts", "benchmarks") for path in (ROOT / folder).rglob("*")}
    known = own | declared(*files) | set(sys.stdlib_module_names)
    missing = {
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in python_files(*folders)
        for module, line in imports_of(path)
        if module.split(".")[0] not in known
    }
    assert not missing, "\n".join(sorted(missing))


def test_importing_kgmet_needs_nothing_but_python() -> None:
    """As in an empty environment: no site-packages at all, from a folder that is not the repository."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import kgmet; print(kgmet.__version__)"
    done = subprocess.run(
        [sys.executable, "-S", "-E", "-c", code], capture_output=True, text=True, cwd="/", check=False
    )
    assert done.returncode == 0, done.stderr
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert done.stdout.strip() == version


def test_importing_kgmet_loads_no_heavy_package() -> None:
    code = "import sys, kgmet; print(sorted({'torch', 'transformers', 'dgl', 'pandas', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("lm.load", "graph"),
        ("graph.reading", "lm.say"),
        ("fact", "graph"),
        ("search.directions", "search"),
        ("write", "measure"),
        ("measure", "editing"),
    ],
)
def test_a_wrong_arrow_is_seen(importer: str, imported: str) -> None:
    assert wrong_arrow(importer, imported) is not None


@pytest.mark.parametrize("path", python_files("kgmet"), ids=lambda path: str(path.relative_to(ROOT)))
def test_packages_can_be_found_when_installed(path: Path) -> None:
    """Setuptools leaves out a folder without `__init__.py`, and the installed library then lacks it."""
    assert (path.parent / "__init__.py").is_file()
