"""The ablations' command (benchmarks/experiments/ablations.py): trainings of two steps, then the table."""

import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from benchmarks.experiments import ablations
from lip2speech import checkpoint
from lip2speech.config import to_dict
from lip2speech.models.frontends.avhubert import AVHubert
from lip2speech.models.frontends.transforms import Transform
from tests.data.test_unit_tokenizers import make_mfcc_tokenizer
from tests.factories import make_model, prepare, save_codec


def test_every_ablation_is_trained_and_has_its_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, own = make_model().config, make_mfcc_tokenizer(8)
    tensors = {"centroids": own.centroids, "mean": own.mean, "std": own.std}
    checkpoint.save(tmp_path / "units", {"kind": "kmeans-mfcc"}, tensors, "")
    for iteration in "12":
        values = {"kind": "avhubert", "frontend": to_dict(model.frontend), "transform": to_dict(Transform())}
        front = {f"frontend.{k}": v for k, v in AVHubert(model.frontend).state_dict().items()}
        checkpoint.save(tmp_path / "pre" / iteration / "final", values, front, "")
    small = tmp_path / "config.yaml"
    OmegaConf.save(OmegaConf.create({"model": to_dict(model), "trainer": {"batch_size": 2}}), small)
    monkeypatch.setattr(ablations, "CONFIG", small)
    clips = prepare(
        tmp_path / "clips",
        splits="train train train valid test test",
        frames=40,
        text="bin blue at f two now",
    )
    words = ["--train", clips, "--test", f"{clips}:test", "--pretrained", tmp_path / "pre", "--steps", 2]
    words += ["--units", tmp_path / "units", "--codec", save_codec(tmp_path / "codec")]
    words += ["--out", tmp_path / "runs", "--compare-with", "default"]
    monkeypatch.setattr(sys, "argv", ["ablations", *map(str, words)])
    ablations.main()
    lines = capsys.readouterr().out.splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")]
    names = [*ablations.ABLATIONS, "default"]
    assert [row[:3] for row in rows[2:]] == [[name, "clips:test", "2"] for name in names]
    heads = checkpoint.load(tmp_path / "runs" / "mel_only" / "final").config["model"]["heads"]
    assert (heads["n_units"], heads["n_q"]) == (0, 0)
    frozen, start = (checkpoint.load(tmp_path / p) for p in ("runs/frozen/final", "pre/2/final"))
    assert all(frozen.tensors[name].equal(value) for name, value in start.tensors.items())
