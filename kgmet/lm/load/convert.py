"""Conversion of a GGUF file to safetensors and tokenizer files, run as a subprocess.

Reading a GGUF file takes 20 s and a gigabyte of memory, draws its own progress bars, and can only be stopped from
outside; a subprocess releases all of it at the end. Usage: ``python -m kgmet.lm.load.convert FILE.gguf FOLDER``; each
finished step is one line on standard output.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["STEPS", "convert_gguf", "main"]

STEPS = ("tokenizer", "weights", "write")
"""Steps of a conversion, in order."""

_NOT_OURS = ("quantization_config", "_name_or_path", "_model_name_or_path", "transformers_version")


def convert_gguf(gguf: Path, folder: Path, *, done: Callable[[str], None]) -> None:
    """Convert `gguf` to a `folder` from which transformers loads the same model twenty times faster.

    Weights are stored as dequantised, in float32, because any narrower type would change them. An output matrix tied to
    the embedding is left out, as transformers does, and is tied again on loading.

    Args:
        gguf: a file of an architecture transformers can read.
        folder: an existing, empty folder.
        done: called with each of `STEPS` when it finishes.
    """
    # Imported here because it is slow and the module is also imported for its names.
    from gguf import GGUFReader
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    tokenizer = AutoTokenizer.from_pretrained(**place, trust_remote_code=False)
    facts = GGUFReader(gguf)
    _restore_pre_tokenizer(tokenizer, _fact(facts, "tokenizer.ggml.pre", default=""))
    context = f"{_fact(facts, 'general.architecture', default='')}.context_length"
    tokenizer.model_max_length = _fact(facts, context, default=tokenizer.model_max_length)
    tokenizer.save_pretrained(folder)
    done("tokenizer")
    model = AutoModelForCausalLM.from_pretrained(**place, trust_remote_code=False)
    done("weights")
    _write_config(model, folder)
    _write_weights(model, folder / "model.safetensors")
    done("write")


def _fact(reader: Any, key: str, *, default: Any) -> Any:
    field = reader.get_field(key)
    return default if field is None else field.contents()


def _restore_pre_tokenizer(tokenizer: Any, kind: str) -> None:
    """Restore the pre-tokenizer rule that transformers drops when it reads a GGUF tokenizer.

    SmolLM was trained with every digit split off before the byte-level rule (llama.cpp, `LLAMA_VOCAB_PRE_TYPE_SMOLLM`);
    without it, blanks before a number become different tokens.
    """
    if kind == "smollm":
        from tokenizers import pre_tokenizers

        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )


def _write_config(model: Any, folder: Path) -> None:
    for key in _NOT_OURS:
        if key in model.config.__dict__:
            delattr(model.config, key)
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)


def _write_weights(model: Any, path: Path) -> None:
    from safetensors.torch import save_file

    tied = set(model.all_tied_weights_keys)
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items() if name not in tied}
    save_file(weights, path, metadata={"format": "pt"})


def main(arguments: list[str]) -> int:
    """Run the conversion from two command-line paths."""
    gguf, folder = map(Path, arguments)

    def say(step: str) -> None:
        sys.stdout.write(f"{step}\n")
        sys.stdout.flush()

    convert_gguf(gguf, folder, done=say)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
