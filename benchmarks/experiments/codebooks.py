"""Print the codebook usage of each kind of quantizer after the same training.

    python -m benchmarks.experiments.codebooks data/prepared/grid runs/units/final --steps 1000

A small SACodec, and the same encoder and decoder around other quantizers, are trained with the spectral loss
only (no GAN, no EMA weights). The quantizer starts after 300 steps, since one on an untrained encoder ends up
with a handful of entries. Usage is the share of entries that occur in held-out speech; the loss is on the
same speech.
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

DIM, BATCH_SIZE, LR = 64, 8, 1e-3
QUANTIZER_START_STEP = 300
N_VALIDATION_BATCHES = 40  # 12800 frames
SPECTRAL_WEIGHT = 45.0


def build(units: str, quantizer: QuantizerConfig | None) -> SACodec:
    """A small SACodec with the centroids of `units`, or its encoder and decoder around another quantizer."""
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
    assert isinstance(codec, SACodec), "built by that name"
    load_semantic_centroids(codec, units)
    if quantizer is not None:
        codec.quantizer = ResidualVQ(quantizer)  # type: ignore[assignment]
    return codec


def quantizers() -> Iterator[tuple[str, QuantizerConfig | None, float | tuple[float, ...]]]:
    """Name, config of the quantizer (None: SACodec's own), commitment weight."""
    yield "SACodec: semantic, SimVQ", None, (25.0, 5.0)
    for kind in ("vqvae", "ema", "simvq", "factorized"):
        config = QuantizerConfig(n_q=2, codebook_size=1024, codebook_dim=DIM, kind=kind)
        yield f"2 x {kind}", config, 10.0
    yield "1 x ema, 4096", QuantizerConfig(n_q=1, codebook_size=4096, codebook_dim=DIM), 10.0


def train(codec: SACodec, speech: SpeechSegments, steps: int, weight: float | tuple[float, ...]) -> None:
    spectral = MultiResolutionSTFTLoss(codec.sample_rate)
    optimizer = torch.optim.AdamW(codec.parameters(), lr=LR, betas=(0.8, 0.99))
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    lsuv_init(codec, speech.sample(BATCH_SIZE, rng))
    codec.train()
    for step in range(steps):
        wav = speech.sample(BATCH_SIZE, rng)
        if step < QUANTIZER_START_STEP:
            loss = SPECTRAL_WEIGHT * spectral(
                codec.decode_latent(codec.encode_latent(wav))[..., : wav.shape[-1]], wav
            )
        else:
            fake, commit, _ = codec(wav)
            loss = SPECTRAL_WEIGHT * spectral(fake, wav) + weighted_commitment(weight, commit)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(codec.parameters(), 100.0)
        optimizer.step()


def codebook_sizes(codec: SACodec) -> tuple[int, ...]:
    """Entries of each codebook of the present quantizer."""
    return tuple(int(codebook.size) for codebook in codec.quantizer.codebooks)  # type: ignore[arg-type]


@torch.no_grad()
def measure(codec: SACodec, speech: SpeechSegments) -> tuple[list[float], float]:
    """Usage of each codebook, and spectral loss of the decoded codes."""
    codec.eval()
    usage, rng = CodebookUsage(codebook_sizes(codec)), np.random.default_rng(1)
    spectral = MultiResolutionSTFTLoss(codec.sample_rate)
    losses: list[Tensor] = []
    for _ in range(N_VALIDATION_BATCHES):
        wav = speech.sample(BATCH_SIZE, rng)
        codes = codec.encode(wav)
        usage.add(codes)
        losses.append(spectral(codec.decode(codes), wav))
    return list(usage.report().values()), float(torch.stack(losses).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", help="prepared clips")
    parser.add_argument("units", help="folder of a unit tokenizer with centroids")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--only", nargs="*", default=[""], help="quantizers whose names contain one of these")
    args = parser.parse_args()
    data = CodecDataConfig(prepared_dirs=(args.folder,))
    speech, valid = (SpeechSegments(data, split, 16000) for split in ("train", "valid|test"))
    print(f"{args.steps} steps of {BATCH_SIZE} x {data.seconds} s\n")
    print("| quantizer | bit/s | codebook usage | spectral loss | s |\n|---|---|---|---|---|", flush=True)
    for name, quantizer, weight in quantizers():
        if any(word in name for word in args.only):
            start, codec = time.monotonic(), build(args.units, quantizer)
            train(codec, speech, args.steps, weight)
            used, loss = measure(codec, valid)
            bits = sum(map(math.log2, codebook_sizes(codec))) * codec.frame_rate
            shares = ", ".join(f"{share:.0%}" for share in used)
            seconds = time.monotonic() - start
            print(f"| {name} | {bits:.0f} | {shares} | {loss:.3f} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
