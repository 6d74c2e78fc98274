"""Train every codec recipe of configs/codec alike, so that a table can compare them.

    OMP_NUM_THREADS=1 python -m benchmarks.experiments.train_codecs data/prepared/grid --out runs/codecs \
        --units runs/units/final [--only encodec sacodec] [--steps 2000] [--change gan_from=1200]

What is not the codec's own is the same for all: speech, segments, batch, steps, and a quantiser that joins
after some of them. Losses and their weights are the recipe's, without the GAN unless --change gan_from asks
for it. A run that is there goes on. Then print the table:

    python -m benchmarks.experiments.codecs runs/codecs/*/final --speech data/prepared/grid --noise-db 5
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import torch

from lip2speech.config import load_config
from lip2speech.train.codec import CodecTask, CodecTrainConfig
from lip2speech.train.core.trainer import Trainer

RECIPES = Path(__file__).parents[2] / "configs" / "codec"
NAMES = ("default", "encodec", "soundstream", "sacodec", "single", "factorized", "simvq")
JOIN = 300  # an encoder that has learned nothing collapses onto its first codes
SENTENCES = 1500  # of the talker's voices: half of all that is heard
RATE = 8e-4
"""The learning rate of all, and its betas: the recipes' own are for runs up to ten times as long."""


def recipe(
    name: str, folders: list[Path], *, units: str, steps: int, change: Sequence[str] = ()
) -> CodecTrainConfig:
    """The recipe `name`, brought to what all have in common, then changed (key=value)."""
    changes = [
        f"data.folders={json.dumps(list(map(str, folders)))}",
        f"data.synthetic_sentences={SENTENCES}",
        f"data.weights={json.dumps([0.5 / len(folders)] * len(folders) + [0.5])}",
        "data.seconds=0.8",
        f"trainer.steps={steps}",
        "trainer.batch_size=8",
        "trainer.valid_every=500",
        "trainer.save_every=250",
        f"optimizer.lr={RATE}",
        "optimizer.betas=[0.8, 0.99]",
        f"quantizer_start_step={JOIN}",
        f"disc_start_step={steps}",
        f"freeze_encoder_step={steps + 1}",
    ]
    if name == "sacodec":
        changes.append(f"semantic_centroids={units}")
    return load_config(CodecTrainConfig, RECIPES / f"{name}.yaml", [*changes, *change])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", help="prepared clips")
    parser.add_argument("--out", type=Path, required=True, help="a run's folder for each recipe goes there")
    parser.add_argument("--units", required=True, help="a folder of units, which sacodec is anchored to")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--only", nargs="*", choices=NAMES, default=NAMES)
    parser.add_argument("--change", nargs="*", default=[], metavar="KEY=VALUE", help="departs from that")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name in given.only:
        config = recipe(name, given.folders, units=given.units, steps=given.steps, change=given.change)
        task = CodecTask(config)
        print(f"{name}: {sum(p.numel() for p in task.codec.parameters()):,} weights", flush=True)
        Trainer(config.trainer, given.out / name).fit(task)
        if not (given.out / name / "final").is_dir():
            return  # it was asked to stop


if __name__ == "__main__":
    main()
