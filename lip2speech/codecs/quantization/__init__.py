"""Vector quantizers.

To add a kind of codebook: a file with a `Codebook`, one line in `CODEBOOKS` (`registry.py`) and its name in
`QuantizerConfig.kind`, one YAML in `configs/codec/`, and one test in `tests/codecs/`.
"""

from lip2speech.codecs.quantization.codebooks import Codebook, QuantizerConfig
from lip2speech.codecs.quantization.residual import (
    ResidualQuantizer,
    ResidualVQ,
    SemanticAcousticQuantizer,
    sample_quantizer_dropout,
)

__all__ = [
    "Codebook",
    "QuantizerConfig",
    "ResidualQuantizer",
    "ResidualVQ",
    "SemanticAcousticQuantizer",
    "sample_quantizer_dropout",
]
