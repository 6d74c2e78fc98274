"""A run that is killed again and again ends in the very bits of one that was left alone."""

import random
import signal
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lip2speech.codecs import load_codec
from lip2speech.train.core.trainer import Trainer
from tests.train.processes import SERVER, codec_task, start, train_until_killed

DEATHS = ["any moment"] * 12 + ["writing"] * 4 + ["renamed"] * 4
MAX_LIFETIME_S = 0.2  # seconds to live: some steps


def tensors(state: Any, where: str = "") -> dict[str, Tensor | float]:
    """All numbers of a nested state, by where they are."""
    if isinstance(state, dict | list | tuple):
        pairs = state.items() if isinstance(state, dict) else enumerate(state)
        return {k: v for key, value in pairs for k, v in tensors(value, f"{where}.{key}").items()}
    return {where: state}


def kill(prepared: Path, folder: Path, dies: str, rng: random.Random) -> int:
    """Let a child train for a moment, or until it dies by itself; its exit code."""
    receiver, sender = SERVER.Pipe(duplex=False)
    child = start(train_until_killed, prepared, folder, sender, dies)
    assert receiver.poll(60)
    if dies == "any moment":
        time.sleep(rng.uniform(0, MAX_LIFETIME_S))
        child.kill()
    child.join(60)
    return int(child.exitcode)


def test_twenty_kills_change_no_bit(prepared: Path, tmp_path: Path) -> None:
    rng = random.Random(0)
    deaths = rng.sample(DEATHS, len(DEATHS))
    codes = [kill(prepared, tmp_path / "killed", dies, rng) for dies in deaths]
    assert codes == [-signal.SIGKILL] * 20
    for name in ("killed", "whole"):
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        task = codec_task(prepared)
        Trainer(task.config.trainer, tmp_path / name, quiet=True).fit(task)
        torch.set_num_threads(threads)
    killed, whole = (torch.load(tmp_path / name / "step-00000016.pt") for name in ("killed", "whole"))
    a, b = tensors(killed), tensors(whole)
    assert a.keys() == b.keys()
    for name, value in a.items():
        assert torch.equal(value, b[name]) if isinstance(value, Tensor) else value == b[name], name
    a, b = (load_codec(tmp_path / name / "final").state_dict() for name in ("killed", "whole"))
    assert all(torch.equal(a[name], b[name]) for name in a)
