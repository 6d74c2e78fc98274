"""SoundStream (Zeghidour et al. 2021): SEANet without LSTM, residual vector quantizer, optional denoising.

Encoder and decoder are section III-A and B: three residual units of dilations 1, 3, 9 before each change of
rate, kernel 7, ELU, no normalization, all causal. Quantizer dropout (III-C) makes one checkpoint decode at
every n_q. Denoising (III-F) is a FiLM layer (Perez et al. 2018) on the latent just before the quantizer: the
paper finds no difference in quality between encoder and decoder side, but codes of denoised speech cost fewer
bits (V-E), and the decoder needs no flag. So `encode` takes `denoise`; it affects only its own frame and adds
no latency.

The paper gives no dimension of the latent; 128 is EnCodec's. With it, and 32 filters, the model has 9.8 M
parameters where the paper counts 8.4 M.
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lip2speech.codecs.base import Codec
from lip2speech.codecs.quantization import QuantizerConfig, ResidualVQ, sample_quantizer_dropout
from lip2speech.modules.conv import State
from lip2speech.modules.seanet import SEANetConfig, SEANetDecoder, SEANetEncoder

Denoise = bool | Tensor
"""On or off for all, or a bool tensor: (B,) per item, (B, T_c) per frame."""


def _seanet(last_kernel_size: int) -> SEANetConfig:
    """Figure 3 of the paper; its base-3 dilations are SEANet's dilation_base ** i."""
    return SEANetConfig(
        n_residual_layers=3,
        dilation_base=3,
        residual_kernel_size=7,
        compress=1,
        true_skip=True,
        lstm=0,
        norm="none",
        last_kernel_size=last_kernel_size,
    )


@dataclass(frozen=True)
class SoundStreamConfig:
    """SoundStream; the defaults are the paper's sizes at 16 kHz: 50 Hz, at most 4 kbit/s.

    With sample_rate 24000 the same ratios give the paper's 75 Hz. A smaller encoder (fewer n_filters) costs
    little quality, a smaller decoder does (section V-D).

    Attributes:
        quantizer_dropout: share of training items that use 1..n_q stages, drawn uniformly.
        denoising: whether the model can denoise.
    """

    sample_rate: int = 16000
    encoder: SEANetConfig = field(default_factory=lambda: _seanet(3))
    decoder: SEANetConfig = field(default_factory=lambda: _seanet(7))
    quantizer: QuantizerConfig = field(default_factory=QuantizerConfig)
    quantizer_dropout: float = 1.0
    denoising: bool = True


class FiLM(nn.Module):
    """(1 + scale) * x + shift per channel, with scale and shift linear in a one-hot flag (equation 7).

    Initialized as the identity for both values of the flag, which weight decay favors.

    Shape:
        forward: x (B, C, T), flag (B,) or (B, T) bool -> (B, C, T)
    """

    def __init__(self, channels: int):
        super().__init__()
        self.linear = nn.Linear(2, 2 * channels)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor, flag: Tensor) -> Tensor:
        """(B, C, T), (B,) or (B, T) -> (B, C, T)."""
        one_hot = F.one_hot(flag.long(), 2).to(x)
        per_frame = one_hot if flag.dim() == 2 else one_hot[:, None]  # (B, T or 1, 2)
        scale, shift = self.linear(per_frame).transpose(1, 2).chunk(2, dim=1)
        y: Tensor = (1 + scale) * x + shift
        return y


