"""Print the quality ladder of codecs: one row for each folder and number of codebooks.

    OMP_NUM_THREADS=1 python -m benchmarks.experiments.codecs runs/soundstream/final runs/encodec/final \
        --speech data/prepared/grid --split test --clips 20 --noise-db 5

`--speech` is a prepared folder or one of sound files. Bit rate is frame_rate times log2 of every book's
size, without entropy coding. STOI, PESQ (wide band) and mel distance (nats) are means over the clips against
the sound as it was, at 16 kHz; DNSMOS (overall, 1 to 5) knows no reference. Codebook use is the share of
entries, of the books used, that any clip chose. Decode speed is seconds of sound per CPU second of this
process, one thread, weight norm folded, best of three. With --noise-db a second table for codecs with a
denoising switch: SI-SDR in dB against clean speech.
"""

import argparse
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lip2speech.audio.io import read_wav, resample
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

HEADER = "| codec | n_q | kbit/s | STOI | PESQ | mel distance | DNSMOS | codebook use | decode speed |"
SWITCH_HEADER = "| codec | speech | n_q | as heard | switch off | switch on | gain |"


def read_speech(folder: Path, split: str, count: int) -> list[Tensor]:
    """At most `count` sounds (T_a,) at 16 kHz of a prepared folder, or of one of sound files."""
    if (folder / "index.jsonl").is_file():
        return [clip.wav() for clip in read_clips([folder], split)[:count]]
    paths = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in AUDIO_SUFFIXES]
    if not paths:
        raise SystemExit(f"{folder} is no prepared folder and holds no {', '.join(AUDIO_SUFFIXES)}.")
    return [read_wav(path) for path in paths[:count]]


def depths(n_q: int) -> list[int]:
    """1, 2, 4, ... and the last."""
    return sorted({2**i for i in range(n_q.bit_length()) if 2**i <= n_q} | {n_q})


def back(codec: Codec, wav: Tensor, length: int) -> Tensor:
    """A codec's (1, 1, T) as `length` samples at 16 kHz, (length,)."""
    sound = resample(wav[0, 0], codec.sample_rate, SAMPLE_RATE)[:length]
    return torch.nn.functional.pad(sound, (0, length - len(sound)))


def decode_speed(codec: Codec, codes: Tensor) -> float:
    """Seconds of sound per CPU second."""
    seconds = []
    for _ in range(4):  # the first warms up
        start = time.process_time()
        codec.decode(codes)
        seconds.append(time.process_time() - start)
    return codes.shape[-1] / codec.frame_rate / max(min(seconds[1:]), 1e-9)


def use(codec: Codec, codes: list[Tensor], n_q: int) -> float:
    """Share of the first n_q books' entries that some of codes (1, n_q, T) chose."""
    chosen = [torch.cat([c[0, i] for c in codes]).unique().numel() for i in range(n_q)]
    return sum(chosen) / sum(codec.codebook_sizes[:n_q])


def opinion(sounds: list[Tensor]) -> float:
    """What DNSMOS makes of sounds (T_a,) in the mean."""
    return float(np.mean([dnsmos(sound.detach().numpy()).overall for sound in sounds]))


def ladder(name: str, codec: Codec, speech: list[Tensor]) -> Iterator[str]:
    """A row for each number of codebooks."""
    codes = [codec.encode(resample(wav, SAMPLE_RATE, codec.sample_rate)[None, None]) for wav in speech]
    for n_q in depths(codec.n_q):
        sounds = [back(codec, codec.decode(c[:, :n_q]), len(w)) for c, w in zip(codes, speech, strict=True)]
        pairs = list(zip(speech, sounds, strict=True))
        scores = (
            np.nanmean([stoi(a, b) for a, b in pairs]),
            np.nanmean([pesq_wb(a, b) for a, b in pairs]),
            np.nanmean([mel_l1(log_mel(a), log_mel(b)) for a, b in pairs]),
            opinion(sounds),
        )
        kbps = sum(map(math.log2, codec.codebook_sizes[:n_q])) * codec.frame_rate / 1000
        longest = max(codes, key=lambda c: c.shape[-1])[:, :n_q]
        figures = " | ".join(f"{x:.3f}" for x in scores)
        speed = decode_speed(codec, longest)
        yield f"| {name} | {n_q} | {kbps:.2f} | {figures} | {use(codec, codes, n_q):.1%} | {speed:.1f} |"


def switch_rows(name: str, codec: Codec, speech: list[Tensor], snr_db: float) -> Iterator[str]:
    """SI-SDR of noisy and of clean speech to the clean: as it is, and decoded with the switch off and on."""
    noise, rng = NoiseAugmenter(NoiseConfig(snr_db=(snr_db, snr_db)), SAMPLE_RATE), np.random.default_rng(0)
    clean, noisy = zip(*(noise.mix(wav[None, None], rng) for wav in speech), strict=True)
    for kind, heard in ((f"{snr_db:g} dB of noise", noisy), ("clean", clean)):
        rows = []
        for given, wanted in zip(heard, clean, strict=True):
            row = [float(si_sdr(given, wanted))]
            sound = resample(given, SAMPLE_RATE, codec.sample_rate)
            for on in (False, True):
                decoded = codec.decode(codec.encode(sound, denoise=on))
                row.append(float(si_sdr(back(codec, decoded, wanted.shape[-1])[None, None], wanted)))
            rows.append(row)
        heard_db, off, on = np.mean(rows, axis=0)
        heard_text = "" if kind == "clean" else f"{heard_db:.2f}"
        yield f"| {name} | {kind} | {codec.n_q} | {heard_text} | {off:.2f} | {on:.2f} | {on - off:+.2f} |"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("codecs", type=Path, nargs="+", help="folders written by lip2speech train codec")
    parser.add_argument("--speech", type=Path, required=True, help="prepared clips, or sound files")
    parser.add_argument("--split", default="test", help="of prepared clips")
    parser.add_argument("--clips", type=int, default=20)
    parser.add_argument("--noise-db", type=float, help="signal to noise ratio for the denoising table")
    return parser.parse_args()


@torch.inference_mode()
def main() -> None:
    torch.set_num_threads(1)
    given = arguments()
    speech = read_speech(given.speech, given.split, given.clips)
    codecs = {folder: fold_weight_norm(load_codec(folder)) for folder in given.codecs}
    names = {f: f.parent.name if f.name == "final" else f.name for f in codecs}
    seconds = sum(map(len, speech)) / SAMPLE_RATE
    print(f"torch {torch.__version__}, one thread; {len(speech)} clips, {seconds:.0f} s\n\n{HEADER}")
    print("|---" * (HEADER.count("|") - 1) + "|")
    print(f"| sound as it was | | | 1.000 | 4.644 | 0.000 | {opinion(speech):.3f} | | |", flush=True)
    for folder, codec in codecs.items():
        for row in ladder(names[folder], codec, speech):
            print(row, flush=True)
    switched = {f: c for f, c in codecs.items() if c.supports_denoising}
    if given.noise_db is not None and switched:
        print(f"\n{SWITCH_HEADER}\n" + "|---" * (SWITCH_HEADER.count("|") - 1) + "|")
        for folder, codec in switched.items():
            for row in switch_rows(names[folder], codec, speech, given.noise_db):
                print(row, flush=True)


if __name__ == "__main__":
    main()
