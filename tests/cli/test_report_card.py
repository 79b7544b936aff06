"""The report-card command: patches, adapters that peft made, checkpoints; what is refused, and by what name."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from kgmet.base.errors import BrokenArtifactError, ConfigError, RequestError, StaleArtifactError
from kgmet.cli import report_card
from kgmet.editing.editors import Editor
from kgmet.editing.session import EditSession
from kgmet.fact import save_edits
from kgmet.lm.load.loaded import LoadedLM, wrap_lm
from kgmet.write.export import export_lora, export_merged
from kgmet.write.patch import save_patch
from tests.evaluate.card.test_make import roomy_lm
from tests.evaluate.records import counterfact, written
from tests.graph.small_world import edit, world
from tests.tiny_models import tiny_lm, tiny_model, tiny_tokenizer
from tests.write.tiny_edits import random_patch

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
FACT = ("--subject", "The Eiffel Tower", "--template", "{} is located in the city of", "--new-object", "Rome")


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_card, "load_model", lambda options, _: loaded(options.model))
    monkeypatch.setattr(report_card, "open_store", lambda options: None if options.no_graph else world())


def loaded(name: str) -> LoadedLM:
    if name in ("bundled:smollm2", "base"):
        return tiny_lm()
    from kgmet.lm.load.loaded import load_lm

    return load_lm(name, device="cpu")


def call(*words: str) -> int:
    parser = argparse.ArgumentParser()
    report_card.add_parser(parser.add_subparsers(required=True))
    options = parser.parse_args(["report-card", "--text-tokens", "40", *words])
    return int(options.run(options))


def peft_adapter(folder: Path, modules: list[str], *, kind: str = "llama") -> Path:
    """An adapter that peft made and saved; it changes what the model says."""
    from peft import LoraConfig, get_peft_model

    model: Any = get_peft_model(tiny_model(kind), LoraConfig(r=4, lora_alpha=10, target_modules=modules))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(generator=torch.Generator().manual_seed(len(name)))
    model.save_pretrained(folder)
    return folder


def test_a_patch_says_itself_what_it_changes_and_every_form_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_patch(random_patch(tiny_lm()), tmp_path / "patch")
    outputs = [tmp_path / "new" / f"card{ending}" for ending in (".json", ".md", ".tex", ".html")]
    words = [word for path in outputs for word in ("--out", str(path))]
    assert call("--patch", str(tmp_path / "patch"), "--json", *words) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["edits"] == ["The Eiffel Tower is located in the city of → Rome"]
    assert json.loads(outputs[0].read_text(encoding="utf-8")) == found
    for path in outputs[1:]:
        assert "Efficacy" in path.read_text(encoding="utf-8")
    assert call("--patch", str(tmp_path / "patch")) == 0
    assert "Efficacy" in capsys.readouterr().out


def rename(folder: Path, old: str, new: str) -> None:
    """Give an adapter's tensors other names."""
    path = folder / "adapter_model.safetensors"
    save_file({key.replace(old, new): value for key, value in load_file(path).items()}, path)


