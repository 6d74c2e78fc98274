"""Print how vocoders compare on the same clips, from ground-truth features and from features predicted from
lips.

    OMP_NUM_THREADS=1 python -m benchmarks.experiments.vocoders runs/hifigan/final runs/wavenet/final \
        --speech data/prepared/grid --split test --units runs/units/final --clips 20 --seconds 2

The model's own vocoders that need no codes come first (griffin-lim, channel, and the codec's decoder as
`mel`), then the given folders. `ground truth` takes mel, pitch and units of the recording, `predicted` those
predicted from the lips; both use the speaker embedding of other clips of the speaker. STOI, PESQ (wideband)
and mel distance (nats) are means over the clips against the recording; DNSMOS (overall, 1 to 5) needs no
reference. Speed is seconds of audio per CPU second of this process, one thread, weight norm folded. A WaveNet
is slower than real time: use few clips and seconds.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lip2speech.components import check_mel
from lip2speech.constants import SAMPLE_RATE, VIDEO_FPS
from lip2speech.data.targets import match_length
from lip2speech.data.unit_tokenizers import UnitTokenizer, load_unit_tokenizer
from lip2speech.evaluation.dataset import (
    EvaluationItem,
    enrollment_embedding,
    prepared_items,
    select_items,
)
from lip2speech.evaluation.metrics.acoustic import mel_l1
from lip2speech.evaluation.metrics.common import log_mel
from lip2speech.evaluation.metrics.dnsmos import dnsmos
from lip2speech.evaluation.metrics.intelligibility import pesq_wb, stoi
from lip2speech.evaluation.systems import reference_mel, reference_pitch
from lip2speech.models.prediction import Prediction
from lip2speech.models.speaker_encoder import LTASSpeakerEncoder, SpeakerEncoder
from lip2speech.modules.conv import fold_weight_norm
from lip2speech.pipeline import Lip2Speech
from lip2speech.vocoders import Vocoder, load_vocoder, read_vocoder

HEADER = "| vocoder | mel, pitch, units | STOI | PESQ | mel distance | DNSMOS | speed (x RT) |"
AVAILABLE_FIELDS = {"mel", "pitch", "unit_logits", "speaker"}
"""Fields that can be computed from a recording without a codec."""


@dataclass
class Entry:
    """A vocoder, its speaker encoder, and by source the scores of each clip and the time taken."""

    name: str
    vocoder: Vocoder
    speaker_encoder: SpeakerEncoder
    scores: dict[str, list[tuple[float, ...]]] = field(default_factory=dict)
    audio_s: dict[str, float] = field(default_factory=dict)
    cpu_s: dict[str, float] = field(default_factory=dict)

    def evaluate(self, source: str, prediction: Prediction, reference: Tensor) -> None:
        """Synthesize one clip (640 T,) and score it."""
        start = time.process_time()
        wav = self.vocoder(prediction)[0, 0]
        self.cpu_s[source] = self.cpu_s.get(source, 0.0) + time.process_time() - start
        self.audio_s[source] = self.audio_s.get(source, 0.0) + len(wav) / SAMPLE_RATE
        distance, mos = mel_l1(log_mel(reference), log_mel(wav)), dnsmos(wav.numpy()).overall
        metrics = (stoi(reference, wav), pesq_wb(reference, wav), distance, mos)
        self.scores.setdefault(source, []).append(metrics)

    def rows(self) -> Iterator[str]:
        """One row per source."""
        for source, scores in self.scores.items():
            metrics = " | ".join(f"{x:.3f}" for x in np.nanmean(scores, axis=0))
            speed = self.audio_s[source] / max(self.cpu_s[source], 1e-9)
            yield f"| {self.name} | {source} | {metrics} | {speed:.2f} |"


def bundled_entries(model: Lip2Speech) -> Iterator[Entry]:
    """The model's vocoders that need no codes."""
    for name, vocoder in model.vocoders.items():
        assert isinstance(vocoder, Vocoder), "all values are vocoders"
        if set(vocoder.needs) <= AVAILABLE_FIELDS:
            yield Entry(name, vocoder, model.speaker_encoder)


