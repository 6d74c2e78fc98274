"""The table of all routes of a model on a set of clips, with ceilings and floors, from one call.

Rows:
    true sound            the recording itself
    true mel, ROUTE       the recording's log-mel, and its pitch if asked for, through a vocoder: its ceiling
    true codes, ROUTE     the codec's own resynthesis: the ceiling of a route that takes codes
    ROUTE                 predicted from the lips
    whole path, ROUTE     `convert` on the video file, by the model's own choice of route
    live, N ms ahead      the video file as a stream that sees so little of what comes (`live.py`)
    floor: another clip   the prediction of another clip, as if the lips were not looked at
    floor: average mel    the mean log-mel of the clips, the same for all
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import cast

import torch
from torch import Tensor

from lip2speech.audio.mel import LogMel, MelConfig
from lip2speech.audio.pitch import pitch_contour
from lip2speech.constants import SAMPLE_RATE, per_video_frame
from lip2speech.data.targets import fit_wav
from lip2speech.evaluation.dataset import EvaluationItem, SynthesizedAudio, choose, voice_of
from lip2speech.evaluation.metrics.registry import DEFAULT_METERS, describe_meters
from lip2speech.evaluation.results import EvaluationReport
from lip2speech.evaluation.scorer import ParallelScorer, ScoredPair, summarise
from lip2speech.evaluation.streaming import live_configs, speak_live
from lip2speech.models.prediction import Prediction
from lip2speech.pipeline import Lip2Speech
from lip2speech.streaming import StreamConfig
from lip2speech.synthesis import SynthesisOptions
from lip2speech.vocoders import CodecDecoderVocoder, Vocoder

SURE = 9.0  # a logit
_MEL_PER_FRAME = per_video_frame(MelConfig().frame_rate)


def evaluate(
    model: Lip2Speech,
    items: Sequence[EvaluationItem],
    split: str = "test",
    *,
    routes: Sequence[str] | None = None,
    limit: int | None = None,
    measure: Collection[str] = DEFAULT_METERS,
    recogniser: str = "grammar",
    encoder: Path | None = None,
    workers: int = 0,
    live: Sequence[int] = (),
    show: Callable[[str, Tensor, dict[str, SynthesizedAudio]], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> EvaluationReport:
    """Speaks every clip of `split` by every route and measures it.

    Args:
        items: from `prepared_items` or `video_items`; other splits lend voices.
        routes: some of `model.vocoder_names`; all when None.
        limit: at most so many clips, evenly spread.
        measure, recogniser, encoder: as in `score`.
        workers: processes that measure beside this one, which speaks; they slow it, so not with "speed".
        live: look-aheads in ms, each a row of its own; only for video files.
        show: called with a clip's id, its true sound and all rows' sounds.
        progress: called with (clips done, clips in all).
    Raises:
        ValueError: unknown route, split or look-ahead, or no clip gave speech.
        ImportError: the extra `eval` is missing.
    """
    chosen = choose(items, split, limit)
    names = [model.resolve_vocoder(route) for route in routes or model.vocoder_names]
    told = describe_meters(measure, recogniser=recogniser, encoder=encoder)
    streams, spoken = live_configs(live), _Synthesizer(own_route(model, names))
    with ParallelScorer(measure, workers, recogniser=recogniser, encoder=encoder) as scorer:
        for item in _counted(chosen, progress):
            voice = voice_of(item, items, model.speaker_encoder)
            if (sounds := spoken.say(model, item, voice, names, streams)) is None:
                continue
            for name, said in sounds.items():
                scorer.add(name, ScoredPair(item.id, spoken.references[-1], text=item.text, **said._asdict()))
            if show is not None:
                show(item.id, spoken.references[-1], sounds)
        for name, pair in spoken.floors(model):
            scorer.add(name, pair)
        rows = tuple(summarise(name, scores) for name, scores in scorer.scores().items())
    return EvaluationReport(model.name, split, rows, spoken.failed, spoken.default_voice, meters=told)


def _counted(
    items: Sequence[EvaluationItem], progress: Callable[[int, int], None] | None
) -> Iterator[EvaluationItem]:
    """The items; `progress` hears of each when the next one is asked for."""
    for done, item in enumerate(items, 1):
        yield item
        if progress is not None:
            progress(done, len(items))


def own_route(model: Lip2Speech, routes: Sequence[str]) -> str:
    """The model's own choice of route where it is among `routes`, else the first of them."""
    return model.config.vocoder if model.config.vocoder in routes else routes[0]


def speak(
    model: Lip2Speech, item: EvaluationItem, voice: Tensor | None, routes: Sequence[str]
) -> tuple[Tensor, dict[str, SynthesizedAudio]]:
    """The true sound (640 T,) and every row's sound of the same length, by row name."""
    roi = item.roi()
    reference = fit_wav(item.wav(), len(roi))
    sounds = {"true sound": SynthesizedAudio(reference)}
    sounds |= {name: SynthesizedAudio(wav) for name, wav in ceilings(model, reference, routes).items()}
    began = perf_counter()
    prediction = model.predict(roi, voice)
    predicted = perf_counter() - began
    for route in routes:
        began = perf_counter()
        sounds[route] = said_whole(model.vocode(prediction, route), predicted + perf_counter() - began)
    if item.video is not None:
        route, began = own_route(model, routes), perf_counter()
        whole = model.convert(item.video, SynthesisOptions(voice, route)).wav
        assert whole is not None, "convert without a file gives the sound"
        sounds[f"whole path, {route}"] = said_whole(whole, perf_counter() - began)
    return reference, sounds


