"""Properties of key statistics: exact, resumable, identified by their inputs; and of their free directions."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from kgmet.base.artifact import save_artifact
from kgmet.base.errors import BrokenArtifactError, Cancelled, ConfigError, StaleArtifactError
from kgmet.base.progress import ProgressEvent
from kgmet.lm.run.tracing import recorded
from kgmet.write.corpus import Corpus, bundled_corpus
from kgmet.write.moment_sums import bands_of, rounding_remark
from kgmet.write.moments import KeyMoment, estimate_key_moments, keys_of_text, moments_ready, short_of_text
from kgmet.write.nullspace import Cutoff, CutoffKind, NullSpace
from kgmet.write.spectrum import KeySpectrum, spectrum_of, spectrum_path
from kgmet.write.statistics import KeyStatistics
from tests.progress import StopsAfter
from tests.tiny_models import D_KEY, N_LAYER, tiny_lm
from tests.write.worked import drawn, free_space, key_moment, projector

LINES = tuple(
    f"{start} {end}"
    for start in ("The Eiffel Tower is", "Rome", "In the news today: the capital of Italy is", "Big Ben")
    for end in ("located in the city of Paris", "too", "a text about rivers", "what the guide said", "short")
)
CORPUS = Corpus(name="test", lines=LINES, n_token=12)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma2"])
@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_a_moment_is_the_mean_over_all_tokens(kind: str, batch_size: int) -> None:
    lm = tiny_lm(kind)
    found = estimate_key_moments(lm, [1, 3], corpus=CORPUS, batch_size=batch_size)
    for layer in (1, 3):
        total, n_token = torch.zeros(D_KEY, D_KEY, dtype=torch.float64), 0
        for line in LINES:
            ids = torch.tensor([lm.tokenizer(line)["input_ids"][:12]])
            with torch.no_grad(), recorded([lm.family.write_module(lm.model, layer)], inputs=True) as keys:
                lm.model(ids, use_cache=False)
            assert keys[0] is not None
            total += (keys[0][0].T @ keys[0][0]).double()
            n_token += ids.shape[1]
        assert found[layer].n_token == n_token
        torch.testing.assert_close(found[layer].second_moment, total / n_token, rtol=1e-4, atol=1e-5)


def test_a_second_time_it_comes_from_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny_lm()
    assert not moments_ready(lm, [1], CORPUS)
    first = estimate_key_moments(lm, [1], corpus=CORPUS)
    assert moments_ready(lm, [1], CORPUS)
    monkeypatch.setattr("kgmet.write.moments._keys_of", None)  # nothing may run the model again
    again = estimate_key_moments(lm, [1], corpus=CORPUS)
    assert torch.equal(first[1].second_moment, again[1].second_moment)
    assert not moments_ready(lm, [1], Corpus(name="test", lines=LINES, n_token=5)), "cut elsewhere is another text"
    assert not moments_ready(tiny_lm(seed=1), [1], CORPUS)


def test_what_was_stopped_goes_on_where_it_was(own_cache_folder: Path) -> None:
    lm = tiny_lm()
    whole = estimate_key_moments(lm, [1], corpus=CORPUS, batch_size=1)
    for path in own_cache_folder.rglob("*.safetensors"):
        path.unlink()
    with pytest.raises(Cancelled):
        estimate_key_moments(lm, [1], corpus=CORPUS, batch_size=1, progress=StopsAfter(12))
    heard = StopsAfter(1000)
    resumed = estimate_key_moments(lm, [1], corpus=CORPUS, batch_size=1, progress=heard)
    assert min(heard.done[1:]) == 12, "all that was done was kept when it was stopped"
    # What is kept in between is float32.
    torch.testing.assert_close(resumed[1].second_moment, whole[1].second_moment, rtol=1e-6, atol=1e-6)
    assert not list(own_cache_folder.rglob("partial-*"))


def test_a_layer_out_of_range_is_refused() -> None:
    with pytest.raises(ConfigError, match=f"0 to {N_LAYER - 1}"):
        estimate_key_moments(tiny_lm(), [N_LAYER], corpus=CORPUS)


def test_a_moment_of_another_model_is_refused(tmp_path: Path) -> None:
    key_moment(model="theirs").save(tmp_path / "m.safetensors")
    with pytest.raises(StaleArtifactError, match="theirs"):
        KeyMoment.load(tmp_path / "m.safetensors", model_fingerprint="ours")
    assert KeyMoment.load(tmp_path / "m.safetensors", model_fingerprint="theirs").n_token == 200


@pytest.mark.parametrize("content", [b"", b"\xff" * 100, None])
def test_a_damaged_moment_is_refused(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    key_moment().save(path)
    path.write_bytes(path.read_bytes()[:-9] if content is None else content)
    with pytest.raises(BrokenArtifactError, match="Delete it"):
        KeyMoment.load(path, model_fingerprint="m")


@pytest.mark.parametrize("wrong", [drawn(3, 4, seed=0), drawn(3, 3, seed=0), torch.eye(3)])
def test_a_moment_is_square_symmetric_and_float64(wrong: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="second_moment"):
        KeyMoment(layer=0, second_moment=wrong, n_token=1, corpus="c", model_fingerprint="m")


def test_a_corpus_is_a_text_of_some_length(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("\n\n".join(LINES), encoding="utf-8")
    assert Corpus.from_file(path).lines == LINES
    path.write_text("one line", encoding="utf-8")
    with pytest.raises(ConfigError, match="it has 1"):
        Corpus.from_file(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="UTF-8"):
        Corpus.from_file(path)
    assert len(bundled_corpus().lines) > 100


VALUES = torch.tensor([0.001, 0.01, 0.015, 0.1, 1.0, 5000.0], dtype=torch.float64)


@pytest.mark.parametrize(
    ("kind", "value", "rank"),
    [
        (CutoffKind.ABSOLUTE, 2e-2, 3),
        (CutoffKind.ABSOLUTE, 1e-9, 1),
        (CutoffKind.ABSOLUTE, 1e9, 6),
        (CutoffKind.RANK, 0.5, 3),
        (CutoffKind.RANK, 1.0, 6),
        (CutoffKind.ENERGY, 0.03, 3),
        (CutoffKind.ENERGY, 0.2, 4),
    ],
)
def test_each_cutoff_counts_as_it_says(kind: CutoffKind, value: float, rank: int) -> None:
    assert Cutoff(kind=kind, value=value).rank(VALUES) == rank


@pytest.mark.parametrize(("kind", "value"), [("absolute", 0), ("rank", 1.5), ("energy", -1), ("rank", float("nan"))])
def test_a_cutoff_out_of_range_is_refused(kind: str, value: float) -> None:
    with pytest.raises(ConfigError, match="cutoff"):
        Cutoff(kind=CutoffKind(kind), value=value)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_the_projector_is_one_whichever_side_is_kept(share: float) -> None:
    free = free_space(share)
    p = projector(free)
    torch.testing.assert_close(p @ p, p)
    torch.testing.assert_close(p, p.T)
    assert round(float(p.trace())) == free.rank
    assert free.is_free == (free.rank <= free.d_key // 2)
    energy = float((p @ key_moment().second_moment).trace() / key_moment().second_moment.trace())
    assert free.kept_energy == pytest.approx(energy, rel=1e-6)


def test_free_directions_know_their_model_and_are_the_weakest() -> None:
    moment = key_moment()
    free = NullSpace.from_moment(moment, Cutoff(kind=CutoffKind.RANK, value=0.25))
    assert free.model_fingerprint == "m"
    strength = (free.basis.T @ moment.second_moment @ free.basis).diagonal()
    torch.testing.assert_close(strength, free.eigenvalues[: free.rank])


def test_a_spectrum_is_worked_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = key_moment()
    first = spectrum_of(moment)
    torch.testing.assert_close(
        first.vectors @ torch.diag(first.values) @ first.vectors.T, moment.second_moment, rtol=1e-10, atol=1e-12
    )
    monkeypatch.setattr(torch.linalg, "eigh", None)
    assert torch.equal(spectrum_of(moment).vectors, first.vectors)
    with pytest.raises(TypeError):
        spectrum_of(key_moment(seed=1))


@pytest.mark.parametrize("content", [b"", b"\xff" * 100])
def test_a_damaged_spectrum_is_worked_out_anew(content: bytes) -> None:
    moment = key_moment()
    first = spectrum_of(moment)
    path = spectrum_path(moment)
    path.write_bytes(content)
    with pytest.raises(BrokenArtifactError):
        KeySpectrum.load(path)
    assert torch.equal(spectrum_of(moment).values, first.values)
    assert torch.equal(KeySpectrum.load(path).values, first.values)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_kept_moment_or_spectrum_with_nan_or_infinity_is_damaged(
    value: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = key_moment()
    bands = bands_of(moment.second_moment)
    bands["band.0"][0, 3] = value
    monkeypatch.setattr("kgmet.write.moments.bands_of", lambda _: bands)
    moment.save(tmp_path / "moment")
    with pytest.raises(BrokenArtifactError, match=r"'band\.0' holds NaN or infinity\. Delete it to estimate it again"):
        KeyMoment.load(tmp_path / "moment", model_fingerprint="m")
    good = spectrum_of(moment)
    vectors = good.vectors.clone()
    vectors[2, 2] = value
    save_artifact(spectrum_path(moment), {"values": good.values, "vectors": vectors})
    assert torch.equal(spectrum_of(moment).vectors, good.vectors)


def test_too_little_text_behind_wide_keys_is_said_once_with_what_to_do() -> None:
    lm, said = tiny_lm(), []

    class Hears(StopsAfter):
        def report(self, event: ProgressEvent) -> None:
            said.extend(filter(None, [event.detail.get("note")]))

    estimate_key_moments(lm, [1, 2], corpus=CORPUS, progress=Hears(1000))
    n_token = sum(min(len(lm.tokenizer(line)["input_ids"]), 12) for line in LINES)
    assert n_token < 5 * D_KEY
    assert len(said) == 1 and f"rest on {n_token:,} tokens for keys of width {D_KEY}" in said[0]
    assert f"at least {5 * D_KEY:,} tokens, one passage a line: --corpus FILE" in said[0]
    estimate_key_moments(lm, [1, 2], corpus=CORPUS, progress=Hears(1000))
    assert len(said) == 1, "what is on disk is not complained of again"
    assert not short_of_text(5 * D_KEY, D_KEY)


def test_the_bundled_text_is_too_little_for_a_model_of_8_billion_parameters_and_enough_for_the_bundled_ones() -> None:
    n_token = 29_000
    said = short_of_text(n_token, 14_336)
    assert "29,000 tokens for keys of width 14,336" in said and "at least 71,680 tokens" in said
    assert not short_of_text(n_token, 1536) and not short_of_text(n_token, 2048)


def test_keys_of_text_are_those_that_the_moment_sums() -> None:
    lm = tiny_lm()
    keys = keys_of_text(lm, LINES, [1, 3], n_token=12, batch_size=7)
    found = estimate_key_moments(lm, [1, 3], corpus=CORPUS)
    for layer, rows in keys.items():
        assert len(rows) == found[layer].n_token
        torch.testing.assert_close(
            (rows.T @ rows).double() / len(rows), found[layer].second_moment, rtol=1e-4, atol=1e-5
        )


def test_a_device_that_rounds_factors_is_remarked_on() -> None:
    assert not rounding_remark(torch.device("cuda")), "TF32 is off by default"
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        assert "allow_tf32 = False" in rounding_remark(torch.device("cuda"))
        assert not rounding_remark(torch.device("cpu"))
    finally:
        torch.backends.cuda.matmul.allow_tf32 = False


def test_without_a_place_to_save_they_are_the_same_values_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = tiny_lm()
    saved = estimate_key_moments(lm, [1], corpus=CORPUS)[1]
    monkeypatch.setenv("KGMET_CACHE", str(tmp_path / "file" / "below"))
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    heard: list[str] = []

    class Hears:
        def report(self, event: ProgressEvent) -> None:
            heard.extend(str(text) for text in [event.detail.get("note")] if text)

        def check(self) -> None: ...

    statistics = KeyStatistics(lm, CORPUS)
    moment = statistics.moments([1], progress=Hears())[1]
    assert torch.equal(moment.second_moment, saved.second_moment)
    kept = [text for text in heard if "kept in memory" in text]
    assert len(kept) == 1 and str(tmp_path / "file") in kept[0]
    assert statistics.is_ready([1])
    free = KeyStatistics(lm, CORPUS).free([1], Cutoff(), progress=Hears())[1]
    assert free.rank == NullSpace.from_moment(saved, Cutoff()).rank