@pytest.mark.parametrize("modules", [["down_proj"], ["q_proj", "v_proj"], ["gate_proj", "o_proj"]], ids=str)
def test_an_adapter_that_peft_made_is_scored(
    modules: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = peft_adapter(tmp_path / "adapter", modules)
    assert call("--adapter", str(folder), *FACT, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    (moved,) = (row for row in found["rows"] if row["key"] == "divergence")
    assert moved["cells"]["after"]["value"] > 0
    with pytest.raises(RequestError, match="edited fact is unknown"):
        call("--adapter", str(folder))


def test_an_exported_adapter_knows_its_fact(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = export_lora(random_patch(tiny_lm()), tiny_lm(), tmp_path / "adapter")
    assert call("--adapter", str(folder), "--json") == 0
    assert json.loads(capsys.readouterr().out)["edits"] == ["The Eiffel Tower is located in the city of → Rome"]


def test_an_adapter_of_another_base_or_other_modules_is_refused_by_name(tmp_path: Path) -> None:
    other = export_lora(random_patch(tiny_lm(seed=1)), tiny_lm(seed=1), tmp_path / "other")
    with pytest.raises(StaleArtifactError, match=r"made for model [0-9a-f]+; loaded is tiny llama"):
        call("--adapter", str(other), *FACT)
    absent = peft_adapter(tmp_path / "absent", ["down_proj"], kind="qwen2")
    rename(absent, "mlp.down_proj", "mlp.c_proj")
    with pytest.raises(BrokenArtifactError, match=r"mlp\.c_proj.*tiny llama has no linear module of that name"):
        call("--adapter", str(absent), *FACT)
    wider = peft_adapter(tmp_path / "wider", ["down_proj"])
    rename(wider, "mlp.down_proj", "self_attn.q_proj")
    with pytest.raises(BrokenArtifactError, match=r"q_proj as if it were 32 x 48; in tiny llama it is 32 x 32"):
        call("--adapter", str(wider), *FACT)
    words = export_lora(random_patch(tiny_lm()), tiny_lm(), tmp_path / "words")
    rename(words, "model.layers.1.mlp.down_proj", "model.embed_tokens")
    with pytest.raises(BrokenArtifactError, match=r"embed_tokens"):
        call("--adapter", str(words), *FACT)


def test_an_edited_checkpoint_is_scored_beside_its_base(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    patch = random_patch(tiny_lm())
    export_merged(patch, tiny_lm(), tmp_path / "merged")
    assert call("--model", str(tmp_path / "merged"), "--base", "base", *FACT, "--json") == 0
    merged = json.loads(capsys.readouterr().out)
    save_patch(patch, tmp_path / "patch")
    assert call("--patch", str(tmp_path / "patch"), *FACT, "--json") == 0
    attached = json.loads(capsys.readouterr().out)
    for one, other in zip(merged["rows"], attached["rows"], strict=True):
        assert one["cells"]["after"]["said"] == other["cells"]["after"]["said"], one["key"]
    wrong = wrap_lm(tiny_model("llama"), tiny_tokenizer(bos=True), name="wrong")
    wrong.model.save_pretrained(tmp_path / "wrong")  # type: ignore[operator]
    wrong.tokenizer.save_pretrained(tmp_path / "wrong")
    with pytest.raises(StaleArtifactError, match="different tokenizers"):
        call("--model", str(tmp_path / "wrong"), "--base", "base", *FACT)


def test_several_facts_come_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_patch(random_patch(tiny_lm()), tmp_path / "patch")
    save_edits([edit("Eiffel Tower", "P131", "Rome"), edit("Spain", "P36", "Paris")], tmp_path / "edits.json")
    assert call("--patch", str(tmp_path / "patch"), "--edits", str(tmp_path / "edits.json"), "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["edits"]) == 2


@pytest.mark.parametrize("together", [1, 2])
def test_the_edits_of_a_data_set_are_made_and_counted(
    together: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[int] = []

    def plan(lm: LoadedLM, contexts: Any, **_: object) -> Any:
        """Stands for the editing, which has tests of its own; the patch is any patch."""
        made.append(len(contexts))
        return argparse.Namespace(patch=random_patch(lm))

    monkeypatch.setattr("kgmet.evaluate.card.made.plan_edits", plan)
    written(tmp_path / "cases.json", [counterfact(number) for number in range(3)])
    words = ("--ds_name", "mcf", "--ds_path", str(tmp_path / "cases.json"), "--num_edits", str(together))
    assert call(*words, "--dataset_size_limit", "2", "--no-graph", "--no-context", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert made == [together] * (2 // together)
    assert len(found["edits"]) == 2
    assert [column["key"] for column in found["columns"]] == ["unedited", "after"]


def test_a_ledger_is_scored_as_one_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    session = EditSession(tiny_lm(), graph=None, patches=[random_patch(tiny_lm()), random_patch(tiny_lm(), seed=1)])
    assert call("--ledger", str(session.save(tmp_path / "ledger")), "--no-context", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["edits"]) == 2
    assert "1 edit is not asked, because a later one replaces it." in found["notes"]
    with pytest.raises(ConfigError, match="know their facts"):
        call("--ledger", str(tmp_path / "ledger"), *FACT)
    other = EditSession(tiny_lm(seed=1), graph=None, patches=[random_patch(tiny_lm(seed=1))])
    with pytest.raises(StaleArtifactError, match="was made for model"):
        call("--ledger", str(other.save(tmp_path / "other")))


def test_a_run_is_scored_as_far_as_it_got(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run_000"
    save_patch(random_patch(tiny_lm()), folder / "patches" / "00000")
    header = {
        "settings": {"editor": "AlphaEdit", "mode": "alone", "n_cases": 3},
        "fingerprints": {"model": tiny_lm().fingerprint},
    }
    (folder / "settings.json").write_text(json.dumps(header), encoding="utf-8")
    assert call("--run", str(folder), "--no-context", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["edited"] == "AlphaEdit, run_000"
    assert "The run was not finished: 1 edits of its 3 cases are scored here." in found["notes"]


def test_several_editors_have_a_column_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def plan(lm: LoadedLM, _: Any, *, editor: Editor, **__: object) -> Any:
        return argparse.Namespace(patch=random_patch(lm, seed=len(editor.name)))

    monkeypatch.setattr("kgmet.evaluate.card.made.plan_edits", plan)
    assert call("--editor", "KGMET", "--editor", "AlphaEdit", *FACT, "--json", "--out", str(tmp_path / "card.md")) == 0
    found = json.loads(capsys.readouterr().out)
    assert [column["label"] for column in found["columns"]][1:3] == ["KGMET", "AlphaEdit"]
    assert "| Unedited | KGMET | AlphaEdit |" in (tmp_path / "card.md").read_text(encoding="utf-8")


def test_published_tasks_are_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(report_card, "load_model", lambda *_: roomy_lm())
    rows = [
        {"sentence": f"It is {word}.", "label": n % 2} for n, word in enumerate(("good", "bad", "fine", "poor") * 3)
    ]
    written(tmp_path / "sst2.json", rows)
    save_patch(random_patch(roomy_lm()), tmp_path / "patch")
    words = ("--patch", str(tmp_path / "patch"), "--no-context", "--json")
    assert call(*words, "--downstream_path", str(tmp_path), "--downstream_limit", "5") == 0
    (row,) = (row for row in json.loads(capsys.readouterr().out)["rows"] if row["key"] == "tasks")
    for column in ("unedited", "after"):
        cell = row["cells"][column]
        assert cell["n"] == 5
        assert cell["note"] == f"sst2 {100 * cell['value']:.0f} % of 5"
    with pytest.raises(ConfigError, match="holds none of cola"):
        call(*words, "--downstream_path", str(tmp_path / "patch"))


def test_nothing_is_asked_twice_unless_afresh(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_patch(random_patch(tiny_lm()), tmp_path / "patch")
    words = ("--patch", str(tmp_path / "patch"), "--json")
    kept = tmp_path / "cache" / "cards"
    assert call(*words, "--afresh") == 0
    assert not kept.exists()
    first = json.loads(capsys.readouterr().out)
    assert call(*words) == 0
    sizes = {path: path.stat().st_size for path in kept.iterdir()}
    assert call(*words) == 0
    assert {path: path.stat().st_size for path in kept.iterdir()} == sizes
    lines = capsys.readouterr().out
    assert lines.count('"format": 2') == 2
    for row in first["rows"]:
        assert row["cells"]["after"]["said"] is None or f'"said": {row["cells"]["after"]["said"]}' in lines


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "edited fact is unknown"),
        (("--subject", "Rome"), "all three"),
        (("--out", "card.docx", *FACT), r"\.json, \.md, \.tex, \.html"),
        (("--edits", "edits.json", *FACT), "either --edits or"),
        (("--editor", "NOPE", *FACT), "NOPE"),
        (("--editor", "in-context", *FACT), "writes nothing"),
        (("--ds_name", "own", *FACT), "makes its own edits"),
        (("--ds_name", "nothing"), "no data set 'nothing'"),
    ],
)
def test_what_is_missing_or_wrong_is_said_before_a_model_is_loaded(
    words: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unwanted(*_: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(report_card, "load_model", unwanted)
    with pytest.raises((ConfigError, RequestError), match=message):
        call(*words)


@pytest.mark.parametrize(("more", "says"), [((), "goes on from there"), (("--afresh",), "Nothing is kept")])
def test_a_card_that_is_stopped_says_what_is_kept(
    more: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("kgmet.evaluate.card.score.score_models", stopped)
    assert call(*FACT, "--editor", "ROME", *more) == 130
    assert says in capsys.readouterr().err
