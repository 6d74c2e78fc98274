"""Print what vocoders make of the same clips: from the true mel, and from what a model predicts of the lips.

    OMP_NUM_THREADS=1 python -m benchmarks.experiments.vocoders runs/hifigan/final runs/wavenet/final \
        --speech data/prepared/grid --split test --units runs/units/final --clips 20 --seconds 2

The model's own routes that take a mel come first (griffin-lim, channel, and the codec's decoder as `mel`),
then the folders that training wrote. `true` is told the recording's mel, pitch and units, `predicted` all of
these from the lips; either is told the voice by other clips of the speaker. STOI, PESQ (wide band) and mel
distance (nats) are means over the clips against the recording; DNSMOS (overall, 1 to 5) knows no reference.
Speed is seconds of sound per CPU second of this process, one thread, weight norm folded. A WaveNet is slower
than speech: give few clips and seconds.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

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

HEADER = "| vocoder | mel, pitch, units | STOI | PESQ | mel distance | DNSMOS | speed, x real time |"
TOLD = {"mel", "pitch", "unit_logits", "speaker"}
"""What can be told of a recording without a codec."""


@dataclass
class Entry:
    """A vocoder, what hears the voices it is told, and by source its scores of each clip and its time."""

    name: str
    vocoder: Vocoder
    speaker_encoder: SpeakerEncoder
    scores: dict[str, list[tuple[float, ...]]] = field(default_factory=dict)
    sound_s: dict[str, float] = field(default_factory=dict)
    cpu_s: dict[str, float] = field(default_factory=dict)

    def speak(self, source: str, told: Prediction, reference: Tensor) -> None:
        """Make the sound of one clip (640 T,) and measure it."""
        start = time.process_time()
        wav = self.vocoder(told)[0, 0]
        self.cpu_s[source] = self.cpu_s.get(source, 0.0) + time.process_time() - start
        self.sound_s[source] = self.sound_s.get(source, 0.0) + len(wav) / SAMPLE_RATE
        distance, heard = mel_l1(log_mel(reference), log_mel(wav)), dnsmos(wav.numpy()).overall
        figures = (stoi(reference, wav), pesq_wb(reference, wav), distance, heard)
        self.scores.setdefault(source, []).append(figures)

    def rows(self) -> Iterator[str]:
        """A row for each source."""
        for source, scores in self.scores.items():
            figures = " | ".join(f"{x:.3f}" for x in np.nanmean(scores, axis=0))
            speed = self.sound_s[source] / max(self.cpu_s[source], 1e-9)
            yield f"| {self.name} | {source} | {figures} | {speed:.2f} |"


def own_entries(model: Lip2Speech) -> Iterator[Entry]:
    """The model's routes that take no codes."""
    for name, vocoder in model.vocoders.items():
        assert isinstance(vocoder, Vocoder), "every route is a vocoder"
        if set(vocoder.needs) <= TOLD:
            yield Entry(name, vocoder, model.speaker_encoder)


def trained_entry(folder: Path, model: Lip2Speech) -> Entry:
    """A vocoder of a folder that takes the model's mel and knows voices by a speaker model that is here."""
    vocoder, heard = load_vocoder(folder), read_vocoder(folder).config.get("speaker")
    check_mel(model.mel, getattr(vocoder, "config", None), "vocoder")
    known = {s.fingerprint: s for s in (model.speaker_encoder, LTASSpeakerEncoder())}
    if heard not in known:
        raise SystemExit(
            f"{folder} was told of voices by speaker model {heard}, here are {', '.join(known)}; give the "
            "--model it was made for."
        )
    name = folder.parent.name if folder.name == "final" else folder.name
    return Entry(name, fold_weight_norm(vocoder), known[heard])


def check_units(entries: list[Entry], model: Lip2Speech, teacher: UnitTokenizer | None) -> None:
    """Leave when units that a vocoder takes cannot be told, or are other ones."""
    given = [teacher.n_units if teacher else 0, model.model.config.heads.n_units]
    for entry in entries:
        if "unit_logits" in entry.vocoder.needs and given != 2 * [entry.vocoder.config.n_units]:
            raise SystemExit(
                f"{entry.name} takes {entry.vocoder.config.n_units} units, --units gives {given[0]}, the "
                f"model {given[1]}; give a teacher and a model of the same."
            )


def true_prediction(model: Lip2Speech, reference: Tensor, teacher: UnitTokenizer | None) -> Prediction:
    """What a model would predict of the recording (640 T,) that is never wrong."""
    logits = None
    if teacher is not None:
        logits = F.one_hot(teacher(reference), teacher.n_units).T[None].float()  # (T, K) -> (1, K, T)
    mel = reference_mel(model, reference[None, None])
    return Prediction(mel=mel, pitch=reference_pitch(reference), unit_logits=logits)


def speak_clip(
    entries: list[Entry],
    model: Lip2Speech,
    item: EvaluationItem,
    items: list[EvaluationItem],
    teacher: UnitTokenizer | None,
    seconds: float,
) -> None:
    """Every vocoder's sound of the first `seconds` of a clip, from each source."""
    roi = item.load_roi()[: int(seconds * VIDEO_FPS)]
    reference = match_length(item.load_wav(), len(roi))
    heard_by = {entry.speaker_encoder.fingerprint: entry.speaker_encoder for entry in entries}
    voices = {name: enrollment_embedding(item, items, speaker_encoder) for name, speaker_encoder in heard_by.items()}
    if None in voices.values():
        raise SystemExit(f"{item.speaker} has no clip but {item.id}; give --speech with two clips a speaker.")
    sources = {
        "true": true_prediction(model, reference, teacher),
        "predicted": model.predict(roi, voices[model.speaker_encoder.fingerprint]),
    }
    for entry in entries:
        voice = voices[entry.speaker_encoder.fingerprint][None]
        for source, prediction in sources.items():
            entry.speak(source, replace(prediction, speaker=voice), reference)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("vocoders", type=Path, nargs="*", help="folders written by lip2speech train vocoder")
    parser.add_argument("--speech", type=Path, required=True, help="prepared clips")
    parser.add_argument("--split", default="test")
    parser.add_argument("--units", type=Path, help="folder of the unit teacher, for vocoders that take units")
    parser.add_argument("--model", default="default", help="what predicts, by name or folder")
    parser.add_argument("--clips", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each clip at most")
    return parser.parse_args()


@torch.inference_mode()
def main() -> None:
    torch.set_num_threads(1)
    given = arguments()
    model = Lip2Speech.from_pretrained(given.model, "cpu")
    teacher = load_unit_tokenizer(given.units) if given.units else None
    entries = [*own_entries(model), *(trained_entry(folder, model) for folder in given.vocoders)]
    check_units(entries, model, teacher)
    items = prepared_items(given.speech, given.split)
    chosen = select_items(items, given.split, given.clips)
    for item in chosen:
        speak_clip(entries, model, item, items, teacher, given.seconds)
    seconds = sum(entries[0].sound_s.values()) / 2
    print(f"torch {torch.__version__}, one thread; {len(chosen)} clips, {seconds:.0f} s; {model.name}\n")
    print(HEADER + "\n" + "|---" * (HEADER.count("|") - 1) + "|")
    for entry in entries:
        print("\n".join(entry.rows()))


if __name__ == "__main__":
    main()
