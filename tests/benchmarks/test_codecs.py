"""The rate-quality table (benchmarks/experiments/codecs.py) on untrained codecs."""

import sys
from pathlib import Path

import pytest
import torch

from benchmarks.experiments import codecs as experiment
from lip2speech import checkpoint
from lip2speech.audio.io import write_wav
from lip2speech.codecs import codec_from_dict
from tests.factories import SACODEC, prepare, save_codec, synthetic_voice

QUANTIZER = {"n_q": 3, "codebook_size": 16, "codebook_dim": 6}
HALF = {"n_filters": 2, "dimension": 6}


def save_soundstream(folder: Path, sample_rate: int) -> Path:
    torch.manual_seed(0)
    numbers = {"sample_rate": sample_rate, "encoder": HALF, "decoder": HALF, "quantizer": QUANTIZER}
    codec = codec_from_dict("soundstream", numbers)
    values = {"kind": "codec", "name": "soundstream", "codec": numbers}
    checkpoint.save(folder, values, codec.state_dict(), "# Codec\n")
    return folder


def table_cells(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object
) -> list[list[str]]:
    """The cells of every table row."""
    monkeypatch.setattr(sys, "argv", ["experiment", *map(str, arguments)])
    experiment.main()
    lines = capsys.readouterr().out.splitlines()
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")]


def test_every_codec_has_a_row_per_number_of_codebooks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = save_soundstream(tmp_path / "run" / "final", 24_000), save_codec(tmp_path / "mel")
    clips = prepare(tmp_path / "clips", splits="train test test", frames=30)
    rows = table_cells(monkeypatch, capsys, first, second, "--speech", clips)
    assert rows[2][:2] == ["original", ""]
    assert 1 <= float(rows[2][6]) <= 5
    assert [row[:3] for row in rows[3:]] == [
        ["run", "1", "0.30"],  # 4 bits at 75 Hz
        ["run", "2", "0.60"],
        ["run", "3", "0.90"],
        ["mel", "1", "0.20"],
        ["mel", "2", "0.40"],
    ]
    assert all(len(row) == len(rows[0]) for row in rows)
    assert all(float(row[5]) > 0 and 1 <= float(row[6]) <= 5 and float(row[8]) > 0 for row in rows[3:])


def test_denoising_codecs_have_a_second_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_wav(tmp_path / "buzz.wav", synthetic_voice(30, 120.0))
    codec = save_soundstream(tmp_path / "codec", 16_000)
    rows = table_cells(monkeypatch, capsys, codec, "--speech", tmp_path, "--noise-db", 5)
    noisy, clean = rows[-2:]
    assert noisy[:3] == ["codec", "5 dB of noise", "3"]
    assert float(noisy[3]) == pytest.approx(5, abs=0.3)
    assert (noisy[6], clean[6]) == ("+0.00", "+0.00")  # an untrained FiLM layer is the identity


def test_usage_is_the_share_of_entries_used() -> None:
    codec = codec_from_dict("encodec", {"quantizer": {"codebook_size": 8}})
    codes = [torch.tensor([[[0, 1, 1], [5, 5, 5]]]), torch.tensor([[[0, 2, 3], [5, 5, 5]]])]
    assert experiment.codebook_usage(codec, codes, 1) == 4 / 8
    assert experiment.codebook_usage(codec, codes, 2) == 5 / 16
    assert (experiment.n_q_steps(1), experiment.n_q_steps(6)) == ([1], [1, 2, 4, 6])


def test_usage_and_bit_rate_depend_on_the_size_of_each_codebook() -> None:
    codec = codec_from_dict("sacodec", SACODEC)  # 6 and 16 entries
    codes = [torch.tensor([[[0, 1, 2], [5, 6, 5]]])]
    assert experiment.codebook_usage(codec, codes, 1) == 3 / 6
    assert experiment.codebook_usage(codec, codes, 2) == 5 / 22
    rows = list(experiment.codec_rows("sa", codec.eval(), [synthetic_voice(30, 120.0)]))
    assert [row.split(" | ")[2] for row in rows] == ["0.13", "0.33"]  # log2 6 and log2 96, at 50 Hz
