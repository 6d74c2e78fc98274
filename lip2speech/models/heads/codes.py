"""Code heads: logits of a codec's codebooks, each conditioned on codes predicted before it.

`ConditionalCodeHead` conditions on the previous codebooks at the same time, as VALL-E's coarse-to-fine order
(Wang et al. 2023, section 4.2); `DelayPatternCodeHead` also on earlier times, by MusicGen's delay pattern
(Copet et al. 2023, section 2.2). Both are teacher-forced in training and decode greedily otherwise.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lip2speech.modules.codebook_patterns import apply_delay, revert_delay, stack_logits

TeacherCodes = Tensor | Callable[[Tensor], Tensor] | None
"""Codes (B, n_q, rT) to condition on, a function from mel (B, n_mels, 4T) to them, or None for greedy."""


class ConditionalCodeHead(nn.Module):
    """Logits of n_q codebooks, each conditioned on the previous codebooks at the same time.

    Args:
        channels: C.
        sizes: entries of each codebook; K is the largest, and entries a smaller one lacks have logit -inf.

    Shape:
        forward: x (B, T, C), codes (B, n_q, T) or None (decode greedily), mask (B, T), False = padding
            (ignored: this head does not look along time) -> logits (B, T, n_q, K), codes (B, n_q, T)
    """

    def __init__(self, channels: int, sizes: tuple[int, ...]):
        super().__init__()
        self.size = max(sizes)
        self.embed = nn.ModuleList(nn.Embedding(size, channels) for size in sizes[:-1])
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in sizes)
        self.ffn = nn.ModuleList(nn.Linear(channels, channels) for _ in sizes)
        self.logits = nn.ModuleList(nn.Linear(channels, size) for size in sizes)

    def forward(
        self, x: Tensor, codes: Tensor | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """(B, T, C), (B, n_q, T) or None -> (B, T, n_q, K), (B, n_q, T)."""
        logits, chosen = [], []
        for i, (norm, ffn, out) in enumerate(zip(self.norms, self.ffn, self.logits, strict=True)):
            logits.append(out(F.gelu(ffn(norm(x)))))
            chosen.append(logits[-1].argmax(-1) if codes is None else codes[:, i])
            if i < len(self.embed):
                x = x + self.embed[i](chosen[-1])
        return stack_logits(logits, self.size, 2), torch.stack(chosen, 1)


class DelayPatternCodeHead(nn.Module):
    """Logits of n_q codebooks in the delay pattern, with a GRU over all earlier columns.

    Column s holds codebook k at time s - k, so a code is conditioned on the previous codebooks at its own
    time and on all codebooks at earlier times.

    Shape: as `ConditionalCodeHead`
    """

    def __init__(self, channels: int, sizes: tuple[int, ...]):
        super().__init__()
        self.sizes = sizes
        self.pad_code = max(sizes)  # where a codebook has not begun, has ended, or is padding
        self.embed = nn.ModuleList(nn.Embedding(self.pad_code + 1, channels) for _ in sizes)
        self.gru = nn.GRU(channels, channels, batch_first=True)
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in sizes)
        self.ffn = nn.ModuleList(nn.Linear(channels, channels) for _ in sizes)
        self.logits = nn.ModuleList(nn.Linear(channels, size) for size in sizes)

    def forward(
        self, x: Tensor, codes: Tensor | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """(B, T, C), (B, n_q, T) or None, (B, T) or None -> (B, T, n_q, K), (B, n_q, T)."""
        n_q = len(self.embed)
        mask = torch.ones_like(x[..., 0], dtype=torch.bool) if mask is None else mask
        valid = apply_delay(mask.unsqueeze(1).expand(-1, n_q, -1), False)  # (B, n_q, T + n_q - 1)
        columns = apply_delay(x.unsqueeze(1).expand(-1, n_q, -1, -1), 0.0)  # (B, n_q, T + n_q - 1, C)
        if codes is None:
            logits, chosen = self.greedy_decode(columns, valid)
            last = chosen.new_tensor(self.sizes)[:, None] - 1  # replaces pad_code in padding
            return revert_delay(logits).transpose(1, 2), revert_delay(chosen).minimum(last)
        delayed = apply_delay(codes, self.pad_code).masked_fill(~valid, self.pad_code)
        previous = F.pad(delayed, (1, 0), value=self.pad_code)[..., :-1]
        logits = self.column_logits(columns, self.gru(self.embed_codes(previous))[0])
        return revert_delay(logits).transpose(1, 2), codes

    def greedy_decode(self, columns: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """(B, n_q, S, C), (B, n_q, S) -> logits (B, n_q, S, K), codes (B, n_q, S), column by column."""
        chosen = [torch.full_like(valid[..., :1], self.pad_code, dtype=torch.long)]
        logits, state = [], None
        for x, is_valid in zip(columns.split(1, 2), valid.split(1, 2), strict=True):
            hidden, state = self.gru(self.embed_codes(chosen[-1]), state)
            logits.append(self.column_logits(x, hidden))
            chosen.append(logits[-1].argmax(-1).masked_fill(~is_valid, self.pad_code))
        return torch.cat(logits, 2), torch.cat(chosen[1:], 2)

    def embed_codes(self, codes: Tensor) -> Tensor:
        """Codes (B, n_q, S) -> sum of their embeddings (B, S, C)."""
        return torch.stack(
            [embed(codebook) for embed, codebook in zip(self.embed, codes.unbind(1), strict=True)]
        ).sum(0)

    def column_logits(self, x: Tensor, hidden: Tensor) -> Tensor:
        """x (B, n_q, S, C), GRU output (B, S, C) -> logits (B, n_q, S, K)."""
        rows = zip((x + hidden.unsqueeze(1)).unbind(1), self.norms, self.ffn, self.logits, strict=True)
        return stack_logits((out(F.gelu(ffn(norm(row)))) for row, norm, ffn, out in rows), self.pad_code, 1)
