"""Audio compressor to codes and back (lip2speech/codecs/compress.py)."""

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
from tests.factories import CODEC, make_codec, synthetic_voice

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
def encode_in_one_pass(codec: Codec, wav: Tensor) -> Tensor:
    """Codes of the audio in one pass, zero-padded to whole frames: (1, n_q, T)."""
    return codec.encode(F.pad(wav, (0, -len(wav) % codec.hop_length))[None, None])


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("samples", [1, 320, 2001, 100_001])
def test_compressor_equal_one_pass_over_the_audio(tmp_path: Path, name: str, samples: int) -> None:
    compressor = CodecCompressor(build(name))
    rate = compressor.codec.sample_rate
    source = write(tmp_path / "a.wav", samples, rate)
    header = compressor.encode(source, tmp_path / "a.l2c")
    assert header.samples == samples
    codes = encode_in_one_pass(compressor.codec, read_wav(source, rate))
    # Latents of an untrained codec are so similar that on some CPUs some codes differ by rounding.
    assert (stored(tmp_path / "a.l2c") == codes).float().mean() > 0.95
    codes = stored(tmp_path / "a.l2c")
    compressor.decode(tmp_path / "a.l2c", tmp_path / "b.wav")
    found, found_rate = soundfile.read(tmp_path / "b.wav", dtype="int16")
    assert (len(found), found_rate) == (samples, rate)
    with torch.no_grad():
        expected = to_pcm(compressor.codec.decode(codes)[0, 0, :samples])
    assert np.abs(found.astype(int) - expected).max() <= 1  # of 32767, by rounding


def test_audio_is_resampled_to_the_codecs_rate(tmp_path: Path) -> None:
    compressor = CodecCompressor(build("melcodec"))
    source = write(tmp_path / "a.wav", 44_100 * 5, 44_100)
    assert compressor.encode(source, tmp_path / "a.l2c").samples == 80_000
    assert (
        stored(tmp_path / "a.l2c") == encode_in_one_pass(compressor.codec, read_wav(source))
    ).float().mean() > 0.99


@pytest.mark.parametrize("n_q", [1, 2])
def test_n_q_keeps_the_first_codebooks_in_encoding_and_decoding(tmp_path: Path, n_q: int) -> None:
    compressor = CodecCompressor(build("encodec"))
    source = write(tmp_path / "a.wav", 48_000)
    compressor.encode(source, tmp_path / "all.l2c")
    header = compressor.encode(source, tmp_path / "few.l2c", n_q)
    assert header.kbps == pytest.approx(50 * 4 * n_q / 1000)
    assert stored(tmp_path / "few.l2c").equal(stored(tmp_path / "all.l2c")[:, :n_q])
    compressor.decode(tmp_path / "all.l2c", tmp_path / "a1.wav", n_q)
    compressor.decode(tmp_path / "few.l2c", tmp_path / "a2.wav")
    assert (tmp_path / "a1.wav").read_bytes() == (tmp_path / "a2.wav").read_bytes()


def test_codes_of_another_codec_are_refused_with_both_fingerprints(tmp_path: Path) -> None:
    compressor, other = CodecCompressor(build("melcodec")), CodecCompressor(build("encodec"))
    compressor.encode(write(tmp_path / "a.wav", 1000), tmp_path / "a.l2c")
    with pytest.raises(
        MediaError, match=f"a.l2c: comes from another codec .{compressor.fingerprint}, this one"
    ):
        other.decode(tmp_path / "a.l2c", tmp_path / "b.wav")
    assert not (tmp_path / "b.wav").exists()


def test_a_codec_with_another_decoder_reads_the_codes(tmp_path: Path) -> None:
    compressor, other = CodecCompressor(make_codec(CODEC)), make_codec(CODEC)
    with torch.no_grad():
        for parameter in other.decoder.parameters():
            parameter.mul_(1.1)
    compressor.encode(write(tmp_path / "a.wav", 1000), tmp_path / "a.l2c")
    assert CodecCompressor(other).decode(tmp_path / "a.l2c", tmp_path / "b.wav").samples == 1000


@pytest.mark.parametrize("n_q", [0, 3])
def test_an_invalid_n_q_is_refused(tmp_path: Path, n_q: int) -> None:
    compressor = CodecCompressor(build("melcodec"))
    source = write(tmp_path / "a.wav", 1000)
    with pytest.raises(ValueError, match=rf"n_q must be in 1..2 for this codec, got {n_q}"):
        compressor.encode(source, tmp_path / "a.l2c", n_q)
    compressor.encode(source, tmp_path / "a.l2c")
    with pytest.raises(ValueError, match=rf"n_q must be in 1..2 for a.l2c, got {n_q}"):
        compressor.decode(tmp_path / "a.l2c", tmp_path / "b.wav", n_q)


def test_long_audio_is_refused_by_a_codec_that_does_not_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compressor = CodecCompressor(build("not causal"))
    source = write(tmp_path / "a.wav", 60_000)
    compressor.encode(source, tmp_path / "a.l2c")
    monkeypatch.setattr("lip2speech.codecs.compress.MAX_NON_STREAMING_S", 3.0)
    with pytest.raises(ValueError, match="a.wav: longer than 3 s, and this codec does not stream"):
        compressor.encode(source, tmp_path / "b.l2c")
    with pytest.raises(ValueError, match="a.l2c: longer than 3 s, and this codec does not stream"):
        compressor.decode(tmp_path / "a.l2c", tmp_path / "b.wav")
    assert {path.name for path in tmp_path.iterdir()} == {"a.wav", "a.l2c"}


def test_audio_longer_than_a_wav_file_can_hold_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compressor = CodecCompressor(build("melcodec"))
    compressor.encode(write(tmp_path / "a.wav", 36_000), tmp_path / "a.l2c")
    monkeypatch.setattr("lip2speech.codecs.compress.MAX_WAV_BYTES", 50_000)
    with pytest.raises(MediaError, match=r"a.l2c: 0.0 hours do not fit into a wav file \(4 GiB\)"):
        compressor.decode(tmp_path / "a.l2c", tmp_path / "b.wav")


def test_a_source_that_is_damaged_in_the_middle_leaves_no_file(tmp_path: Path) -> None:
    compressor = CodecCompressor(build("melcodec"))
    wav = synthetic_voice(200, 120).numpy()
    wav[100_000] = np.nan
    soundfile.write(tmp_path / "a.wav", wav, 16_000, subtype="FLOAT")
    with pytest.raises(MediaError, match="NaN or infinite samples"):
        compressor.encode(tmp_path / "a.wav", tmp_path / "a.l2c")
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


MEASURE = """
import resource, sys
from pathlib import Path
import soundfile
from lip2speech.codecs.compress import CodecCompressor
from tests.factories import synthetic_voice, make_codec
folder, compressor = Path(sys.argv[1]), CodecCompressor(make_codec())
for seconds in (20, 600):
    with soundfile.SoundFile(folder / "a.wav", "w", 16000, 1, subtype="PCM_16") as file:
        for _ in range(seconds // 4):
            file.write(synthetic_voice(100, 120).numpy())
    compressor.encode(folder / "a.wav", folder / "a.l2c")
    compressor.decode(folder / "a.l2c", folder / "b.wav")
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    """Ten minutes at once would be 37 MB of samples and a hundred times that inside the codec."""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path)], cwd=root, capture_output=True, text=True, check=True
    )
    short, long = map(int, done.stdout.split())
    assert long - short < 16, f"{short} MB, then {long} MB"
