"""Sound files to codes and back (lip2speech/codecs/compress.py)."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import torch.nn.functional as F
from torch import Tensor

from lip2speech.audio.io import read_wav, to_pcm
from lip2speech.codecs import EnCodec, EnCodecConfig
from lip2speech.codecs.base import Codec
from lip2speech.codecs.bitstream import codes_reader
from lip2speech.codecs.compress import CodecCompressor
from lip2speech.codecs.quantization import QuantizerConfig
from lip2speech.modules.seanet import SEANetConfig
from lip2speech.video.errors import MediaError
from tests.factories import CODEC, synthetic_voice, make_codec

SEANET = SEANetConfig(dimension=6, n_filters=2, lstm=1)
ENCODEC = EnCodecConfig(seanet=SEANET, quantizer=QuantizerConfig(n_q=3, codebook_size=10, codebook_dim=6))
CODECS = {
    "melcodec": None,
    "encodec": ENCODEC,
    "reflecting": replace(ENCODEC, seanet=replace(SEANET, pad_mode="reflect")),
    "24 kHz": replace(ENCODEC, sample_rate=24_000),
    "not causal": replace(ENCODEC, seanet=replace(SEANET, causal=False)),
}


def build(name: str) -> Codec:
    config = CODECS[name]
    if config is None:
        return make_codec()
    torch.manual_seed(0)
    codec = EnCodec(config)
    codec.quantizer.init_codebooks(codec.encode_latent(synthetic_voice(50, 120)[None, None]))
    return codec.eval()


def write(path: Path, samples: int, rate: int = 16_000) -> Path:
    wav = synthetic_voice(-(-samples // 640), 120)[:samples].numpy()
    soundfile.write(path, wav, rate, subtype="FLOAT")
    return path


def stored(path: Path) -> Tensor:
    with codes_reader(path) as reader:
        return torch.from_numpy(np.concatenate(list(reader.read(64)), 1))[None]


@torch.no_grad()
def whole(codec: Codec, wav: Tensor) -> Tensor:
    """The codes of the whole sound, made up to whole frames: (1, n_q, T)."""
    return codec.encode(F.pad(wav, (0, -len(wav) % codec.hop_length))[None, None])


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("samples", [1, 320, 2001, 100_001])
def test_a_file_becomes_the_codes_and_the_sound_of_the_whole(tmp_path: Path, name: str, samples: int) -> None:
    files = CodecCompressor(build(name))
    rate = files.codec.sample_rate
    source = write(tmp_path / "a.wav", samples, rate)
    head = files.encode(source, tmp_path / "a.l2c")
    assert head.samples == samples
    codes = whole(files.codec, read_wav(source, rate))
    # Latents of an untrained codec are so alike that some choices lie within rounding, on some CPUs.
    assert (stored(tmp_path / "a.l2c") == codes).float().mean() > 0.95
    codes = stored(tmp_path / "a.l2c")
    files.decode(tmp_path / "a.l2c", tmp_path / "b.wav")
    found, found_rate = soundfile.read(tmp_path / "b.wav", dtype="int16")
    assert (len(found), found_rate) == (samples, rate)
    with torch.no_grad():
        expected = to_pcm(files.codec.decode(codes)[0, 0, :samples])
    assert np.abs(found.astype(int) - expected).max() <= 1  # of 32767, by rounding


def test_another_sample_rate_is_brought_to_the_codecs(tmp_path: Path) -> None:
    files = CodecCompressor(build("melcodec"))
    source = write(tmp_path / "a.wav", 44_100 * 5, 44_100)
    assert files.encode(source, tmp_path / "a.l2c").samples == 80_000
    assert (stored(tmp_path / "a.l2c") == whole(files.codec, read_wav(source))).float().mean() > 0.99


@pytest.mark.parametrize("n_q", [1, 2])
def test_fewer_books_are_the_first_ones_when_encoding_and_when_decoding(tmp_path: Path, n_q: int) -> None:
    files = CodecCompressor(build("encodec"))
    source = write(tmp_path / "a.wav", 48_000)
    files.encode(source, tmp_path / "all.l2c")
    head = files.encode(source, tmp_path / "few.l2c", n_q)
    assert head.kbps == pytest.approx(50 * 4 * n_q / 1000)
    assert stored(tmp_path / "few.l2c").equal(stored(tmp_path / "all.l2c")[:, :n_q])
    files.decode(tmp_path / "all.l2c", tmp_path / "a1.wav", n_q)
    files.decode(tmp_path / "few.l2c", tmp_path / "a2.wav")
    assert (tmp_path / "a1.wav").read_bytes() == (tmp_path / "a2.wav").read_bytes()


def test_codes_of_another_codec_are_refused_by_both_names(tmp_path: Path) -> None:
    files, other = CodecCompressor(build("melcodec")), CodecCompressor(build("encodec"))
    files.encode(write(tmp_path / "a.wav", 1000), tmp_path / "a.l2c")
    with pytest.raises(MediaError, match=f"a.l2c: was made by another codec .{files.fingerprint}, this one"):
        other.decode(tmp_path / "a.l2c", tmp_path / "b.wav")
    assert not (tmp_path / "b.wav").exists()


def test_a_codec_that_only_speaks_otherwise_reads_the_same_codes(tmp_path: Path) -> None:
    files, other = CodecCompressor(make_codec(CODEC)), make_codec(CODEC)
    with torch.no_grad():
        for parameter in other.decoder.parameters():
            parameter.mul_(1.1)
    files.encode(write(tmp_path / "a.wav", 1000), tmp_path / "a.l2c")
    assert CodecCompressor(other).decode(tmp_path / "a.l2c", tmp_path / "b.wav").samples == 1000


@pytest.mark.parametrize("n_q", [0, 3])
def test_a_wrong_number_of_books_is_refused(tmp_path: Path, n_q: int) -> None:
    files = CodecCompressor(build("melcodec"))
    source = write(tmp_path / "a.wav", 1000)
    with pytest.raises(ValueError, match=rf"n_q must be in 1..2 for this codec, got {n_q}"):
        files.encode(source, tmp_path / "a.l2c", n_q)
    files.encode(source, tmp_path / "a.l2c")
    with pytest.raises(ValueError, match=rf"n_q must be in 1..2 for a.l2c, got {n_q}"):
        files.decode(tmp_path / "a.l2c", tmp_path / "b.wav", n_q)


def test_a_long_sound_is_refused_by_a_codec_that_sees_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = CodecCompressor(build("not causal"))
    source = write(tmp_path / "a.wav", 60_000)
    files.encode(source, tmp_path / "a.l2c")
    monkeypatch.setattr("lip2speech.codecs.compress.MAX_WHOLE_S", 3.0)
    with pytest.raises(ValueError, match="a.wav: longer than 3 s, and this codec sees ahead"):
        files.encode(source, tmp_path / "b.l2c")
    with pytest.raises(ValueError, match="a.l2c: longer than 3 s, and this codec sees ahead"):
        files.decode(tmp_path / "a.l2c", tmp_path / "b.wav")
    assert {path.name for path in tmp_path.iterdir()} == {"a.wav", "a.l2c"}


def test_a_sound_longer_than_a_wav_can_hold_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = CodecCompressor(build("melcodec"))
    files.encode(write(tmp_path / "a.wav", 36_000), tmp_path / "a.l2c")
    monkeypatch.setattr("lip2speech.codecs.compress.MAX_WAV_BYTES", 50_000)
    with pytest.raises(MediaError, match=r"a.l2c: 0.0 hours do not fit into a wav \(4 GiB\)"):
        files.decode(tmp_path / "a.l2c", tmp_path / "b.wav")


def test_a_file_that_breaks_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    files = CodecCompressor(build("melcodec"))
    wav = synthetic_voice(200, 120).numpy()
    wav[100_000] = np.nan
    soundfile.write(tmp_path / "a.wav", wav, 16_000, subtype="FLOAT")
    with pytest.raises(MediaError, match="values that are not numbers"):
        files.encode(tmp_path / "a.wav", tmp_path / "a.l2c")
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


MEASURE = """
import resource, sys
from pathlib import Path
import soundfile
from lip2speech.codec.files import CodecCompressor
from tests.tiny import synthetic_voice, make_codec
folder, files = Path(sys.argv[1]), CodecCompressor(make_codec())
for seconds in (20, 600):
    with soundfile.SoundFile(folder / "a.wav", "w", 16000, 1, subtype="PCM_16") as file:
        for _ in range(seconds // 4):
            file.write(synthetic_voice(100, 120).numpy())
    files.encode(folder / "a.wav", folder / "a.l2c")
    files.decode(folder / "a.l2c", folder / "b.wav")
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_ten_minutes_take_no_more_memory_than_twenty_seconds(tmp_path: Path) -> None:
    """Held at once, ten minutes would be 37 MB as numbers and a hundred times that inside the codec."""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path)], cwd=root, capture_output=True, text=True, check=True
    )
    short, long = map(int, done.stdout.split())
    assert long - short < 16, f"{short} MB, then {long} MB"
