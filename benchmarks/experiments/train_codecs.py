"""Train every codec config in configs/codec under the same conditions, for a comparison table.

    OMP_NUM_THREADS=1 python -m benchmarks.experiments.train_codecs data/prepared/grid --out runs/codecs \
        --units runs/units/final [--only encodec sacodec] [--steps 2000] [--set disc_start_step=1200]

Data, segments, batch size, steps, learning rate and the start of the quantizer are the same for all. Losses
and their weights are the config's, without the GAN unless --set disc_start_step enables it. Existing runs
resume. Then print the table:

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

CONFIGS = Path(__file__).parents[2] / "configs" / "codec"
NAMES = ("default", "encodec", "soundstream", "sacodec", "single", "factorized", "simvq")
QUANTIZER_START_STEP = 300  # an untrained encoder collapses onto its first codes
N_SENTENCES = 1500  # synthetic speech: half of the training data
LR = 8e-4
"""Of all codecs, like the betas: the configs' values are for runs up to ten times as long."""


def load_codec_config(
    name: str, folders: list[Path], *, units: str, steps: int, overrides: Sequence[str] = ()
) -> CodecTrainConfig:
    """The config `name` with the common values, then with overrides (key=value)."""
    changes = [
        f"data.folders={json.dumps(list(map(str, folders)))}",
        f"data.synthetic_sentences={N_SENTENCES}",
        f"data.sampling_weights={json.dumps([0.5 / len(folders)] * len(folders) + [0.5])}",
        "data.seconds=0.8",
        f"trainer.steps={steps}",
        "trainer.batch_size=8",
        "trainer.valid_every=500",
        "trainer.save_every=250",
        f"optimizer.lr={LR}",
        "optimizer.betas=[0.8, 0.99]",
        f"quantizer_start_step={QUANTIZER_START_STEP}",
        f"disc_start_step={steps}",
        f"freeze_encoder_step={steps + 1}",
    ]
    if name == "sacodec":
        changes.append(f"semantic_centroids={units}")
    return load_config(CodecTrainConfig, CONFIGS / f"{name}.yaml", [*changes, *overrides])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", help="prepared clips")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs, one per config")
    parser.add_argument("--units", required=True, help="folder of a unit tokenizer, for sacodec")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--only", nargs="*", choices=NAMES, default=NAMES)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="overrides")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name in args.only:
        config = load_codec_config(name, args.folders, units=args.units, steps=args.steps, overrides=args.set)
        task = CodecTask(config)
        print(f"{name}: {sum(p.numel() for p in task.codec.parameters()):,} parameters", flush=True)
        Trainer(config.trainer, args.out / name).fit(task)
        if not (args.out / name / "final").is_dir():
            return  # stopped by a signal


if __name__ == "__main__":
    main()
