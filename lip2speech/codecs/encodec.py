"""EnCodec (Défossez et al. 2022): SEANet encoder, residual vector quantizer, SEANet decoder.

All published models are configs of this class: 24 kHz / 75 Hz causal, 48 kHz stereo in normalized overlapping
segments, 16 kHz / 50 Hz. Entropy coding is not included; `importers/encodec.py` maps the names of public
weights.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from lip2speech.codecs.base import Codec
from lip2speech.codecs.quantization import QuantizerConfig, ResidualVQ, sample_quantizer_dropout
from lip2speech.modules.conv import State
from lip2speech.modules.overlap_add import overlap_add
from lip2speech.modules.seanet import SEANetConfig, SEANetDecoder, SEANetEncoder


@dataclass(frozen=True)
class EnCodecConfig:
    """EnCodec; the defaults are ours: 16 kHz, 50 Hz, at most 4 kbit/s, streaming.

    Attributes:
        segment: length of a segment in seconds; None: the whole input.
        overlap: of two segments, as a share of a segment.
        quantizer_dropout: share of training items that use 1..n_q stages, drawn uniformly.
    """

    sample_rate: int = 16000
    seanet: SEANetConfig = field(default_factory=SEANetConfig)
    quantizer: QuantizerConfig = field(default_factory=QuantizerConfig)
    normalize: bool = False
    segment: float | None = None
    overlap: float = 0.01
    quantizer_dropout: float = 1.0


@dataclass(frozen=True)
class EncodedSegment:
    """Codes (B, n_q, T_c) of one segment, and the scale (B, 1) it was normalized by, if any."""

    codes: Tensor
    scale: Tensor | None


class EnCodec(Codec):
    """Waveform codec.

    Shape:
        encode: wav (B, channels, T_a) -> codes (B, n_q, T_c)
        decode: codes -> wav (B, channels, T_c * hop_length)
        forward: wav -> wav_hat of the same length, commit_loss (), codes
    """

    config_class = EnCodecConfig

    def __init__(self, config: EnCodecConfig | None = None):
        super().__init__()
        self.config = config = config or EnCodecConfig()
        if config.quantizer.codebook_dim != config.seanet.dimension:
            raise ValueError(
                "quantizer.codebook_dim must equal seanet.dimension, "
                f"got {config.quantizer.codebook_dim} and {config.seanet.dimension}."
            )
        self.encoder = SEANetEncoder(config.seanet)
        self.quantizer = ResidualVQ(config.quantizer)
        self.decoder = SEANetDecoder(config.seanet)
        self.sample_rate = config.sample_rate
        self.hop_length = config.seanet.hop_length
        self.n_q = config.quantizer.n_q
        self.codebook_size = config.quantizer.codebook_size

    def n_q_for_bandwidth(self, kbps: float) -> int:
        """Number of codebooks that fit into a bandwidth, at least one."""
        per_codebook = math.log2(self.codebook_size) * self.frame_rate
        return min(self.n_q, max(1, math.floor(kbps * 1000 / per_codebook)))

    def forward(self, wav: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Training pass: wav (B, channels, T_a) -> wav_hat, commit_loss (), codes (B, n_q, T_c).

        In train mode with quantizer dropout, in place of EnCodec's bandwidth per batch; codes are -1 for
        stages an item did not use.
        """
        dropout = self.config.quantizer_dropout if self.training else 0.0
        n_q = sample_quantizer_dropout(len(wav), self.n_q, dropout, wav.device)
        quantized, codes, commit_loss = self.quantizer(self.encode_latent(wav), n_q)
        return self.decoder(quantized)[..., : wav.shape[-1]], commit_loss, codes

    def encode_latent(self, wav: Tensor) -> Tensor:
        """(B, channels, T_a) -> (B, C, T_c), not quantized."""
        self._check_wav(wav, self.config.seanet.channels)
        latent: Tensor = self.encoder(wav)
        return latent

    def encode(self, wav: Tensor, n_q: int | None = None) -> Tensor:
        """(B, channels, T_a) -> (B, n_q, T_c)."""
        self._check_codes_suffice()
        return self.quantizer.encode(self.encode_latent(wav), n_q)

    def latent_from_codes(self, codes: Tensor) -> Tensor:
        """(B, n_q, T_c) -> (B, C, T_c)."""
        return self.quantizer.decode(codes)

    def decode_latent(self, latent: Tensor) -> Tensor:
        """(B, C, T_c) -> (B, channels, T_c * hop_length)."""
        wav: Tensor = self.decoder(latent)
        return wav

    def encode_step(self, wav: Tensor, state: State = None) -> tuple[Tensor, State]:
        """(B, channels, a multiple of hop_length), state -> (B, n_q, T), state."""
        self._check_codes_suffice()
        self._check_chunk(wav, self.config.seanet.channels)
        latent, state = self.encoder.step(wav, state)
        return self.quantizer.encode(latent), state

    def decode_latent_step(self, latent: Tensor, state: State = None) -> tuple[Tensor, State]:
        """(B, C, T), state -> (B, channels, T * hop_length), state."""
        return self.decoder.step(latent, state)

    def encode_segments(self, wav: Tensor, n_q: int | None = None) -> list[EncodedSegment]:
        """(B, channels, T_a) -> overlapping segments in order, each with its scale."""
        self._check_wav(wav, self.config.seanet.channels)
        length, stride = self._segment_samples(wav.shape[-1])
        starts = range(0, wav.shape[-1], stride)
        return [self._encode_segment(wav[..., start : start + length], n_q) for start in starts]

    def decode_segments(self, segments: Sequence[EncodedSegment]) -> Tensor:
        """Segments in order -> (B, channels, T), at least as long as the encoded wav."""
        wavs = [self._decode_segment(segment) for segment in segments]
        if self.config.segment is None:
            (wav,) = wavs
            return wav
        return join_segments(wavs, self._segment_samples(0)[1])

    def _check_codes_suffice(self) -> None:
        if self.config.normalize or self.config.segment is not None:
            raise ValueError(
                "this EnCodec works on normalized segments, which codes alone do not describe; "
                "use encode_segments and decode_segments."
            )

    def _segment_samples(self, whole: int) -> tuple[int, int]:
        """Length and stride of a segment; an uncut input is one segment."""
        if self.config.segment is None:
            return whole, whole
        length = int(self.config.segment * self.sample_rate)
        return length, max(1, int((1 - self.config.overlap) * length))

    def _encode_segment(self, wav: Tensor, n_q: int | None) -> EncodedSegment:
        scale = None
        if self.config.normalize:
            rms = wav.mean(dim=1, keepdim=True).pow(2).mean(dim=2, keepdim=True).sqrt()
            scale = rms + 1e-8  # silence stays silence
            wav = wav / scale
        codes = self.quantizer.encode(self.encoder(wav), n_q)
        return EncodedSegment(codes, None if scale is None else scale[..., 0])

    def _decode_segment(self, segment: EncodedSegment) -> Tensor:
        wav = self.decode(segment.codes)
        return wav if segment.scale is None else wav * segment.scale[..., None]


def join_segments(wavs: Sequence[Tensor], stride: int) -> Tensor:
    """Segments (B, channels, T_i) that start `stride` apart -> their mean under triangular weights.

    The triangle is that of the first (full) segment; a shorter last one gets its rising part.
    """
    first, last = wavs[0], wavs[-1]
    batch, channels, length = first.shape
    position = torch.linspace(0, 1, length + 2, device=first.device, dtype=first.dtype)[1:-1]
    triangle = 0.5 - (position - 0.5).abs()
    weighted = [F.pad(triangle[: wav.shape[-1]] * wav, (0, length - wav.shape[-1])) for wav in wavs]
    weights = [F.pad(triangle[: wav.shape[-1]], (0, length - wav.shape[-1])) for wav in wavs]
    mixed = overlap_add(torch.stack(weighted, -1).flatten(0, 1), stride).view(batch, channels, -1)
    total = stride * (len(wavs) - 1) + last.shape[-1]
    return mixed[..., :total] / overlap_add(torch.stack(weights, -1)[None], stride)[:, :total]
