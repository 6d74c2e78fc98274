"""Losses on token logits: label-smoothed cross entropy of units and codes, CTC of text.

Units with label smoothing as in lip2speech-unit (Choi et al. 2023, section 3.2); CTC (Graves et al. 2006)
beside the speech losses as in Kim et al. 2023 (multi-task lip-to-speech synthesis in the wild, section 3.2).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

IGNORE_INDEX = -100
"""The token of padding."""


def token_loss(logits: Tensor, tokens: Tensor, *, label_smoothing: float = 0.1) -> tuple[Tensor, Tensor]:
    """Cross entropy and accuracy; both 0 when every token is padding.

    Args:
        logits: (B, K, ...). A logit of -inf marks an entry that does not exist and gets no smoothing mass.
        tokens: (B, ...), `IGNORE_INDEX` at padding.
        label_smoothing: probability mass shared among the existing entries.

    Returns:
        Loss () and accuracy ().
    """
    valid = tokens != IGNORE_INDEX
    if not valid.any():
        return logits.sum() * 0.0, logits.new_zeros(())
    rows = logits.movedim(1, -1).flatten(0, -2)  # (N, K): several times faster than K in the middle
    loss = smoothed_cross_entropy(rows.float(), tokens.flatten(), label_smoothing)
    accuracy = (logits.argmax(1) == tokens)[valid].float().mean()
    return loss, accuracy


def smoothed_cross_entropy(logits: Tensor, tokens: Tensor, label_smoothing: float) -> Tensor:
    """Mean cross entropy () of logits (N, K) and tokens (N,), smoothed over the finite logits of each row."""
    absent = logits == -torch.inf
    if not absent.any():
        return F.cross_entropy(logits, tokens, ignore_index=IGNORE_INDEX, label_smoothing=label_smoothing)
    nll = F.cross_entropy(logits, tokens, ignore_index=IGNORE_INDEX)
    mean_log_prob = logits.log_softmax(-1).masked_fill(absent, 0.0).sum(-1) / (~absent).sum(-1)
    return (1 - label_smoothing) * nll - label_smoothing * mean_log_prob[tokens != IGNORE_INDEX].mean()


def ctc_loss(logits: Tensor, lengths: Tensor, text: Tensor) -> Tensor:
    """CTC per character, mean over the clips with a transcript; 0 without one, or where it cannot fit.

    Args:
        logits: (B, T, 1 + n_characters), blank first.
        lengths: (B,) valid steps of T.
        text: (B, N) character ids from 1, `IGNORE_INDEX` at padding and in clips without a transcript.
    """
    n_characters = (text > 0).sum(1)
    labeled = n_characters > 0
    if not labeled.any():
        return logits.sum() * 0.0
    log_probs = logits[labeled].float().log_softmax(-1).transpose(0, 1)  # (T, B, K)
    targets, n_characters = text[labeled].clamp_min(0), n_characters[labeled]
    return F.ctc_loss(log_probs, targets, lengths[labeled], n_characters, zero_infinity=True)
