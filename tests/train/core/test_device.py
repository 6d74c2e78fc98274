"""Training on a fake GPU (lip2speech/train/core/device.py and every task).

`tests/train/fake_gpu.py` says what this shows: no operation mixes devices, only dropout draws random numbers
on the GPU, and every metric equals the CPU's. benchmarks/gpu_check.py runs on a real GPU.
"""

import copy
import math
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils._pytree import tree_leaves
from typer.testing import CliRunner

from benchmarks import gpu_check
from benchmarks.gpu_check import CASES, max_difference, task_factory, train
from lip2speech.cli import app
from lip2speech.config import from_dict
from lip2speech.data.dataset import read_clips
from lip2speech.data.targets import TargetExtractor
from lip2speech.data.unit_tokenizers import AVHubertTokenizer, HubertTokenizer
from lip2speech.models.frontends.transforms import Transform
from lip2speech.models.speaker_encoder import LTASSpeakerEncoder
from lip2speech.train.adapt.trainer import AdaptationTrainer
from lip2speech.train.codec.noise import DenoisingPair
from lip2speech.train.core import trainer
from lip2speech.train.core.config import TrainerConfig
from lip2speech.train.core.device import move_to
from lip2speech.train.core.dry_run import dry_run, gpu_peak
from lip2speech.train.core.optim import average_gradients
from lip2speech.train.core.trainer import Trainer
from lip2speech.train.vocoder.data import VocoderBatch
from lip2speech.utils import distributed
from lip2speech.utils.device import CPU
from tests.factories import make_codec, make_model
from tests.models.hubert_golden import teacher
from tests.train.adapt.test_trainer import config as adapt_config
from tests.train.adapt.test_trainer import recording
from tests.train.fake_gpu import GPU, OnGpu, fake_gpu
from tests.train.processes import LINE, Line


@pytest.fixture(autouse=True)
def _short_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lip2speech.train.core.dummy_data.CLIP_FRAMES", 25)


SLOW = {"finetune", "encodec", "simvq", "vqvae"}
"""What other cases show as well."""


@pytest.mark.parametrize("name", sorted(CASES.keys() - SLOW))
def test_a_task_trains_on_a_gpu_as_on_the_cpu(name: str, tmp_path: Path) -> None:
    make = task_factory(name, tmp_path)
    expected, _ = train(make, (CPU,), tmp_path / "cpu")
    task = make()
    with fake_gpu() as gpu:
        found, _ = train([task].pop, (gpu,), tmp_path / "gpu")
    assert max_difference(expected, found) < 1e-3
    learned = [p for network in task.networks().values() for p in network.parameters()]
    assert learned
    assert all(isinstance(p, OnGpu) for p in learned)
    assert all(isinstance(p.grad, OnGpu) for p in learned if p.grad is not None)


@pytest.mark.parametrize(("name", "on_gpu_first"), [("hifigan", True), ("speaker", False)])
def test_a_run_resumes_on_another_device(name: str, on_gpu_first: bool, tmp_path: Path) -> None:
    make = task_factory(name, tmp_path)
    expected, _ = train(make, (CPU, CPU), tmp_path / "cpu")
    tasks = [make(), make()]
    with fake_gpu() as gpu:
        devices = (gpu, CPU) if on_gpu_first else (CPU, gpu)
        found, _ = train(tasks.pop, devices, tmp_path / "both")
    assert max_difference(expected, found) < 1e-3


def test_the_trainer_moves_the_task_and_checkpoints_hold_cpu_tensors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = Line(2)
    asked: list[str] = []
    monkeypatch.setattr(trainer, "training_device", lambda name: asked.append(name) or GPU)
    with fake_gpu():
        Trainer(LINE, tmp_path, quiet=True).fit(task)
    assert asked == ["auto"]
    assert task.device == GPU
    assert all(isinstance(value, OnGpu) for value in task.ema.shadow.values())
    state = torch.load(tmp_path / "step-00000006.pt", weights_only=True)
    tensors = [x for x in tree_leaves(state) if isinstance(x, Tensor)]
    assert tensors
    assert all(x.device == CPU for x in tensors)
    assert (tmp_path / "final" / "model.safetensors").is_file()


