"""Convolutional multi-task heads: lip features (25 Hz) to mel and pitch (100 Hz), units (50 Hz) and codes.

One hidden sequence is upsampled to 50 Hz, from which units and codes are predicted, and again to 100 Hz for
the mel. Upsampling is sub-pixel (Shi et al. 2016), so one video frame yields exactly 2 and 4 steps and
nothing is trimmed. Codes are predicted twice: each codebook independently, and each conditioned on codes
before it (see `heads/codes.py`). Causal heads also run step by step.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lip2speech.constants import MEL_RATE, UNIT_RATE, per_video_frame
from lip2speech.models.heads.blocks import ConvBlock, SubPixelUpsample
from lip2speech.models.heads.codes import ConditionalCodeHead, DelayPatternCodeHead, TeacherCodes
from lip2speech.models.heads.pitch import BlockRunner, PitchHead
from lip2speech.models.prediction import Prediction
from lip2speech.modules.codebook_patterns import expand_codebook_sizes, stack_logits

CODE_HEADS = {"parallel": ConditionalCodeHead, "delay": DelayPatternCodeHead}


@dataclass(frozen=True)
class HeadsConfig:
    """Sizes of the heads; n_mels, n_units, n_q or pitch_dim of 0 leaves that head out.

    Args:
        hidden_dim: width of the hidden sequence.
        n_blocks: convolutional blocks at each rate.
        kernel_size: of the blocks, in steps.
        dropout: of the blocks.
        speaker_dim: S of the speaker embedding.
        n_mels: mel bands.
        n_units: size of the unit vocabulary.
        n_q: codebooks.
        codebook_size: entries of all codebooks, or of each, as in the codec.
        code_frame_rate: frame rate of the codec, in Hz.
        pitch_dim: channels of the pitch head.
        causal: no convolution sees a later step.
        codebook_pattern: "parallel" predicts all codebooks of a step at that step; "delay" predicts columns
            of the delay pattern, which needs n_q - 1 code steps of look-ahead.
    """

    hidden_dim: int = 512
    n_blocks: int = 2
    kernel_size: int = 5
    dropout: float = 0.1
    speaker_dim: int = 163
    n_mels: int = 80
    n_units: int = 200
    n_q: int = 4
    codebook_size: int | tuple[int, ...] = 512
    code_frame_rate: int = 50
    pitch_dim: int = 0
    causal: bool = False
    codebook_pattern: Literal["parallel", "delay"] = "parallel"

    def __post_init__(self) -> None:
        expand_codebook_sizes(self.codebook_size, self.n_q)
        if self.causal and self.codebook_pattern == "delay":
            raise ValueError(
                f"codebook_pattern delay needs {self.n_q - 1} code steps of look-ahead, which causal heads "
                "do not have; set causal to false or codebook_pattern to parallel."
            )

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Entries of each codebook."""
        return expand_codebook_sizes(self.codebook_size, self.n_q)

    def predicts(self, names: Iterable[str]) -> bool:
        """Whether heads of these sizes predict all of these `Prediction` fields."""
        sizes = {
            "mel": self.n_mels,
            "unit_logits": self.n_units,
            "pitch": self.pitch_dim,
            "speaker": self.speaker_dim,
        }
        return all(sizes.get(name, self.n_q) for name in names)


