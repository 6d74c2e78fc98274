"""Folders whose config asks for too much (lip2speech/checkpoint/build.py) are refused before allocation."""

import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn

from lip2speech import checkpoint
from lip2speech.checkpoint import CheckpointError
from lip2speech.checkpoint import build as build_module
from lip2speech.checkpoint.build import MIN_OPERATIONS, build_and_load, build_on_meta, check_numbers
from lip2speech.codecs import codec_from_dict, load_codec
from lip2speech.config import from_dict
from lip2speech.data.unit_tokenizers import load_unit_tokenizer
from lip2speech.models.code_prior import CodePriorConfig, build_code_prior, load_code_prior
from lip2speech.models.hubert import Hubert, HubertConfig
from lip2speech.models.lip2speech import LipModel
from lip2speech.models.speaker_encoder import load_speaker_encoder
from lip2speech.pipeline import Lip2Speech
from lip2speech.pretrained import resolve_model_path
from lip2speech.vocoders import load_vocoder, vocoder_from_dict
from tests.factories import (
    CODEC,
    SACODEC,
    make_model,
    save_codec,
    save_sacodec,
    save_speaker_encoder,
    save_system,
)

BILLION, MILLION = 10**9, 10**6
HUBERT: dict[str, Any] = {
    "conv_dim": 8, "encoder_layers": 1, "embed_dim": 8, "ffn_dim": 8, "heads": 2, "conv_pos": 4,
    "conv_pos_groups": 2,
}  # fmt: skip
CODE_PRIOR: dict[str, Any] = {"n_q": 2, "codebook_size": 8, "channels": 4, "layers": 1}
WAVENET: dict[str, Any] = {"speaker_dim": 3, "channels": 4, "skip": 4, "condition": 4}


def save_hubert(folder: Path) -> Path:
    tensors = {f"hubert.{k}": v for k, v in Hubert(from_dict(HubertConfig, HUBERT)).state_dict().items()}
    values = {"kind": "hubert", "hubert": HUBERT, "units": {"feature_layer": 1, "n_units": 2}}
    checkpoint.save(folder, values, tensors | {"centroids": torch.zeros(2, 8)}, "")
    return folder


def save_code_prior(folder: Path) -> Path:
    network = build_code_prior(from_dict(CodePriorConfig, CODE_PRIOR))
    values = {"kind": "code_prior", "code_prior": CODE_PRIOR, "codec": "c", "speaker": "ltas"}
    checkpoint.save(folder, values, network.state_dict(), "")
    return folder


def save_wavenet(folder: Path) -> Path:
    values = {"kind": "vocoder", "name": "wavenet", "vocoder": WAVENET}
    checkpoint.save(folder, values, vocoder_from_dict("wavenet", WAVENET).state_dict(), "")
    return folder


def load_system(folder: Path) -> Any:
    return Lip2Speech.from_pretrained(folder, device="cpu")


FOLDERS: dict[str, tuple[Callable[[Path], Path], Callable[[Path], Any]]] = {
    "system": (save_system, load_system),
    "codec": (save_codec, load_codec),
    "sacodec": (save_sacodec, load_codec),
    "vocoder": (save_wavenet, load_vocoder),
    "speaker": (save_speaker_encoder, load_speaker_encoder),
    "code_prior": (save_code_prior, load_code_prior),
    "hubert": (save_hubert, load_unit_tokenizer),
}


class Hostile(NamedTuple):
    """One value of a folder's config that asks for too much, and the error expected."""

    kind: str
    path: str
    value: Any
    message: str = ""


