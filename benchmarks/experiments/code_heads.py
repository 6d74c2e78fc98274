"""Print how well lips tell the codes of each codec: one row for each codec and code head.

    OMP_NUM_THREADS=1 python -m benchmarks.experiments.code_heads runs/codecs/default/final \
        --train data/prepared/grid data/prepared/synth --test data/prepared/grid --steps 1500

The front end of `--model` is frozen; code heads on its features learn the codes of the training clips, and
are measured on the test split. Three heads: `independent` tells every book on its own, `conditional` each
given the books before it, `delayed` also given all columns before it in the delay pattern. Told: the bits a
second that lips tell of the codes, which is what they cost by frequency alone less what they cost under the
head, given the true codes before them. Right: the share of codes that are right when nothing is given. Books
count up to `--n-q`, so that codecs of one depth are compared. STOI and mel distance (nats) are of the decoded
sound against the true sound: of the predicted codes, and of the true codes as the ceiling.
"""

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lip2speech.codecs import Codec, load_codec
from lip2speech.data.dataset import Clip, read_clips
from lip2speech.evaluation.metrics.acoustic import mel_l1
from lip2speech.evaluation.metrics.common import log_mel
from lip2speech.evaluation.metrics.intelligibility import stoi
from lip2speech.models.heads.conv import Heads, HeadsConfig
from lip2speech.models.prediction import Prediction
from lip2speech.modules.conv import fold_weight_norm
from lip2speech.pipeline import Lip2Speech
from lip2speech.train.core.config import OptimizerConfig
from lip2speech.train.core.micro_batch import seed_step
from lip2speech.train.core.optim import OptimizerWithSchedule

BATCH, RATE, HIDDEN = 16, 1e-3, 256
HEADER = "| codec | head | kbit/s | told, bit/s | right | STOI | true codes | mel distance | true codes |"


@dataclass
class Heard:
    """One clip: features (T, C), a voice (S,), sound (640 T,), codes (n_q, rT)."""

    features: Tensor
    speaker: Tensor
    wav: Tensor
    codes: Tensor


def hear(speech: Lip2Speech, clips: list[Clip]) -> list[Heard]:
    """What the frozen front end makes of clips; codes are still to come."""
    rows = []
    for clip in clips:
        features = speech.model.frontend(speech.transform(clip.tensors()["roi"]))[0]
        rows.append(Heard(features, speech.speaker_encoder.embed(clip.wav()), clip.wav(), torch.empty(0)))
    return rows