def test_the_fake_gpu_refuses_what_a_gpu_would_refuse() -> None:
    cpu, index = torch.ones(2), torch.tensor([1])
    with fake_gpu() as gpu:
        there = torch.ones(2, device=gpu)
        assert ((2 * there + torch.tensor(1.0)).tolist(), there[index].tolist()) == ([3.0, 3.0], [1.0])
        refused: list[Any] = [
            lambda: there + cpu,
            lambda: cpu[index.to(gpu)],
            lambda: torch.cat([there, torch.ones(1)]),
            lambda: torch.nn.Linear(2, 1)(there),
            lambda: cpu.add_(there),
            lambda: torch.rand(2, device=gpu),
        ]
        for wrong in refused:
            with pytest.raises(RuntimeError, match="CPU meets one of the GPU|drawn on the GPU"):
                wrong()
        with pytest.raises(TypeError, match="numpy"):
            there.numpy()


def test_a_batch_on_the_gpu_and_networks_on_the_cpu_are_refused(tmp_path: Path) -> None:
    """The check can fail: a batch on the GPU and networks that stayed."""
    task = task_factory("speaker", tmp_path)()
    with fake_gpu() as gpu:
        task.device = gpu
        with pytest.raises(RuntimeError, match="meets one of the GPU"):
            task.training_step(0)


@pytest.mark.parametrize("kind", ["hubert", "avhubert"])
def test_a_tokenizer_on_a_gpu_gives_the_same_units_on_the_cpu(kind: str, prepared: Path) -> None:
    own: Any = copy.deepcopy(teacher())  # other tests have the same one, on the CPU
    if kind == "avhubert":
        model = make_model().frontend
        own = AVHubertTokenizer(model, Transform(), torch.randn(5, model.dim), 1)
    assert isinstance(own, HubertTokenizer | AVHubertTokenizer)
    tensors = read_clips([str(prepared)], "train")[0].tensors()
    wav, roi, mark = tensors["wav"].float() / 32768, tensors["roi"], own.fingerprint
    expected = own(wav, roi)
    with fake_gpu() as gpu:
        own.model.to(gpu)
        found = own(wav, roi)
        assert own.features(wav, roi).device == CPU
    assert torch.equal(found, expected)
    assert type(found) is Tensor
    assert own.fingerprint == mark


def test_codes_computed_on_a_gpu_are_stored_on_the_cpu(prepared: Path) -> None:
    clip, codec = read_clips([str(prepared)], "train")[0], make_codec()
    maker = TargetExtractor(None, codec)
    expected = maker(clip).codes
    with fake_gpu() as gpu:
        codec.to(gpu)
        found = TargetExtractor(None, codec)(clip).codes
    assert expected is not None
    assert found is not None
    assert torch.equal(found, expected)
    assert found.device == CPU


