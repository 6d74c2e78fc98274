"""How likely codes are as speech: Gated PixelCNN over the grid of time x codebook.

van den Oord et al. 2016, "Conditional image generation with PixelCNN decoders", section 2, with its plain
predecessor (van den Oord et al. 2016, "Pixel recurrent neural networks", section 3.4) beside it to compare:

    book     0  1  2  3
    t - 2    v  v  v  v       v: the vertical stack sees every row before
    t - 1    v  v  v  v       h: the horizontal stack sees the books before in this row, and all v
    t        h  h  ?          the plain one sees no book far to the right in rows before (its blind spot)

Each logit is given everything earlier in that order, so the logarithms add up to that of the whole grid. A
code is no brightness: it is embedded, and each book has logits of its own. The voice is the vector that all
gates are raised by. It knows neither the codec nor who predicted the codes: only codes like those of the
codec that it learned from mean anything to it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lip2speech import checkpoint
from lip2speech.config import from_dict
from lip2speech.modules.books import ABSENT, book_sizes
from lip2speech.restore import restore

KIND = "likelihood"

Own = Literal["none", "before", "upto", "all"]
"""Which columns of its own row a masked convolution sees; of rows before it sees all in its kernel."""


@dataclass(frozen=True)
class LikelihoodConfig:
    """Sizes. codebook_size: of every book, or of each in turn; rows, columns: of the kernels, back in time
    and over books; vector_dim: numbers of a voice vector, 0 for none.
    """

    kind: Literal["gated", "plain"] = "gated"
    n_q: int = 4
    codebook_size: int | tuple[int, ...] = 512
    vector_dim: int = 163
    channels: int = 96
    layers: int = 8
    rows: int = 3
    columns: int = 3

    def __post_init__(self) -> None:
        book_sizes(self.codebook_size, self.n_q)
        if self.rows < 2 or self.columns % 2 == 0 or self.layers < 1:
            raise ValueError(
                "rows must be 2 or more, columns odd and layers 1 or more, got "
                f"{self.rows}, {self.columns} and {self.layers}."
            )

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Entries of each codebook."""
        return book_sizes(self.codebook_size, self.n_q)


