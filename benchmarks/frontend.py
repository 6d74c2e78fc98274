"""Print docs/results/speed_frontend.md: our AV-HuBERT encoder against a plain one; layouts of the stem.

python -m benchmarks.frontend [tiny] [base] [large] [stem] > docs/results/speed_frontend.md
"""

import copy
import resource
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lip2speech.models.frontends.avhubert import SIZES, AVHubert
from lip2speech.modules.fusing import fold
from lip2speech.modules.resnet import LipResNet
from lip2speech.modules.transformer import SelfAttention

FRAMES = 75  # three seconds
ROUNDS = 3

HEAD = """# Speed of the AV-HuBERT encoder on a CPU

CPU seconds of one thread (on a machine with other load), minimum of {rounds} alternating rounds; float32,
random weights, {frames} frames of 88 x 88. `plain` is the textbook implementation: contiguous frames, batch
norm and weight norm as in training, attention as two matrix products. `ours` is `AVHubert`; `fused` is ours
after `lip2speech.modules.fusing.fold`.

Printed by `python -m benchmarks.frontend` on {cpu}.
"""


class PlainResNet(LipResNet):
    """The same weights in PyTorch's default memory layout."""

    def forward(self, video: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """(B, 1, T, 88, 88) -> (B, T, C)."""
        x = self.stem(video).transpose(1, 2).flatten(0, 1).contiguous()
        return self.run_trunk(x).view(video.shape[0], video.shape[2], -1)


class PlainAttention(SelfAttention):
    """The same weights, attention as two matrix products."""

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        shape = (*x.shape[:2], self.heads, -1)
        q, k, v = (proj(x).view(shape).transpose(1, 2) for proj in (self.q_proj, self.k_proj, self.v_proj))
        weights = torch.softmax(q @ k.transpose(2, 3) * q.shape[-1] ** -0.5, dim=-1)
        out: Tensor = self.out_proj((weights @ v).transpose(1, 2).flatten(2))
        return out


def plain(model: AVHubert) -> AVHubert:
    """A copy of the model in its textbook implementation."""
    copied = copy.deepcopy(model).to(memory_format=torch.contiguous_format)
    for module in copied.modules():
        for ours, theirs in ((LipResNet, PlainResNet), (SelfAttention, PlainAttention)):
            if type(module) is ours:
                module.__class__ = theirs
    for weight in copied.parameters():
        weight.data = weight.data.contiguous()
    return copied


def time_alternating(runs: dict[str, Callable[[], object]]) -> dict[str, float]:
    """CPU seconds of each, the minimum over rounds A B C A B C after a warm-up."""
    best = dict.fromkeys(runs, float("inf"))
    for run in runs.values():
        run()
    for _ in range(ROUNDS):
        for name, run in runs.items():
            start = time.process_time()
            run()
            best[name] = min(best[name], time.process_time() - start)
    return best


@torch.no_grad()
def print_encoder(size: str) -> None:
    """Inference on one clip."""
    torch.manual_seed(0)
    ours = AVHubert(SIZES[size]).eval()
    fused = copy.deepcopy(ours)
    fold(fused)
    models = {"plain": plain(ours), "ours": ours, "fused": fused}
    video = torch.randn(1, 1, FRAMES, 88, 88)
    expected = models["plain"](video)
    seconds = time_alternating({name: partial(model, video) for name, model in models.items()})
    for name, model in models.items():
        error = float((model(video) - expected).abs().max() / expected.abs().max())
        ratio = seconds[name] / seconds["plain"]
        print(f"| {size} | {name} | {seconds[name]:.3f} | {ratio:.2f} | {error:.1e} |")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"| {size} | | | | peak memory {peak:.0f} MB |")


def print_stem(width: int) -> None:
    """The stem's convolution alone, forward and backward, ms per frame."""
    weight = nn.Parameter(torch.randn(width, 1, 5, 7, 7))
    video = torch.randn(2, 1, 25, 88, 88)

    def conv3d(layout: torch.memory_format) -> Tensor:
        x, w = video.to(memory_format=layout), weight.to(memory_format=layout)
        return F.conv3d(x, w, None, (1, 2, 2), (2, 3, 3)).transpose(1, 2).flatten(0, 1)

    def stacked_conv2d(channels_last: bool) -> Tensor:
        x = F.pad(video[:, 0], (0, 0, 0, 0, 2, 2)).unfold(1, 5, 1)  # (B, T, H, W, 5)
        if channels_last:
            x = x.reshape(-1, 88, 88, 5).permute(0, 3, 1, 2)
        else:
            x = x.permute(0, 1, 4, 2, 3).reshape(-1, 5, 88, 88)
        return F.conv2d(x, weight[:, 0], None, 2, 3)

    implementations: dict[str, Callable[[], Tensor]] = {
        "Conv3d, contiguous": partial(conv3d, torch.contiguous_format),
        "Conv3d, channels-last (ours)": partial(conv3d, torch.channels_last_3d),
        "Conv2d over 5 stacked frames": partial(stacked_conv2d, False),
        "the same, channels-last": partial(stacked_conv2d, True),
    }
    rows: dict[str, list[float]] = {name: [] for name in implementations}
    for bf16 in (False, True):
        for backward in (False, True):
            runs = {name: partial(run_once, f, bf16, backward) for name, f in implementations.items()}
            for name, seconds in time_alternating(dict(runs)).items():
                rows[name].append(seconds / 50 * 1e3)
    for name, times in rows.items():
        print(f"| {width} | {name} | " + " | ".join(f"{t:.3f}" for t in times) + " |")


def run_once(implementation: Callable[[], Tensor], bf16: bool, backward: bool) -> None:
    """One forward pass, and one backward pass if asked for."""
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16), torch.set_grad_enabled(backward):
        y = implementation()
    if backward:
        y.backward(torch.ones_like(y))


def cpu_name() -> str:
    """The model name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return "an unknown processor"


def main(parts: list[str]) -> None:
    """Print the requested tables: model sizes, and `stem`."""
    torch.set_num_threads(1)
    print(HEAD.format(rounds=ROUNDS, frames=FRAMES, cpu=cpu_name()))
    print("| size | implementation | seconds | relative to plain | difference |\n|---|---|---|---|---|")
    for size in SIZES:
        if size in parts:
            print_encoder(size)
    if "stem" in parts:
        print("\nThe stem's convolution, ms per frame:\n")
        passes = "fp32 forward | fp32 forward + backward | bf16 forward | bf16 forward + backward"
        print(f"| width | implementation | {passes} |\n|---|---|---|---|---|---|")
        for width in (16, 64):
            print_stem(width)


if __name__ == "__main__":
    main(sys.argv[1:] or [*SIZES, "stem"])