class SoundStream(Codec):
    """Waveform codec with optional denoising.

    Shape:
        encode: wav (B, 1, T_a), denoise -> codes (B, n_q, T_c)
        decode: codes (B, 1..n_q, T_c) -> wav (B, 1, T_c * hop_length)
        forward: wav (B, 1, T_a), denoise (B,) -> wav_hat (B, 1, T_a), commit_loss (), codes (B, n_q, T_c)
    """

    config_class = SoundStreamConfig

    def __init__(self, config: SoundStreamConfig | None = None):
        super().__init__()
        self.config = config = config or SoundStreamConfig()
        _check(config)
        self.encoder = SEANetEncoder(config.encoder)
        self.film = FiLM(config.encoder.dimension) if config.denoising else None
        self.quantizer = ResidualVQ(config.quantizer)
        self.decoder = SEANetDecoder(config.decoder)
        self.sample_rate = config.sample_rate
        self.hop_length = config.encoder.hop_length
        self.n_q = config.quantizer.n_q
        self.codebook_size = config.quantizer.codebook_size
        self.supports_denoising = config.denoising

    def forward(self, wav: Tensor, denoise: Denoise = False) -> tuple[Tensor, Tensor, Tensor]:
        """Training pass, with quantizer dropout.

        Returns:
            wav_hat (B, 1, T_a), commit_loss (), codes (B, n_q, T_c) with -1 for stages an item did not use.
        """
        dropout = self.config.quantizer_dropout if self.training else 0.0
        n_q = sample_quantizer_dropout(len(wav), self.n_q, dropout, wav.device)
        quantized, codes, commit_loss = self.quantizer(self.encode_latent(wav, denoise=denoise), n_q)
        return self.decoder(quantized)[..., : wav.shape[-1]], commit_loss, codes

    def encode_latent(self, wav: Tensor, *, denoise: Denoise = False) -> Tensor:
        """(B, 1, T_a) -> (B, C, T_c), not quantized."""
        self._check_wav(wav)
        return self._condition(self.encoder(wav), denoise)

    def encode(self, wav: Tensor, n_q: int | None = None, *, denoise: Denoise = False) -> Tensor:
        """(B, 1, T_a) -> (B, n_q, T_c); with `denoise`, codes of the clean speech."""
        return self.quantizer.encode(self.encode_latent(wav, denoise=denoise), n_q)

    def latent_from_codes(self, codes: Tensor) -> Tensor:
        """(B, n_q, T_c) -> (B, C, T_c)."""
        return self.quantizer.decode(codes)

    def decode_latent(self, latent: Tensor) -> Tensor:
        """(B, C, T_c) -> (B, 1, T_c * hop_length)."""
        wav: Tensor = self.decoder(latent)
        return wav

    def encode_step(
        self, wav: Tensor, state: State = None, *, denoise: Denoise = False
    ) -> tuple[Tensor, State]:
        """(B, 1, T * hop_length), state -> (B, n_q, T), state; `denoise` may change between steps."""
        self._check_chunk(wav)
        latent, state = self.encoder.step(wav, state)
        return self.quantizer.encode(self._condition(latent, denoise)), state

    def decode_latent_step(self, latent: Tensor, state: State = None) -> tuple[Tensor, State]:
        """(B, C, T), state -> (B, 1, T * hop_length), state."""
        return self.decoder.step(latent, state)

    def _condition(self, latent: Tensor, denoise: Denoise) -> Tensor:
        """The latent (B, C, T), conditioned on the flag."""
        if self.film is None:
            if isinstance(denoise, Tensor) or denoise:
                raise ValueError(
                    "this SoundStream cannot denoise; leave denoise off, or train one with denoising: true."
                )
            return latent
        batch, _, frames = latent.shape
        if not isinstance(denoise, Tensor):
            denoise = torch.full((batch,), denoise, device=latent.device)
        if tuple(denoise.shape) not in ((batch,), (batch, frames)) or denoise.dtype != torch.bool:
            raise ValueError(
                f"denoise must be a bool, or a bool tensor of {(batch,)} or {(batch, frames)}, "
                f"got {tuple(denoise.shape)} of {denoise.dtype}."
            )
        conditioned: Tensor = self.film(latent, denoise)
        return conditioned


def _check(config: SoundStreamConfig) -> None:
    encoder, decoder, codebook_dim = config.encoder, config.decoder, config.quantizer.codebook_dim
    if not encoder.dimension == decoder.dimension == codebook_dim:
        raise ValueError(
            "encoder.dimension, decoder.dimension and quantizer.codebook_dim must be equal, "
            f"got {encoder.dimension}, {decoder.dimension} and {codebook_dim}."
        )
    if encoder.ratios != decoder.ratios or not encoder.channels == decoder.channels == 1:
        raise ValueError(
            "encoder and decoder must have the same ratios and 1 channel, "
            f"got {encoder.ratios} and {decoder.ratios}, {encoder.channels} and {decoder.channels}."
        )
    if not 0 <= config.quantizer_dropout <= 1:
        raise ValueError(f"quantizer_dropout must be in 0..1, got {config.quantizer_dropout}.")
