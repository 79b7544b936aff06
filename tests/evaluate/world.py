"""A tiny model on disk, a data file and settings that fit it: what runs are tested on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kgmet.evaluate.runs.engine import Job, JobOptions
from kgmet.evaluate.runs.score import ScoreConfig
from tests.evaluate.records import counterfact, written
from tests.tiny_models import tiny_model, tiny_tokenizer

SCORE = ScoreConfig(free_tokens=4, n_generation=1, generation_tokens=6)


def tiny_world(folder: Path, *, n_case: int) -> Path:
    """Write model, data and settings into `folder`."""
    model = folder / "model"
    tiny_model("llama").save_pretrained(model)
    tiny_tokenizer().save_pretrained(model)
    written(folder / "cases.json", [counterfact(n) for n in range(n_case)])
    (folder / "own.toml").write_text("[write]\nlayers = [0, 1]\n[target]\nmax_steps = 3\n", encoding="utf-8")
    return folder


def tiny_job(world: Path, out: Path, editor: str = "AlphaEdit", **options: Any) -> Job:
    """A run over the tiny world."""
    given: dict[str, Any] = {
        "model": str(world / "model"),
        "ds_name": "mcf",
        "ds_path": world / "cases.json",
        "hparams_fname": str(world / "own.toml"),
        "num_edits": 2,
        "score": SCORE,
        "no_graph": True,
        "device": "cpu",
        "out": out,
    }
    return Job(editor=editor, options=JobOptions(**given | options))
