"""Iterations of pretraining: each clusters features of the model before it, and learns those clusters anew.

Shi et al. 2022, section 3.2, after HuBERT (Hsu et al. 2021, section III-B). Every model begins at random
weights; what it has from the one before are the clusters alone.

RUN/N/units    the clusters of iteration N, as `lip2speech train kmeans` writes them
RUN/N          its training: snapshots, log, the cluster of each frame (clusters-*.safetensors)
RUN/N/final    its model, as the import of a public AV-HuBERT would be
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from lip2speech import distributed
from lip2speech.data.dataset import read_clips
from lip2speech.train.core.trainer import Trainer
from lip2speech.train.kmeans import KMeansConfig, fit_kmeans
from lip2speech.train.pretrain.task import PretrainConfig, PretrainTask


def at_iteration(config: PretrainConfig, out: Path, number: int) -> PretrainConfig:
    """The recipe of one iteration, its units named. ValueError: there is no such iteration."""
    config = replace(config, iteration=number)
    named = replace(
        config.guessed, unit_tokenizer=config.guessed.unit_tokenizer or str(out / str(number) / "units")
    )
    before, after = config.iterations[: number - 1], config.iterations[number:]
    return replace(config, iterations=(*before, named, *after))


def unfinished(config: PretrainConfig, out: Path) -> list[int]:
    """The iterations that have no model yet, in order."""
    numbers = range(1, len(config.iterations) + 1)
    return [number for number in numbers if not (out / str(number) / "final").is_dir()]


def run_iteration(
    config: PretrainConfig,
    out: Path,
    number: int,
    *,
    quiet: bool = False,
    log_fn: Callable[[str], None] | None = None,
    progress: Callable[[float], None] | None = None,
) -> bool:
    """Fit the units of an iteration unless they are there, and train it; whether its model is there then.

    Raises:
        ValueError: no clips to learn from, or none held out; before any work.
    """
    for split in ("train", "valid"):
        read_clips(config.train_data, split)
    one, folder = at_iteration(config, out, number), out / str(number)
    if distributed.rank() == 0:
        fit_units(config, out, number)
    distributed.barrier()
    task = PretrainTask(one, folder)
    Trainer(one.trainer, folder, quiet=quiet, log_fn=log_fn, progress=progress).fit(task)
    return (folder / "final").is_dir()


def fit_units(config: PretrainConfig, out: Path, number: int) -> None:
    """k-means for an iteration; nothing where its units are there.

    Raises:
        ValueError: the iteration before has not been finished.
    """
    one, folder = config.iterations[number - 1], out / str(number) / "units"
    if one.unit_tokenizer or folder.is_dir():
        return
    model = one.model
    if one.feature_layer and not model:
        model = str(out / str(number - 1) / "final")
        if not Path(model).is_dir():
            raise ValueError(
                f"iteration {number} clusters features of {model}, which is not there; finish "
                f"--iteration {number - 1} first."
            )
    kmeans = KMeansConfig(
        train_data=config.train_data,
        n_units=one.n_units,
        n_frames=config.n_kmeans_frames,
        seed=config.trainer.seed,
        features="avhubert" if one.feature_layer else "mfcc",
        model=model,
        feature_layer=one.feature_layer,
    )
    fit_kmeans(kmeans, folder)
