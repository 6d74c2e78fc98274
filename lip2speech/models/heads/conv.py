"""The multi-task heads: 25 Hz lip features and a voice in; mel, pitch (100 Hz), units (50 Hz) and codes out.

One hidden sequence is doubled to 50 Hz, where units and codes are read from it, and doubled again to 100 Hz
for the mel. Doubling is a linear layer whose output is split into two time steps (sub-pixel convolution, Shi
et al. 2016), so one video frame owns exactly 2 and 4 steps and nothing is trimmed. Codes come twice: every
codebook on its own, and each given the books before it (teacher-forced in training, greedy otherwise), as in
VALL-E's coarse-to-fine order (Wang et al. 2023, section 4.2), or by MusicGen's delay pattern (Copet et al.
2023, section 2.2), also given what was told of earlier times. Pitch starts from the register that the voice
has anyway and adds what the lips tell of it. Causal heads also run step by step. Knows neither the front end
nor the codec.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lip2speech.constants import MEL_RATE, UNIT_RATE, per_video_frame
from lip2speech.models.prediction import Prediction
from lip2speech.modules.codebook_layout import book_sizes, stack_books
from lip2speech.modules.codebook_patterns import deinterleave, interleave
from lip2speech.modules.conv import remember

MEDIAN = -2
"""Where the median pitch lies in a voice vector."""

BlockRunner = Callable[[Iterable[nn.Module], Tensor], Tensor]
"""What takes (B, T, C) through blocks over time, whole or step by step."""

TeacherCodes = Tensor | Callable[[Tensor], Tensor] | None
"""Codes (B, n_q, rT) to condition on, or what makes them of the predicted mel (B, n_mels, 4T); or greedy."""


@dataclass(frozen=True)
class HeadsConfig:
    """Sizes of the heads. A head with size 0 (n_mels, n_units, n_q or pitch) is left out.

    codebook_size: entries of every book, or of each in turn, as the codec has them; pitch: channels of the
    pitch head; causal: no convolution sees a later step; delayed: codes are told column by column of the
    delay pattern, which looks n_q - 1 code steps ahead.
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
    delayed: bool = False

    def __post_init__(self) -> None:
        book_sizes(self.codebook_size, self.n_q)
        if self.causal and self.delayed:
            raise ValueError(
                f"delayed codes look {self.n_q - 1} code steps ahead, so causal heads cannot have them; set "
                "one of causal and delayed to false."
            )

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Entries of each codebook."""
        return book_sizes(self.codebook_size, self.n_q)

    def predicts(self, names: Iterable[str]) -> bool:
        """Whether every one of these `Prediction` fields comes out of heads of these sizes."""
        sizes = {
            "mel": self.n_mels,
            "unit_logits": self.n_units,
            "pitch": self.pitch_dim,
            "speaker": self.speaker_dim,
        }
        return all(sizes.get(name, self.n_q) for name in names)


class ConvBlock(nn.Module):
    """Pre-norm residual convolution over time; it reads padded steps as zeros, like what is past a clip.

    Shape:
        forward: x (B, T, C), keep (B, T, 1) of 0 and 1 -> (B, T, C)
        step: x (B, T, C), state (B, C, kernel_size - 1) or None -> (B, T, C), state; causal blocks alone
    """

    def __init__(self, channels: int, kernel_size: int, dropout: float, *, causal: bool = False):
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, so that every step has a middle, got {kernel_size}.")
        self.norm, self.causal = nn.LayerNorm(channels), causal
        self.conv = nn.Conv1d(channels, channels, kernel_size, padding=0 if causal else kernel_size // 2)
        self.out = nn.Linear(channels, channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        y = (self.norm(x) * keep).transpose(1, 2)
        if self.causal:
            y, _ = remember(y, None, self.conv.kernel_size[0] - 1)
        y = F.gelu(self.conv(y)).transpose(1, 2)
        return x + self.dropout(self.out(y))

    def step(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The next steps: (B, T, C), state -> (B, T, C), state."""
        y, state = remember(self.norm(x).transpose(1, 2), state, self.conv.kernel_size[0] - 1)
        return x + self.out(F.gelu(self.conv(y)).transpose(1, 2)), state


