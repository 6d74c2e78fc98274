"""Checkpoint folders (config.yaml, model.safetensors, README.md, SHA256SUMS) and modules built from them."""

from lip2speech.checkpoint.build import build_and_load, build_on_meta
from lip2speech.checkpoint.errors import CheckpointError
from lip2speech.checkpoint.folder import (
    CHECKSUMS,
    CONFIG,
    FILES,
    MODEL_CARD,
    WEIGHTS,
    Checkpoint,
    check_replaceable,
    fingerprint,
    load,
    replace_config,
    replace_folder,
    save,
    verify,
)
from lip2speech.checkpoint.weights import check_state_dict, load_weights, to_storable

__all__ = [
    "CHECKSUMS",
    "CONFIG",
    "FILES",
    "MODEL_CARD",
    "WEIGHTS",
    "Checkpoint",
    "CheckpointError",
    "build_and_load",
    "build_on_meta",
    "check_replaceable",
    "check_state_dict",
    "fingerprint",
    "load",
    "load_weights",
    "replace_config",
    "replace_folder",
    "save",
    "to_storable",
    "verify",
]
