"""Iterations of pre-training: each clusters features of the previous model and predicts those clusters.

Shi et al. 2022, section 3.2, after HuBERT (Hsu et al. 2021, section III-B). Every model is trained from
random weights; only the clusters come from the previous one.

RUN/N/units    unit tokenizer of iteration N, as written by `lip2speech train kmeans`
RUN/N          its training: checkpoints, log, the cluster of each frame (clusters-*.safetensors)
RUN/N/final    its model, in the format of an imported public AV-HuBERT
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from lip2speech.data.dataset import read_clips
from lip2speech.train.core.trainer import Trainer
from lip2speech.train.kmeans import KMeansConfig, fit_kmeans
from lip2speech.train.pretrain.config import PretrainConfig
from lip2speech.train.pretrain.task import PretrainTask
from lip2speech.utils import distributed


def config_of_iteration(config: PretrainConfig, out: Path, number: int) -> PretrainConfig:
    """The config of iteration `number` with the path of its unit tokenizer; ValueError if there is none."""
    config = replace(config, iteration=number)
    path = config.current.unit_tokenizer or str(out / str(number) / "units")
    current = replace(config.current, unit_tokenizer=path)
    before, after = config.iterations[: number - 1], config.iterations[number:]
    return replace(config, iterations=(*before, current, *after))


def unfinished_iterations(config: PretrainConfig, out: Path) -> list[int]:
    """Numbers of the iterations without a final model, in order."""
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
    """Fit the unit tokenizer of an iteration unless it exists, and train its model.

    Returns:
        whether the model is finished; False if a signal ended the training.
    Raises:
        ValueError: there are no clips to train on, or none for validation; before any work.
    """
    for split in ("train", "valid"):
        read_clips(config.train_data, split)
    current, folder = config_of_iteration(config, out, number), out / str(number)
    if distributed.rank() == 0:
        fit_unit_tokenizer(config, out, number)
    distributed.barrier()
    trainer = Trainer(current.trainer, folder, quiet=quiet, log_fn=log_fn, progress=progress)
    trainer.fit(PretrainTask(current, folder))
    return (folder / "final").is_dir()


def fit_unit_tokenizer(config: PretrainConfig, out: Path, number: int) -> None:
    """Fit k-means for an iteration unless its unit tokenizer exists.

    Raises:
        ValueError: the previous iteration is not finished.
    """
    iteration, folder = config.iterations[number - 1], out / str(number) / "units"
    if iteration.unit_tokenizer or folder.is_dir():
        return
    model = iteration.model
    if iteration.feature_layer and not model:
        model = str(out / str(number - 1) / "final")
        if not Path(model).is_dir():
            raise ValueError(
                f"iteration {number} clusters features of {model}, which does not exist; finish "
                f"--iteration {number - 1} first."
            )
    kmeans = KMeansConfig(
        train_data=config.train_data,
        n_units=iteration.n_units,
        n_frames=config.n_kmeans_frames,
        seed=config.trainer.seed,
        features="avhubert" if iteration.feature_layer else "mfcc",
        model=model,
        feature_layer=iteration.feature_layer,
    )
    fit_kmeans(kmeans, folder)
