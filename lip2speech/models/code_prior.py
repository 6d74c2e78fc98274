"""How likely codes are as speech: Gated PixelCNN over the grid of time x codebook.

van den Oord et al. 2016, "Conditional image generation with PixelCNN decoders", section 2, with its plain
predecessor (van den Oord et al. 2016, "Pixel recurrent neural networks", section 3.4) beside it to compare:

    book     0  1  2  3
    t - 2    v  v  v  v       v: the vertical stack sees every row before
    t - 1    v  v  v  v       h: the horizontal stack sees the books before in this row, and all v
    t        h  h  ?          the plain one sees no book far to the right in rows before (its blind spot)

Each logit is given everything earlier in that order, so the logarithms add up to that of the whole grid. A
code is no brightness: it is embedded, and each book has logits of its own. The voice is the vector that all
gates are raised by. Only the vertical stack looks back in time, by `rows` - 1 for each layer: so few rows of
each layer's input are all that must be kept to tell the next codes as if all were told at once (`step`).

It knows neither the codec nor who predicted the codes: only codes like those of the codec that it learned
from mean anything to it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lip2speech import checkpoint
from lip2speech.config import from_dict
from lip2speech.modules.activations import gated_activation
from lip2speech.modules.codebook_layout import ABSENT, book_sizes
from lip2speech.restore import restore

KIND = "code_prior"

RowMask = Literal["none", "before", "upto", "all"]
"""Which columns of its own row a masked convolution sees; of rows before it sees all in its kernel."""

CodePriorState = list[Tensor]
"""Of each layer, the last rows that it saw: (B, C, rows - 1, n_q)."""


@dataclass(frozen=True)
class CodePriorConfig:
    """Sizes. codebook_size: of every book, or of each in turn; rows, columns: of the kernels, back in time
    and over books; vector_dim: numbers of a voice vector, 0 for none.
    """

    type: Literal["gated", "plain"] = "gated"
    n_q: int = 4
    codebook_size: int | tuple[int, ...] = 512
    speaker_dim: int = 163
    channels: int = 96
    layers: int = 8
    kernel_time: int = 3
    kernel_codebook: int = 3

    def __post_init__(self) -> None:
        book_sizes(self.codebook_size, self.n_q)
        if self.kernel_time < 2 or self.kernel_codebook % 2 == 0 or self.layers < 1:
            raise ValueError(
                "rows must be 2 or more, columns odd and layers 1 or more, got "
                f"{self.kernel_time}, {self.kernel_codebook} and {self.layers}."
            )

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Entries of each codebook."""
        return book_sizes(self.codebook_size, self.n_q)


