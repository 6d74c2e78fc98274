"""The training loop of every task: schedule, resume, logs, checkpoints; one process or many.

The task owns networks and data and computes one micro-batch at a time; the trainer counts steps. Every step
seeds its random numbers from (seed, step, micro-batch): a resumed run draws the same batches and dropout
masks as an uninterrupted one, and several processes draw those of one process that accumulates as many
micro-batches.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lip2speech.train.core.checkpointing import resume, save_checkpoint, set_aside
from lip2speech.train.core.config import TrainerConfig
from lip2speech.train.core.device import move_to, training_device
from lip2speech.train.core.logging import MetricLogger, mean_over_micro_batches
from lip2speech.train.core.micro_batch import micro_batches
from lip2speech.train.core.task import TrainingTask
from lip2speech.utils import distributed
from lip2speech.utils.device import CPU


class Trainer:
    """Trains a task in a run folder.

    In distributed training all processes share `folder`; rank 0 validates and writes.

    Args:
        folder: for checkpoints, logs and the exported model in final/.
        quiet: print nothing.
        log_fn: called with each printed line.
        progress: called with the fraction of the run that is done.
    """

    def __init__(
        self,
        config: TrainerConfig,
        folder: Path,
        *,
        quiet: bool = False,
        log_fn: Callable[[str], None] | None = None,
        progress: Callable[[float], None] | None = None,
    ):
        self.config, self.folder = config, folder
        self.quiet, self.log_fn, self.progress = quiet, log_fn, progress

    def fit(self, task: TrainingTask) -> None:
        """Train from the newest whole checkpoint in the folder to config.steps, then export to folder/final.

        SIGTERM or SIGINT ends the run after the current step, with a checkpoint and without an export.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        task.to(training_device(self.config.device))
        resumed = resume(task, self.folder)
        start = resumed.step
        check_same_step(start, self.folder)
        logger = MetricLogger(
            self.config, self.folder, start, quiet=self.quiet, log_fn=self.log_fn, progress=self.progress
        )
        if distributed.rank() == 0:
            set_aside(resumed, logger.print)
        stopping = self._train(task, logger, start)
        if distributed.rank() == 0 and not stopping:
            task.export(self.folder / "final")
        logger.close()
        distributed.barrier()

    def _train(self, task: TrainingTask, logger: MetricLogger, start: int) -> bool:
        """All steps after `start`; whether a signal ended them early."""
        with GracefulStop() as stop:
            for step in range(start + 1, self.config.steps + 1):
                rows = [
                    task.training_step(step - 1, mb) for mb in micro_batches(self.config.grad_accum_steps)
                ]
                logger.add(step, mean_over_micro_batches(rows))
                # read once a step: a signal during what follows ends the next step
                stopping = distributed.any_rank(stop.requested)
                if distributed.rank() == 0:
                    self.on_step_end(task, logger, step, stopping)
                if stopping:
                    return True
        return False

    def on_step_end(self, task: TrainingTask, logger: MetricLogger, step: int, stopping: bool) -> None:
        """Log, save, validate and write samples as the intervals say."""
        c, last = self.config, step == self.config.steps
        if step % c.log_every == 0:
            logger.log_train(step)
        if step % c.save_every == 0 or last or stopping:
            save_checkpoint(task, step, self.folder, c.keep_last_n_checkpoints)
        if stopping:
            logger.print(f"stopped at step {step}; run the same command again to resume.")
            return
        if step % c.valid_every == 0 or last:
            logger.log_validation(step, task.validate())
        if c.sample_every and (step % c.sample_every == 0 or last):
            logger.log_samples(step, move_to(task.samples(), CPU), task.sample_rate)


def check_same_step(start: int, folder: Path) -> None:
    """Raise ValueError if the processes found different checkpoints, that is, do not share a folder."""
    if distributed.any_rank(distributed.all_reduce_sum(start) != start * distributed.world_size()):
        raise ValueError(
            f"{folder}: this process resumes from step {start}, others from another step; give a folder that "
            "all processes share."
        )


class GracefulStop:
    """Within the context the first SIGTERM or SIGINT requests a stop; a second one acts at once."""

    def __init__(self) -> None:
        self.requested = False
        self.handlers: dict[int, Any] = {}

    def __enter__(self) -> GracefulStop:
        if threading.current_thread() is threading.main_thread():  # Python accepts handlers only there
            self.handlers = {
                name: signal.signal(name, self.request) for name in (signal.SIGTERM, signal.SIGINT)
            }
        return self

    def __exit__(self, *_: object) -> None:
        for name, handler in self.handlers.items():
            signal.signal(name, handler or signal.SIG_DFL)

    def request(self, *_: object) -> None:
        """Request a stop and restore the previous handlers."""
        self.requested = True
        self.__exit__()