HOSTILE = [
    Hostile("system", "model.frontend.encoder_layers", BILLION),
    Hostile("system", "model.frontend.encoder_layers", MILLION),
    Hostile("system", "model.frontend.embed_dim", BILLION),
    Hostile("system", "model.frontend.ffn_dim", MILLION, r"fc1.weight: LipModel expects shape \(1000000, "),
    Hostile("system", "model.frontend.resnet_width", 1 << 20, r"expects shape \(1048576"),
    Hostile("system", "model.heads.n_blocks", MILLION),
    Hostile("system", "model.heads.hidden_dim", 1 << 62),
    Hostile("system", "model.heads.n_q", BILLION, "heads: n_q must be 0 .. 255, got 1000000000"),
    Hostile("system", "model.heads.codebook_size", BILLION),
    Hostile("system", "model.heads.codebook_size", [MILLION, MILLION], r"expects shape \(1000000, 16\)"),
    Hostile("system", "model.heads", {"kind": "conformer", "layers": MILLION}, "heads.layers 1000000"),
    Hostile("system", "model.frontend", {"kind": "resnet", "resnet_width": BILLION}, "frontend.resnet_width"),
    Hostile("system", "codec.config.encoder.width", BILLION, "codec.encoder.width"),
    Hostile("system", "codec.config.quantizer.n_q", MILLION, "codec.quantizer.n_q 1000000"),
    Hostile("system", "mel.n_fft", BILLION, r"n_fft \* n_mels <= 4194304"),
    Hostile("system", "mel.n_mels", BILLION, r"n_fft \* n_mels <= 4194304"),
    Hostile("codec", "codec.decoder.n_filters", BILLION),
    Hostile("codec", "codec.decoder.ratios", [1] * 1000, "codec.decoder.ratios: has 1000 entries"),
    Hostile("codec", "codec.decoder.ratios", [1] * 100_000, "more than 30000 tokens"),
    Hostile("codec", "codec.encoder.blocks", [MILLION, 1], r"codec.encoder.blocks\[0\] 1000000"),
    Hostile("codec", "codec.quantizer.codebook_size", 1 << 20, r"expects shape \(1048576,"),
    Hostile("codec", "codec.quantizer.codebook_dim", BILLION),
    Hostile("codec", "codec.mel.n_fft", BILLION, r"n_fft \* n_mels <= 4194304"),
    Hostile("sacodec", "codec.semantic.centroid_dim", BILLION),
    Hostile("sacodec", "codec.decoder.blocks", MILLION),
    Hostile("sacodec", "codec.decoder.n_fft", BILLION, "codec.decoder.n_fft|n_fft"),
    Hostile("vocoder", "vocoder.channels", BILLION),
    Hostile("vocoder", "vocoder.classes", 1 << 20, r"embedding.weight: WaveNet expects shape \(1048576, 4\)"),
    Hostile("speaker", "encoder.channels", BILLION, "speaker encoder.channels"),
    Hostile("code_prior", "code_prior.layers", BILLION),
    Hostile("code_prior", "code_prior.layers", MILLION),
    Hostile("code_prior", "code_prior.kernel_time", 1 << 20, r"expects shape|asks for"),
    Hostile("code_prior", "code_prior.n_q", BILLION, "n_q must be 0 .. 255"),
    Hostile("code_prior", "code_prior.channels", -1, "code_prior.channels: is -1, expected 0 or more"),
    Hostile("hubert", "hubert.encoder_layers", BILLION),
    Hostile("hubert", "hubert.encoder_layers", MILLION),
    Hostile("hubert", "hubert.heads", 0, "hubert: its numbers describe no model|heads"),
    Hostile("hubert", "hubert.conv_pos", 1 << 20, r"expects shape"),
]
"""Without a message the error must name the field and its value."""


def put(values: dict[str, Any], path: str, value: Any) -> None:
    *groups, last = path.split(".")
    for name in groups:
        values = values.setdefault(name, {})
    values[last] = value


def write(case: Hostile, folder: Path) -> Path:
    """A folder with this value in its config."""
    save, _ = FOLDERS[case.kind]
    loaded = checkpoint.load(save(folder))
    put(loaded.config, case.path, case.value)
    checkpoint.replace_config(folder, loaded.config)
    return folder


def refusal(case: Hostile, folder: Path) -> str:
    """The error of loading such a folder."""
    _, load = FOLDERS[case.kind]
    try:
        load(folder)
    except ValueError as error:
        return str(error)
    raise AssertionError(f"{case.path} {case.value} was loaded")