class SubPixelUpsample(nn.Module):
    """(B, T, C) -> (B, factor * T, C_out): each step is split into `factor` steps by one linear layer."""

    def __init__(self, channels: int, out_channels: int, factor: int):
        super().__init__()
        self.factor = factor
        self.linear = nn.Linear(channels, factor * out_channels)

    def forward(self, x: Tensor) -> Tensor:
        batch, steps, _ = x.shape
        return self.linear(x).reshape(batch, steps * self.factor, -1)


class ConditionalCodeHead(nn.Module):
    """Logits of n_q codebooks, each conditioned on the books before it.

    Args:
        sizes: entries of each book; K is the largest, and what a smaller book lacks has a logit of -inf.
    Shape: x (B, T, C), codes (B, n_q, T) or None (then greedy) -> logits (B, T, n_q, K), codes (B, n_q, T);
        keep (B, T), False where x is padding, is for heads that look along time
    """

    def __init__(self, channels: int, sizes: tuple[int, ...]):
        super().__init__()
        self.size = max(sizes)
        self.embed = nn.ModuleList(nn.Embedding(size, channels) for size in sizes[:-1])
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in sizes)
        self.mix = nn.ModuleList(nn.Linear(channels, channels) for _ in sizes)
        self.logits = nn.ModuleList(nn.Linear(channels, size) for size in sizes)

    def forward(
        self, x: Tensor, codes: Tensor | None = None, keep: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        logits, chosen = [], []
        for i, (norm, mix, out) in enumerate(zip(self.norms, self.mix, self.logits, strict=True)):
            logits.append(out(F.gelu(mix(norm(x)))))
            chosen.append(logits[-1].argmax(-1) if codes is None else codes[:, i])
            if i < len(self.embed):
                x = x + self.embed[i](chosen[-1])
        return stack_books(logits, self.size, 2), torch.stack(chosen, 1)


class DelayPatternCodeHead(nn.Module):
    """Logits of n_q codebooks by the delay pattern (`modules/delay.py`): a GRU remembers all columns before.

    Column s holds book k of time s - k, so a code is given the books before it at its own time, and all books
    of times before that.

    Shape: as `ConditionalCodeHead`
    """

    def __init__(self, channels: int, sizes: tuple[int, ...]):
        super().__init__()
        self.sizes = sizes
        self.nothing = max(sizes)  # what is told of a book before it begins and after it ends
        self.embed = nn.ModuleList(nn.Embedding(self.nothing + 1, channels) for _ in sizes)
        self.memory = nn.GRU(channels, channels, batch_first=True)
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in sizes)
        self.mix = nn.ModuleList(nn.Linear(channels, channels) for _ in sizes)
        self.logits = nn.ModuleList(nn.Linear(channels, size) for size in sizes)

    def forward(
        self, x: Tensor, codes: Tensor | None = None, keep: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        n_q = len(self.embed)
        keep = torch.ones_like(x[..., 0], dtype=torch.bool) if keep is None else keep
        told = interleave(keep.unsqueeze(1).expand(-1, n_q, -1), False)  # (B, n_q, T + n_q - 1)
        columns = interleave(x.unsqueeze(1).expand(-1, n_q, -1, -1), 0.0)  # (B, n_q, T + n_q - 1, C)
        if codes is None:
            logits, chosen = self.greedy(columns, told)
            last = chosen.new_tensor(self.sizes)[:, None] - 1  # what stands for nothing, in padding
            return deinterleave(logits).transpose(1, 2), deinterleave(chosen).minimum(last)
        given = interleave(codes, self.nothing).masked_fill(~told, self.nothing)
        before = F.pad(given, (1, 0), value=self.nothing)[..., :-1]
        logits = self.column(columns, self.memory(self.read(before))[0])
        return deinterleave(logits).transpose(1, 2), codes

    def greedy(self, columns: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
        """Column after column, each given those that were chosen -> logits (B, n_q, S, K), codes."""
        chosen = [torch.full_like(told[..., :1], self.nothing, dtype=torch.long)]
        logits, state = [], None
        for x, is_told in zip(columns.split(1, 2), told.split(1, 2), strict=True):
            memory, state = self.memory(self.read(chosen[-1]), state)
            logits.append(self.column(x, memory))
            chosen.append(logits[-1].argmax(-1).masked_fill(~is_told, self.nothing))
        return torch.cat(logits, 2), torch.cat(chosen[1:], 2)

    def read(self, codes: Tensor) -> Tensor:
        """Columns (B, n_q, S) -> (B, S, C)."""
        return torch.stack(
            [embed(book) for embed, book in zip(self.embed, codes.unbind(1), strict=True)]
        ).sum(0)

    def column(self, x: Tensor, memory: Tensor) -> Tensor:
        """x (B, n_q, S, C), memory (B, S, C) -> logits (B, n_q, S, K)."""
        rows = zip((x + memory.unsqueeze(1)).unbind(1), self.norms, self.mix, self.logits, strict=True)
        return stack_books((out(F.gelu(mix(norm(row)))) for row, norm, mix, out in rows), self.nothing, 1)


class PitchHead(nn.Module):
    """Pitch and voicing: the voice's own register, and what is said with it.

    `register` begins as the median of the voice vector's three pitch quantiles (see `speaker.py`).

    Shape: x (B, 2T, C), speaker (B, S), run: what works the blocks -> (B, 2, 4T)
    """

    def __init__(self, c: HeadsConfig):
        super().__init__()
        self.inp = SubPixelUpsample(c.hidden_dim, c.pitch_dim, MEL_RATE // UNIT_RATE)
        self.blocks = conv_blocks(c, c.pitch_dim)
        self.out = nn.Linear(c.pitch_dim, 2)
        self.register = nn.Linear(c.speaker_dim, 1)
        nn.init.zeros_(self.register.weight)
        nn.init.zeros_(self.register.bias)
        if c.speaker_dim > -MEDIAN:
            nn.init.ones_(self.register.weight[:, MEDIAN])

    def forward(self, x: Tensor, speaker: Tensor, run: BlockRunner) -> Tensor:
        height, voiced = self.out(run(self.blocks, self.inp(x))).float().unbind(-1)
        return torch.stack([height + self.register(speaker).float(), voiced], 1)


class Heads(nn.Module):
    """Features to Prediction (three tasks, one voice).

    Args:
        channels: C of the front end's features.
    Shape:
        features (B, T, C), speaker (B, S), padding_mask (B, T) True = padding, codes: see `TeacherCodes`
        -> Prediction, whose fields are channel-first
        step: the same of the next T frames, with a state instead of mask and codes -> Prediction, state
    """

    mel_mean: Tensor
    mel_std: Tensor

    def __init__(self, channels: int, config: HeadsConfig):
        super().__init__()
        self.config = c = config
        self.inp = nn.Linear(channels, c.hidden_dim)
        self.speaker = nn.Sequential(
            nn.Linear(c.speaker_dim, c.hidden_dim), nn.GELU(), nn.Linear(c.hidden_dim, c.hidden_dim)
        )
        self.to_units = SubPixelUpsample(c.hidden_dim, c.hidden_dim, per_video_frame(UNIT_RATE))
        self.unit_blocks = conv_blocks(c)
        if c.n_units:
            self.units = nn.Linear(c.hidden_dim, c.n_units)
        if c.n_q:
            ratio = per_video_frame(c.code_frame_rate)
            same_clock = c.code_frame_rate == UNIT_RATE
            self.to_codes = (
                nn.Identity() if same_clock else SubPixelUpsample(c.hidden_dim, c.hidden_dim, ratio)
            )
            code_head = DelayPatternCodeHead if c.delayed else ConditionalCodeHead
            self.codes = code_head(c.hidden_dim, c.codebook_sizes)
            self.independent_codes = nn.Linear(c.hidden_dim, sum(c.codebook_sizes))
        if c.n_mels:
            self.to_mel = SubPixelUpsample(c.hidden_dim, c.hidden_dim, MEL_RATE // UNIT_RATE)
            self.mel_blocks = conv_blocks(c)
            self.mel = nn.Linear(c.hidden_dim, c.n_mels)
            self.register_buffer("mel_mean", torch.zeros(c.n_mels))
            self.register_buffer("mel_std", torch.ones(c.n_mels))
        if c.pitch_dim:
            self.pitch = PitchHead(c)

    def forward(
        self,
        features: Tensor,
        speaker: Tensor,
        padding_mask: Tensor | None = None,
        codes: TeacherCodes = None,
    ) -> Prediction:
        keep = torch.ones_like(features[..., :1]) if padding_mask is None else (~padding_mask).unsqueeze(-1)
        keep = keep.to(features.dtype)

        def run(blocks: Iterable[nn.Module], x: Tensor) -> Tensor:
            times = x.shape[1] // features.shape[1]
            for block in blocks:
                x = block(x, keep.repeat_interleave(times, 1))
            return x

        return self.predict(features, speaker, run, codes, keep)

    def step(
        self, features: Tensor, speaker: Tensor, state: Sequence[Any] | None = None
    ) -> tuple[Prediction, list[Any]]:
        """The next frames: (B, T, C), (B, S), state -> Prediction of T frames, state."""
        if not self.config.causal:
            raise ValueError("only causal heads run step by step; run the whole clip.")
        old = iter(state if state is not None else [None] * 3 * self.config.n_blocks)
        new: list[Any] = []

        def run(blocks: Iterable[Any], x: Tensor) -> Tensor:
            for block in blocks:
                x, after = block.step(x, next(old))
                new.append(after)
            return x

        return self.predict(features, speaker, run, None), new

    def predict(
        self,
        features: Tensor,
        speaker: Tensor,
        run: BlockRunner,
        codes: TeacherCodes,
        keep: Tensor | None = None,
    ) -> Prediction:
        """All heads, whose convolutions over time are left to `run`; keep (B, T, 1) is 0 for padding."""
        base = self.inp(features) + self.speaker(speaker).unsqueeze(1)
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
            given = codes if codes is None or isinstance(codes, Tensor) else codes(fields["mel"])
            same_clock = isinstance(self.to_codes, nn.Identity)
            fields |= self.predict_codes(x if same_clock else self.to_codes(base), given, keep)
        return Prediction(**fields)

    def predict_codes(self, x: Tensor, codes: Tensor | None, keep: Tensor | None) -> dict[str, Tensor]:
        """Both code heads on (B, rT, C); logits leave as (B, n_q, K, rT)."""
        if keep is not None:
            keep = keep[..., 0].bool().repeat_interleave(x.shape[1] // keep.shape[1], 1)
        logits, chosen = self.codes(x, codes, keep)
        sizes = self.config.codebook_sizes
        independent = stack_books(self.independent_codes(x).split(sizes, -1), max(sizes), -2)
        return {
            "code_logits": logits.permute(0, 2, 3, 1),  # (B, T, n_q, K) -> (B, n_q, K, T)
            "independent_code_logits": independent.permute(0, 2, 3, 1),
            "codes": chosen,
        }


def conv_blocks(c: HeadsConfig, channels: int = 0) -> nn.ModuleList:
    """The blocks over time of one clock, as wide as all heads or narrower."""
    blocks = (
        ConvBlock(channels or c.hidden_dim, c.kernel_size, c.dropout, causal=c.causal)
        for _ in range(c.n_blocks)
    )
    return nn.ModuleList(blocks)
