"""Print docs/results/speed_frontend.md: our AV-HuBERT encoder against a plain one, and the stem in several layouts.

python -m benchmarks.frontend [tiny] [base] [large] [stem] > docs/results/speed_frontend.md
"""

import copy
import resource
import sys
import time
from collections.abc import Callable

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

CPU seconds of one thread (other programs run beside it), the smallest of {rounds} alternating rounds;
float32, random weights, {frames} frames of 88 x 88. `plain` is the network as textbooks write it: contiguous
pictures, batch norm and weight norm as they are trained, attention written out. `ours` is `AVHubert`,
`fused` is ours after `lip2speech.modules.fusing.fold`.

Printed by `python -m benchmarks.frontend` on {cpu}.
"""


class PlainResNet(LipResNet):
    """The same weights in PyTorch's default layout."""

    def forward(self, video: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        x = self.stem(video).transpose(1, 2).flatten(0, 1).contiguous()
        return self.run_trunk(x).view(video.shape[0], video.shape[2], -1)


class PlainAttention(SelfAttention):
    """The same weights, attention written out."""

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        shape = (*x.shape[:2], self.heads, -1)
        q, k, v = (proj(x).view(shape).transpose(1, 2) for proj in (self.q_proj, self.k_proj, self.v_proj))
        weights = torch.softmax(q @ k.transpose(2, 3) * q.shape[-1] ** -0.5, dim=-1)
        return self.out_proj((weights @ v).transpose(1, 2).flatten(2))


def plain(model: AVHubert) -> AVHubert:
    """A copy of the model in textbook form."""
    twin = copy.deepcopy(model).to(memory_format=torch.contiguous_format)
    for module in twin.modules():
        for ours, theirs in ((LipResNet, PlainResNet), (SelfAttention, PlainAttention)):
            if type(module) is ours:
                module.__class__ = theirs
    for weight in twin.parameters():
        weight.data = weight.data.contiguous()
    return twin


def alternate(runs: dict[str, Callable[[], object]]) -> dict[str, float]:
    """CPU seconds of each, the smallest of some rounds A B C A B C."""
    best = dict.fromkeys(runs, float("inf"))
    for run in runs.values():
        run()
    for _ in range(ROUNDS):
        for name, run in runs.items():
            started = time.process_time()
            run()
            best[name] = min(best[name], time.process_time() - started)
    return best


@torch.no_grad()
def encoder_rows(size: str) -> None:
    """Inference of one clip."""
    torch.manual_seed(0)
    ours = AVHubert(SIZES[size]).eval()
    fast = copy.deepcopy(ours)
    fold(fast)
    twin, video = plain(ours), torch.randn(1, 1, FRAMES, 88, 88)
    expected = twin(video)
    seconds = alternate(
        {n: lambda m=m: m(video) for n, m in (("plain", twin), ("ours", ours), ("fused", fast))}
    )
    for name, model in (("plain", twin), ("ours", ours), ("fused", fast)):
        error = float((model(video) - expected).abs().max() / expected.abs().max())
        ratio = seconds[name] / seconds["plain"]
        print(f"| {size} | {name} | {seconds[name]:.3f} | {ratio:.2f} | {error:.1e} |")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"| {size} | | | | peak memory {peak:.0f} MB |")


def stem_rows(width: int) -> None:
    """The stem's convolution alone, forward and backward, milliseconds a frame."""
    weight = nn.Parameter(torch.randn(width, 1, 5, 7, 7))
    video = torch.randn(2, 1, 25, 88, 88)

    def conv3d(layout: torch.memory_format) -> Tensor:
        x, w = video.to(memory_format=layout), weight.to(memory_format=layout)
        return F.conv3d(x, w, None, (1, 2, 2), (2, 3, 3)).transpose(1, 2).flatten(0, 1)

    def stacked(last: bool) -> Tensor:
        x = F.pad(video[:, 0], (0, 0, 0, 0, 2, 2)).unfold(1, 5, 1)  # (B, T, H, W, 5)
        if last:
            x = x.reshape(-1, 88, 88, 5).permute(0, 3, 1, 2)
        else:
            x = x.permute(0, 1, 4, 2, 3).reshape(-1, 5, 88, 88)
        return F.conv2d(x, weight[:, 0], None, 2, 3)

    ways: dict[str, Callable[[], Tensor]] = {
        "Conv3d, contiguous": lambda: conv3d(torch.contiguous_format),
        "Conv3d, channels-last (ours)": lambda: conv3d(torch.channels_last_3d),
        "Conv2d over 5 stacked frames": lambda: stacked(False),
        "the same, channels-last": lambda: stacked(True),
    }
    rows: dict[str, list[float]] = {name: [] for name in ways}
    for bf16 in (False, True):
        for backward in (False, True):
            found = alternate({n: lambda w=w, b=bf16, g=backward: once(w, b, g) for n, w in ways.items()})
            for name, seconds in found.items():
                rows[name].append(seconds / 50 * 1e3)
    for name, times in rows.items():
        print(f"| {width} | {name} | " + " | ".join(f"{t:.3f}" for t in times) + " |")


def once(way: Callable[[], Tensor], bf16: bool, backward: bool) -> None:
    """One pass."""
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16), torch.set_grad_enabled(backward):
        y = way()
    if backward:
        y.backward(torch.ones_like(y))


def cpu_name() -> str:
    """The processor's own name."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return "an unknown processor"


def main(wanted: list[str]) -> None:
    torch.set_num_threads(1)
    print(HEAD.format(rounds=ROUNDS, frames=FRAMES, cpu=cpu_name()))
    print("| size | code | seconds | of plain | difference |\n|---|---|---|---|---|")
    for size in SIZES:
        if size in wanted:
            encoder_rows(size)
    if "stem" in wanted:
        print("\nThe stem's convolution, milliseconds for each frame.\n")
        print(
            "| width | way | fp32 forward | fp32 both | bf16 forward | bf16 both |\n|---|---|---|---|---|---|"
        )
        for width in (16, 64):
            stem_rows(width)


if __name__ == "__main__":
    main(sys.argv[1:] or [*SIZES, "stem"])
