"""Residual quantisers: a stack of codebooks of any kind (SoundStream, Zeghidour et al. 2021, section III-C).

A trap of EnCodec's training code is avoided: it takes the residual from the straight-through tensor, so that
codebooks after the first give the encoder no gradient. Here every stage's entries are constants to the next,
and one straight-through spans the whole stack. One codebook alone (`n_q` 1, as WavTokenizer) is the same
class with another number.

It does not know: where latents come from, what a codebook is made of (`codebooks.py`, `simvq.py`,
`factorised.py`), or how its loss is weighted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import cast

import torch
from torch import Tensor, nn

from lip2speech.codecs.quantization.codebooks import Codebook, EMACodebook, QuantizerConfig, VQVAECodebook
from lip2speech.codecs.quantization.factorized import FactorizedCodebook
from lip2speech.codecs.quantization.simvq import (
    SemanticCodebook,
    SemanticCodebookConfig,
    SimVQCodebook,
    SimVQConfig,
)
from lip2speech.distributed import all_gather_rows

__all__ = ["QuantizerConfig", "ResidualVQ", "SemanticAcousticQuantizer"]

CODEBOOKS: dict[str, Callable[[QuantizerConfig], Codebook]] = {
    "moving": EMACodebook,
    "plain": VQVAECodebook,
    "simvq": lambda c: SimVQCodebook(SimVQConfig(c.codebook_size, c.codebook_dim, c.beta)),
    "factorised": FactorizedCodebook,
}
"""What `QuantizerConfig.kind` names."""


class ResidualQuantizer(nn.Module):
    """Codebooks, each of which quantises what those before it left over; their entries add up to the latent.

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
        """Quantise with gradients, in float32; in train mode the codebooks follow.

        Args:
            latent: (B, C, T).
            n_q: (B,) stages used by each item (quantiser dropout); all by default. Later stages neither learn
                from the item nor commit it, and its codes there are -1.
        Returns:
            quantized (B, C, T) with the straight-through gradient, codes (B, n_q, T), losses (n_q,): of each
            stage the mean over the items that use it.
        """
        with torch.autocast(latent.device.type, enabled=False):
            return self._quantize(latent.float(), n_q)

    def _quantize(self, latent: Tensor, n_q: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        if self.training:
            self.init_codebooks(latent)
        quantized = torch.zeros_like(latent)
        all_codes, losses = [], []
        for i, codebook in enumerate(self._stages()):
            # Later stages see the encoder through `latent`; what was already quantised is a constant.
            residual = latent - quantized.detach()
            used = torch.ones(len(latent), dtype=torch.bool, device=latent.device) if n_q is None else n_q > i
            chosen, codes, loss = self._stage(codebook, residual, used)
            quantized = quantized + chosen
            all_codes.append(codes)
            losses.append(loss)
        if not any(codebook.differentiable for codebook in self._stages()):
            quantized = latent + (quantized - latent).detach()
        return quantized, torch.stack(all_codes, dim=1), torch.stack(losses)

    def _stage(self, codebook: Codebook, residual: Tensor, used: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """residual (B, C, T), used (B,) -> chosen entries (B, C, T), codes (B, T), loss ()."""
        batch, dim, frames = residual.shape
        x = residual.transpose(1, 2).reshape(-1, dim)
        flat_chosen, flat, row_loss = codebook.choose(x)
        chosen = flat_chosen.view(batch, frames, dim).transpose(1, 2) * used[:, None, None]
        if self.training:
            mask = used.repeat_interleave(frames)
            codebook.follow(x.detach()[mask], flat[mask])
        codes = flat.view(batch, frames).masked_fill(~used[:, None], -1)
        loss = row_loss.view(batch, frames).mean(dim=1) * used
        return chosen, codes, loss.sum() / used.sum().clamp(min=1)

    @torch.no_grad()
    def init_codebooks(self, latent: Tensor) -> None:
        """Place codebooks that have seen nothing yet by k-means, stage by stage, on (B, C, T)."""
        if all(codebook.placed for codebook in self._stages()):
            return
        x = all_gather_rows(latent.detach().float().transpose(1, 2).reshape(-1, latent.shape[1]))
        for codebook in self._stages():
            if not codebook.placed:
                codebook.init_entries(x)
            x = x - codebook.embed(codebook.quantize(x))

    def encode(self, latent: Tensor, n_q: int | None = None) -> Tensor:
        """(B, C, T) -> (B, n_q, T) with the first n_q codebooks (all by default)."""
        n_q = self._check_n_q(n_q)
        batch, dim, frames = latent.shape
        residual = latent.float().transpose(1, 2).reshape(-1, dim)
        codes = latent.new_zeros(batch, n_q, frames, dtype=torch.long)
        for i, codebook in enumerate(self._stages()[:n_q]):
            flat = codebook.quantize(residual)
            residual = residual - codebook.embed(flat)
            codes[:, i] = flat.view(batch, frames)
        return codes

    def decode(self, codes: Tensor) -> Tensor:
        """(B, n_q, T) -> (B, C, T); fewer codebooks than the quantiser has are welcome."""
        if codes.dim() != 3 or not 1 <= codes.shape[1] <= self.n_q:
            raise ValueError(f"codes must be (B, n_q, T) with n_q <= {self.n_q}, got {tuple(codes.shape)}.")
        if codes.dtype.is_floating_point:
            raise ValueError(
                f"codes must be whole numbers, got {codes.dtype}; pass a latent to decode_latent."
            )
        quantized = [
            codebook.embed(self._check_codes(codes[:, i], i, codebook.size))
            for i, codebook in enumerate(self._stages()[: codes.shape[1]])
        ]
        return torch.stack(quantized).sum(0).transpose(1, 2)

    def _stages(self) -> list[Codebook]:
        return [cast(Codebook, codebook) for codebook in self.codebooks]

    def _check_codes(self, codes: Tensor, stage: int, size: int) -> Tensor:
        """(B, T) of one stage, as they are if all of them have an entry."""
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


def random_depths(batch: int, n_q: int, share: float, device: torch.device) -> Tensor | None:
    """Stages (batch,) that items use under quantiser dropout (section III-C): `share` of the items, drawn by
    chance, use 1..n_q with equal odds, the others all. None, and nothing is drawn, at share 0. They are drawn
    on the CPU, so that they are the same on every device.
    """
    if share == 0:
        return None
    depths = torch.randint(1, n_q + 1, (batch,))
    return torch.where(torch.rand(batch) < share, depths, n_q).to(device)


class ResidualVQ(ResidualQuantizer):
    """Residual vector quantiser of codebooks of one kind and size.

    Shape:
        forward: latent (B, C, T) -> quantized (B, C, T), codes (B, n_q, T), commit_loss ()
        encode, decode: see `ResidualQuantizer`
    """

    def __init__(self, config: QuantizerConfig):
        super().__init__(CODEBOOKS[config.kind](config) for _ in range(config.n_q))
        self.config = config

    def forward(self, latent: Tensor, n_q: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Arguments, quantized and codes of `quantize`; commit_loss (): mean over stages of their losses."""
        quantized, codes, losses = self.quantize(latent, n_q)
        return quantized, codes, losses.mean()


class SemanticAcousticQuantizer(ResidualQuantizer):
    """What is said, then how (SACodec, equations 1 to 4): anchored centres, and SimVQ on what they leave.

    Shape:
        forward: latent (B, C, T) -> quantized (B, C, T), codes (B, 2, T), commit_losses (2,)
        encode, decode: see `ResidualQuantizer`
    """

    def __init__(self, anchor: SemanticCodebookConfig, residual: SimVQConfig):
        super().__init__([SemanticCodebook(anchor, residual.codebook_dim), SimVQCodebook(residual)])

    @property
    def anchor(self) -> SemanticCodebook:
        """The book of what is said."""
        return cast(SemanticCodebook, self.codebooks[0])

    def forward(self, latent: Tensor, n_q: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """As `quantize`; the two losses have weights of their own (25 and 5 in the paper)."""
        return self.quantize(latent, n_q)
