"""SACodec (AAAI 2026): a semantic codebook, an acoustic one, and a Vocos decoder.

The first codebook is the k-means centroids of speech features, frozen, in a learned projection; the second is
SimVQ on the residual (`quantization/simvq.py`). The encoder is a SEANet with its LSTM. The paper runs at 24
kHz and 75 Hz; here it is 16 kHz and 50 Hz: 50 (log2 1000 + log2 1024) = 998 bit/s.

The decoder attends to the whole input, so it does not stream; the encoder does when its config is causal with
constant padding.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from lip2speech.codecs.base import Codec
from lip2speech.codecs.quantization import SemanticAcousticQuantizer
from lip2speech.codecs.quantization.simvq import SemanticCodebookConfig, SimVQConfig
from lip2speech.modules.conv import State
from lip2speech.modules.seanet import SEANetConfig, SEANetEncoder
from lip2speech.modules.vocos import VocosConfig, VocosDecoder


@dataclass(frozen=True)
class SACodecConfig:
    """SACodec; the defaults are the paper's at 16 kHz (WavTokenizer's where it gives none)."""

    sample_rate: int = 16000
    encoder: SEANetConfig = field(default_factory=lambda: SEANetConfig(dimension=512, causal=False))
    semantic: SemanticCodebookConfig = field(default_factory=SemanticCodebookConfig)
    acoustic: SimVQConfig = field(default_factory=lambda: SimVQConfig(bias=False))
    decoder: VocosConfig = field(default_factory=VocosConfig)


class SACodec(Codec):
    """Waveform codec with a semantic and an acoustic codebook.

    Shape:
        encode: wav (B, 1, T_a) -> codes (B, 2, T_c), the first below codebook_sizes[0]
        decode: codes -> wav (B, 1, T_c * hop_length)
        forward: wav (B, 1, T_a) -> wav_hat (B, 1, T_a), commit_losses (2,), codes
    """

    config_class = SACodecConfig
    n_commit_losses = 2

    def __init__(self, config: SACodecConfig | None = None):
        super().__init__()
        self.config = config = config or SACodecConfig()
        _check(config)
        self.encoder = SEANetEncoder(config.encoder)
        self.quantizer = SemanticAcousticQuantizer(config.semantic, config.acoustic)
        self.decoder = VocosDecoder(config.decoder)
        self.sample_rate = config.sample_rate
        self.hop_length = config.encoder.hop_length
        self.n_q = self.quantizer.n_q
        self.codebook_size = max(self.codebook_sizes)

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Entries of each codebook; `codebook_size` is the larger."""
        return self.config.semantic.codebook_size, self.config.acoustic.codebook_size

    @property
    def is_streamable(self) -> bool:
        """No: the decoder attends to the whole input."""
        return False

    def forward(self, wav: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Training pass: wav (B, 1, T_a) -> wav_hat (B, 1, T_a), commit_losses (2,), codes (B, 2, T_c).

        Each loss is the sum of codebook and commitment loss; the semantic codebook's is first.
        """
        quantized, codes, commit_losses = self.quantizer(self.encode_latent(wav))
        return self.decoder(quantized)[..., : wav.shape[-1]], commit_losses, codes

    def encode_latent(self, wav: Tensor) -> Tensor:
        """(B, 1, T_a) -> (B, C, T_c), not quantized."""
        self._check_wav(wav)
        latent: Tensor = self.encoder(wav)
        return latent

    def encode(self, wav: Tensor, n_q: int | None = None) -> Tensor:
        """(B, 1, T_a) -> (B, n_q, T_c); n_q 1 gives the semantic codes only."""
        return self.quantizer.encode(self.encode_latent(wav), n_q)

    def latent_from_codes(self, codes: Tensor) -> Tensor:
        """(B, n_q, T_c) -> (B, C, T_c)."""
        return self.quantizer.decode(codes)

    def decode_latent(self, latent: Tensor) -> Tensor:
        """(B, C, T_c) -> (B, 1, T_c * hop_length)."""
        wav: Tensor = self.decoder(latent)
        return wav

    def encode_step(self, wav: Tensor, state: State = None) -> tuple[Tensor, State]:
        """(B, 1, a multiple of hop_length), state -> (B, 2, T), state; for causal encoders only."""
        self._check_chunk(wav)
        latent, state = self.encoder.step(wav, state)
        return self.quantizer.encode(latent), state

    def decode_latent_step(self, latent: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Not supported: every frame of the decoder attends to all."""
        raise ValueError(
            "SACodec's decoder attends to the whole input and does not stream; decode it as a whole, or use "
            "a causal codec (melcodec, encodec)."
        )


def _check(config: SACodecConfig) -> None:
    sizes = (config.encoder.dimension, config.acoustic.codebook_dim, config.decoder.dimension)
    if len(set(sizes)) > 1:
        raise ValueError(
            "encoder.dimension, acoustic.codebook_dim and decoder.dimension must be equal, "
            f"got {sizes[0]}, {sizes[1]} and {sizes[2]}."
        )
    if config.encoder.hop_length != config.decoder.hop_length:
        raise ValueError(
            "encoder.ratios must multiply to decoder.hop_length, "
            f"got {config.encoder.hop_length} and {config.decoder.hop_length}."
        )
    if config.encoder.channels != 1:
        raise ValueError(f"encoder.channels must be 1, got {config.encoder.channels}.")