def test_adaptation_trains_on_a_gpu_as_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    recordings, losses = [recording(0), recording(1)], []
    for there in (False, True):
        model = make_model()
        with pytest.MonkeyPatch.context() as patch:
            if not there:
                work = AdaptationTrainer(model, Transform(), recordings, adapt_config(), LTASSpeakerEncoder())
                losses.append([work.training_step(step) for step in range(2)])
                continue
            patch.setattr("lip2speech.train.adapt.trainer.training_device", lambda name: GPU)
            with fake_gpu():
                work = AdaptationTrainer(model, Transform(), recordings, adapt_config(), LTASSpeakerEncoder())
                losses.append([work.training_step(step) for step in range(2)])
                weights = work.merged_model().state_dict()
            assert all(type(x) is Tensor and x.device == CPU for x in weights.values())
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_missing_gpu_is_reported_in_one_line_before_the_data_are_read(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("train_data: [no/such/corpus]\n")
    words = ["speaker", str(tmp_path / "config.yaml"), "trainer.device=cuda", "--out", str(tmp_path / "run")]
    done = CliRunner().invoke(app, ["train", *words])
    assert done.exit_code != 0
    assert "device 'cuda' cannot be used here" in done.output
    assert len(done.output.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_dry_run_reports_the_device_and_the_gpu_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    task, config = CASES["speaker"]
    lines = dry_run(task, config)
    assert lines[0] == "device: cpu"
    assert not any("GPU" in line for line in lines)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 3 * 2**20 * (device.index + 1))
    assert gpu_peak(torch.device("cuda", 1)) == "; GPU peak 6 MiB"


def test_processes_with_gpus_reduce_tensors_of_both_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(torch.cuda, "set_device", calls.append)
    monkeypatch.setattr(dist, "init_process_group", lambda backend, **_: calls.append(backend))
    monkeypatch.setattr(dist, "destroy_process_group", lambda: calls.append("end"))
    for device in (CPU, torch.device("cuda", 1)):
        with distributed.process_group(device):
            pass
    assert calls == ["gloo", "end", torch.device("cuda", 1), "cpu:gloo,cuda:nccl", "end"]


def test_gradients_are_averaged_on_their_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which parameters were used is reduced on the CPU, gradients on the GPU."""
    summed: list[torch.device] = []
    monkeypatch.setattr(
        distributed, "all_reduce_tensors", lambda tensors: summed.extend(t.device for t in tensors)
    )
    line = Line(2)
    with fake_gpu() as gpu:
        line.to(gpu)
        line.net(torch.ones(1, 3, device=gpu)).sum().backward()
        average_gradients(line.optimizer.parameters, 2)
    assert summed[0] == CPU
    assert set(summed[1:]) == {GPU}
    assert len(summed) == 5


def test_nested_containers_of_tensors_are_moved() -> None:
    x, pair_class = torch.ones(1), namedtuple("Pair", "a b")
    with fake_gpu() as gpu:
        segments, pairs = move_to((VocoderBatch(x, x, x), DenoisingPair(x, x, x)), gpu)
        assert isinstance(segments, VocoderBatch)
        assert isinstance(segments.mel, OnGpu)
        assert segments.units is None
        assert isinstance(pairs, DenoisingPair)
        assert isinstance(pairs.denoise, OnGpu)
        moved = move_to({"a": [x, 1, "b"], "c": pair_class(x, None), "d": (0.9, x)}, gpu)
        assert moved["a"][1:] == [1, "b"]
        assert moved["d"][0] == 0.9
        assert moved["c"].b is None
        assert all(isinstance(t, OnGpu) for t in (moved["a"][0], moved["c"].a, moved["d"][1]))
        back = move_to(moved, CPU)
    assert back["a"][0].tolist() == [1.0]
    assert move_to(x, CPU) is x


def test_gpu_check_exits_with_a_message_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu_check"])
    with pytest.raises(SystemExit) as ended:  # its text goes to stderr, and the command ends with 1
        gpu_check.main()
    assert ended.value.code == "no GPU here: torch.cuda.is_available() is False."


def test_gpu_check_finds_no_difference_between_a_device_and_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert gpu_check.print_comparison(["speaker"], CPU)
    assert "| speaker | 0.0e+00 | 0.0e+00 | 0.0e+00 |" in capsys.readouterr().out
    far = iter([[0.0, 0.1, 0.0], [0.0, math.inf, 0.0]])
    monkeypatch.setattr(gpu_check, "compare", lambda *_: (next(far), [1.0, 2.0]))
    assert not gpu_check.print_comparison(["speaker"], CPU)
    assert not gpu_check.print_comparison(["speaker"], CPU)


def test_gpu_check_compares_relative_differences_without_discrete_metrics() -> None:
    assert max_difference([{"loss": 100.0, "acc": 0.0}], [{"loss": 101.0, "acc": 1.0}]) == 0.01
    assert max_difference([{"loss": 0.01}, {"bits": math.nan}], [{"loss": 0.02}, {"bits": math.nan}]) == 0.01
    assert (
        max_difference([{"loss": 1.0}], [{"loss/disc": 1.0}])
        == max_difference([{"loss": 1.0}], [{"loss": math.nan}])
        == math.inf
    )


def test_an_unknown_device_is_refused() -> None:
    assert from_dict(TrainerConfig, {"device": "cuda"}).device == "cuda"
    with pytest.raises(ValueError, match="device"):
        from_dict(TrainerConfig, {"device": "tpu"})
