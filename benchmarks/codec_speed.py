"""Print the cost of MelCodec's decoder variants: seconds per training step, and of one streamed frame.

    OMP_NUM_THREADS=1 python -m benchmarks.codec_speed

A training step is forward and backward of 8 clips of 0.64 s, including the quantizer; decoding is with weight
norm folded. Times are CPU seconds of this process (less affected by a busy machine than wall time), best of
five.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch

from lip2speech.codecs.melcodec import MelCodec, MelCodecConfig
from lip2speech.modules.conv import fold_weight_norm

ITEMS, SAMPLES = 8, 10240
VARIANTS = [(16, 1), (16, 3), (24, 1), (24, 3), (32, 1), (32, 3)]  # n_filters, residual layers
FRAMES = (1, 2, 8)


def best(call: Callable[[], object], rounds: int = 5) -> float:
    """CPU seconds of the fastest call, after a warm-up call."""
    call()
    seconds = []
    for _ in range(rounds):
        start = time.process_time()
        call()
        seconds.append(time.process_time() - start)
    return min(seconds)


def train_step(codec: MelCodec, wav: torch.Tensor, bf16: bool) -> None:
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        wav_hat, commit_loss, _ = codec(wav)
    (wav_hat.float().abs().mean() + commit_loss).backward()


@torch.no_grad()
def streamed_ms(codec: MelCodec, frames: int, rounds: int = 20) -> float:
    """Milliseconds per latent frame in steps of `frames`."""
    latent = torch.randn(1, codec.config.decoder.dimension, frames)
    _, state = codec.decode_step(latent)
    return best(lambda: codec.decode_step(latent, state), rounds) * 1000 / frames


@torch.no_grad()
def one_pass_rtf(codec: MelCodec) -> float:
    """Real-time factor of decoding 3 s in one pass."""
    latent = torch.randn(1, codec.config.decoder.dimension, 150)
    return best(lambda: codec.decode_latent(latent)) / 3


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, one thread, python {sys.version.split()[0]}\n")
    print("| n_filters | residual layers | decoder M | fp32 s/step | bf16 s/step | decode RTF |", end="")
    print("".join(f" step {n}: ms/frame |" for n in FRAMES))
    print("|---" * (6 + len(FRAMES)) + "|")
    wav = torch.randn(ITEMS, 1, SAMPLES) * 0.1
    for n_filters, layers in VARIANTS:
        config = MelCodecConfig()
        decoder = replace(config.decoder, n_filters=n_filters, n_residual_layers=layers)
        codec = MelCodec(replace(config, decoder=decoder))
        size = sum(p.numel() for p in codec.decoder.parameters()) / 1e6
        fp32, bf16 = (best(partial(train_step, codec, wav, bf16)) for bf16 in (False, True))
        fold_weight_norm(codec.eval())
        steps = "".join(f" {streamed_ms(codec, n):.2f} |" for n in FRAMES)
        train = f"| {n_filters} | {layers} | {size:.2f} | {fp32:.3f} | {bf16:.3f} |"
        print(f"{train} {one_pass_rtf(codec):.4f} |{steps}", flush=True)


if __name__ == "__main__":
    main()
