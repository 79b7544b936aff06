"""`load_lm`: loading a model; the only place where device and dtype are chosen."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from kgmet.base.errors import (
    BrokenModelError,
    ConfigError,
    KgmetError,
    MemoryLimitError,
    ModelNotFoundError,
    UnsupportedModelError,
)
from kgmet.base.files import expanded, is_file, is_folder
from kgmet.base.fingerprint import fingerprint_model
from kgmet.base.progress import Progress, ProgressEvent, Silent, Stage
from kgmet.lm.load.description import TEXT_KEYS, check_files, check_layers, read_config
from kgmet.lm.load.family import ModelFamily, execution_device, family_of
from kgmet.lm.load.fast_linear import use_fast_linear
from kgmet.lm.load.local_dtype import building, built_in, keep_default_dtype
from kgmet.lm.load.shape import ModelShape, check_weights_fit
from kgmet.lm.load.vocabulary import LinearHead
from kgmet.lm.load.weights import read_exact, uncollected

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

__all__ = ["DEFAULT_MODEL", "LoadedLM", "load_lm", "read_model_config", "wrap_lm"]

DEFAULT_MODEL = "bundled:smollm2"
"""The bundled default model: SmolLM2-135M-Instruct."""

MOST_TOKENS = 4096
"""Longest accepted text in tokens, even if the model reads more; longer ones take minutes on a CPU."""

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json")

THREE_WAYS_OUT = (
    "Three ways out: use the embedded default with --model bundled:smollm2; give a folder that holds config.json, "
    "tokenizer.json and *.safetensors; or give a Hugging Face id while there is a network."
)


@dataclass(frozen=True, eq=False, kw_only=True)
class LoadedLM:
    """A resident causal language model. Nothing in this project writes to its weights."""

    model: nn.Module
    tokenizer: PreTrainedTokenizerFast
    family: ModelFamily
    name: str
    fingerprint: str

    @property
    def config(self) -> Any:
        """The model's configuration."""
        return self.model.config

    @property
    def device(self) -> torch.device:
        """Device for token ids: that of the embedding."""
        return execution_device(self.embedding)

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the embedding, and so of the residual stream."""
        return self.embedding.weight.dtype

    @property
    def embedding(self) -> nn.Embedding:
        """The input embedding."""
        return self.model.get_input_embeddings()  # type: ignore[operator, no-any-return]

    @property
    def base(self) -> nn.Module:
        """The model without its vocabulary projection."""
        base: nn.Module = self.model.base_model  # type: ignore[assignment]
        return base

    @functools.cached_property
    def layers(self) -> nn.ModuleList:
        """The decoder layers, lowest first."""
        return self.family.decoder_layers(self.model)

    @property
    def n_layer(self) -> int:
        """Number of decoder layers."""
        return len(self.layers)

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return int(self.embedding.weight.shape[1])

    @functools.cached_property
    def d_key(self) -> int:
        """Width of the keys: the input of the MLP's down-projection."""
        return self.family.key_width(self.model)

    @property
    def n_head(self) -> int:
        """Attention heads of a layer, as many as there are queries."""
        return int(self.config.num_attention_heads)

    @functools.cached_property
    def n_token(self) -> int:
        """Rows of the embedding: the number of tokens the model knows, whatever the tokenizer says."""
        return int(self.embedding.weight.shape[0])

    @functools.cached_property
    def shape(self) -> ModelShape:
        """The sizes that decide how much memory work on the model takes."""
        return ModelShape.of_model(self.model, self.config)

    @functools.cached_property
    def context(self) -> int:
        """Longest accepted text, in tokens."""
        stated = getattr(self.config, "max_position_embeddings", None)
        return min(stated, MOST_TOKENS) if isinstance(stated, int) and stated > 0 else MOST_TOKENS

    @functools.cached_property
    def control_tokens(self) -> frozenset[int]:
        """Control tokens, which stand for no text; without the tokenizer's unknown token."""
        tokenizer = self.tokenizer
        found = {*tokenizer.all_special_ids, *(n for n, one in tokenizer.added_tokens_decoder.items() if one.special)}
        steering = {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}
        return frozenset(found - ({tokenizer.unk_token_id} - steering))

    @property
    def n_parameter(self) -> int:
        """Number of parameters; tied ones count once."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    def normed(self, states: Tensor) -> Tensor:
        """Apply the final norm to last-layer states (…, d_model), giving the input of the vocabulary projection."""
        normed: Tensor = self.family.norm(self.model)(states)
        return normed

    @property
    def linear_head(self) -> LinearHead | None:
        """The vocabulary projection as a matrix, or ``None`` if it does more or is stored otherwise."""
        head: nn.Module = self.model.get_output_embeddings()  # type: ignore[operator]
        if type(head) is not nn.Linear or head.weight.dtype not in (torch.float32, torch.float64):
            return None
        if getattr(self.config, "final_logit_softcapping", None) is not None or hasattr(head, "_hf_hook"):
            return None
        return LinearHead(weight=head.weight, bias=head.bias)

    @property
    def dtype_name(self) -> str:
        """Number format of the weights, as options call it: ``float32``, ``bfloat16``."""
        return str(self.dtype).removeprefix("torch.")

    def vocabulary_logits(self, states: Tensor) -> Tensor:
        """Compute logits (…, d_vocab), float32, from last-layer states (…, d_model) before the final norm."""
        normed = self.normed(states)
        logits = self.model.get_output_embeddings()(normed).float()  # type: ignore[operator]
        cap = getattr(self.config, "final_logit_softcapping", None)
        return logits if cap is None else torch.tanh(logits / cap) * cap  # type: ignore[no-any-return]


def wrap_lm(model: nn.Module, tokenizer: Any, *, name: str) -> LoadedLM:
    """Wrap a model and tokenizer as a `LoadedLM`, and put the model in inference mode.

    Raises:
        UnsupportedModelError: if the family is not in the table, or the tokenizer cannot give character offsets.
    """
    family = family_of(model.config)
    if not getattr(tokenizer, "is_fast", False):
        raise UnsupportedModelError(
            f"The tokenizer of {name!r} gives no character offsets, which locating the subject needs. "
            "Use a model with a fast tokenizer (a tokenizer.json beside its config.json)."
        )
    model.eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    use_fast_linear(model)
    fingerprint = fingerprint_model(model, model.config.to_dict())  # type: ignore[operator, union-attr]
    return LoadedLM(model=model, tokenizer=tokenizer, family=family, name=name, fingerprint=fingerprint)


def load_lm(
    source: str = DEFAULT_MODEL,
    *,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    device_map: str | dict[str, Any] | None = None,
    progress: Progress | None = None,
) -> LoadedLM:
    """Load a model from ``bundled:NAME``, a local folder or a Hugging Face id.

    Args:
        source: the model's name, folder or id.
        device: the device; by default CUDA if available, else Apple's MPS, else the CPU.
        dtype: dtype of the weights; by default float32 on the CPU and bfloat16 elsewhere.
        device_map: passed to Accelerate to spread a model over devices; `device` is then ignored.
        progress: receives the steps.

    Raises:
        ConfigError: no such device.
        ModelNotFoundError: no such model, or no network; names three ways out.
        UnsupportedModelError: the family is not in the table.
        BrokenModelError: a file is damaged.
        MemoryLimitError: it does not fit.
    """
    progress = progress or Silent()
    target = checked_device(device) if device is not None else best_device()
    chosen = dtype or (torch.float32 if target.type == "cpu" else torch.bfloat16)
    folder = _resolve(source, progress)
    progress.report(ProgressEvent(stage=Stage.LOAD_MODEL, done=0, total=2, detail={"source": source}))
    keep_default_dtype()
    with uncollected(), building, torch.device("cpu"), built_in(torch.float32):
        model, tokenizer = _read(folder, source, dtype=chosen, device=target, device_map=device_map)
    progress.report(ProgressEvent(stage=Stage.LOAD_MODEL, done=2, total=2, detail={"source": source}))
    return wrap_lm(model, tokenizer, name=source)


def read_model_config(source: str) -> Any:
    """Read and check the config of a model by the names of `load_lm`, and nothing else of it.

    Raises:
        ModelNotFoundError: if there is none here, or the bundled model was not fetched yet.
        UnsupportedModelError: if the family is not in the table.
        BrokenModelError: if the config describes no model.
    """
    from kgmet.lm.load.bundled import is_ready

    if source.startswith("bundled:") and not is_ready(source.removeprefix("bundled:")):
        raise ModelNotFoundError(f"{source} was not fetched yet, so its sizes are not known. Load it once.")
    try:
        return read_config(_resolve(source, Silent()))[0]
    except OSError as error:
        raise ModelNotFoundError(f"{source!r} has no config that can be read: {_first_line(error)}") from error


def best_device() -> torch.device:
    """Return CUDA if available, else Apple's MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def checked_device(device: str | torch.device) -> torch.device:
    """Return the device of this name, if this machine has it.

    Raises:
        ConfigError: if there is no such device; names those there are.
    """
    try:
        found = torch.device(device)
    except RuntimeError:
        found = None
    there = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
    there += ["mps"] if torch.backends.mps.is_available() else []
    if found is None or (found.type if found.index is None else str(found)) not in (*there, *(n[:4] for n in there)):
        raise ConfigError(f"There is no device {str(device)[:40]!r} here. Choose one of: {', '.join(there)}.")
    return found


