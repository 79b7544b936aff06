"""Where things of one layer are worked out: on the layer's own device, and in which of its precisions."""

from __future__ import annotations

import torch

from kgmet.lm.load.family import execution_device
from kgmet.lm.load.loaded import LoadedLM

__all__ = ["exact_device", "has_double", "layer_device", "write_device"]


def layer_device(lm: LoadedLM, layer: int) -> torch.device:
    """Where a decoder layer computes; in a model that is spread over devices each layer has its own."""
    return execution_device(lm.layers[layer])


def write_device(lm: LoadedLM, layer: int) -> torch.device:
    """Where the update of a layer's down-projection is worked out: beside it, or on the CPU if it has no float64."""
    return exact_device(execution_device(lm.family.write_module(lm.model, layer)))


def has_double(device: torch.device) -> bool:
    """Whether the device computes in float64; Apple's MPS does not."""
    return device.type != "mps"


def exact_device(device: torch.device) -> torch.device:
    """The device itself where it computes in float64, else the CPU."""
    return device if has_double(device) else torch.device("cpu")
