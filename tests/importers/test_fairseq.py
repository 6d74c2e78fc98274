"""fairseq files of every format: weights are read, classes stay inert, settings are found."""

import argparse
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from lip2speech.importers.fairseq import read_fairseq
from lip2speech.importers.safe_pickle import StubObject
from lip2speech.importers.torch_file import TorchFile
from tests.importers.pickle_builders import call, new, tensor, write_legacy, write_zip
from tests.models.golden import FINETUNED, PRETRAINED

FORMATS: dict[str, dict[str, Any]] = {
    "zip": {},
    "zip, protocol 4": {"pickle_protocol": 4},
    "legacy": {"_use_new_zipfile_serialization": False},
}


def weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    base = torch.randn(6, 4)
    kinds = (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.uint8, torch.bool)
    return {
        "plain": base,
        "turned": base.t(),
        "part": base[1:3, ::2],
        "tied": base,
        "one": torch.tensor(3.0),
        "none": torch.empty(0, 4),
        **{str(kind): base.abs().to(kind) for kind in kinds},
    }


@pytest.mark.parametrize("fmt", FORMATS)
def test_every_dtype_and_layout_is_read(tmp_path: Path, fmt: str) -> None:
    saved = weights()
    torch.save({"model": saved}, tmp_path / "x.pt", **FORMATS[fmt])
    found = read_fairseq(tmp_path / "x.pt").model
    assert list(found) == list(saved)
    for key, value in saved.items():
        assert found[key].dtype == value.dtype
        assert found[key].equal(value), key
    assert found["tied"].data_ptr() == found["plain"].data_ptr()


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_state_dict_is_read(tmp_path: Path, fmt: str) -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    torch.save({"model": module.state_dict()}, tmp_path / "x.pt", **FORMATS[fmt])
    found = read_fairseq(tmp_path / "x.pt").model
    module.load_state_dict(found, strict=True)


def test_parameters_are_read_as_tensors(tmp_path: Path) -> None:
    torch.save({"model": dict(nn.Linear(2, 3).named_parameters())}, tmp_path / "x.pt")
    assert read_fairseq(tmp_path / "x.pt").model["weight"].shape == (3, 2)


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("cfg", ["dict", "omegaconf", "Namespace"])
def test_settings_are_found_in_every_format(tmp_path: Path, fmt: str, cfg: str) -> None:
    nested = {"model": {"heads": 4, "w2v_args": {"model": {"layers": 2}}}, "task": {"labels": ["km"]}}
    contents: dict[str, Any] = {"model": {"w": torch.zeros(1)}, "cfg": nested, "args": None}
    if cfg == "omegaconf":
        contents["cfg"] = OmegaConf.create(nested)
    if cfg == "Namespace":
        inner = argparse.Namespace(layers=2)
        contents |= {"cfg": None, "args": argparse.Namespace(heads=4, layers=2, w2v_args=inner)}
    torch.save(contents, tmp_path / "x.pt", **FORMATS[fmt])
    file = read_fairseq(tmp_path / "x.pt")
    assert file.setting("model", "heads") == 4
    assert file.setting("model", "w2v_args", "model", "layers") == 2
    assert file.setting("model", "absent") is None


def test_classes_and_scalars_of_a_training_run_become_stubs(tmp_path: Path) -> None:
    words = {"symbols": ["<s>", "a"], "count": [1, 1]}
    double = call("numpy.dtype", "f8", 0, 1, state=(3, "<", None, None, None, -1, -1, 0))
    extra = {
        "task_state": {"dictionaries": [new("fairseq.data.dictionary.Dictionary", words)]},
        "best": call("numpy.core.multiarray.scalar", double, call("_codecs.encode", "x" * 8, "latin1")),
        "meter": call("fairseq.meters.AverageMeter", 3),
    }
    for write in (write_zip, write_legacy):
        path = write(tmp_path / "x.pt", {"model": {"w": tensor()}, **extra})
        with TorchFile(path) as file:
            found = file.contents["task_state"]["dictionaries"][0]
            assert isinstance(found, StubObject)
            assert (found.name, found.state) == ("fairseq.data.dictionary.Dictionary", words)
            assert isinstance(file.contents["best"], StubObject)
        assert read_fairseq(path).model["w"].tolist() == [[0, 1], [2, 3]]


def test_official_files_are_read_without_fairseq() -> None:
    there = set(sys.modules)  # of other tests in this process
    assert len(read_fairseq(PRETRAINED).model) == 186
    assert len(read_fairseq(FINETUNED).model) == 214
    assert not {"fairseq", "sentencepiece"} & (set(sys.modules) - there)


def test_weights_equal_those_that_torch_reads(tmp_path: Path) -> None:
    torch.save({"model": read_fairseq(PRETRAINED).model}, tmp_path / "x.pt")
    trusted = torch.load(tmp_path / "x.pt", weights_only=True)["model"]
    for key, value in read_fairseq(PRETRAINED).model.items():
        assert trusted[key].equal(value), key


@pytest.mark.parametrize(
    ("wrap", "note"),
    [
        (lambda weights: {"state_dict": weights}, "weights taken from {'state_dict': ...}"),
        (lambda weights: {"model": {"state_dict": weights}}, "weights taken from {'state_dict': ...}"),
        (
            lambda weights: {"model": {f"module.{k}": v for k, v in weights.items()}},
            "prefix 'module.' removed",
        ),
    ],
)
def test_wrappers_are_removed_and_noted(tmp_path: Path, wrap: Any, note: str) -> None:
    saved = {"a.w": torch.ones(2), "b": torch.zeros(1)}
    torch.save(wrap(saved), tmp_path / "x.pt")
    file = read_fairseq(tmp_path / "x.pt")
    assert list(file.model) == ["a.w", "b"]
    assert len(file.notes) == 1
    assert file.notes[0].startswith(note)


def test_a_module_prefix_of_some_names_only_is_kept(tmp_path: Path) -> None:
    torch.save({"model": {"module.a": torch.ones(1), "b": torch.ones(1)}}, tmp_path / "x.pt")
    file = read_fairseq(tmp_path / "x.pt")
    assert list(file.model) == ["module.a", "b"]
    assert not file.notes
