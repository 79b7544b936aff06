"""The public settings files are understood key by key."""

from __future__ import annotations

from pathlib import Path

import pytest

from kgmet.base.errors import ConfigError
from kgmet.editing.config import EditConfig
from kgmet.evaluate.runs.hparams import load_hparams, shipped_hparams
from tests.evaluate.records import written

PUBLIC = {
    "model_name": "Llama3-8B",
    "layers": [4, 5, 6, 7, 8],
    "clamp_norm_factor": 0.75,
    "layer_selection": "all",
    "fact_token": "subject_last",
    "v_num_grad_steps": 25,
    "v_lr": 1e-1,
    "v_loss_layer": 31,
    "v_weight_decay": 0.5,
    "kl_factor": 0.0625,
    "mom2_adjustment": True,
    "mom2_update_weight": 15000,
    "rewrite_module_tmp": "model.layers.{}.mlp.down_proj",
    "layer_mlp_input": "model.layers.{}.mlp.down_proj",
    "ln_f_module": "model.norm",
    "mom2_dataset": "wikipedia",
    "nullspace_threshold": 2e-2,
    "L2": 10,
    "subgraph_size": 35,
    "gnn_fact_token_strategy": "avg",
    "gnn_feat_drop": 0.0,
    "get_repr_layer": 5,
    "gnn_loss_layer": 31,
    "gnn_lr": 1e-1,
    "factor_g": 10,
}


def test_a_public_file_reaches_every_setting_it_names(tmp_path: Path) -> None:
    found = load_hparams(written(tmp_path / "Llama3-8B.json", PUBLIC), base=EditConfig())
    config = found.config
    assert config.write.layers == (4, 5, 6, 7, 8)
    assert config.write.ridge == 10.0
    assert config.target.max_norm_ratio == 0.75
    assert config.target.max_steps == 25
    assert config.target.weights.anchor == 0.0625
    assert config.target.weights.length == 0.5
    assert config.cutoff.value == 2e-2
    assert config.subgraph.max_triples == 35
    assert config.direction.feature_layer == 5
    assert config.write.moment_weight == 15000.0


def test_keys_without_effect_are_reported_with_the_reason(tmp_path: Path) -> None:
    found = load_hparams(written(tmp_path / "a.json", PUBLIC), base=EditConfig())
    assert {"v_lr", "v_loss_layer", "ln_f_module", "factor_g", "mom2_dataset"} <= set(found.without_effect)
    assert not {"layers", "L2"} & set(found.without_effect)
    assert all(found.without_effect.values())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"learning_rate": 1}, "unknown key 'learning_rate'"),
        ({"fact_token": "last"}, "fact_token can only be 'subject_last'"),
        ({"layers": "4"}, "write.layers must be a list"),
        ({"clamp_norm_factor": -1}, "max_norm_ratio must be above 0"),
    ],
)
def test_what_is_not_understood_is_refused(change: dict[str, object], words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        load_hparams(written(tmp_path / "a.json", PUBLIC | change), base=EditConfig())


@pytest.mark.parametrize("name", ["Llama3-8B.json", "EleutherAI_gpt-j-6B.json", "gpt2-xl.json"])
def test_the_public_names_come_with_the_program_and_have_no_dead_key(name: str) -> None:
    assert name in shipped_hparams()
    assert not load_hparams(f"KGMET/{name}", base=EditConfig()).without_effect


def test_what_a_file_leaves_out_stays_the_editors(tmp_path: Path) -> None:
    base = load_hparams("gpt2-xl.json", base=EditConfig()).config
    found = load_hparams(written(tmp_path / "a.json", {"L2": 3}), base=base).config
    assert found.write.layers == base.write.layers
    assert found.write.ridge == 3.0


def test_our_own_files_are_toml(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text("[write]\nlayers = [1, 2]\n", encoding="utf-8")
    assert load_hparams(tmp_path / "own.toml", base=EditConfig()).config.write.layers == (1, 2)


def test_a_missing_file_names_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"gpt2-xl\.json"):
        load_hparams("bert.json", base=EditConfig())