def trained_entry(folder: Path, model: Lip2Speech) -> Entry:
    """The vocoder of a folder, checked against the model's mel and the available speaker encoders."""
    vocoder, fingerprint = load_vocoder(folder), read_vocoder(folder).config.get("speaker")
    check_mel(model.mel, getattr(vocoder, "config", None), "vocoder")
    known = {s.fingerprint: s for s in (model.speaker_encoder, LTASSpeakerEncoder())}
    if fingerprint not in known:
        raise SystemExit(
            f"{folder} was trained with speaker encoder {fingerprint}, available are {', '.join(known)}; "
            "pass the --model it was trained for."
        )
    name = folder.parent.name if folder.name == "final" else folder.name
    return Entry(name, fold_weight_norm(vocoder), known[fingerprint])


def check_units(entries: list[Entry], model: Lip2Speech, tokenizer: UnitTokenizer | None) -> None:
    """Exit if a vocoder needs units that the tokenizer or the model lacks."""
    counts = [tokenizer.n_units if tokenizer else 0, model.model.config.heads.n_units]
    for entry in entries:
        if "unit_logits" not in entry.vocoder.needs:
            continue
        n_units = cast(Any, entry.vocoder).config.n_units
        if counts != 2 * [n_units]:
            raise SystemExit(
                f"{entry.name} has {n_units} units, --units {counts[0]}, the model "
                f"{counts[1]}; pass a unit tokenizer and a model with the same number."
            )


def ground_truth(model: Lip2Speech, reference: Tensor, tokenizer: UnitTokenizer | None) -> Prediction:
    """The features of a recording (640 T,)."""
    logits = None
    if tokenizer is not None:
        logits = F.one_hot(tokenizer(reference), tokenizer.n_units).T[None].float()  # (T, K) -> (1, K, T)
    mel = reference_mel(model, reference[None, None])
    return Prediction(mel=mel, pitch=reference_pitch(reference), unit_logits=logits)


def evaluate_clip(
    entries: list[Entry],
    model: Lip2Speech,
    item: EvaluationItem,
    items: list[EvaluationItem],
    tokenizer: UnitTokenizer | None,
    seconds: float,
) -> None:
    """Score every vocoder on the first `seconds` of a clip, from each source."""
    roi = item.load_roi()[: int(seconds * VIDEO_FPS)]
    reference = match_length(item.load_wav(), len(roi))
    encoders = {entry.speaker_encoder.fingerprint: entry.speaker_encoder for entry in entries}
    embeddings = {
        name: enrollment_embedding(item, items, speaker_encoder) for name, speaker_encoder in encoders.items()
    }
    if None in embeddings.values():
        raise SystemExit(
            f"{item.speaker} has no clip other than {item.id}; use --speech with two clips per speaker."
        )
    sources = {
        "ground truth": ground_truth(model, reference, tokenizer),
        "predicted": model.predict(roi, embeddings[model.speaker_encoder.fingerprint]),
    }
    for entry in entries:
        embedding = cast(Tensor, embeddings[entry.speaker_encoder.fingerprint])[None]
        for source, prediction in sources.items():
            entry.evaluate(source, replace(prediction, speaker=embedding), reference)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("vocoders", type=Path, nargs="*", help="folders written by lip2speech train vocoder")
    parser.add_argument("--speech", type=Path, required=True, help="prepared clips")
    parser.add_argument("--split", default="test")
    parser.add_argument("--units", type=Path, help="folder of a unit tokenizer, for vocoders that need units")
    parser.add_argument("--model", default="default", help="name or folder of the model that predicts")
    parser.add_argument("--clips", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60.0, help="at most, of each clip")
    return parser.parse_args()


@torch.inference_mode()
def main() -> None:
    torch.set_num_threads(1)
    args = arguments()
    model = Lip2Speech.from_pretrained(args.model, "cpu")
    tokenizer = load_unit_tokenizer(args.units) if args.units else None
    entries = [*bundled_entries(model), *(trained_entry(folder, model) for folder in args.vocoders)]
    check_units(entries, model, tokenizer)
    items = prepared_items(args.speech, args.split)
    chosen = select_items(items, args.split, args.clips)
    for item in chosen:
        evaluate_clip(entries, model, item, items, tokenizer, args.seconds)
    seconds = sum(entries[0].audio_s.values()) / 2
    print(f"torch {torch.__version__}, one thread; {len(chosen)} clips, {seconds:.0f} s; {model.name}\n")
    print(HEADER + "\n" + "|---" * (HEADER.count("|") - 1) + "|")
    for entry in entries:
        print("\n".join(entry.rows()))


if __name__ == "__main__":
    main()
