"""A prior over codes: how likely a codec's codes are as speech, by a Gated PixelCNN over time x codebook.

van den Oord et al. 2016, "Conditional image generation with PixelCNN decoders", section 2; the plain PixelCNN
(van den Oord et al. 2016, "Pixel recurrent neural networks", section 3.4) is the baseline:

    codebook  0  1  2  3
    t - 2     v  v  v  v      v: receptive field of the vertical stack, all rows above
    t - 1     v  v  v  v      h: of the horizontal stack, previous codebooks in this row, and all of v
    t         h  h  ?         the plain network has a blind spot to the right in the rows above

The model is autoregressive in raster order, so log-likelihoods sum over the grid. Codes are categorical,
hence embedded, with one output layer per codebook. The speaker embedding is added to every gate. Only the
vertical stack sees earlier rows, `kernel_time` - 1 for each layer; `step` keeps these as its state.

A prior is valid for the codes of the codec it was trained on only.
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
from lip2speech.modules.codebook_patterns import MASKED_LOGIT, expand_codebook_sizes

KIND = "code_prior"

RowMask = Literal["none", "A", "B", "all"]
"""Columns of its own row that a masked convolution sees: none, those before (mask A), and its own too (mask
B), or all; it sees all columns of the rows above within its kernel.
"""

CodePriorState = list[Tensor]
"""The last input rows of each layer: (B, C, kernel_time - 1, n_q)."""


@dataclass(frozen=True)
class CodePriorConfig:
    """Sizes.

    Args:
        type: "gated", or "plain" for the baseline.
        n_q: codebooks.
        codebook_size: entries of all codebooks, or of each.
        speaker_dim: S of the speaker embedding; 0 for none.
        channels: C.
        layers: number of layers.
        kernel_time: of the vertical stack, in rows, its own included.
        kernel_codebook: kernel over codebooks; odd.
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
        expand_codebook_sizes(self.codebook_size, self.n_q)
        if self.kernel_time < 2 or self.kernel_codebook % 2 == 0 or self.layers < 1:
            raise ValueError(
                "kernel_time must be 2 or more, kernel_codebook odd and layers 1 or more, got "
                f"{self.kernel_time}, {self.kernel_codebook} and {self.layers}."
            )

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Entries of each codebook."""
        return expand_codebook_sizes(self.codebook_size, self.n_q)


class MaskedConv2d(nn.Conv2d):
    """Convolution over (T, n_q) that sees the rows above and part of its own row, see `RowMask`.

    Shape:
        forward: (B, C_in, T, n_q) -> (B, C_out, T, n_q)
        step: next rows, state (B, C_in, kernel_time - 1, n_q) or None -> (B, C_out, T, n_q), state
    """

    mask: Tensor

    def __init__(self, in_channels: int, out_channels: int, kernel_size: tuple[int, int], row_mask: RowMask):
        super().__init__(in_channels, out_channels, kernel_size)
        columns = kernel_size[1]
        center = columns // 2
        mask = torch.ones(kernel_size)
        mask[-1, {"none": 0, "A": center, "B": center + 1, "all": columns}[row_mask] :] = 0
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, T, n_q) -> (B, C_out, T, n_q)."""
        return self.step(x)[0]

    def step(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Next rows (B, C_in, T, n_q), state -> (B, C_out, T, n_q), state."""
        rows, columns = self.mask.shape
        if state is None:
            state = x.new_zeros(x.shape[0], x.shape[1], rows - 1, x.shape[3])
        x = torch.cat([state, x], 2)
        y = F.conv2d(F.pad(x, (columns // 2, columns // 2)), self.weight * self.mask, self.bias)
        return y, x[:, :, x.shape[2] - (rows - 1) :]


class ConditioningBias(nn.Module):
    """Bias of a layer for each codebook and speaker (section 2.3): (B, S) or None -> (B, C, 1, n_q)."""

    def __init__(self, c: CodePriorConfig, channels: int):
        super().__init__()
        self.codebook = nn.Parameter(torch.zeros(channels, 1, c.n_q))
        self.speaker = nn.Linear(c.speaker_dim, channels, bias=False) if c.speaker_dim else None

    def forward(self, speaker: Tensor | None) -> Tensor:
        """(B, S) or None -> (B or 1, C, 1, n_q)."""
        if self.speaker is None or speaker is None:
            return self.codebook[None]
        out: Tensor = self.codebook + self.speaker(speaker)[..., None, None]
        return out


class GatedPixelCNNBlock(nn.Module):
    """One layer of both stacks (figure 2 of the paper); the first one does not see its own position.

    Shape:
        forward: v, h (B, C, T, n_q), speaker (B, S) or None, state of `vertical` -> v, h, state
    """

    def __init__(self, c: CodePriorConfig, *, is_first: bool):
        super().__init__()
        size, self.is_first = c.channels, is_first
        kernel = (c.kernel_time, c.kernel_codebook)
        self.vertical = MaskedConv2d(size, 2 * size, kernel, "none" if is_first else "all")
        self.horizontal = MaskedConv2d(size, 2 * size, (1, c.kernel_codebook), "A" if is_first else "B")
        self.v_to_h = nn.Conv2d(2 * size, 2 * size, 1)
        self.out = nn.Conv2d(size, size, 1)
        self.bias = ConditioningBias(c, 4 * size)

    def forward(
        self, v: Tensor, h: Tensor, speaker: Tensor | None, state: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """v, h (B, C, T, n_q), (B, S) or None, state -> v, h, state."""
        v_bias, h_bias = self.bias(speaker).chunk(2, 1)
        above, state = self.vertical.step(v, state)
        out = self.out(gated_activation(self.horizontal(h) + self.v_to_h(above) + h_bias))
        # no residual around the first layer: its h holds the code to be predicted
        return gated_activation(above + v_bias), (out if self.is_first else h + out), state


class PixelCNNBlock(nn.Module):
    """One layer of the plain network.

    Shape:
        forward: x (B, C, T, n_q), speaker (B, S) or None, state of `conv` -> x, state
    """

    def __init__(self, c: CodePriorConfig, *, is_first: bool):
        super().__init__()
        self.is_first = is_first
        kernel = (c.kernel_time, c.kernel_codebook)
        self.conv = MaskedConv2d(c.channels, c.channels, kernel, "A" if is_first else "B")
        self.bias = ConditioningBias(c, c.channels)

    def forward(self, x: Tensor, speaker: Tensor | None, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """(B, C, T, n_q), (B, S) or None, state -> (B, C, T, n_q), state."""
        y, state = self.conv.step(x if self.is_first else F.relu(x), state)
        y = y + self.bias(speaker)
        return (y if self.is_first else x + y), state


class CodePrior(nn.Module, ABC):
    """An autoregressive model of codes.

    Shape:
        forward: codes (B, n_q, T), speaker (B, S) -> logits (B, n_q, K, T), each conditioned on all codes
            before it; K is the size of the largest codebook, entries that a smaller one lacks are -inf
        step: next codes, speaker, state (None at the start) -> logits, state
        bits: as forward -> negative log2-likelihood of each code (B, n_q, T)
    """

    blocks: nn.ModuleList
    offsets: Tensor  # row of `embed` at which each codebook starts, (n_q, 1)
    unused: Tensor  # entries that each codebook lacks, (n_q, K, 1)

    def __init__(self, config: CodePriorConfig):
        super().__init__()
        self.config = c = config
        sizes, self.size = torch.tensor(c.codebook_sizes)[:, None], max(c.codebook_sizes)
        self.register_buffer("offsets", sizes.cumsum(0) - sizes, persistent=False)
        self.register_buffer("unused", (torch.arange(self.size) >= sizes)[..., None], persistent=False)
        self.embed = nn.Embedding(sum(c.codebook_sizes), c.channels)
        self.ffn = nn.Conv2d(c.channels, c.channels, 1)
        self.out = nn.Conv1d(c.n_q * c.channels, c.n_q * self.size, 1, groups=c.n_q)

    def forward(self, codes: Tensor, speaker: Tensor | None = None) -> Tensor:
        """(B, n_q, T), (B, S) or None -> (B, n_q, K, T)."""
        return self.step(codes, speaker)[0]

    def step(
        self, codes: Tensor, speaker: Tensor | None = None, state: CodePriorState | None = None
    ) -> tuple[Tensor, CodePriorState]:
        """Next codes (B, n_q, T), (B, S) or None, state -> (B, n_q, K, T), state."""
        self.check(codes, speaker)
        c = self.config
        x = self.embed(codes + self.offsets).permute(0, 3, 2, 1)  # (B, n_q, T, C) -> (B, C, T, n_q)
        x, state = self.features(x, speaker, [None] * len(self.blocks) if state is None else state)
        x = F.relu(self.ffn(F.relu(x))).permute(0, 3, 1, 2).flatten(1, 2)  # (B, C, T, n_q) -> (B, n_q C, T)
        logits = self.out(x).unflatten(1, (c.n_q, self.size))
        return logits.masked_fill(self.unused, MASKED_LOGIT), state

    @abstractmethod
    def features(
        self, x: Tensor, speaker: Tensor | None, state: Sequence[Tensor | None]
    ) -> tuple[Tensor, CodePriorState]:
        """Embedded codes (B, C, T, n_q) -> features of everything before each position, same shape, state."""

    @torch.no_grad()
    def bits(self, codes: Tensor, speaker: Tensor | None = None) -> Tensor:
        """Negative log2-likelihood of each code: (B, n_q, T), (B, S) or None -> (B, n_q, T)."""
        return bits_per_code(self(codes, speaker).float(), codes)

    def check(self, codes: Tensor, speaker: Tensor | None) -> None:
        """ValueError unless the codes are of these codebooks and the speaker embedding of this size."""
        c = self.config
        if codes.ndim != 3 or codes.shape[1] != c.n_q:
            raise ValueError(f"codes must be (B, {c.n_q}, T), got {tuple(codes.shape)}.")
        for codebook, size in zip(codes.unbind(1), c.codebook_sizes, strict=True):
            if codebook.numel() and not 0 <= int(codebook.min()) <= int(codebook.max()) < size:
                raise ValueError(
                    f"codes must be 0 .. {size - 1}, got {int(codebook.min())} .. {int(codebook.max())}."
                )
        dim = 0 if speaker is None else speaker.shape[-1]
        if dim != c.speaker_dim:
            raise ValueError(f"the speaker embedding must have {c.speaker_dim} dimensions, got {dim}.")


class GatedPixelCNN(CodePrior):
    """Two stacks of gated layers, without a blind spot."""

    def __init__(self, config: CodePriorConfig):
        super().__init__(config)
        self.blocks = nn.ModuleList(GatedPixelCNNBlock(config, is_first=i == 0) for i in range(config.layers))

    def features(
        self, x: Tensor, speaker: Tensor | None, state: Sequence[Tensor | None]
    ) -> tuple[Tensor, CodePriorState]:
        """See `CodePrior.features`."""
        v, h, new_state = x, x, []
        for block, block_state in zip(self.blocks, state, strict=True):
            v, h, block_state = block(v, h, speaker, block_state)
            new_state.append(block_state)
        return h, new_state


class PixelCNN(CodePrior):
    """One stack of ReLU layers, the baseline."""

    def __init__(self, config: CodePriorConfig):
        super().__init__(config)
        self.blocks = nn.ModuleList(PixelCNNBlock(config, is_first=i == 0) for i in range(config.layers))

    def features(
        self, x: Tensor, speaker: Tensor | None, state: Sequence[Tensor | None]
    ) -> tuple[Tensor, CodePriorState]:
        """See `CodePrior.features`."""
        new_state = []
        for block, block_state in zip(self.blocks, state, strict=True):
            x, block_state = block(x, speaker, block_state)
            new_state.append(block_state)
        return x, new_state


CODE_PRIORS = {"gated": GatedPixelCNN, "plain": PixelCNN}


def build_code_prior(config: CodePriorConfig) -> CodePrior:
    """The network of a config, with fresh weights."""
    return CODE_PRIORS[config.type](config)


def bits_per_code(logits: Tensor, codes: Tensor) -> Tensor:
    """Cross-entropy in bits: logits (B, n_q, K, T), codes (B, n_q, T) -> (B, n_q, T)."""
    return F.cross_entropy(logits.transpose(1, 2), codes, reduction="none") / math.log(2)


class RunningBits:
    """Mean bits per code of a video processed in overlapping windows; each frame counts once.

    Of windows that overlap, the first one counts.
    """

    def __init__(self) -> None:
        self._frames, self._sum = 0, 0.0

    def add(self, start: int, bits: Tensor) -> None:
        """Add a window: the mean bits of each frame from frame `start` on, (T,)."""
        new = bits[self._frames - start :]
        self._frames, self._sum = self._frames + len(new), self._sum + float(new.sum())

    @property
    def mean(self) -> float | None:
        """None before the first frame."""
        return self._sum / self._frames if self._frames else None


def load_code_prior(folder: str | Path) -> CodePrior:
    """The network in a folder written by `lip2speech train code-prior`, in eval mode.

    Raises:
        CheckpointError: a missing or damaged folder, or one that holds something else.
    """
    loaded = read_code_prior(folder)
    return code_prior_from_dict(loaded.config[KIND], loaded.tensors)


def read_code_prior(folder: str | Path) -> checkpoint.Checkpoint:
    """The checkpoint of a code prior.

    Its config has the sizes under `code_prior`, and the fingerprints of the codec and the speaker encoder it
    was trained with under `codec` and `speaker`. Errors as in `load_code_prior`.
    """
    hint = "train one with `lip2speech train code-prior configs/code_prior/default.yaml`"
    return checkpoint.load(folder, KIND, keys=(KIND, "codec", "speaker"), hint=hint)


def code_prior_from_dict(config: dict[str, Any], tensors: dict[str, Tensor]) -> CodePrior:
    """The network of a config as plain values, with these weights, in eval mode.

    Raises:
        CheckpointError: they do not fit.
    """
    try:
        sizes = from_dict(CodePriorConfig, config, KIND)
    except (TypeError, ValueError) as error:
        raise checkpoint.CheckpointError(f"the code prior's config is wrong ({error}).") from error
    return checkpoint.build_and_load(lambda: build_code_prior(sizes), sizes, tensors, KIND).eval()
