"""Every recipe in configs/ fits the dataclass of its command."""

from importlib import import_module
from pathlib import Path

import pytest

from lip2speech.config import load_config

CONFIGS = Path(__file__).parents[1] / "configs"
KINDS = {
    "adapt": ("lip2speech.train.adapt.trainer", "AdaptConfig"),
    "codec": ("lip2speech.train.codec", "CodecTrainConfig"),
    "finetune": ("lip2speech.train.finetune.config", "FinetuneConfig"),
    "kmeans": ("lip2speech.train.kmeans", "KMeansConfig"),
    "code_prior": ("lip2speech.train.code_prior.task", "CodePriorTrainConfig"),
    "pretrain": ("lip2speech.train.pretrain.config", "PretrainConfig"),
    "speaker": ("lip2speech.train.speaker.task", "SpeakerTrainConfig"),
    "vocoder": ("lip2speech.train.vocoder", "VocoderTrainConfig"),
    "export": ("lip2speech.train.export", "ExportConfig"),
}
"""Folder of configs/ -> the dataclass its files are values of."""


@pytest.mark.parametrize(
    "path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda path: f"{path.parent.name}-{path.stem}"
)
def test_a_recipe_loads(path: Path) -> None:
    module, name = KINDS[path.parent.name]
    load_config(getattr(import_module(module), name), path)