class MaskedConv2d(nn.Conv2d):
    """Convolution over (T, n_q) that sees rows before its own and, of its own, the columns that `own` says.

    Shape: (B, C_in, T, n_q) -> (B, C_out, T, n_q)
    """

    mask: Tensor

    def __init__(self, in_channels: int, out_channels: int, rows: int, columns: int, own: Own):
        super().__init__(in_channels, out_channels, (rows, columns))
        middle = columns // 2
        mask = torch.ones(rows, columns)
        mask[-1, {"none": 0, "before": middle, "upto": middle + 1, "all": columns}[own] :] = 0
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = self.mask.shape
        x = F.pad(x, (columns // 2, columns // 2, rows - 1, 0))
        return F.conv2d(x, self.weight * self.mask, self.bias)


class Bias(nn.Module):
    """What a book and a voice raise a layer by: vector (B, S) or None -> (B, C, 1, n_q) (section 2.3)."""

    def __init__(self, c: LikelihoodConfig, channels: int):
        super().__init__()
        self.book = nn.Parameter(torch.zeros(channels, 1, c.n_q))
        self.voice = nn.Linear(c.vector_dim, channels, bias=False) if c.vector_dim else None

    def forward(self, vector: Tensor | None) -> Tensor:
        if self.voice is None or vector is None:
            return self.book[None]
        return self.book + self.voice(vector)[..., None, None]


class GatedBlock(nn.Module):
    """One layer of both stacks (figure 2 of the paper); `first` sees nothing of its own place.

    Shape: v, h (B, C, T, n_q), vector (B, S) or None -> v, h
    """

    def __init__(self, c: LikelihoodConfig, *, first: bool):
        super().__init__()
        size, self.first = c.channels, first
        self.vertical = MaskedConv2d(size, 2 * size, c.rows, c.columns, "none" if first else "all")
        self.horizontal = MaskedConv2d(size, 2 * size, 1, c.columns, "before" if first else "upto")
        self.across = nn.Conv2d(2 * size, 2 * size, 1)
        self.out = nn.Conv2d(size, size, 1)
        self.bias = Bias(c, 4 * size)

    def forward(self, v: Tensor, h: Tensor, vector: Tensor | None) -> tuple[Tensor, Tensor]:
        above, beside = self.bias(vector).chunk(2, 1)
        seen = self.vertical(v)
        out = self.out(gated(self.horizontal(h) + self.across(seen) + beside))
        return gated(seen + above), (out if self.first else h + out)  # h of the first holds its own place


class PlainBlock(nn.Module):
    """One layer of the plain network: (B, C, T, n_q), vector (B, S) or None -> (B, C, T, n_q)."""

    def __init__(self, c: LikelihoodConfig, *, first: bool):
        super().__init__()
        self.first = first
        self.conv = MaskedConv2d(c.channels, c.channels, c.rows, c.columns, "before" if first else "upto")
        self.bias = Bias(c, c.channels)

    def forward(self, x: Tensor, vector: Tensor | None) -> Tensor:
        y = self.conv(x if self.first else F.relu(x)) + self.bias(vector)
        return y if self.first else x + y


class Likelihood(nn.Module, ABC):
    """A likelihood of codes.

    Shape:
        forward: codes (B, n_q, T), vector (B, S) -> logits (B, n_q, K, T) of each code, given those before;
            K is the largest book's, and what a smaller one lacks is -inf
        bits: the same -> (B, n_q, T): what it takes to tell each code
    """

    first: Tensor  # rows of `embed` before a book's own, (n_q, 1)
    absent: Tensor  # what each book lacks, (n_q, K, 1)

    def __init__(self, config: LikelihoodConfig):
        super().__init__()
        self.config = c = config
        sizes, self.size = torch.tensor(c.codebook_sizes)[:, None], max(c.codebook_sizes)
        self.register_buffer("first", sizes.cumsum(0) - sizes, persistent=False)
        self.register_buffer("absent", (torch.arange(self.size) >= sizes)[..., None], persistent=False)
        self.embed = nn.Embedding(sum(c.codebook_sizes), c.channels)
        self.mix = nn.Conv2d(c.channels, c.channels, 1)
        self.out = nn.Conv1d(c.n_q * c.channels, c.n_q * self.size, 1, groups=c.n_q)

    def forward(self, codes: Tensor, vector: Tensor | None = None) -> Tensor:
        self.check(codes, vector)
        c = self.config
        x = self.embed(codes + self.first).permute(0, 3, 2, 1)  # (B, n_q, T, C) -> (B, C, T, n_q)
        x = F.relu(self.mix(F.relu(self.features(x, vector))))
        x = x.permute(0, 3, 1, 2).flatten(1, 2)  # (B, C, T, n_q) -> (B, n_q C, T)
        return self.out(x).unflatten(1, (c.n_q, self.size)).masked_fill(self.absent, ABSENT)

    @abstractmethod
    def features(self, x: Tensor, vector: Tensor | None) -> Tensor:
        """Embedded codes (B, C, T, n_q) -> what is known of each place before it is seen, the same shape."""

    @torch.no_grad()
    def bits(self, codes: Tensor, vector: Tensor | None = None) -> Tensor:
        return bits_per_token(self(codes, vector).float(), codes)

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
        if size != c.vector_dim:
            raise ValueError(f"the vector must have {c.vector_dim} numbers, got {size}.")


class GatedPixelCNN(Likelihood):
    """Two stacks of gated layers, without a blind spot."""

    def __init__(self, config: LikelihoodConfig):
        super().__init__(config)
        self.blocks = nn.ModuleList(GatedBlock(config, first=i == 0) for i in range(config.layers))

    def features(self, x: Tensor, vector: Tensor | None) -> Tensor:
        v = h = x
        for block in self.blocks:
            v, h = block(v, h, vector)
        return h


class PixelCNN(Likelihood):
    """One stack of ReLU layers: what the gated one is measured against."""

    def __init__(self, config: LikelihoodConfig):
        super().__init__(config)
        self.blocks = nn.ModuleList(PlainBlock(config, first=i == 0) for i in range(config.layers))

    def features(self, x: Tensor, vector: Tensor | None) -> Tensor:
        for block in self.blocks:
            x = block(x, vector)
        return x


LIKELIHOODS = {"gated": GatedPixelCNN, "plain": PixelCNN}


def build_likelihood(config: LikelihoodConfig) -> Likelihood:
    """The network that a config names, with fresh weights."""
    return LIKELIHOODS[config.kind](config)


def gated(x: Tensor) -> Tensor:
    """(B, 2C, T, n_q) -> (B, C, T, n_q), equation 2 of the paper."""
    filtered, gate = x.chunk(2, 1)
    return filtered.tanh() * gate.sigmoid()


def bits_per_token(logits: Tensor, codes: Tensor) -> Tensor:
    """What it takes to tell each code: logits (B, n_q, K, T), codes (B, n_q, T) -> (B, n_q, T)."""
    return F.cross_entropy(logits.transpose(1, 2), codes, reduction="none") / math.log(2)


def load_likelihood(folder: str | Path) -> Likelihood:
    """The network in a folder written by `lip2speech train likelihood`, in eval mode.

    Raises:
        CheckpointError: missing or damaged folder, or something else in it.
    """
    loaded = checkpoint.load(folder)
    if loaded.config.get("kind") != KIND:
        raise checkpoint.CheckpointError(
            f"{folder} holds {loaded.config.get('kind')!r}, expected a {KIND}; make one with "
            "`lip2speech train likelihood configs/likelihood/default.yaml`."
        )
    return likelihood_from_dict(loaded.config.get(KIND, {}), loaded.tensors)


def likelihood_from_dict(config: dict[str, Any], tensors: dict[str, Tensor]) -> Likelihood:
    """The network of plain values and its weights, in eval mode. CheckpointError: they do not fit."""
    try:
        numbers = from_dict(LikelihoodConfig, config, KIND)
    except (TypeError, ValueError) as error:
        raise checkpoint.CheckpointError(f"the likelihood's config is wrong ({error}).") from error
    return restore(lambda: build_likelihood(numbers), numbers, tensors, KIND).eval()
