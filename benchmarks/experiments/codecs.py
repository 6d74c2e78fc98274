"""Print the rate-quality table of codecs: one row per folder and number of codebooks.

    OMP_NUM_THREADS=1 python -m benchmarks.experiments.codecs runs/soundstream/final runs/encodec/final \
        --speech data/prepared/grid --split test --clips 20 --noise-db 5

`--speech` is a folder of prepared clips or of audio files. The bit rate is frame_rate times the log2 of every
codebook's size, without entropy coding. STOI, PESQ (wideband) and mel distance (nats) are means over the
clips against the original at 16 kHz; DNSMOS (overall, 1 to 5) needs no reference. Codebook usage is the share
of entries, of the codebooks used, that occur in any clip. Decoding speed is seconds of audio per CPU second
of this process, one thread, weight norm folded, best of three. With --noise-db a second table for codecs that
can denoise: SI-SDR in dB to clean speech.
"""

import argparse
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from lip2speech.audio.io import read_wav
from lip2speech.audio.resample import resample
from lip2speech.codecs import Codec, load_codec
from lip2speech.constants import SAMPLE_RATE
from lip2speech.data.dataset import read_clips
from lip2speech.evaluation.metrics.acoustic import mel_l1
from lip2speech.evaluation.metrics.common import log_mel
from lip2speech.evaluation.metrics.dnsmos import dnsmos
from lip2speech.evaluation.metrics.intelligibility import pesq_wb, stoi
from lip2speech.losses import si_sdr
from lip2speech.modules.conv import fold_weight_norm
from lip2speech.train.codec.noise import AUDIO_SUFFIXES, NoiseAugmenter, NoiseConfig

HEADER = (
    "| codec | n_q | kbit/s | STOI | PESQ | mel distance | DNSMOS | codebook usage | decoding speed (x RT) |"
)
DENOISING_HEADER = "| codec | speech | n_q | input | denoise off | denoise on | gain |"


def read_speech(folder: Path, split: str, count: int) -> list[Tensor]:
    """At most `count` wavs (T_a,) at 16 kHz of a folder of prepared clips or of audio files."""
    if (folder / "index.jsonl").is_file():
        return [clip.wav() for clip in read_clips([folder], split)[:count]]
    paths = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in AUDIO_SUFFIXES]
    if not paths:
        raise SystemExit(f"{folder} has neither prepared clips nor {', '.join(AUDIO_SUFFIXES)}.")
    return [read_wav(path) for path in paths[:count]]


def n_q_steps(n_q: int) -> list[int]:
    """1, 2, 4, ... and n_q."""
    return sorted({2**i for i in range(n_q.bit_length()) if 2**i <= n_q} | {n_q})


def to_16_khz(codec: Codec, wav: Tensor, length: int) -> Tensor:
    """A codec's output (1, 1, T) as `length` samples at 16 kHz, (length,)."""
    resampled = resample(wav[0, 0], codec.sample_rate, SAMPLE_RATE)[:length]
    return torch.nn.functional.pad(resampled, (0, length - len(resampled)))


def decode_speed(codec: Codec, codes: Tensor) -> float:
    """Seconds of audio per CPU second."""
    seconds = []
    for _ in range(4):  # the first warms up
        start = time.process_time()
        codec.decode(codes)
        seconds.append(time.process_time() - start)
    return float(codes.shape[-1] / codec.frame_rate / max(min(seconds[1:]), 1e-9))


def codebook_usage(codec: Codec, codes: list[Tensor], n_q: int) -> float:
    """Share of the entries of the first n_q codebooks that occur in codes (1, n_q, T)."""
    used = [torch.cat([c[0, i] for c in codes]).unique().numel() for i in range(n_q)]
    return float(sum(used) / sum(codec.codebook_sizes[:n_q]))


def mean_dnsmos(wavs: list[Tensor]) -> float:
    """Mean DNSMOS of wavs (T_a,)."""
    return float(np.mean([dnsmos(wav.detach().numpy()).overall for wav in wavs]))


