"""Evaluate all vocoders of a model on a set of clips, with upper and lower bounds.

Rows, after those of `systems.py`:
    lower bound: mismatched video   the output for another clip, as if the video were ignored
    lower bound: mean mel           the mean log-mel of all clips, the same for each
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lip2speech.audio.mel import MelConfig
from lip2speech.constants import SAMPLE_RATE, per_video_frame
from lip2speech.data.targets import match_length
from lip2speech.evaluation.config import EvaluationConfig
from lip2speech.evaluation.dataset import (
    EvaluationItem,
    OnClip,
    Progress,
    SynthesizedAudio,
    enrollment_embedding,
    select_items,
)
from lip2speech.evaluation.report import EvaluationReport
from lip2speech.evaluation.results import ScoredPair, summarize
from lip2speech.evaluation.scorer import ParallelScorer
from lip2speech.evaluation.streaming import stream_configs, stream_item
from lip2speech.evaluation.systems import GROUND_TRUTH, default_vocoder, reference_mel, synthesize_item
from lip2speech.models.prediction import Prediction
from lip2speech.pipeline import Lip2Speech
from lip2speech.streaming import StreamConfig

MISMATCHED_VIDEO, MEAN_MEL = "lower bound: mismatched video", "lower bound: mean mel"
DEFAULT_CONFIG = EvaluationConfig()
_MEL_FRAMES_PER_FRAME = per_video_frame(MelConfig().frame_rate)


def evaluate(
    model: Lip2Speech,
    items: Sequence[EvaluationItem],
    config: EvaluationConfig = DEFAULT_CONFIG,
    *,
    on_clip: OnClip | None = None,
    progress: Progress | None = None,
) -> EvaluationReport:
    """Synthesize every clip of a split with every vocoder, and score it.

    Args:
        model: to evaluate.
        items: from `prepared_items` or `video_items`; other splits provide voices.
        config: what is synthesized and measured.
        on_clip: called for each clip with the audio of every system.
        progress: called with (clips done, clips in all).
    Raises:
        ValueError: unknown vocoder, split or look-ahead, or all clips failed.
        ImportError: the extra `eval` is missing.
    """
    selected = select_items(items, config.split, config.limit)
    vocoders = [model.resolve_vocoder(name) for name in config.vocoder or model.vocoder_names]
    streams = stream_configs(config.lookahead_ms)
    metrics, batch = config.describe(), _Synthesizer(model, vocoders, streams)
    with ParallelScorer(config, config.workers) as scorer:
        for item in _with_progress(selected, progress):
            voice = enrollment_embedding(item, items, model.speaker_encoder)
            if (audio := batch.synthesize(item, voice)) is None:
                continue
            reference = batch.references[-1]
            for name, one in audio.items():
                scorer.add(name, ScoredPair(item.id, reference, one.wav, item.text, *one[1:]))
            if on_clip is not None:
                on_clip(item.id, reference, {k: v for k, v in audio.items() if k != GROUND_TRUTH})
        for name, pair in batch.lower_bounds():
            scorer.add(name, pair)
        rows = tuple(summarize(name, scores) for name, scores in scorer.scores().items())
    return EvaluationReport(
        model.name, config.split, rows, batch.failed, batch.n_default_voice, metrics=metrics
    )


def _with_progress(items: Sequence[EvaluationItem], progress: Progress | None) -> Iterator[EvaluationItem]:
    """The items; `progress` is called for each when the next one is requested."""
    for done, item in enumerate(items, 1):
        yield item
        if progress is not None:
            progress(done, len(items))


class _Synthesizer:
    """Synthesizes clips, and keeps what the lower bounds are computed from: the audio of one vocoder."""

    def __init__(self, model: Lip2Speech, vocoders: Sequence[str], streams: dict[str, StreamConfig]) -> None:
        self.model, self.vocoders, self.streams = model, vocoders, streams
        self.vocoder = default_vocoder(model, vocoders)
        self.items: list[EvaluationItem] = []
        self.references: list[Tensor] = []
        self.wavs: list[Tensor] = []
        self.failed: dict[str, str] = {}
        self.n_default_voice = 0

    def synthesize(self, item: EvaluationItem, voice: Tensor | None) -> dict[str, SynthesizedAudio] | None:
        """The audio of every row; None, recorded in `failed`, if the clip cannot be synthesized."""
        try:
            reference, audio = synthesize_item(self.model, item, voice, self.vocoders)
            for name, config in self.streams.items():
                audio[name] = stream_item(self.model, item, voice, self.vocoder, config)
        except ValueError as error:
            self.failed[item.id] = str(error)
            return None
        self.n_default_voice += voice is None
        self.items.append(item)
        self.references.append(reference)
        self.wavs.append(audio[self.vocoder].wav)
        return audio

    def lower_bounds(self) -> Iterator[tuple[str, ScoredPair]]:
        """Row name and pair of each lower bound for each clip. ValueError: all clips failed."""
        n = len(self.items)
        if not n:
            first = next(iter(self.failed.values()))
            raise ValueError(f"all {len(self.failed)} clips failed; the first one: {first}")
        for i, (item, reference) in enumerate(zip(self.items, self.references, strict=True)):
            if n > 1:  # half the set away: neighbors in the order of ids share most of their words
                other = match_length(self.wavs[(i + n // 2) % n], _n_frames(reference))
                yield MISMATCHED_VIDEO, ScoredPair(item.id, reference, other, item.text)
        if (mean := self._mean_mel_audio()) is None:
            return
        for item, reference in zip(self.items, self.references, strict=True):
            wav = match_length(mean, _n_frames(reference))
            yield MEAN_MEL, ScoredPair(item.id, reference, wav, item.text)

    def _mean_mel_audio(self) -> Tensor | None:
        """The mean log-mel as audio (640 T,), as long as the longest clip; None without a mel vocoder."""
        mel_vocoders = [name for name, vocoder in self.model.vocoders.items() if vocoder.needs == ("mel",)]
        if not mel_vocoders:
            return None
        longest = max(map(_n_frames, self.references)) * _MEL_FRAMES_PER_FRAME
        total, count = torch.zeros(self.model.mel.n_mels, longest), torch.zeros(longest)
        for reference in self.references:
            mel = reference_mel(self.model, reference[None, None])[0]
            total[:, : mel.shape[1]] += mel
            count[: mel.shape[1]] += 1
        vocoder = self.vocoder if self.vocoder in mel_vocoders else mel_vocoders[0]
        return self.model.vocode(Prediction(mel=(total / count)[None].to(self.model.device)), vocoder)


def _n_frames(wav: Tensor) -> int:
    return len(wav) // per_video_frame(SAMPLE_RATE)
