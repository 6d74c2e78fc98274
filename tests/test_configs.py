"""Every YAML file in configs/ fits the dataclass of its command."""

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from lip2speech.cli.train import TASKS
from lip2speech.config import load_config, load_yaml
from lip2speech.train.finetune.config import FinetuneConfig
from lip2speech.train.pretrain.config import PretrainConfig

CONFIGS = Path(__file__).parents[1] / "configs"
FILES = sorted(CONFIGS.rglob("*.yaml"))
BASES = [path for path in FILES if path.parent.name == "_base"]
CLASSES = {task.replace("-", "_"): (module, config) for task, (module, _, config) in TASKS.items()} | {
    "adapt": ("lip2speech.train.adapt.trainer", "AdaptConfig"),
    "export": ("lip2speech.train.export", "ExportConfig"),
    "evaluation": ("lip2speech.evaluation.config", "EvaluationRunConfig"),
}
"""Folder of configs/, or file of configs/quickstart/ -> module and name of its dataclass."""


def name_of(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def config_class(path: Path) -> Any:
    module, name = CLASSES[path.stem if path.parent.name == "quickstart" else path.parent.name]
    return getattr(import_module(module), name)


def bases(path: Path) -> set[Path]:
    """All files that a config builds on."""
    base = load_yaml(path).get("base", [])
    direct = {(path.parent / name).resolve() for name in ([base] if isinstance(base, str) else base)}
    return direct.union(*map(bases, direct))


@pytest.mark.parametrize("path", [path for path in FILES if path not in BASES], ids=name_of)
def test_a_config_loads(path: Path) -> None:
    assert load_config(config_class(path), path)


@pytest.mark.parametrize("path", BASES, ids=name_of)
def test_a_shared_block_is_used_by_two_configs_or_more(path: Path) -> None:
    users = [other for other in FILES if path in bases(other)]
    assert len(users) >= 2 or path.stem in ("model_base", "model_large")


def test_the_tiny_front_end_is_the_same_in_pretraining_and_finetuning() -> None:
    pretrain = load_config(PretrainConfig, CONFIGS / "pretrain" / "tiny.yaml")
    finetune = load_config(FinetuneConfig, CONFIGS / "finetune" / "stage1_multitask.yaml")
    assert pretrain.frontend == finetune.model.frontend


def test_the_stages_of_a_model_start_from_their_predecessor() -> None:
    folder = CONFIGS / "finetune"
    for prefix in ("stage", "live_stage"):
        for number in range(2, 1 + len(list(folder.glob(f"{prefix}*.yaml")))):
            (path,) = folder.glob(f"{prefix}{number}_*.yaml")
            run = f"runs/{'live_stage' if prefix == 'live_stage' else 'lip_stage'}{number - 1}/final"
            assert load_config(FinetuneConfig, path).init_from == run
