"""What codec training has to know of codebooks: how often they are used, what holds them to the latents, and
where semantic anchors come from.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lip2speech import checkpoint
from lip2speech.codecs import Codec, SACodec


class CodebookUsage:
    """Which entries of every codebook have been chosen since the last report, in training.

    Held-out speech for one validation has too few frames to use a large codebook up.
    """

    def __init__(self, sizes: tuple[int, ...]):
        self.seen = [torch.zeros(size, dtype=torch.bool) for size in sizes]

    def add(self, codes: Tensor) -> None:
        """Codes (B, n_q, T), -1 where an item did not use the codebook."""
        for seen, book in zip(self.seen, codes.unbind(1), strict=True):
            seen[book[book >= 0].cpu()] = True

    def report(self) -> dict[str, float]:
        """The share of used entries of each codebook; counting starts anew."""
        shares = {f"book{i + 1}_used": float(seen.float().mean()) for i, seen in enumerate(self.seen)}
        for seen in self.seen:
            seen.zero_()
        return shares


def used_share(codes: Tensor, sizes: tuple[int, ...]) -> float:
    """Mean over codebooks of the share of entries that are in codes (B, n_q, T)."""
    books = CodebookUsage(sizes)
    books.add(codes)
    return sum(books.report().values()) / len(sizes)


def check_commit_weight(weight: float | tuple[float, ...], codec: Codec) -> None:
    """ValueError unless there is one weight, or one for each commitment loss that the codec tells."""
    if isinstance(weight, tuple) and len(weight) != codec.n_commit_losses:
        raise ValueError(
            f"commit_weight has {len(weight)} numbers, {type(codec).__name__} tells {codec.n_commit_losses} "
            "commitment losses; give one number, or one for each."
        )


def weigh_commitment(weight: float | tuple[float, ...], commit: Tensor) -> Tensor:
    """commit () or (n,), one weight or n -> their weighted sum ()."""
    return (commit.new_tensor(weight) * commit).sum()


def commitment_logs(commit: Tensor) -> dict[str, float]:
    """Their sum, and each by itself where there are several."""
    logs = {"commit": commit.sum().item()}
    if commit.dim():
        logs |= {f"commit{i + 1}": value for i, value in enumerate(commit.tolist())}
    return logs


def take_anchors(codec: Codec, folder: str) -> None:
    """Give a SACodec the k-means centres of a folder (tensor `centroids`, (K, d)), in place.

    Raises:
        ValueError: a SACodec without a folder, a folder for another codec, or centres of another shape.
        CheckpointError: damaged or incomplete folder.
    """
    if not isinstance(codec, SACodec):
        if folder:
            raise ValueError(f"anchors are for sacodec, not {type(codec).__name__}; leave them out.")
        return
    if not folder:
        raise ValueError(
            "sacodec needs the centres of a k-means for its semantic codebook; make a folder of units with "
            "`lip2speech train kmeans` and name it: anchors=FOLDER."
        )
    loaded = checkpoint.load(folder)
    if "centroids" not in loaded.tensors:
        raise ValueError(f"{folder} holds {loaded.config.get('kind')!r}, expected units with centroids.")
    codec.quantizer.semantic.set_centroids(loaded.tensors["centroids"])
