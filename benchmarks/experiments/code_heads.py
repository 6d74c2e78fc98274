"""Print how well codes are predicted from lips: one row per codec and code head.

    OMP_NUM_THREADS=1 python -m benchmarks.experiments.code_heads runs/codecs/default/final \
        --train data/prepared/grid data/prepared/synth --test data/prepared/grid --steps 1500

The front end of `--model` is frozen; code heads on its features learn the codes of the training clips and are
evaluated on the test split. Three heads: `independent` predicts every codebook on its own, `conditional` each
given the codebooks before it, `delayed` also given all earlier columns of the delay pattern. Information gain
is the cost of the codes by their frequency alone minus their cost under the head, with teacher forcing, in
bits/s. Top-1 accuracy is without teacher forcing. `--n-q` limits the codebooks, to compare codecs of one
depth. STOI and mel distance (nats) of the decoded predictions are against the original audio, next to those
of the decoded true codes (upper bound).
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

BATCH_SIZE, LR, HIDDEN_DIM = 16, 1e-3, 256
HEADER = (
    "| codec | head | kbit/s | bits/s (information gain) | top-1 accuracy "
    "| STOI | true codes | mel distance | true codes |"
)


@dataclass
class ClipFeatures:
    """One clip: features (T, C), speaker (S,), wav (640 T,), codes (n_q, rT)."""

    features: Tensor
    speaker: Tensor
    wav: Tensor
    codes: Tensor


def extract_features(model: Lip2Speech, clips: list[Clip]) -> list[ClipFeatures]:
    """Features of the frozen front end; codes are filled in per codec."""
    rows = []
    for clip in clips:
        features = model.model.frontend(model.transform(clip.tensors()["roi"]))[0]
        rows.append(
            ClipFeatures(features, model.speaker_encoder.embed(clip.wav()), clip.wav(), torch.empty(0))
        )
    return rows


def collate(rows: list[ClipFeatures]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """features (B, T, C), speaker (B, S), padding_mask (B, T), codes (B, n_q, rT), -100 where padded."""
    frames, steps = (max(x) for x in zip(*((len(r.features), r.codes.shape[1]) for r in rows), strict=True))
    features = torch.stack([F.pad(r.features, (0, 0, 0, frames - len(r.features))) for r in rows])
    codes = torch.stack([F.pad(r.codes, (0, steps - r.codes.shape[1]), value=-100) for r in rows])
    padding = torch.arange(frames)[None] >= torch.tensor([len(r.features) for r in rows])[:, None]
    return features, torch.stack([r.speaker for r in rows]), padding, codes


def code_bits(logits: Tensor, codes: Tensor) -> Tensor:
    """Cost in bits of each valid code, (N,): logits (B, n_q, K, T), codes (B, n_q, T)."""
    cost = F.cross_entropy(logits.transpose(1, 2), codes, ignore_index=-100, reduction="none")
    return cost[codes != -100] / math.log(2)


def train(rows: list[ClipFeatures], codec: Codec, n_q: int, *, delayed: bool, steps: int) -> Heads:
    """Train code heads on frozen features."""
    torch.manual_seed(0)
    config = HeadsConfig(
        hidden_dim=HIDDEN_DIM,
        speaker_dim=len(rows[0].speaker),
        n_mels=0,
        n_units=0,
        n_q=n_q,
        codebook_size=codec.codebook_sizes[:n_q],
        code_frame_rate=codec.frame_rate,
        codebook_pattern="delay" if delayed else "parallel",
    )
    heads = Heads(rows[0].features.shape[1], config).train()
    optimizer = OptimizerWithSchedule(heads.parameters(), OptimizerConfig(lr=LR), steps)
    for step in range(steps):
        rng = seed_step(0, step)
        batch = [rows[i] for i in rng.choice(len(rows), BATCH_SIZE, replace=False)]
        features, speaker, padding, codes = collate(batch)
        with torch.autocast("cpu", torch.bfloat16):
            p = heads(features, speaker, padding, codes.clamp_min(0))
        logits = (p.require("code_logits"), p.require("independent_code_logits"))
        optimizer.step(torch.stack([code_bits(x.float(), codes).mean() for x in logits]).sum(), step)
    return heads.eval()


@torch.no_grad()
def measure(
    heads: Heads, codec: Codec, rows: list[ClipFeatures], frequency_cost: float, name: str, head: str
) -> Iterator[str]:
    """A row for the conditional or delayed head; with the conditional one, also for the independent head."""
    n_q = heads.config.n_q
    fields = {"independent": "independent_code_logits", head: "code_logits"}
    if head == "delayed":
        del fields["independent"]
    rate, sizes = n_q * codec.frame_rate, codec.codebook_sizes[:n_q]
    for kind, field in fields.items():
        cost, correct, scores = [], [], []
        for row in rows:
            inputs = row.features[None], row.speaker[None]
            cost.append(code_bits(heads(*inputs, None, row.codes[None]).require(field), row.codes[None]))
            p: Prediction = heads(*inputs)
            codes = p.require("codes") if kind == head else p.require(field).argmax(2)
            correct.append((codes[0] == row.codes).float().flatten())
            pairs = [(row.wav, codec.decode(c)[0, 0, : len(row.wav)]) for c in (codes, row.codes[None])]
            scores.append([*(stoi(*x) for x in pairs), *(mel_l1(*map(log_mel, x)) for x in pairs)])
        gain = rate * (frequency_cost - float(torch.cat(cost).mean()))
        kbps = codec.frame_rate * sum(map(math.log2, sizes)) / 1000
        metrics = " | ".join(f"{x:.3f}" for x in np.nanmean(scores, axis=0))
        yield f"| {name} | {kind} | {kbps:.2f} | {gain:.0f} | {torch.cat(correct).mean():.1%} | {metrics} |"


def frequency_bits(codec: Codec, train_rows: list[ClipFeatures], test_rows: list[ClipFeatures]) -> float:
    """Mean bits of a code of the test clips by its frequency in the training clips, add-one smoothed."""
    total = []
    for i, size in enumerate(codec.codebook_sizes[: len(train_rows[0].codes)]):
        counts = torch.cat([r.codes[i] for r in train_rows]).bincount(minlength=size) + 1.0
        costs = -(counts / counts.sum()).log2()
        total.append(costs[torch.cat([r.codes[i] for r in test_rows])].mean())
    return float(torch.stack(total).mean())


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("codecs", type=Path, nargs="+", help="folders written by lip2speech train codec")
    parser.add_argument("--train", type=Path, nargs="+", required=True, help="prepared clips, split train")
    parser.add_argument("--test", type=Path, required=True, help="prepared clips, split test")
    parser.add_argument("--model", default="default", help="whose front end is used")
    parser.add_argument("--n-q", type=int, default=4)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--clips", type=int, help="per training folder, evenly spaced")
    parser.add_argument("--test-clips", type=int, default=40)
    return parser.parse_args()


def main() -> None:
    torch.set_num_threads(1)
    args = arguments()
    model = Lip2Speech.from_pretrained(args.model)
    with torch.no_grad():
        folders = [read_clips([folder], "train") for folder in args.train]
        spread = [clips[:: max(1, len(clips) // (args.clips or len(clips)))] for clips in folders]
        train_rows = extract_features(model, [clip for clips in spread for clip in clips])
        test_rows = extract_features(model, read_clips([args.test], "test")[: args.test_clips])
    print(f"{len(train_rows)} training clips, {len(test_rows)} test clips, {args.steps} steps\n\n{HEADER}")
    print("|---" * (HEADER.count("|") - 1) + "|", flush=True)
    for folder in args.codecs:
        codec = fold_weight_norm(load_codec(folder))
        n_q = min(args.n_q, codec.n_q)
        with torch.no_grad():
            for row in (*train_rows, *test_rows):
                row.codes = codec.encode(row.wav[None, None], n_q)[0]
        cost = frequency_bits(codec, train_rows, test_rows)
        name = folder.parent.name if folder.name == "final" else folder.name
        for head in ("conditional", "delayed"):
            heads = train(train_rows, codec, n_q, delayed=head == "delayed", steps=args.steps)
            for line in measure(heads, codec, test_rows, cost, name, head):
                print(line, flush=True)


if __name__ == "__main__":
    main()
