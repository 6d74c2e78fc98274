"""Names of public EnCodec weights (the `encodec` package, audiocraft, transformers) in our own modules.

Only names change: the tensors and their shapes are the same on both sides. It reads no files.
"""

import re
from collections.abc import Mapping

from torch import Tensor

# First match wins; every public name must match one of them.
RULES = {
    r"(encoder|decoder)\.(?:model|layers)\.(\d+)\.(.+)": r"\1.layers.\2.\3",
    r"(?:quantizer\.)?vq\.layers\.(\d+)\._codebook\.(.+)": r"quantizer.codebooks.\1.\2",
    r"quantizer\.layers\.(\d+)\.codebook\.(.+)": r"quantizer.codebooks.\1.\2",
}
PARTS = {
    r"\b(?:conv\.conv|convtr\.convtr)\.": "conv.",
    r"\b(?:conv|convtr)\.norm\.": "norm.",
    r"\bweight_g$": "parametrizations.weight.original0",
    r"\bweight_v$": "parametrizations.weight.original1",
    r"\bembed$": "entries",
    r"\bembed_avg$": "entries_sum",
}


def encodec_key_map(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under our names, ready for `EnCodec.load_state_dict`.

    Raises:
        ValueError: for a name that no public EnCodec has.
    """
    return {encodec_key(key): tensor for key, tensor in state.items()}


def encodec_key(key: str) -> str:
    """Our name of one public tensor."""
    for pattern, replacement in RULES.items():
        if re.fullmatch(pattern, key):
            ours = re.sub(pattern, replacement, key)
            break
    else:
        raise ValueError(
            f"{key}: expected an EnCodec tensor (encoder.model.N..., decoder.model.N..., "
            "quantizer.vq.layers.N...); pass the model's own state dict, without its wrapper."
        )
    for pattern, replacement in PARTS.items():
        ours = re.sub(pattern, replacement, ours)
    return ours