def _resolve(source: str, progress: Progress) -> str:
    if source.startswith("bundled:"):
        from kgmet.lm.load.bundled import ensure_bundled

        return str(ensure_bundled(source.removeprefix("bundled:"), progress=progress))
    path = expanded(source)
    if is_folder(path) or is_file(path) or source.startswith((".", "/", "~")):
        if not is_file(path / "config.json"):
            raise ModelNotFoundError(f"There is no model in {source!r}: it has no config.json. {THREE_WAYS_OUT}")
        return str(path)
    return source


def _read(
    folder: str, source: str, *, dtype: torch.dtype, device: torch.device, device_map: str | dict[str, Any] | None
) -> tuple[nn.Module, Any]:
    from safetensors import SafetensorError

    try:
        config, is_part = read_config(folder)
        if is_folder(Path(folder)):
            # For quantised weights, neither the values in the files nor their bytes follow from the parameters.
            is_plain = getattr(config, "quantization_config", None) is None
            shape = ModelShape.of_config(config) if is_plain else None
            check_files(Path(folder), config, n_parameter=None if shape is None else shape.n_parameter)
            if device_map is None and shape is not None:
                check_weights_fit(shape, dtype, device=device, name=source)
        tokenizer = _read_tokenizer(folder, source)
        simple = device_map is None and dtype is torch.float32 and not is_part
        model = read_exact(Path(folder), config, device=device) if simple else None
        if model is None:
            model = _read_any(folder, config, dtype=dtype, device_map=device_map, is_part=is_part)
        _check_finite(model, source)
        return (model if device_map is not None else model.to(device)), tokenizer
    except KgmetError:
        raise
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise MemoryLimitError(
            f"{source!r} does not fit into the memory of {device}. Try dtype=torch.bfloat16 (half the size), "
            "device='cpu', device_map='auto', or a smaller model."
        ) from error
    except (SafetensorError, RuntimeError) as error:
        raise BrokenModelError(
            f"The files of {source!r} are damaged or do not fit its config: {error}. {THREE_WAYS_OUT}"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelNotFoundError(f"{source!r} cannot be loaded: {_first_line(error)} {THREE_WAYS_OUT}") from error


def _read_any(
    folder: str, config: Any, *, dtype: torch.dtype, device_map: str | dict[str, Any] | None, is_part: bool
) -> nn.Module:
    """Load with transformers: a hub id, several files, older names, packed weights, several devices."""
    from transformers import AutoModelForCausalLM

    causal: Any = AutoModelForCausalLM
    model, found = causal.from_pretrained(
        folder,
        config=config,
        dtype=dtype,
        device_map=device_map,
        trust_remote_code=False,
        use_safetensors=True,
        output_loading_info=True,
        key_mapping=TEXT_KEYS if is_part else None,
    )
    check_layers(found["unexpected_keys"], config, folder)
    missing = sorted(found["missing_keys"])
    if missing:  # they would keep random values
        raise BrokenModelError(
            f"The files of {folder!r} lack {len(missing)} of the model's weights, {missing[0]} for one. Were all of "
            f"them copied, and is config.json of this model? {THREE_WAYS_OUT}"
        )
    if is_part:
        model.config.tie_word_embeddings = model.lm_head.weight is model.get_input_embeddings().weight
    loaded: nn.Module = model
    return loaded


def _read_tokenizer(folder: str, source: str) -> Any:
    from transformers import AutoTokenizer

    place = Path(folder)
    if place.is_dir() and not any((place / name).is_file() for name in _TOKENIZER_FILES):
        raise ModelNotFoundError(
            f"There is no tokenizer in {source!r}: it has no tokenizer.json. Copy that of the model into the folder. "
            f"{THREE_WAYS_OUT}"
        )
    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except OSError:
        raise
    except Exception as error:  # the tokenizers library raises nothing more specific
        raise BrokenModelError(
            f"The tokenizer of {source!r} cannot be read: {' '.join(str(error).split())[:200]}. Is it damaged, or made "
            f"by a newer version? {THREE_WAYS_OUT}"
        ) from error


def _check_finite(model: nn.Module, source: str) -> None:
    """Refuse NaN or infinite weights, with which no answer or edit would be meaningful."""
    for name, weight in model.named_parameters():
        if weight.is_meta or not weight.is_floating_point() or weight.element_size() < 2 or not weight.numel():
            continue
        low, high = torch.aminmax(weight.detach())
        if not (torch.isfinite(low) and torch.isfinite(high)):
            raise BrokenModelError(
                f"The weight {name} of {source!r} holds NaN or infinity. Download the model again, or load it in "
                f"another dtype than {str(weight.dtype).removeprefix('torch.')}."
            )


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]