def collate(rows: list[Heard]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """features (B, T, C), speaker (B, S), padding_mask (B, T), codes (B, n_q, rT), -100 where padded."""
    frames, steps = (max(x) for x in zip(*((len(r.features), r.codes.shape[1]) for r in rows), strict=True))
    features = torch.stack([F.pad(r.features, (0, 0, 0, frames - len(r.features))) for r in rows])
    codes = torch.stack([F.pad(r.codes, (0, steps - r.codes.shape[1]), value=-100) for r in rows])
    padding = torch.arange(frames)[None] >= torch.tensor([len(r.features) for r in rows])[:, None]
    return features, torch.stack([r.speaker for r in rows]), padding, codes


def bits(logits: Tensor, codes: Tensor) -> Tensor:
    """What each known code costs, (N,): logits (B, n_q, K, T), codes (B, n_q, T)."""
    cost = F.cross_entropy(logits.transpose(1, 2), codes, ignore_index=-100, reduction="none")
    return cost[codes != -100] / math.log(2)


def train(rows: list[Heard], codec: Codec, n_q: int, *, delayed: bool, steps: int) -> Heads:
    """Code heads on frozen features."""
    torch.manual_seed(0)
    config = HeadsConfig(
        hidden_dim=HIDDEN,
        speaker_dim=len(rows[0].speaker),
        n_mels=0,
        n_units=0,
        n_q=n_q,
        codebook_size=codec.codebook_sizes[:n_q],
        code_frame_rate=codec.frame_rate,
        codebook_pattern="delay" if delayed else "parallel",
    )
    heads = Heads(rows[0].features.shape[1], config).train()
    opt = OptimizerWithSchedule(heads.parameters(), OptimizerConfig(lr=RATE), steps)
    for step in range(steps):
        rng = seed_step(0, step)
        batch = [rows[i] for i in rng.choice(len(rows), BATCH, replace=False)]
        features, speaker, padding, codes = collate(batch)
        with torch.autocast("cpu", torch.bfloat16):
            p = heads(features, speaker, padding, codes.clamp_min(0))
        told = (p.require("code_logits"), p.require("independent_code_logits"))
        opt.step(torch.stack([bits(x.float(), codes).mean() for x in told]).sum(), step)
    return heads.eval()


@torch.no_grad()
def measure(
    heads: Heads, codec: Codec, rows: list[Heard], by_frequency: float, name: str, head: str
) -> Iterator[str]:
    """A row for the conditional (or delayed) head, and before it one for the independent head."""
    n_q = heads.config.n_q
    fields = {"independent": "independent_code_logits", head: "code_logits"}
    if head == "delayed":
        del fields["independent"]
    rate, sizes = n_q * codec.frame_rate, codec.codebook_sizes[:n_q]
    for kind, field in fields.items():
        cost, right, scores = [], [], []
        for row in rows:
            given = row.features[None], row.speaker[None]
            cost.append(bits(heads(*given, None, row.codes[None]).require(field), row.codes[None]))
            p: Prediction = heads(*given)
            codes = p.require("codes") if kind == head else p.require(field).argmax(2)
            right.append((codes[0] == row.codes).float().flatten())
            pairs = [(row.wav, codec.decode(c)[0, 0, : len(row.wav)]) for c in (codes, row.codes[None])]
            scores.append([*(stoi(*x) for x in pairs), *(mel_l1(*map(log_mel, x)) for x in pairs)])
        told = rate * (by_frequency - float(torch.cat(cost).mean()))
        kbps = codec.frame_rate * sum(map(math.log2, sizes)) / 1000
        figures = " | ".join(f"{x:.3f}" for x in np.nanmean(scores, axis=0))
        yield f"| {name} | {kind} | {kbps:.2f} | {told:.0f} | {torch.cat(right).mean():.1%} | {figures} |"


def frequency_bits(codec: Codec, train_rows: list[Heard], test_rows: list[Heard]) -> float:
    """Mean bits of a code of the test clips by its frequency in the training clips, each seen once more."""
    total = []
    for book, size in enumerate(codec.codebook_sizes[: len(train_rows[0].codes)]):
        counts = torch.cat([r.codes[book] for r in train_rows]).bincount(minlength=size) + 1.0
        costs = -(counts / counts.sum()).log2()
        total.append(costs[torch.cat([r.codes[book] for r in test_rows])].mean())
    return float(torch.stack(total).mean())


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("codecs", type=Path, nargs="+", help="folders written by lip2speech train codec")
    parser.add_argument("--train", type=Path, nargs="+", required=True, help="prepared clips, split train")
    parser.add_argument("--test", type=Path, required=True, help="prepared clips, split test")
    parser.add_argument("--model", default="default", help="whose front end sees the lips")
    parser.add_argument("--n-q", type=int, default=4)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--clips", type=int, help="of each training folder, evenly spread")
    parser.add_argument("--test-clips", type=int, default=40)
    return parser.parse_args()


def main() -> None:
    torch.set_num_threads(1)
    given = arguments()
    speech = Lip2Speech.from_pretrained(given.model)
    with torch.no_grad():
        folders = [read_clips([folder], "train") for folder in given.train]
        spread = [clips[:: max(1, len(clips) // (given.clips or len(clips)))] for clips in folders]
        train_rows = hear(speech, [clip for clips in spread for clip in clips])
        test_rows = hear(speech, read_clips([given.test], "test")[: given.test_clips])
    print(f"{len(train_rows)} training clips, {len(test_rows)} test clips, {given.steps} steps\n\n{HEADER}")
    print("|---" * (HEADER.count("|") - 1) + "|", flush=True)
    for folder in given.codecs:
        codec = fold_weight_norm(load_codec(folder))
        n_q = min(given.n_q, codec.n_q)
        with torch.no_grad():
            for row in (*train_rows, *test_rows):
                row.codes = codec.encode(row.wav[None, None], n_q)[0]
        cost = frequency_bits(codec, train_rows, test_rows)
        name = folder.parent.name if folder.name == "final" else folder.name
        for head in ("conditional", "delayed"):
            heads = train(train_rows, codec, n_q, delayed=head == "delayed", steps=given.steps)
            for line in measure(heads, codec, test_rows, cost, name, head):
                print(line, flush=True)


if __name__ == "__main__":
    main()
