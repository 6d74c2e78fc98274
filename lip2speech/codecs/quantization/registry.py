"""Where `QuantizerConfig.kind` becomes a codebook class."""

from collections.abc import Callable

from lip2speech.codecs.quantization.codebooks import Codebook, EMACodebook, QuantizerConfig, VQVAECodebook
from lip2speech.codecs.quantization.factorized import FactorizedCodebook
from lip2speech.codecs.quantization.simvq import SimVQCodebook, SimVQConfig

CODEBOOKS: dict[str, Callable[[QuantizerConfig], Codebook]] = {
    "ema": EMACodebook,
    "vqvae": VQVAECodebook,
    "simvq": lambda c: SimVQCodebook(SimVQConfig(c.codebook_size, c.codebook_dim, c.beta)),
    "factorized": FactorizedCodebook,
}


def build_codebook(config: QuantizerConfig) -> Codebook:
    """A codebook of the configured kind, with random or zero entries."""
    return CODEBOOKS[config.kind](config)
