"""The codec interface: waveform to codes and back, via a latent that codes and mels share."""

import math
from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from lip2speech.modules.conv import State, StreamingConv1d, StreamingConvTranspose1d, is_streamable


class Codec(nn.Module, ABC):
    """What every codec offers. T_c = ceil(T_a / hop_length).

    Attributes:
        config_class: the dataclass of its config.
        sample_rate: in Hz.
        hop_length: samples per latent frame.
        n_q: number of codebooks.
        codebook_size: entries of the largest codebook.
        n_commit_losses: commitment losses in training: one for all codebooks, or one for each.
        supports_denoising: whether `encode`, `encode_step` and training take `denoise=True`.

    Shape:
        encode_latent:     wav (B, 1, T_a) -> latent (B, C, T_c), not quantized
        encode:            wav (B, 1, T_a) -> codes (B, n_q, T_c)
        latent_from_codes: codes (B, n_q, T_c) -> latent (B, C, T_c)
        decode_latent:     latent (B, C, T_c) -> wav (B, 1, T_c * hop_length)
        decode:            codes -> wav
        forward:           wav -> wav, commitment losses, codes; for training

    Submodules are called `encoder`, `quantizer` and `decoder`: training initializes the first and the last by
    name, and `builders.code_fingerprint` hashes the weights of the first two, which decide what a code means.
    """

    config_class: ClassVar[type]
    sample_rate: int
    hop_length: int
    n_q: int
    codebook_size: int
    n_commit_losses: int = 1
    supports_denoising: bool = False

    @property
    def frame_rate(self) -> int:
        """Latent frames per second."""
        if self.sample_rate % self.hop_length:
            raise ValueError(
                f"sample_rate must be a multiple of hop_length, got {self.sample_rate} and {self.hop_length}."
            )
        return self.sample_rate // self.hop_length

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Entries of each codebook; `codebook_size` is the largest."""
        return (self.codebook_size,) * self.n_q

    @property
    def bits_per_second(self) -> float:
        """Bit rate of all codebooks together."""
        return self.frame_rate * sum(math.log2(size) for size in self.codebook_sizes)

    @property
    def is_streamable(self) -> bool:
        """Whether the step functions equal a single pass; codecs with other layers override it."""
        layers = (m for m in self.modules() if isinstance(m, StreamingConv1d | StreamingConvTranspose1d))
        return all(map(is_streamable, layers))

    @abstractmethod
    def encode_latent(self, wav: Tensor) -> Tensor:
        """(B, 1, T_a) -> (B, C, T_c), not quantized."""

    @abstractmethod
    def encode(self, wav: Tensor, n_q: int | None = None) -> Tensor:
        """(B, 1, T_a) -> (B, n_q, T_c), with the first n_q codebooks (all by default)."""

    @abstractmethod
    def latent_from_codes(self, codes: Tensor) -> Tensor:
        """(B, n_q, T_c) -> (B, C, T_c)."""

    @abstractmethod
    def decode_latent(self, latent: Tensor) -> Tensor:
        """(B, C, T_c) -> (B, 1, T_c * hop_length)."""

    def decode(self, codes: Tensor) -> Tensor:
        """(B, n_q, T_c) -> (B, 1, T_c * hop_length)."""
        return self.decode_latent(self.latent_from_codes(codes))

    @abstractmethod
    def encode_step(self, wav: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Codes of the next samples: wav (B, 1, T * hop_length), state -> codes (B, n_q, T), state."""

    @abstractmethod
    def decode_latent_step(self, latent: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Audio of the next frames: latent (B, C, T), state -> wav (B, 1, T * hop_length), state."""

    def decode_step(self, codes_or_latent: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Audio of the next frames, from integer codes (B, n_q, T) or a floating-point latent (B, C, T)."""
        if codes_or_latent.dtype.is_floating_point:
            return self.decode_latent_step(codes_or_latent, state)
        return self.decode_latent_step(self.latent_from_codes(codes_or_latent), state)

    def _check_wav(self, wav: Tensor, channels: int = 1) -> None:
        if wav.dim() != 3 or wav.shape[1] != channels or not wav.shape[2]:
            raise ValueError(f"wav must be (B, {channels}, T_a) with T_a >= 1, got {tuple(wav.shape)}.")

    def _check_chunk(self, wav: Tensor, channels: int = 1) -> None:
        self._check_wav(wav, channels)
        if wav.shape[2] % self.hop_length:
            raise ValueError(
                f"a step takes a multiple of {self.hop_length} samples, got {wav.shape[2]}; "
                "buffer the remainder for the next step."
            )