class Heads(nn.Module):
    """Features and a speaker embedding to a Prediction.

    Args:
        channels: C of the front end's features.
        config: sizes.

    Shape:
        forward: features (B, T, C), speaker (B, S), padding_mask (B, T) True = padding, codes (see
            `TeacherCodes`) -> Prediction with channel-first fields
        step: the next T frames, with a state instead of mask and codes -> Prediction, state; causal only
    """

    mel_mean: Tensor
    mel_std: Tensor

    def __init__(self, channels: int, config: HeadsConfig):
        super().__init__()
        self.config = c = config
        self.in_proj = nn.Linear(channels, c.hidden_dim)
        self.speaker = nn.Sequential(
            nn.Linear(c.speaker_dim, c.hidden_dim), nn.GELU(), nn.Linear(c.hidden_dim, c.hidden_dim)
        )
        self.to_units = SubPixelUpsample(c.hidden_dim, c.hidden_dim, per_video_frame(UNIT_RATE))
        self.unit_blocks = conv_blocks(c)
        if c.n_units:
            self.units = nn.Linear(c.hidden_dim, c.n_units)
        if c.n_q:
            factor = per_video_frame(c.code_frame_rate)
            self.to_codes = (
                nn.Identity()
                if c.code_frame_rate == UNIT_RATE
                else SubPixelUpsample(c.hidden_dim, c.hidden_dim, factor)
            )
            self.codes = CODE_HEADS[c.codebook_pattern](c.hidden_dim, c.codebook_sizes)
            self.independent_codes = nn.Linear(c.hidden_dim, sum(c.codebook_sizes))
        if c.n_mels:
            self.to_mel = SubPixelUpsample(c.hidden_dim, c.hidden_dim, MEL_RATE // UNIT_RATE)
            self.mel_blocks = conv_blocks(c)
            self.mel = nn.Linear(c.hidden_dim, c.n_mels)
            self.register_buffer("mel_mean", torch.zeros(c.n_mels))
            self.register_buffer("mel_std", torch.ones(c.n_mels))
        if c.pitch_dim:
            self.pitch = PitchHead(c.hidden_dim, c.pitch_dim, c.speaker_dim, partial(conv_blocks, c))

    def forward(
        self,
        features: Tensor,
        speaker: Tensor,
        padding_mask: Tensor | None = None,
        codes: TeacherCodes = None,
    ) -> Prediction:
        """(B, T, C), (B, S), (B, T) or None -> Prediction of T frames."""
        mask = torch.ones_like(features[..., :1]) if padding_mask is None else (~padding_mask).unsqueeze(-1)
        mask = mask.to(features.dtype)

        def run(blocks: Iterable[nn.Module], x: Tensor) -> Tensor:
            factor = x.shape[1] // features.shape[1]
            for block in blocks:
                x = block(x, mask.repeat_interleave(factor, 1))
            return x

        return self.predict(features, speaker, run, codes, mask)

    def step(
        self, features: Tensor, speaker: Tensor, state: Sequence[Any] | None = None
    ) -> tuple[Prediction, list[Any]]:
        """Next frames (B, T, C), (B, S), state -> Prediction of T frames, state."""
        if not self.config.causal:
            raise ValueError("only causal heads run step by step; run the whole clip.")
        states = iter(state if state is not None else [None] * 3 * self.config.n_blocks)
        new_state: list[Any] = []

        def run(blocks: Iterable[Any], x: Tensor) -> Tensor:
            for block in blocks:
                x, block_state = block.step(x, next(states))
                new_state.append(block_state)
            return x

        return self.predict(features, speaker, run, None), new_state

    def predict(
        self,
        features: Tensor,
        speaker: Tensor,
        run: BlockRunner,
        codes: TeacherCodes,
        mask: Tensor | None = None,
    ) -> Prediction:
        """All heads; `run` runs their blocks over time, mask (B, T, 1) is 0 at padding."""
        base = self.in_proj(features) + self.speaker(speaker).unsqueeze(1)
        x = run(self.unit_blocks, self.to_units(base))
        fields: dict[str, Tensor] = {"speaker": speaker}
        if self.config.n_mels:
            y = run(self.mel_blocks, self.to_mel(x))
            mel = self.mel(y).float() * self.mel_std + self.mel_mean
            fields["mel"] = mel.transpose(1, 2)  # (B, T, C) -> (B, C, T)
        if self.config.pitch_dim:
            fields["pitch"] = self.pitch(x, speaker, run)
        if self.config.n_units:
            fields["unit_logits"] = self.units(x).transpose(1, 2)  # (B, T, C) -> (B, C, T)
        if self.config.n_q:
            teacher = codes if codes is None or isinstance(codes, Tensor) else codes(fields["mel"])
            code_input = x if isinstance(self.to_codes, nn.Identity) else self.to_codes(base)
            fields |= self.predict_codes(code_input, teacher, mask)
        return Prediction(**fields)

    def predict_codes(self, x: Tensor, codes: Tensor | None, mask: Tensor | None) -> dict[str, Tensor]:
        """Both code heads on (B, rT, C), mask (B, T, 1) or None; their logits are (B, n_q, K, rT)."""
        if mask is not None:
            mask = mask[..., 0].bool().repeat_interleave(x.shape[1] // mask.shape[1], 1)
        logits, chosen = self.codes(x, codes, mask)
        sizes = self.config.codebook_sizes
        independent = stack_logits(self.independent_codes(x).split(sizes, -1), max(sizes), -2)
        return {
            "code_logits": logits.permute(0, 2, 3, 1),  # (B, T, n_q, K) -> (B, n_q, K, T)
            "independent_code_logits": independent.permute(0, 2, 3, 1),
            "codes": chosen,
        }


def conv_blocks(c: HeadsConfig, channels: int = 0) -> nn.ModuleList:
    """The blocks over time at one rate, `channels` wide (0: hidden_dim)."""
    blocks = (
        ConvBlock(channels or c.hidden_dim, c.kernel_size, c.dropout, causal=c.causal)
        for _ in range(c.n_blocks)
    )
    return nn.ModuleList(blocks)
