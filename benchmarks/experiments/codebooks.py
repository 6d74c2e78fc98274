"""Print how much of its codebooks each quantiser uses, on the same speech after the same steps.

    python -m benchmarks.experiments.codebooks data/prepared/grid runs/units/final --steps 1000

A small SACodec, and the same encoder and decoder around other quantisers, learn by the spectral loss alone
(no GAN, no averaged weights); the quantiser joins after 300 steps, for a plain one whose encoder has learned
nothing yet is left with a handful of entries. Use is the share of entries that held-out speech chooses; the
loss is of the same speech.
"""

import argparse
import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lip2speech.codecs import codec_from_dict
from lip2speech.codecs.quantization import QuantizerConfig, ResidualVQ
from lip2speech.codecs.sacodec import SACodec
from lip2speech.losses import MultiResolutionSTFTLoss
from lip2speech.train.codec.codebook_usage import CodebookUsage
from lip2speech.train.codec.commitment import weighted_commitment
from lip2speech.train.codec.data import CodecDataConfig, SpeechSegments
from lip2speech.train.codec.init import load_semantic_centroids, lsuv_init

DIM, BATCH, RATE = 64, 8, 1e-3
JOIN = 300
HELD_OUT = 40  # batches, 12800 frames
SPECTRAL = 45.0


def build(units: str, quantizer: QuantizerConfig | None) -> SACodec:
    """A small SACodec on the centres in `units`, or its encoder and decoder around another quantiser."""
    from lip2speech import checkpoint

    size, dim = checkpoint.load(units).tensors["centroids"].shape
    numbers: dict[str, Any] = {
        "encoder": {"n_filters": 8, "lstm": 1, "dimension": DIM},
        "semantic": {"codebook_size": size, "centroid_dim": dim},
        "acoustic": {"codebook_dim": DIM},
        "decoder": {"dimension": DIM, "width": 128, "hidden": 384, "blocks": 4},
    }
    torch.manual_seed(0)
    codec = codec_from_dict("sacodec", numbers)
    assert isinstance(codec, SACodec), "it was asked for by name"
    load_semantic_centroids(codec, units)
    if quantizer is not None:
        codec.quantizer = ResidualVQ(quantizer)  # type: ignore[assignment]
    return codec


def quantisers() -> Iterator[tuple[str, QuantizerConfig | None, float | tuple[float, ...]]]:
    """Name, what takes the place of SACodec's own, weight of the commitment."""
    yield "SACodec: anchors, SimVQ", None, (25.0, 5.0)
    for kind in ("vqvae", "ema", "simvq", "factorized"):
        config = QuantizerConfig(n_q=2, codebook_size=1024, codebook_dim=DIM, kind=kind)  # type: ignore[arg-type]
        yield f"2 x {kind}", config, 10.0
    yield "1 x moving, 4096", QuantizerConfig(n_q=1, codebook_size=4096, codebook_dim=DIM), 10.0


def train(codec: SACodec, speech: SpeechSegments, steps: int, weight: float | tuple[float, ...]) -> None:
    spectral = MultiResolutionSTFTLoss(codec.sample_rate)
    optimizer = torch.optim.AdamW(codec.parameters(), lr=RATE, betas=(0.8, 0.99))
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    lsuv_init(codec, speech.draw(BATCH, rng))
    codec.train()
    for step in range(steps):
        wav = speech.draw(BATCH, rng)
        if step < JOIN:
            loss = SPECTRAL * spectral(codec.decode_latent(codec.encode_latent(wav))[..., : wav.shape[-1]], wav)
        else:
            fake, commit, _ = codec(wav)
            loss = SPECTRAL * spectral(fake, wav) + weighted_commitment(weight, commit)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(codec.parameters(), 100.0)
        optimizer.step()


def book_sizes(codec: SACodec) -> tuple[int, ...]:
    """Entries of each codebook of the quantiser that is in place."""
    return tuple(int(book.size) for book in codec.quantizer.codebooks)  # type: ignore[arg-type]


@torch.no_grad()
def measure(codec: SACodec, speech: SpeechSegments) -> tuple[list[float], float]:
    """Use of each codebook and the spectral loss of the decoded codes."""
    codec.eval()
    use, rng = CodebookUsage(book_sizes(codec)), np.random.default_rng(1)
    spectral = MultiResolutionSTFTLoss(codec.sample_rate)
    losses: list[Tensor] = []
    for _ in range(HELD_OUT):
        wav = speech.draw(BATCH, rng)
        codes = codec.encode(wav)
        use.add(codes)
        losses.append(spectral(codec.decode(codes), wav))
    return list(use.report().values()), float(torch.stack(losses).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", help="prepared clips")
    parser.add_argument("units", help="a folder of units with centroids")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--only", nargs="*", default=[""], help="quantisers whose names hold one of these")
    args = parser.parse_args()
    data = CodecDataConfig(prepared_dirs=(args.folder,))
    speech, held_out = (SpeechSegments(data, split, 16000) for split in ("train", "valid|test"))
    print(f"{args.steps} steps of {BATCH} x {data.seconds} s\n")
    print("| quantiser | bit/s | books used | spectral loss | s |\n|---|---|---|---|---|", flush=True)
    for name, quantizer, weight in quantisers():
        if any(word in name for word in args.only):
            began, codec = time.monotonic(), build(args.units, quantizer)
            train(codec, speech, args.steps, weight)
            used, loss = measure(codec, held_out)
            bits = sum(map(math.log2, book_sizes(codec))) * codec.frame_rate
            shares = ", ".join(f"{share:.0%}" for share in used)
            seconds = time.monotonic() - began
            print(f"| {name} | {bits:.0f} | {shares} | {loss:.3f} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