class MaskedConv2d(nn.Conv2d):
    """Convolution over (T, n_q) that sees rows before its own and, of its own, the columns that `own` says.

    Shape:
        forward: (B, C_in, T, n_q) -> (B, C_out, T, n_q)
        step: the next rows, state (B, C_in, rows - 1, n_q) or None at the start -> (B, C_out, T, n_q), state
    """

    mask: Tensor

    def __init__(self, in_channels: int, out_channels: int, rows: int, columns: int, own: RowMask):
        super().__init__(in_channels, out_channels, (rows, columns))
        middle = columns // 2
        mask = torch.ones(rows, columns)
        mask[-1, {"none": 0, "before": middle, "upto": middle + 1, "all": columns}[own] :] = 0
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.step(x)[0]

    def step(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        rows, columns = self.mask.shape
        if state is None:
            state = x.new_zeros(x.shape[0], x.shape[1], rows - 1, x.shape[3])
        x = torch.cat([state, x], 2)
        y = F.conv2d(F.pad(x, (columns // 2, columns // 2)), self.weight * self.mask, self.bias)
        return y, x[:, :, x.shape[2] - (rows - 1) :]


class ConditioningBias(nn.Module):
    """What a book and a voice raise a layer by: vector (B, S) or None -> (B, C, 1, n_q) (section 2.3)."""

    def __init__(self, c: CodePriorConfig, channels: int):
        super().__init__()
        self.book = nn.Parameter(torch.zeros(channels, 1, c.n_q))
        self.voice = nn.Linear(c.speaker_dim, channels, bias=False) if c.speaker_dim else None

    def forward(self, vector: Tensor | None) -> Tensor:
        if self.voice is None or vector is None:
            return self.book[None]
        return self.book + self.voice(vector)[..., None, None]


class GatedPixelCNNBlock(nn.Module):
    """One layer of both stacks (figure 2 of the paper); `first` sees nothing of its own place.

    Shape: v, h (B, C, T, n_q), vector (B, S) or None, state of `vertical` -> v, h, state
    """

    def __init__(self, c: CodePriorConfig, *, first: bool):
        super().__init__()
        size, self.first = c.channels, first
        self.vertical = MaskedConv2d(
            size, 2 * size, c.kernel_time, c.kernel_codebook, "none" if first else "all"
        )
        self.horizontal = MaskedConv2d(size, 2 * size, 1, c.kernel_codebook, "before" if first else "upto")
        self.across = nn.Conv2d(2 * size, 2 * size, 1)
        self.out = nn.Conv2d(size, size, 1)
        self.bias = ConditioningBias(c, 4 * size)

    def forward(
        self, v: Tensor, h: Tensor, vector: Tensor | None, state: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        above, beside = self.bias(vector).chunk(2, 1)
        seen, state = self.vertical.step(v, state)
        out = self.out(gated_activation(self.horizontal(h) + self.across(seen) + beside))
        return (
            gated_activation(seen + above),
            (out if self.first else h + out),
            state,
        )  # h of the first holds its own place


class PixelCNNBlock(nn.Module):
    """One layer of the plain network.

    Shape: x (B, C, T, n_q), vector (B, S) or None, state of `conv` -> x, state
    """

    def __init__(self, c: CodePriorConfig, *, first: bool):
        super().__init__()
        self.first = first
        self.conv = MaskedConv2d(
            c.channels, c.channels, c.kernel_time, c.kernel_codebook, "before" if first else "upto"
        )
        self.bias = ConditioningBias(c, c.channels)

    def forward(self, x: Tensor, vector: Tensor | None, state: Tensor | None) -> tuple[Tensor, Tensor]:
        y, state = self.conv.step(x if self.first else F.relu(x), state)
        y = y + self.bias(vector)
        return (y if self.first else x + y), state


class CodePrior(nn.Module, ABC):
    """A likelihood of codes.

    Shape:
        forward: codes (B, n_q, T), vector (B, S) -> logits (B, n_q, K, T) of each code, given those before;
            K is the largest book's, and what a smaller one lacks is -inf
        step: the next codes, vector, state (None at the start) -> logits, state
        bits: as forward -> (B, n_q, T): what it takes to tell each code
    """

    blocks: nn.ModuleList
    first: Tensor  # rows of `embed` before a book's own, (n_q, 1)
    absent: Tensor  # what each book lacks, (n_q, K, 1)

    def __init__(self, config: CodePriorConfig):
        super().__init__()
        self.config = c = config
        sizes, self.size = torch.tensor(c.codebook_sizes)[:, None], max(c.codebook_sizes)
        self.register_buffer("first", sizes.cumsum(0) - sizes, persistent=False)
        self.register_buffer("absent", (torch.arange(self.size) >= sizes)[..., None], persistent=False)
        self.embed = nn.Embedding(sum(c.codebook_sizes), c.channels)
        self.mix = nn.Conv2d(c.channels, c.channels, 1)
        self.out = nn.Conv1d(c.n_q * c.channels, c.n_q * self.size, 1, groups=c.n_q)

    def forward(self, codes: Tensor, vector: Tensor | None = None) -> Tensor:
        return self.step(codes, vector)[0]

    def step(
        self, codes: Tensor, vector: Tensor | None = None, state: CodePriorState | None = None
    ) -> tuple[Tensor, CodePriorState]:
        self.check(codes, vector)
        c = self.config
        x = self.embed(codes + self.first).permute(0, 3, 2, 1)  # (B, n_q, T, C) -> (B, C, T, n_q)
        x, state = self.features(x, vector, [None] * len(self.blocks) if state is None else state)
        x = F.relu(self.mix(F.relu(x))).permute(0, 3, 1, 2).flatten(1, 2)  # (B, C, T, n_q) -> (B, n_q C, T)
        return self.out(x).unflatten(1, (c.n_q, self.size)).masked_fill(self.absent, ABSENT), state

    @abstractmethod
    def features(
        self, x: Tensor, vector: Tensor | None, state: Sequence[Tensor | None]
    ) -> tuple[Tensor, CodePriorState]:
        """Embedded codes (B, C, T, n_q), a state of each block -> what is known of each place before it is
        seen, the same shape, and states.
        """

    @torch.no_grad()
    def bits(self, codes: Tensor, vector: Tensor | None = None) -> Tensor:
        return bits_per_code(self(codes, vector).float(), codes)

    def check(self, codes: Tensor, vector: Tensor | None) -> None:
        """ValueError unless the codes are of these books, and the voice of this size."""
        c = self.config
        if codes.ndim != 3 or codes.shape[1] != c.n_q:
            raise ValueError(f"codes must be (B, {c.n_q}, T), got {tuple(codes.shape)}.")
        for book, size in zip(codes.unbind(1), c.codebook_sizes, strict=True):
            if book.numel() and not 0 <= int(book.min()) <= int(book.max()) < size:
                raise ValueError(
                    f"codes must be 0 .. {size - 1}, got {int(book.min())} .. {int(book.max())}."
                )
        size = 0 if vector is None else vector.shape[-1]
        if size != c.speaker_dim:
            raise ValueError(f"the vector must have {c.speaker_dim} numbers, got {size}.")


class GatedPixelCNN(CodePrior):
    """Two stacks of gated layers, without a blind spot."""

    def __init__(self, config: CodePriorConfig):
        super().__init__(config)
        self.blocks = nn.ModuleList(GatedPixelCNNBlock(config, first=i == 0) for i in range(config.layers))

    def features(
        self, x: Tensor, vector: Tensor | None, state: Sequence[Tensor | None]
    ) -> tuple[Tensor, CodePriorState]:
        v, h, new = x, x, []
        for block, before in zip(self.blocks, state, strict=True):
            v, h, after = block(v, h, vector, before)
            new.append(after)
        return h, new


class PixelCNN(CodePrior):
    """One stack of ReLU layers: what the gated one is measured against."""

    def __init__(self, config: CodePriorConfig):
        super().__init__(config)
        self.blocks = nn.ModuleList(PixelCNNBlock(config, first=i == 0) for i in range(config.layers))

    def features(
        self, x: Tensor, vector: Tensor | None, state: Sequence[Tensor | None]
    ) -> tuple[Tensor, CodePriorState]:
        new = []
        for block, before in zip(self.blocks, state, strict=True):
            x, after = block(x, vector, before)
            new.append(after)
        return x, new


LIKELIHOODS = {"gated": GatedPixelCNN, "plain": PixelCNN}


def build_likelihood(config: CodePriorConfig) -> CodePrior:
    """The network that a config names, with fresh weights."""
    return LIKELIHOODS[config.type](config)


def bits_per_code(logits: Tensor, codes: Tensor) -> Tensor:
    """What it takes to tell each code: logits (B, n_q, K, T), codes (B, n_q, T) -> (B, n_q, T)."""
    return F.cross_entropy(logits.transpose(1, 2), codes, reduction="none") / math.log(2)


class RunningBits:
    """The mean bits of the codes of a video that comes in overlapping windows: a frame counts once, as the
    first window tells it.
    """

    def __init__(self) -> None:
        self._frames, self._sum = 0, 0.0

    def add(self, start: int, bits: Tensor) -> None:
        """The next window: the mean of each frame from `start` on, (T,)."""
        new = bits[self._frames - start :]
        self._frames, self._sum = self._frames + len(new), self._sum + float(new.sum())

    @property
    def mean(self) -> float | None:
        """None before there is a frame."""
        return self._sum / self._frames if self._frames else None


def load_likelihood(folder: str | Path) -> CodePrior:
    """The network in a folder written by `lip2speech train code-prior`, in eval mode.

    Raises:
        CheckpointError: missing or damaged folder, or something else in it.
    """
    loaded = read_likelihood(folder)
    return likelihood_from_dict(loaded.config[KIND], loaded.tensors)


def read_likelihood(folder: str | Path) -> checkpoint.Checkpoint:
    """A likelihood's folder: under `likelihood` its sizes, and whose codes and voices it learned: `codec`,
    `speaker`. CheckpointError as in `load_likelihood`.
    """
    loaded = checkpoint.load(folder)
    if loaded.config.get("kind") != KIND or not {KIND, "codec", "speaker"} <= set(loaded.config):
        raise checkpoint.CheckpointError(
            f"{folder} holds {loaded.config.get('kind')!r}, expected a {KIND} of a codec's codes; make one "
            "with `lip2speech train code-prior configs/code_prior/default.yaml`."
        )
    return loaded


def likelihood_from_dict(config: dict[str, Any], tensors: dict[str, Tensor]) -> CodePrior:
    """The network of plain values and its weights, in eval mode. CheckpointError: they do not fit."""
    try:
        numbers = from_dict(CodePriorConfig, config, KIND)
    except (TypeError, ValueError) as error:
        raise checkpoint.CheckpointError(f"the likelihood's config is wrong ({error}).") from error
    return restore(lambda: build_likelihood(numbers), numbers, tensors, KIND).eval()
