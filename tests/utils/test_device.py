"""Choice of the device (lip2speech/utils/device.py)."""

import pytest
import torch

from lip2speech.utils import device as module
from lip2speech.utils.device import CPU, choose_device


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with two CUDA GPUs."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


def test_auto_is_the_cpu_without_accelerators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(module, "mps_available", lambda: False)
    assert choose_device() == choose_device("auto") == choose_device("cpu") == CPU


def test_auto_is_mps_without_cuda_unless_it_is_excluded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(module, "mps_available", lambda: True)
    zeros, asked = torch.zeros, []

    def create(size: int, device: str) -> torch.Tensor:
        asked.append(device)
        return zeros(size)

    monkeypatch.setattr(torch, "zeros", create)
    monkeypatch.setattr(torch.Tensor, "new_empty", lambda self, size, device: zeros(size).to("meta"))
    choose_device("auto")
    choose_device("auto", mps=False)
    assert asked == ["mps", "cpu"]


@pytest.mark.usefixtures("two_gpus")
def test_auto_is_the_gpu_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_device("cpu") == CPU
    assert choose_device("auto") == choose_device("cuda") == torch.device("cuda", 0)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert choose_device("auto") == torch.device("cuda", 1)


@pytest.mark.usefixtures("two_gpus")
def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ValueError, match="process 2 of this machine has no GPU of its own, PyTorch sees 2"):
        choose_device("auto")


@pytest.mark.parametrize("name", ["abacus", "cuda:77", "meta"])
def test_an_unknown_or_missing_device_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"device '{name}' cannot be used here .*; try cpu."):
        choose_device(name)
