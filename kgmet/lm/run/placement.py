"""Device and precision of the computations for one layer."""

from __future__ import annotations

import torch

from kgmet.lm.load.family import execution_device
from kgmet.lm.load.loaded import LoadedLM

__all__ = ["exact_device", "has_double", "layer_device", "write_device"]


def layer_device(lm: LoadedLM, layer: int) -> torch.device:
    """Return the device of a decoder layer; layers differ in a model spread over devices."""
    return execution_device(lm.layers[layer])


def write_device(lm: LoadedLM, layer: int) -> torch.device:
    """Return the device for computing a layer's update: the layer's own, or the CPU if it has no float64."""
    return exact_device(execution_device(lm.family.write_module(lm.model, layer)))


def has_double(device: torch.device) -> bool:
    """Return whether the device supports float64; Apple's MPS does not."""
    return device.type != "mps"


def exact_device(device: torch.device) -> torch.device:
    """Return the device if it supports float64, else the CPU."""
    return device if has_double(device) else torch.device("cpu")