def said_whole(wav: Tensor, seconds: float) -> SynthesizedAudio:
    """A sound that began when the last frame was there: it is late by all of its computing."""
    return SynthesizedAudio(wav, seconds, 1000 * seconds)


@torch.inference_mode()
def ceilings(model: Lip2Speech, reference: Tensor, routes: Sequence[str]) -> dict[str, Tensor]:
    """What each route makes of the true mel or the true codes of (640 T,): row name -> (640 T,)."""
    wav = reference[None, None].to(model.device)
    sounds = {}
    for route in routes:
        vocoder = cast(Vocoder, model.vocoders[route])
        if set(vocoder.needs) <= {"mel", "pitch"}:
            true = Prediction(mel=true_mel(model, wav), pitch=true_pitch(reference).to(model.device))
            sounds[f"true mel, {route}"] = model.vocode(true, route)
        elif isinstance(vocoder, CodecDecoderVocoder) and vocoder.needs == ("codes",):
            codes = vocoder.codec.encode(wav)
            sounds[f"true codes, {route}"] = model.vocode(Prediction(codes=codes), route)
    return sounds


def true_mel(model: Lip2Speech, wav: Tensor) -> Tensor:
    """The mel of (1, 1, 640 T) by the model's own recipe, as its heads would give it: (1, n_mels, 4T)."""
    mel: Tensor = LogMel(model.mel).to(wav.device)(wav)
    return mel[..., : wav.shape[-1] // model.mel.hop_length]  # centred frames are one more


def true_pitch(reference: Tensor) -> Tensor:
    """The pitch of (640 T,) as heads would give it that are sure of it: (1, 2, 4T)."""
    height, voiced = pitch_contour(reference)
    return torch.stack([height, SURE * (2 * voiced - 1)])[None]


class _Synthesizer:
    """Lets clips speak, and keeps what the floors are made of: the sounds of one route."""

    def __init__(self, route: str) -> None:
        self.route = route
        self.items: list[EvaluationItem] = []
        self.references: list[Tensor] = []
        self.wavs: list[Tensor] = []
        self.failed: dict[str, str] = {}
        self.default_voice = 0

    def say(
        self,
        model: Lip2Speech,
        item: EvaluationItem,
        voice: Tensor | None,
        routes: Sequence[str],
        streams: dict[str, StreamConfig],
    ) -> dict[str, SynthesizedAudio] | None:
        """Every row's sound; None where the clip gives none, which never stops the others."""
        try:
            reference, sounds = speak(model, item, voice, routes)
            sounds |= {name: speak_live(model, item, voice, self.route, c) for name, c in streams.items()}
        except ValueError as error:
            self.failed[item.id] = str(error)
            return None
        self.default_voice += voice is None
        self.items.append(item)
        self.references.append(reference)
        self.wavs.append(sounds[self.route].wav)
        return sounds

    def floors(self, model: Lip2Speech) -> Iterator[tuple[str, ScoredPair]]:
        """Row name and pair of each floor for each clip. ValueError: no clip gave speech."""
        n = len(self.items)
        if not n:
            first = next(iter(self.failed.values()))
            raise ValueError(f"none of the {len(self.failed)} clips gave speech; the first: {first}")
        for i, (item, reference) in enumerate(zip(self.items, self.references, strict=True)):
            if n > 1:  # half the set away: neighbours in the order of ids share most of their words
                other = fit_wav(self.wavs[(i + n // 2) % n], _frames(reference))
                yield "floor: another clip", ScoredPair(item.id, reference, other, item.text)
        if (average := self._average(model)) is None:
            return
        for item, reference in zip(self.items, self.references, strict=True):
            same = fit_wav(average, _frames(reference))
            yield "floor: average mel", ScoredPair(item.id, reference, same, item.text)

    def _average(self, model: Lip2Speech) -> Tensor | None:
        """Sound (640 T,) of the mean log-mel, as long as the longest clip; None without a mel route."""
        takes_mel = [name for name, vocoder in model.vocoders.items() if vocoder.needs == ("mel",)]
        if not takes_mel:
            return None
        longest = max(map(_frames, self.references)) * _MEL_PER_FRAME
        total, count = torch.zeros(model.mel.n_mels, longest), torch.zeros(longest)
        for reference in self.references:
            mel = true_mel(model, reference[None, None])[0]
            total[:, : mel.shape[1]] += mel
            count[: mel.shape[1]] += 1
        chosen = self.route if self.route in takes_mel else takes_mel[0]
        return model.vocode(Prediction(mel=(total / count)[None].to(model.device)), chosen)


def _frames(wav: Tensor) -> int:
    return len(wav) // per_video_frame(SAMPLE_RATE)
