"""The interface between the trainer and what is trained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lip2speech.constants import SAMPLE_RATE
from lip2speech.train.core.device import move_to
from lip2speech.train.core.dummy_data import DummyData
from lip2speech.train.core.ema import EMA
from lip2speech.train.core.micro_batch import FULL_BATCH, MicroBatch
from lip2speech.utils.device import CPU


class Stateful(Protocol):
    """Anything whose state is part of a training checkpoint."""

    def state_dict(self) -> Any:
        """Tensors and plain containers."""

    def load_state_dict(self, state_dict: Any, /) -> Any:
        """Restore what `state_dict` returned."""


class TrainingTask(ABC):
    """Networks, data and optimizer of one kind of training.

    A task is built on the CPU and moved by the trainer; training steps move their batches with `to_device`.

    Attributes:
        sample_rate: of the audio that `samples` returns, in Hz.
        device: where the networks are.
    """

    sample_rate = SAMPLE_RATE
    device = CPU

    @abstractmethod
    def training_step(self, step: int, micro_batch: MicroBatch = FULL_BATCH) -> dict[str, float]:
        """One micro-batch of one step; returns the metrics to log."""

    @abstractmethod
    def validate(self) -> dict[str, float]:
        """Metrics on held-out data; of `loss`, lower is better."""

    @abstractmethod
    def checkpointed(self) -> Mapping[str, Stateful]:
        """Everything a resumed run needs, by name: networks, EMA, optimizers, sampler.

        A name that a checkpoint lacks, such as that of a part that joins later, is left as it is.
        """

    @abstractmethod
    def export(self, folder: Path) -> None:
        """Write the finished checkpoint folder."""

    def state_dict(self) -> dict[str, Any]:
        """The state of all `checkpointed` parts; tensors and plain containers only."""
        return {name: part.state_dict() for name, part in self.checkpointed().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        for name, part in self.checkpointed().items():
            if name in state:
                part.load_state_dict(state[name])

    def samples(self) -> dict[str, Tensor]:
        """Audio (T_a,) by name that the present model makes of one held-out clip, always the same clip."""
        return {}

    @classmethod
    def dummy_config(cls, config: Any, dummy: DummyData) -> Any:
        """The config with dummy clips, and with dummy teachers for those that do not exist yet."""
        return replace(config, train_data=(dummy.clips(),))

    def networks(self) -> dict[str, nn.Module]:
        """The trained networks by name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, nn.Module)}

    def to(self, device: torch.device) -> None:
        """Move networks, losses and EMA weights; an optimizer without state follows its parameters."""
        self.device = device
        for value in (*self.networks().values(), *vars(self).values()):
            if isinstance(value, nn.Module | EMA):
                value.to(device)

    def to_device(self, batch: Any) -> Any:
        """A batch, or anything that contains tensors, on the device of the networks."""
        return move_to(batch, self.device)
