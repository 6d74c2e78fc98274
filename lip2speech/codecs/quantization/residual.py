"""Residual vector quantizers: a stack of codebooks of any kind (SoundStream, Zeghidour et al. 2021, section
III-C).

EnCodec's training code takes the residual from the straight-through tensor, so codebooks after the first give
the encoder no gradient. Here every stage's entries are constants to the next, and one straight-through
estimator spans the whole stack. A single codebook (WavTokenizer) is n_q = 1.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn

from lip2speech.codecs.quantization.codebooks import Codebook, QuantizerConfig
from lip2speech.codecs.quantization.registry import build_codebook
from lip2speech.codecs.quantization.simvq import (
    SemanticCodebook,
    SemanticCodebookConfig,
    SimVQCodebook,
    SimVQConfig,
)
from lip2speech.utils.distributed import all_gather_rows


class ResidualQuantizer(nn.Module):
    """Codebooks that each quantize the residual of those before; the sum of their entries approximates the
    latent.

    Shape:
        quantize: latent (B, C, T) -> quantized (B, C, T), codes (B, n_q, T), losses (n_q,)
        encode:   latent (B, C, T) -> codes (B, n_q, T)
        decode:   codes (B, n_q, T) -> quantized (B, C, T)
    """

    def __init__(self, codebooks: Iterable[Codebook]):
        super().__init__()
        self.codebooks = nn.ModuleList(codebooks)
        self.n_q = len(self.codebooks)

    def quantize(self, latent: Tensor, n_q: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Quantize with gradients, in float32; in train mode the codebooks are updated.

        Args:
            latent: (B, C, T).
            n_q: (B,) number of stages of each item (quantizer dropout); all by default. Later stages neither
                learn from the item nor add to its commitment loss, and its codes there are -1.

        Returns:
            quantized (B, C, T) with the straight-through gradient, codes (B, n_q, T), and losses (n_q,), each
            the mean over the items that use the stage.
        """
        with torch.autocast(latent.device.type, enabled=False):
            return self._quantize(latent.float(), n_q)

    def _quantize(self, latent: Tensor, n_q: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        if self.training:
            self.init_codebooks(latent)
        quantized = torch.zeros_like(latent)
        all_codes, losses = [], []
        for i, codebook in enumerate(self._stages()):
            # Later stages get the encoder's gradient through `latent`; what is already quantized is a
            # constant.
            residual = latent - quantized.detach()
            used = torch.ones(len(latent), dtype=torch.bool, device=latent.device) if n_q is None else n_q > i
            chosen, codes, loss = self._quantize_stage(codebook, residual, used)
            quantized = quantized + chosen
            all_codes.append(codes)
            losses.append(loss)
        if not any(codebook.differentiable for codebook in self._stages()):
            quantized = latent + (quantized - latent).detach()
        return quantized, torch.stack(all_codes, dim=1), torch.stack(losses)

    def _quantize_stage(
        self, codebook: Codebook, residual: Tensor, used: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """residual (B, C, T), used (B,) -> chosen entries (B, C, T), codes (B, T), loss ()."""
        batch, dim, frames = residual.shape
        x = residual.transpose(1, 2).reshape(-1, dim)
        flat_chosen, flat_codes, row_loss = codebook.quantize_train(x)
        chosen = flat_chosen.view(batch, frames, dim).transpose(1, 2) * used[:, None, None]
        if self.training:
            mask = used.repeat_interleave(frames)
            codebook.update(x.detach()[mask], flat_codes[mask])
        codes = flat_codes.view(batch, frames).masked_fill(~used[:, None], -1)
        loss = row_loss.view(batch, frames).mean(dim=1) * used
        return chosen, codes, loss.sum() / used.sum().clamp(min=1)

    @torch.no_grad()
    def init_codebooks(self, latent: Tensor) -> None:
        """Initialize codebooks that have not seen data, stage by stage, by k-means on (B, C, T)."""
        if all(codebook.initialized for codebook in self._stages()):
            return
        x = all_gather_rows(latent.detach().float().transpose(1, 2).reshape(-1, latent.shape[1]))
        for codebook in self._stages():
            if not codebook.initialized:
                codebook.init_entries(x)
            x = x - codebook.dequantize(codebook.quantize(x))

    def encode(self, latent: Tensor, n_q: int | None = None) -> Tensor:
        """(B, C, T) -> (B, n_q, T) with the first n_q codebooks (all by default)."""
        n_q = self._check_n_q(n_q)
        batch, dim, frames = latent.shape
        residual = latent.float().transpose(1, 2).reshape(-1, dim)
        codes = latent.new_zeros(batch, n_q, frames, dtype=torch.long)
        for i, codebook in enumerate(self._stages()[:n_q]):
            flat_codes = codebook.quantize(residual)
            residual = residual - codebook.dequantize(flat_codes)
            codes[:, i] = flat_codes.view(batch, frames)
        return codes

    def decode(self, codes: Tensor) -> Tensor:
        """(B, n_q, T) -> (B, C, T); also for fewer codebooks than the quantizer has."""
        if codes.dim() != 3 or not 1 <= codes.shape[1] <= self.n_q:
            raise ValueError(f"codes must be (B, n_q, T) with n_q <= {self.n_q}, got {tuple(codes.shape)}.")
        if codes.dtype.is_floating_point:
            raise ValueError(f"codes must be integers, got {codes.dtype}; pass a latent to decode_latent.")
        quantized = [
            codebook.dequantize(self._check_codes(codes[:, i], i, codebook.size))
            for i, codebook in enumerate(self._stages()[: codes.shape[1]])
        ]
        return torch.stack(quantized).sum(0).transpose(1, 2)

    def _stages(self) -> list[Codebook]:
        return [cast(Codebook, codebook) for codebook in self.codebooks]

    def _check_codes(self, codes: Tensor, stage: int, size: int) -> Tensor:
        """The codes (B, T) of one stage, if all of them are in range."""
        if codes.numel() and (int(codes.min()) < 0 or int(codes.max()) >= size):
            raise ValueError(
                f"codes must be in 0..{size - 1}, got {int(codes.min())}..{int(codes.max())} "
                f"in codebook {stage + 1}."
            )
        return codes

    def _check_n_q(self, n_q: int | None) -> int:
        if n_q is None:
            return self.n_q
        if not 1 <= n_q <= self.n_q:
            raise ValueError(f"n_q must be in 1..{self.n_q}, got {n_q}.")
        return n_q


def sample_quantizer_dropout(batch: int, n_q: int, dropout: float, device: torch.device) -> Tensor | None:
    """Number of stages (batch,) of each item under quantizer dropout (section III-C).

    With probability `dropout` an item uses 1..n_q stages, uniformly; otherwise all. None, and nothing is
    drawn, when `dropout` is 0. Drawn on the CPU, so that it is the same on every device.
    """
    if dropout == 0:
        return None
    depths = torch.randint(1, n_q + 1, (batch,))
    return torch.where(torch.rand(batch) < dropout, depths, n_q).to(device)


class ResidualVQ(ResidualQuantizer):
    """Residual vector quantizer of codebooks of one kind and size.

    Shape:
        forward: latent (B, C, T) -> quantized (B, C, T), codes (B, n_q, T), commit_loss ()
        encode, decode: see `ResidualQuantizer`
    """

    def __init__(self, config: QuantizerConfig):
        super().__init__(build_codebook(config) for _ in range(config.n_q))
        self.config = config

    def forward(self, latent: Tensor, n_q: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """As `quantize`, with the mean of the losses over the stages: commit_loss ()."""
        quantized, codes, losses = self.quantize(latent, n_q)
        return quantized, codes, losses.mean()


class SemanticAcousticQuantizer(ResidualQuantizer):
    """A semantic codebook of projected k-means centroids, then SimVQ on the residual (SACodec, equations 1 to
    4).

    Shape:
        forward: latent (B, C, T) -> quantized (B, C, T), codes (B, 2, T), commit_losses (2,)
        encode, decode: see `ResidualQuantizer`
    """

    def __init__(self, semantic: SemanticCodebookConfig, acoustic: SimVQConfig):
        super().__init__([SemanticCodebook(semantic, acoustic.codebook_dim), SimVQCodebook(acoustic)])

    @property
    def semantic(self) -> SemanticCodebook:
        """The first codebook."""
        return cast(SemanticCodebook, self.codebooks[0])

    def forward(self, latent: Tensor, n_q: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """As `quantize`; the two losses have separate weights (25 and 5 in the paper)."""
        return self.quantize(latent, n_q)