def codec_rows(name: str, codec: Codec, speech: list[Tensor]) -> Iterator[str]:
    """One row per number of codebooks."""
    codes = [codec.encode(resample(wav, SAMPLE_RATE, codec.sample_rate)[None, None]) for wav in speech]
    for n_q in n_q_steps(codec.n_q):
        decoded_wavs = [
            to_16_khz(codec, codec.decode(c[:, :n_q]), len(w)) for c, w in zip(codes, speech, strict=True)
        ]
        pairs = list(zip(speech, decoded_wavs, strict=True))
        scores = (
            np.nanmean([stoi(a, b) for a, b in pairs]),
            np.nanmean([pesq_wb(a, b) for a, b in pairs]),
            np.nanmean([mel_l1(log_mel(a), log_mel(b)) for a, b in pairs]),
            mean_dnsmos(decoded_wavs),
        )
        kbps = sum(map(math.log2, codec.codebook_sizes[:n_q])) * codec.frame_rate / 1000
        longest = max(codes, key=lambda c: c.shape[-1])[:, :n_q]
        metrics = " | ".join(f"{x:.3f}" for x in scores)
        speed = decode_speed(codec, longest)
        usage = codebook_usage(codec, codes, n_q)
        yield f"| {name} | {n_q} | {kbps:.2f} | {metrics} | {usage:.1%} | {speed:.1f} |"


def denoising_rows(name: str, codec: Codec, speech: list[Tensor], snr_db: float) -> Iterator[str]:
    """SI-SDR to clean speech of noisy and clean input, and of its decoding with denoise off and on."""
    noise, rng = NoiseAugmenter(NoiseConfig(snr_db=(snr_db, snr_db)), SAMPLE_RATE), np.random.default_rng(0)
    clean, noisy = zip(*(noise.mix(wav[None, None], rng) for wav in speech), strict=True)
    for kind, inputs in ((f"{snr_db:g} dB of noise", noisy), ("clean", clean)):
        rows = []
        for wav, target in zip(inputs, clean, strict=True):
            row = [float(si_sdr(wav, target))]
            resampled = resample(wav, SAMPLE_RATE, codec.sample_rate)
            for on in (False, True):
                codes = cast(Any, codec).encode(resampled, denoise=on)  # of codecs that support denoising
                decoded = codec.decode(codes)
                row.append(float(si_sdr(to_16_khz(codec, decoded, target.shape[-1])[None, None], target)))
            rows.append(row)
        input_db, off, on = np.mean(rows, axis=0)
        input_text = "" if kind == "clean" else f"{input_db:.2f}"
        yield f"| {name} | {kind} | {codec.n_q} | {input_text} | {off:.2f} | {on:.2f} | {on - off:+.2f} |"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("codecs", type=Path, nargs="+", help="folders written by lip2speech train codec")
    parser.add_argument("--speech", type=Path, required=True, help="prepared clips or audio files")
    parser.add_argument("--split", default="test", help="of prepared clips")
    parser.add_argument("--clips", type=int, default=20)
    parser.add_argument("--noise-db", type=float, help="signal-to-noise ratio of the denoising table")
    return parser.parse_args()


@torch.inference_mode()
def main() -> None:
    torch.set_num_threads(1)
    args = arguments()
    speech = read_speech(args.speech, args.split, args.clips)
    codecs = {folder: fold_weight_norm(load_codec(folder)) for folder in args.codecs}
    names = {f: f.parent.name if f.name == "final" else f.name for f in codecs}
    seconds = sum(map(len, speech)) / SAMPLE_RATE
    print(f"torch {torch.__version__}, one thread; {len(speech)} clips, {seconds:.0f} s\n\n{HEADER}")
    print("|---" * (HEADER.count("|") - 1) + "|")
    print(f"| original | | | 1.000 | 4.644 | 0.000 | {mean_dnsmos(speech):.3f} | | |", flush=True)
    for folder, codec in codecs.items():
        for row in codec_rows(names[folder], codec, speech):
            print(row, flush=True)
    denoising = {f: c for f, c in codecs.items() if c.supports_denoising}
    if args.noise_db is not None and denoising:
        print(f"\n{DENOISING_HEADER}\n" + "|---" * (DENOISING_HEADER.count("|") - 1) + "|")
        for folder, codec in denoising.items():
            for row in denoising_rows(names[folder], codec, speech, args.noise_db):
                print(row, flush=True)


if __name__ == "__main__":
    main()
