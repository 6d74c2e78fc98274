"""The words of synthesized clips: which are right, where they are, and their confidence features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from lip2speech.constants import VIDEO_FPS
from lip2speech.evaluation.asr.pocketsphinx import PocketSphinxASR
from lip2speech.evaluation.dataset import EvaluationItem
from lip2speech.evaluation.degradation import degrade_clip
from lip2speech.pipeline import Lip2Speech
from lip2speech.streaming import StreamConfig, stream_roi

Condition = Literal["clean", "degraded"]
CONDITIONS: tuple[Condition, ...] = get_args(Condition)


@dataclass(frozen=True)
class CalibrationClip:
    """One synthesized clip.

    Args:
        set: name of its data set.
        id: of the clip.
        features: (T, F + 1), the confidence features and the speech weight of each video frame.
        words: (time of its center in seconds, whether it is right) of each word.
        condition: of the video.
    """

    set: str
    id: str
    features: Tensor
    words: tuple[tuple[float, bool], ...]
    condition: Condition = "clean"

    def word_windows(self) -> Tensor:
        """The features of the second around each word: (n, up to 25, F + 1)."""
        length, last = VIDEO_FPS, max(0, len(self.features) - VIDEO_FPS)
        starts = [min(last, max(0, round(center * VIDEO_FPS - length / 2))) for center, _ in self.words]
        return torch.stack([self.features[start : start + length] for start in starts])


def score_words(
    model: Lip2Speech,
    item: EvaluationItem,
    set_name: str,
    asr: PocketSphinxASR,
    condition: Condition = "clean",
    stream: StreamConfig | None = None,
) -> CalibrationClip:
    """Synthesize a clip with the model's default voice and vocoder, and check its words by ASR.

    If nothing is recognized, all words are wrong and assumed to be evenly spaced. `stream`: in streaming,
    with these settings; offline if None.
    """
    roi = item.load_roi()
    roi = degrade_clip(roi, item.id) if condition == "degraded" else roi
    if stream is None:
        prediction = model.predict(roi)
        wav, features = model.vocode(prediction), model.frame_features(prediction, roi).values
    else:
        rendered = stream_roi(model, roi, config=stream)
        wav, features = rendered.wav, rendered.features.values
    reference, recognized = item.text.lower().split(), asr.align(wav)
    if len(recognized) == len(reference):
        centers = [(word.start + word.end) / 2 for word in recognized]
        right = [timed.word == word for timed, word in zip(recognized, reference, strict=True)]
    else:
        n = len(reference)
        centers = [(i + 0.5) / n * len(features) / VIDEO_FPS for i in range(n)]
        right = [False] * n
    words = tuple(zip(centers, right, strict=True))
    return CalibrationClip(set_name, item.id, features, words, condition)