def growth(folder: str) -> None:
    """Print by how many MB each hostile folder grows the peak memory; check that no slow import is made."""
    for name in sorted(FOLDERS, key="sacodec".__eq__):  # so that all imports are done
        assert name == "sacodec" or "sympy" not in sys.modules, name
        save, load = FOLDERS[name]
        load(save(Path(folder) / name))
    for number, case in enumerate(HOSTILE):
        write(case, Path(folder) / str(number))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        refusal(case, Path(folder) / str(number))
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        print(case.path, case.value if isinstance(case.value, int) else "", grown // 1024)


@pytest.mark.parametrize("case", HOSTILE, ids=lambda c: f"{c.kind} {c.path} {str(c.value)[:20]}")
def test_a_config_that_asks_for_too_much_is_refused_in_one_line_within_a_second(
    case: Hostile, tmp_path: Path
) -> None:
    folder = write(case, tmp_path / "folder")
    if case.kind == "sacodec":  # its division on `meta` imports for a second, once
        load_codec(save_sacodec(tmp_path / "whole"))
    start = time.process_time()
    message = refusal(case, folder)
    assert time.process_time() - start < 1
    expected = case.message or rf"{re.escape(case.path)}.* {case.value}"
    assert re.search(expected, message), message
    assert "\n" not in message
    assert len(message) < 400


def test_refusing_takes_no_memory_and_loading_imports_nothing_slow(tmp_path: Path) -> None:
    script = f"from tests.checkpoint.test_build import growth; growth({str(tmp_path)!r})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert len(rows) == len(HOSTILE)
    assert all(int(row[-1]) < 200 for row in rows), done.stdout


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_valid_folder_is_loaded(kind: str, tmp_path: Path) -> None:
    save, load = FOLDERS[kind]
    assert load(save(tmp_path / "folder")) is not None


def test_a_built_module_has_the_stored_weights_in_memory() -> None:
    model = make_model()
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = build_and_load(lambda: LipModel(model.config), model.config, tensors, "model")
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in found.state_dict().items())
    assert {tensor.device.type for tensor in [*found.parameters(), *found.buffers()]} == {"cpu"}


@pytest.mark.parametrize(("name", "numbers"), [("melcodec", CODEC), ("sacodec", SACODEC), ("encodec", {})])
def test_a_module_on_meta_has_the_same_shapes_and_draws_no_random_numbers(
    name: str, numbers: dict[str, Any]
) -> None:
    module = codec_from_dict(name, numbers)
    state, rng_state = module.state_dict(), torch.get_rng_state()
    plan = build_on_meta(lambda: codec_from_dict(name, numbers), module.config, state.values(), "codec")
    assert {k: v.shape for k, v in plan.state_dict().items()} == {k: v.shape for k, v in state.items()}
    assert all(tensor.is_meta for tensor in plan.state_dict().values())
    assert torch.equal(torch.get_rng_state(), rng_state)


def test_a_number_may_be_as_large_as_the_largest_stored_tensor_side() -> None:
    check_numbers(CodePriorConfig(speaker_dim=192_000), [], "x")
    check_numbers(CodePriorConfig(speaker_dim=1 << 21), [torch.empty(1 << 21, device="meta")], "x")
    with pytest.raises(CheckpointError, match="x.speaker_dim: is 2097152, expected 1048576 or less"):
        check_numbers(CodePriorConfig(speaker_dim=1 << 21), [torch.empty(4)], "x")


def test_the_budget_of_operations_counts_in_its_own_thread_only() -> None:
    config, built = CodePriorConfig(), list[nn.Module]()

    def many_layers() -> nn.Module:
        return nn.Sequential(*(nn.Linear(1, 1) for _ in range(MIN_OPERATIONS)))

    def build() -> nn.Module:
        other = Thread(target=lambda: built.append(many_layers()))
        other.start()
        other.join()
        return many_layers()

    with pytest.raises(
        CheckpointError, match="x: asks for more layers than it has weights for; .* x.codebook_size 512"
    ):
        build_on_meta(build, config, [], "x")
    assert len(built) == 1
    assert not any(weight.is_meta for weight in built[0].parameters())
    many_layers()


@pytest.mark.parametrize("name", ["default", "live"])
def test_bundled_models_need_a_fraction_of_the_budget(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_module, "OPERATIONS_PER_TENSOR", build_module.OPERATIONS_PER_TENSOR // 4)
    monkeypatch.setattr(build_module, "MIN_OPERATIONS", MIN_OPERATIONS // 4)
    load_system(resolve_model_path(name))
