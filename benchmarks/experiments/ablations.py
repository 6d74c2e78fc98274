"""What pretraining, each task and fine-tuning of the front end are worth: small trainings alike, one table.

    OMP_NUM_THREADS=1 python -m benchmarks.experiments.ablations --train data/prepared/grid data/prepared/synth \
        --test data/prepared/grid:test data/prepared/grid:unseen data/prepared/synth:test \
        --pretrained runs/pretrain --units runs/units/final --codec runs/codec/final --out runs/ablations \
        [--steps 3000] [--only scratch frozen] [--beside default]

Each is configs/finetune/stage1_multitask.yaml with as many steps and the same random numbers. `--pretrained` is what
`lip2speech train pretrain configs/pretrain/tiny.yaml` wrote. A run that is there goes on or stays; then all
are spoken by Griffin-Lim from the crops, and so are the finished models of `--beside`. Words wrong by the
offline recogniser; intervals are over clips, 95 %, and do not tell what another random start would change.
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

RECIPE = Path(__file__).parents[2] / "configs" / "finetune" / "stage1_multitask.yaml"
ROUTE = "griffin-lim"
FIGURES = ("wer", "stoi", "estoi", "pesq")
HEADER = "| training | clips | n | WER [95 %] | STOI | ESTOI [95 %] | PESQ |"
NO_UNITS = ["model.heads.n_units=0", "unit_tokenizer=''"]
NO_CODES = ["model.heads.n_q=0", "codec_path=''"]
ABLATIONS: dict[str, tuple[int, list[str]]] = {
    "scratch": (0, []),
    "pretrained once": (1, []),
    "pretrained": (2, []),
    "mel alone": (2, [*NO_UNITS, *NO_CODES]),
    "mel, units": (2, NO_CODES),
    "mel, codes": (2, NO_UNITS),
    "frozen": (2, ["trainable=[heads]"]),
}
"""Name -> the iteration of pretraining that it starts from, 0 for none, and what else it changes."""


def folder_name(name: str) -> str:
    """The folder of a run."""
    return name.replace(",", "").replace(" ", "_")


def recipe(name: str, given: argparse.Namespace) -> FinetuneConfig:
    """The recipe of an ablation."""
    iteration, changes = ABLATIONS[name]
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
    return load_config(FinetuneConfig, RECIPE, [*shared, *changes])


def spoken_by(folder: Path) -> Lip2Speech:
    """What speaks with a lip model alone."""
    loaded = checkpoint.load(folder)
    config = from_dict(ModelConfig, loaded.config["model"], "model")
    model = build_and_load(lambda: LipModel(config), config, loaded.tensors, "model").eval()
    transform = from_dict(Transform, loaded.config["transform"], "transform")
    own = PipelineConfig(vocoder=ROUTE, default_voice="")
    return Lip2Speech(folder.parent.name, model, {ROUTE: GriffinLim()}, transform, voices={}, config=own)


def rows(name: str, speech: Lip2Speech, sets: list[tuple[Path, str]], limit: int | None) -> Iterator[str]:
    """A row for each set of clips."""
    for where, split in sets:
        items = prepared_items(where, split)
        config = EvaluationConfig(FIGURES, split=split, vocoder=(ROUTE,), limit=limit)
        report = evaluate(speech, items, config)
        row = next(row for row in report.rows if row.name == ROUTE)
        wer, estoi = (
            f"{e.mean:.3f} [{e.low:.3f}, {e.high:.3f}]" for e in map(row.__getitem__, ("wer", "estoi"))
        )
        stoi, pesq = row.estimates["stoi"].mean, row.estimates["pesq"].mean
        yield f"| {name} | {where.name}:{split} | {row.n} | {wer} | {stoi:.3f} | {estoi} | {pesq:.2f} |"


def clips(text: str) -> tuple[Path, str]:
    """FOLDER:SPLIT."""
    folder, _, split = text.rpartition(":")
    if not folder:
        raise argparse.ArgumentTypeError(f"{text!r} is not FOLDER:SPLIT")
    return Path(folder), split


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--train", type=Path, nargs="+", required=True, help="prepared clips")
    parser.add_argument("--test", type=clips, nargs="+", required=True, help="FOLDER:SPLIT of prepared clips")
    parser.add_argument("--pretrained", type=Path, required=True, help="written by lip2speech train pretrain")
    parser.add_argument("--units", required=True)
    parser.add_argument("--codec", required=True)
    parser.add_argument("--out", type=Path, required=True, help="a run's folder for each goes there")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--limit", type=int, help="clips of each set, evenly spread")
    parser.add_argument("--only", nargs="*", choices=ABLATIONS, default=list(ABLATIONS))
    parser.add_argument("--beside", nargs="*", default=[], help="model folders, or names of bundled_models ones")
    return parser.parse_args()


def main() -> None:
    torch.set_num_threads(1)
    given = arguments()
    for name in given.only:
        config, out = recipe(name, given), given.out / folder_name(name)
        if not (out / "final").is_dir():
            Trainer(config.trainer, out).fit(FinetuneTask(config))
        if not (out / "final").is_dir():
            return  # it was asked to stop
    print(f"\n{HEADER}\n" + "|---" * (HEADER.count("|") - 1) + "|", flush=True)
    trained = {name: spoken_by(given.out / folder_name(name) / "final") for name in given.only}
    beside = {name: Lip2Speech.from_pretrained(name, "cpu") for name in given.beside}
    for name, speech in (trained | beside).items():
        for row in rows(name, speech, given.test, given.limit):
            print(row, flush=True)


if __name__ == "__main__":
    main()
