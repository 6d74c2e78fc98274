"""Ablations: pre-training, each auxiliary loss, frozen vs. fine-tuned front end; short trainings, one table.

    OMP_NUM_THREADS=1 python -m benchmarks.experiments.ablations --train data/prepared/grid
    data/prepared/synth \
        --test data/prepared/grid:test data/prepared/grid:unseen data/prepared/synth:test \
        --pretrained runs/pretrain --units runs/units/final --codec runs/codec/final --out runs/ablations \
        [--steps 3000] [--only scratch frozen] [--compare-with default]

Each training is configs/finetune/stage1_multitask.yaml with fewer steps and the same random seed.
`--pretrained` is the run folder of `lip2speech train pretrain configs/pretrain/tiny.yaml`. Finished runs are
kept, interrupted ones resumed. All models, and the finished ones of `--compare-with`, are evaluated from
mouth crops with Griffin-Lim. WER by the offline recognizer; 95 % intervals are over clips and do not cover
other random initializations.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch

from lip2speech import checkpoint
from lip2speech.checkpoint import build_and_load
from lip2speech.config import from_dict, load_config
from lip2speech.evaluation.config import EvaluationConfig
from lip2speech.evaluation.dataset import prepared_items
from lip2speech.evaluation.evaluate import evaluate
from lip2speech.models.frontends.transforms import Transform
from lip2speech.models.lip2speech import LipModel, ModelConfig
from lip2speech.pipeline import Lip2Speech, PipelineConfig
from lip2speech.train.core.trainer import Trainer
from lip2speech.train.finetune.config import FinetuneConfig
from lip2speech.train.finetune.task import FinetuneTask
from lip2speech.vocoders.griffin_lim import GriffinLim

CONFIG = Path(__file__).parents[2] / "configs" / "finetune" / "stage1_multitask.yaml"
VOCODER = "griffin-lim"
METRICS = ("wer", "stoi", "estoi", "pesq")
HEADER = "| training | clips | n | WER [95 %] | STOI | ESTOI [95 %] | PESQ |"
NO_UNITS = ["model.heads.n_units=0", "unit_tokenizer=''"]
NO_CODES = ["model.heads.n_q=0", "codec_path=''"]
ABLATIONS: dict[str, tuple[int, list[str]]] = {
    "scratch": (0, []),
    "pretrained once": (1, []),
    "pretrained": (2, []),
    "mel only": (2, [*NO_UNITS, *NO_CODES]),
    "mel, units": (2, NO_CODES),
    "mel, codes": (2, NO_UNITS),
    "frozen": (2, ["trainable=[heads]"]),
}
"""Name -> iteration of pre-training to initialize from (0: none), and overrides of the config."""


def folder_name(name: str) -> str:
    """The run folder of an ablation."""
    return name.replace(",", "").replace(" ", "_")


def ablation_config(name: str, given: argparse.Namespace) -> FinetuneConfig:
    """The training config of an ablation."""
    iteration, overrides = ABLATIONS[name]
    shared = [
        f"train_data=[{','.join(map(str, given.train))}]",
        f"sampling_weights=[{','.join('1.0' for _ in given.train)}]",
        f"unit_tokenizer={given.units}",
        f"codec_path={given.codec}",
        f"trainer.steps={given.steps}",
        f"trainer.valid_every={given.steps}",
        "trainer.save_every=250",
    ]
    if iteration:
        shared.append(f"init_from={given.pretrained / str(iteration) / 'final'}")
    return load_config(FinetuneConfig, CONFIG, [*shared, *overrides])


def load_lip_model(folder: Path) -> Lip2Speech:
    """A pipeline of a lip model and Griffin-Lim."""
    loaded = checkpoint.load(folder)
    config = from_dict(ModelConfig, loaded.config["model"], "model")
    model = build_and_load(lambda: LipModel(config), config, loaded.tensors, "model").eval()
    transform = from_dict(Transform, loaded.config["transform"], "transform")
    return Lip2Speech(
        folder.parent.name,
        model,
        {VOCODER: GriffinLim()},
        transform,
        voices={},
        config=PipelineConfig(vocoder=VOCODER, default_voice=""),
    )


def rows(name: str, model: Lip2Speech, sets: list[tuple[Path, str]], limit: int | None) -> Iterator[str]:
    """A table row for each set of clips."""
    for folder, split in sets:
        items = prepared_items(folder, split)
        config = EvaluationConfig(METRICS, split=split, vocoder=(VOCODER,), limit=limit)
        report = evaluate(model, items, config)
        row = next(row for row in report.rows if row.name == VOCODER)
        wer, estoi = (
            f"{e.mean:.3f} [{e.low:.3f}, {e.high:.3f}]" for e in map(row.__getitem__, ("wer", "estoi"))
        )
        stoi, pesq = row.estimates["stoi"].mean, row.estimates["pesq"].mean
        yield f"| {name} | {folder.name}:{split} | {row.n} | {wer} | {stoi:.3f} | {estoi} | {pesq:.2f} |"


def clip_set(text: str) -> tuple[Path, str]:
    """Parse FOLDER:SPLIT."""
    folder, _, split = text.rpartition(":")
    if not folder:
        raise argparse.ArgumentTypeError(f"{text!r} is not FOLDER:SPLIT")
    return Path(folder), split


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--train", type=Path, nargs="+", required=True, help="folders of prepared clips")
    parser.add_argument(
        "--test", type=clip_set, nargs="+", required=True, help="FOLDER:SPLIT of prepared clips"
    )
    parser.add_argument("--pretrained", type=Path, required=True, help="run folder of train pretrain")
    parser.add_argument("--units", required=True, help="folder of a unit tokenizer")
    parser.add_argument("--codec", required=True, help="folder of a codec")
    parser.add_argument("--out", type=Path, required=True, help="parent of the run folders")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--limit", type=int, help="clips of each set, evenly spaced")
    parser.add_argument("--only", nargs="*", choices=ABLATIONS, default=list(ABLATIONS))
    parser.add_argument(
        "--compare-with", nargs="*", default=[], help="model folders, or names of bundled models"
    )
    return parser.parse_args()


def main() -> None:
    """The command."""
    torch.set_num_threads(1)
    given = arguments()
    for name in given.only:
        config, out = ablation_config(name, given), given.out / folder_name(name)
        if not (out / "final").is_dir():
            Trainer(config.trainer, out).fit(FinetuneTask(config))
        if not (out / "final").is_dir():
            return  # stopped by a signal
    print(f"\n{HEADER}\n" + "|---" * (HEADER.count("|") - 1) + "|", flush=True)
    trained = {name: load_lip_model(given.out / folder_name(name) / "final") for name in given.only}
    finished = {name: Lip2Speech.from_pretrained(name, "cpu") for name in given.compare_with}
    for name, model in (trained | finished).items():
        for row in rows(name, model, given.test, given.limit):
            print(row, flush=True)


if __name__ == "__main__":
    main()
