"""What other threads make of the process changes no edit and no answer, not by one bit."""

from __future__ import annotations

import ast
import functools
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from kgmet.editing.context import prepare_edit
from kgmet.editing.editors import EDITORS
from kgmet.editing.plan import EditPlan, plan_edits
from kgmet.editing.report import report_edit
from kgmet.fact import FactEdit
from kgmet.graph.relations import RelationCatalogue
from kgmet.lm.load.description import read_config
from kgmet.lm.load.loaded import LoadedLM, load_lm
from kgmet.lm.load.shape import ModelShape
from kgmet.lm.say.score import generate, next_logits
from kgmet.write.corpus import Corpus
from kgmet.write.patch import attached
from kgmet.write.statistics import KeyStatistics
from tests.editing.small import small_editor
from tests.forecast.tiny_world import known_world
from tests.graph.small_world import world
from tests.tiny_fixtures import own_cache_folder  # noqa: F401  a cache of its own for each test
from tests.tiny_models import tiny_lm, tiny_model, tiny_tokenizer

ROOT = Path(__file__).resolve().parents[1]
CATALOGUE = RelationCatalogue.load()
LINES = tuple(f"The {a} of {b} is a city of France." for a in ("city", "tower") for b in ("Rome", "Tokyo", "Paris"))
TOWER = FactEdit(subject="The Eiffel Tower", template="{} is located in the city of", new_object="Tokyo")
KINDS = ("llama", "mistral-sliding", "qwen3", "gemma3", "olmo2", "gpt2", "gptj", "gpt_neox", "phi", "phi3")


def planned(lm: LoadedLM, name: str) -> EditPlan:
    """Measure the statistics, search and write."""
    editor = small_editor(EDITORS[name], steps=4)
    context = prepare_edit(TOWER, store=world(), catalogue=CATALOGUE, config=editor.config)
    statistics = KeyStatistics(lm, Corpus(name="test", lines=LINES))
    return plan_edits(lm, [context], editor=editor, statistics=statistics)


def whole_run(folder: Path, name: str) -> list[object]:
    """Load, edit, ask, sample: everything that comes out, to be compared to the bit."""
    lm = load_lm(str(folder), device="cpu")
    plan = planned(lm, name)
    report = report_edit(lm, plan).to_json() | {"seconds": None}
    with attached(plan.patch, lm):
        texts = generate(lm, [TOWER.prompt, "Rome is"], max_new_tokens=8, temperature=1.0, seed=3)
        logits = next_logits(lm, [TOWER.prompt])
    weights = tuple((key, str(value.dtype)) for key, value in lm.model.state_dict().items())
    return [lm.fingerprint, weights, plan.patch.id, report, texts, logits.numpy().tobytes()]


def saved(kind: str, folder: Path, *, dtype: torch.dtype = torch.float32) -> Path:
    """A tiny model as files."""
    tiny_model(kind).to(dtype).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def fresh_cache(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Statistics are measured anew, not read."""
    monkeypatch.setenv("KGMET_CACHE", str(folder))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_another_default_dtype_and_seed_change_nothing(
    dtype: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = saved("llama", tmp_path / "model")
    expected = whole_run(folder, "KGMET")
    fresh_cache(monkeypatch, tmp_path / "other")
    torch.manual_seed(99)
    with default_dtype(dtype):
        assert whole_run(folder, "KGMET") == expected
        assert torch.get_default_dtype() is dtype


# The editors take turns with the dtypes: what they share, and that is most of it, meets both.
@pytest.mark.parametrize(
    ("name", "dtype"), list(zip(EDITORS, itertools.cycle([torch.float64, torch.bfloat16]), strict=False)), ids=str
)
def test_so_it_is_with_every_editor(
    name: str, dtype: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loading, asking and sampling are the same for all."""
    monkeypatch.setattr("kgmet.editing.factories.sample_store", lambda: known_world(tiny_lm())[0])
    expected = planned(tiny_lm(), name).patch.id
    fresh_cache(monkeypatch, tmp_path / "other")
    torch.manual_seed(99)
    with default_dtype(dtype):
        assert planned(tiny_lm(), name).patch.id == expected


@pytest.mark.parametrize("kind", KINDS)
def test_so_it_is_in_every_family(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = saved(kind, tmp_path / "model")
    expected = whole_run(folder, "KGMET")
    fresh_cache(monkeypatch, tmp_path / "other")
    with default_dtype(torch.float64):
        assert whole_run(folder, "KGMET") == expected


def test_threads_that_load_describe_and_generate_change_nothing(tmp_path: Path) -> None:
    folder = saved("llama", tmp_path / "model")
    half = saved("gemma3", tmp_path / "half", dtype=torch.bfloat16)
    expected = whole_run(folder, "KGMET")
    other = tiny_lm("gpt2")  # all tests share it: it is made before another thread sets a seed
    done, faults, rounds = threading.Event(), [], []

    def busy(work: Callable[[], object]) -> None:
        try:
            while not done.is_set():
                work()
                rounds.append(1)
        except BaseException as error:
            faults.append(error)

    def watch() -> None:
        torch.set_default_device("meta")  # which is this thread's alone
        assert torch.get_default_dtype() is torch.float32, "the process's default dtype was changed"
        time.sleep(0.001)

    works = (
        lambda: ModelShape.of_config(read_config(str(half))[0]),
        lambda: load_lm(str(half), device="cpu", dtype=torch.bfloat16),
        lambda: load_lm(str(half), device="cpu"),
        lambda: generate(other, ["Rome is"], max_new_tokens=4, temperature=1.0, seed=len(rounds)),
        lambda: torch.manual_seed(len(rounds)),
        watch,
    )
    threads = [threading.Thread(target=busy, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    try:
        for _ in range(2):
            assert whole_run(folder, "KGMET") == expected
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert not faults
    assert len(rounds) > len(works)


@functools.cache
def parsed(folder: str) -> list[tuple[Path, list[ast.AST]]]:
    """The files of a folder, each with all its nodes."""
    files = sorted((ROOT / folder).rglob("*.py"))
    return [(path, list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))) for path in files]


def test_every_new_tensor_of_the_library_names_its_dtype() -> None:
    """A law that holds in files no test above runs through."""
    makers = {"zeros", "ones", "empty", "eye", "full", "rand", "randn", "linspace", "logspace", "tensor", "as_tensor"}
    faults = []
    for path, nodes in parsed("kgmet"):
        for node in nodes:
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            is_torch = isinstance(node.func.value, ast.Name) and node.func.value.id == "torch"
            if is_torch and node.func.attr in makers and "dtype" not in {word.arg for word in node.keywords}:
                faults.append(f"{path.relative_to(ROOT)}:{node.lineno}: torch.{node.func.attr}")
    assert not faults


def test_no_code_sets_a_state_of_the_whole_process() -> None:
    """Threads are counted where a program starts, nowhere else."""
    setters = {"set_default_dtype", "set_default_device", "set_default_tensor_type", "manual_seed", "manual_seed_all"}
    setters |= {"fork_rng", "set_rng_state", "use_deterministic_algorithms", "set_num_interop_threads"}
    faults = []
    for path, nodes in (*parsed("kgmet"), *parsed("workbench")):
        for node in nodes:
            if isinstance(node, ast.Attribute) and node.attr in setters:
                owner = ast.unparse(node.value)
                if owner.startswith("torch") and not owner.startswith("torch.Generator("):
                    faults.append(f"{path.relative_to(ROOT)}:{node.lineno}: {owner}.{node.attr}")
    assert not faults
