"""MelCodec: a codec whose codes carry no phase, so that they can be predicted from lips.

The encoder's only input is the log-mel (100 Hz); it gives a latent at 50 Hz. A residual quantizer with few
codebooks and a SEANet decoder follow (Zeghidour et al. 2021; encoder blocks: ConvNeXt, Liu et al. 2022). In
training some items bypass the quantizer, so one decoder works on codes and on the continuous latent of a
predicted mel.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lip2speech.audio.mel import LogMel, MelConfig
from lip2speech.codecs.base import Codec
from lip2speech.codecs.quantization import QuantizerConfig, ResidualVQ
from lip2speech.modules.conv import State, StreamingConv1d, channels_last, step_layers
from lip2speech.modules.convnext import ConvNeXtBlock
from lip2speech.modules.seanet import SEANetConfig, SEANetDecoder

# Approximate mean and standard deviation of the natural-log mel of speech under MelConfig.
MEL_MEAN = -5.5
MEL_STD = 2.5


@dataclass(frozen=True)
class MelEncoderConfig:
    """The log-mel encoder: about 1 M parameters by default."""

    width: int = 192
    blocks: tuple[int, int] = (1, 2)  # at the mel rate, at the latent rate
    kernel_size: int = 7
    expansion: int = 3
    ratio: int = 2  # mel frames per latent frame
    causal: bool = True


def _decoder_config() -> SEANetConfig:
    return SEANetConfig(n_filters=16, n_residual_layers=3, dilation_base=3, true_skip=True, lstm=0)


@dataclass(frozen=True)
class MelCodecConfig:
    """MelCodec; the defaults give 50 Hz latents and 4 codebooks of 512 (1.8 kbit/s).

    Attributes:
        quantizer_bypass_prob: share of training items that bypass the quantizer; the others use 1..n_q
            codebooks.
    """

    mel: MelConfig = field(default_factory=MelConfig)
    encoder: MelEncoderConfig = field(default_factory=MelEncoderConfig)
    quantizer: QuantizerConfig = field(default_factory=lambda: QuantizerConfig(n_q=4, codebook_size=512))
    decoder: SEANetConfig = field(default_factory=_decoder_config)
    quantizer_bypass_prob: float = 0.5


class MelEncoder(nn.Module):
    """log-mel -> latent.

    Shape:
        forward: (B, n_mels, T) -> (B, dimension, ceil(T / ratio))
        step: the same for T a multiple of ratio
    """

    def __init__(self, config: MelEncoderConfig, *, n_mels: int, dimension: int):
        super().__init__()
        width, causal = config.width, config.causal
        before, after = ([_block(config) for _ in range(n)] for n in config.blocks)
        self.layers = nn.Sequential(
            StreamingConv1d(n_mels, width, 5, causal=causal),
            *before,
            StreamingConv1d(width, width, 2 * config.ratio, stride=config.ratio, causal=causal),
            *after,
            StreamingConv1d(width, dimension, 3, causal=causal),
        )

    def forward(self, mel: Tensor) -> Tensor:
        """(B, n_mels, T) -> (B, dimension, ceil(T / ratio))."""
        y: Tensor = self.layers(_standardize(mel)).contiguous()
        return y

    def step(self, mel: Tensor, state: Sequence[State] | None = None) -> tuple[Tensor, list[State]]:
        """(B, n_mels, T), state -> (B, dimension, T / ratio), state."""
        latent, new_state = step_layers(self.layers, _standardize(mel), state)
        return latent.contiguous(), new_state


class MelCodec(Codec):
    """Phase-free codec: log-mel encoder, waveform decoder.

    Streaming: encode_step has a latency of one latent frame, since a mel window extends past its frame;
    hop_length zeros after the end flush the last one. decode_step has no latency.

    Shape:
        encode: wav (B, 1, T_a) -> codes (B, n_q, T_c);  decode: codes -> wav (B, 1, T_c * hop_length)
        latent_from_mel: mel (B, n_mels, 4 T) -> latent (B, C, 2 T)
        forward: wav (B, 1, T_a) -> wav_hat (B, 1, T_a), commit_loss (), codes or None
    """

    config_class = MelCodecConfig

    def __init__(self, config: MelCodecConfig | None = None):
        super().__init__()
        self.config = config = config or MelCodecConfig()
        dimension = config.decoder.dimension
        hop_length = config.mel.hop_length * config.encoder.ratio
        if config.quantizer.codebook_dim != dimension or config.decoder.hop_length != hop_length:
            raise ValueError(
                "quantizer.codebook_dim must equal decoder.dimension and decoder.ratios must multiply to "
                f"mel.hop_length * encoder.ratio, got {config.quantizer.codebook_dim} and {dimension}, "
                f"{config.decoder.hop_length} and {hop_length}."
            )
        self.mel = LogMel(config.mel)
        self.encoder = MelEncoder(config.encoder, n_mels=config.mel.n_mels, dimension=dimension)
        self.quantizer = ResidualVQ(config.quantizer)
        self.decoder = SEANetDecoder(config.decoder)
        self.sample_rate = config.mel.sample_rate
        self.hop_length = hop_length
        self.n_q = config.quantizer.n_q
        self.codebook_size = config.quantizer.codebook_size

    @property
    def is_streamable(self) -> bool:
        """The mel must stream too, which a centered one does not."""
        return super().is_streamable and self.config.mel.pad == "same"

    def forward(self, wav: Tensor, bypass_prob: float | None = None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Training pass, with quantizer dropout.

        Args:
            wav: (B, 1, T_a).
            bypass_prob: share of items that bypass the quantizer, `config.quantizer_bypass_prob` by default.
                At 1 the quantizer is off (codebooks are not updated, codes are None).

        Returns:
            wav_hat (B, 1, T_a), commit_loss (), codes (B, n_q, T_c) with -1 for stages an item did not use.
        """
        bypass_prob = self.config.quantizer_bypass_prob if bypass_prob is None else bypass_prob
        latent = self.encode_latent(wav)
        if bypass_prob >= 1:
            return self.decoder(latent)[..., : wav.shape[-1]], latent.new_zeros(()), None
        # Drawn on the CPU, so that it is the same on every device.
        bypass = (torch.rand(len(wav)) < bypass_prob).to(wav.device)
        n_q = torch.randint(1, self.n_q + 1, (len(wav),)).to(wav.device)
        # Items that bypass the quantizer still train every codebook, and have a commitment loss.
        n_q = torch.where(bypass, self.n_q, n_q)
        quantized, codes, commit_loss = self.quantizer(latent, n_q)
        mixed = torch.where(bypass[:, None, None], latent, quantized.to(latent))
        return self.decoder(mixed)[..., : wav.shape[-1]], commit_loss, codes

    def encode_latent(self, wav: Tensor) -> Tensor:
        """(B, 1, T_a) -> (B, C, T_c), not quantized; the last frame is zero-padded."""
        self._check_wav(wav)
        latent: Tensor = self.encoder(self.mel(F.pad(wav, (0, -wav.shape[-1] % self.hop_length))))
        return latent

    def latent_from_mel(self, mel: Tensor) -> Tensor:
        """(B, n_mels, 4 T) -> (B, C, 2 T), not quantized."""
        n_mels = self.config.mel.n_mels
        if mel.dim() != 3 or mel.shape[1] != n_mels or mel.shape[2] % self.config.encoder.ratio:
            raise ValueError(
                f"mel must be (B, {n_mels}, T) with T a multiple of {self.config.encoder.ratio}, "
                f"got {tuple(mel.shape)}."
            )
        latent: Tensor = self.encoder(mel)
        return latent

    def encode(self, wav: Tensor, n_q: int | None = None) -> Tensor:
        """(B, 1, T_a) -> (B, n_q, T_c)."""
        return self.quantizer.encode(self.encode_latent(wav), n_q)

    def latent_from_codes(self, codes: Tensor) -> Tensor:
        """(B, n_q, T_c) -> (B, C, T_c)."""
        return self.quantizer.decode(codes)

    def decode_latent(self, latent: Tensor) -> Tensor:
        """(B, C, T_c) -> (B, 1, T_c * hop_length)."""
        wav: Tensor = self.decoder(latent)
        return wav

    def encode_step(self, wav: Tensor, state: State = None) -> tuple[Tensor, State]:
        """(B, 1, T * hop_length), state -> (B, n_q, T), state; one frame less in the first step."""
        self._check_chunk(wav)
        mel_state, encoder_state = (None, None) if state is None else state
        mel, mel_state = self.mel.step(wav, mel_state)
        latent, encoder_state = self.encoder.step(mel, encoder_state)
        return self.quantizer.encode(latent), (mel_state, encoder_state)

    def decode_latent_step(self, latent: Tensor, state: State = None) -> tuple[Tensor, State]:
        """(B, C, T), state -> (B, 1, T * hop_length), state."""
        return self.decoder.step(latent, state)


def _standardize(mel: Tensor) -> Tensor:
    """(B, n_mels, T) -> the same with about zero mean and unit variance, channels-last in memory."""
    return channels_last((mel - MEL_MEAN) / MEL_STD)


def _block(config: MelEncoderConfig) -> ConvNeXtBlock:
    return ConvNeXtBlock(
        config.width,
        hidden=config.expansion * config.width,
        kernel_size=config.kernel_size,
        gamma=1 / (1 + sum(config.blocks)),
        causal=config.causal,
    )
