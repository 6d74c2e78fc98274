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

import json
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from lip2speech.audio import replacing
from lip2speech.data.targets import fit_wav
from lip2speech.evaluation.clips import Item, choose, voice_of
from lip2speech.evaluation.live import live_configs, speak_live
from lip2speech.evaluation.score import METERS, Pair, Row, Scorer, summarise
from lip2speech.mel import LogMel, MelConfig
from lip2speech.pipeline import Lip2Speech
from lip2speech.pitch import pitch_contour
from lip2speech.prediction import Prediction
from lip2speech.rates import SAMPLE_RATE, per_video_frame
from lip2speech.vocoder import CodesVocoder, Vocoder

SURE = 9.0  # a logit
_PACKAGES = ("pocketsphinx", "jiwer", "pystoi", "pesq", "torch")
_MEL_PER_FRAME = per_video_frame(MelConfig().frame_rate)


@dataclass(frozen=True)
class Report:
    """A finished evaluation. `failed`: id -> reason of clips that gave no speech; rows leave them out."""

    model: str
    split: str
    rows: tuple[Row, ...]
    failed: dict[str, str]
    default_voice: int

    def table(self) -> str:
        """The rows as a Markdown table, with a line on what is missing."""
        notes = (
            [f"{len(self.failed)} clips gave no speech and are left out of the rows."] if self.failed else []
        )
        if self.default_voice:
            notes.append(f"{self.default_voice} clips have no second utterance: the model's own voice spoke.")
        return "\n".join([table(self.rows), *notes])

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, with the meters and their versions; measures without an answer are None."""
        return _without_nan({**asdict(self), "meters": meters()})

    def save(self, path: Path) -> None:
        """Write `to_dict` as JSON; the file appears whole or not at all."""
        text = json.dumps(self.to_dict(), indent=1, allow_nan=False)
        with replacing(Path(path)) as temporary:
            temporary.write_text(text, encoding="utf-8")


def evaluate(
    model: Lip2Speech,
    items: Sequence[Item],
    split: str = "test",
    *,
    routes: Sequence[str] | None = None,
    limit: int | None = None,
    measure: Collection[str] = METERS,
    workers: int = 0,
    live: Sequence[int] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Speaks every clip of `split` by every route and measures it.

    Args:
        items: from `prepared_items` or `video_items`; other splits lend voices.
        routes: some of `model.routes`; all when None.
        limit: at most so many clips, evenly spread.
        workers: processes that measure beside this one, which speaks.
        live: look-aheads in ms, each a row of its own; only for video files.
        progress: called with (clips done, clips in all).
    Raises:
        ValueError: unknown route, split or look-ahead, or no clip gave speech.
        ImportError: the extra `eval` is missing.
    """
    chosen = choose(items, split, limit)
    names = [model.check_route(route) for route in routes or model.routes]
    streams, own = live_configs(live), own_route(model, names)
    spoken, failed, default_voice = _Spoken(), {}, 0
    with Scorer(measure, workers) as scorer:
        for item in _counted(chosen, progress):
            try:
                voice = voice_of(item, items, model.speaker_model)
                reference, sounds = speak(model, item, voice, names)
                sounds |= {name: speak_live(model, item, voice, own, c) for name, c in streams.items()}
            except ValueError as error:  # a clip without a face never stops the others
                failed[item.id] = str(error)
                continue
            default_voice += voice is None
            for name, wav in sounds.items():
                scorer.add(name, Pair(item.id, reference, wav, item.text))
            spoken.add(item, reference, sounds[own])
        if not spoken.items:
            raise ValueError(
                f"none of the {len(chosen)} clips gave speech; the first: {next(iter(failed.values()))}"
            )
        for name, pair in spoken.floors(model, own):
            scorer.add(name, pair)
        rows = tuple(summarise(name, scores) for name, scores in scorer.scores().items())
    return Report(model.name, split, rows, failed, default_voice)


def _counted(items: Sequence[Item], progress: Callable[[int, int], None] | None) -> Iterator[Item]:
    """The items; `progress` hears of each when the next one is asked for."""
    for done, item in enumerate(items, 1):
        yield item
        if progress is not None:
            progress(done, len(items))


def own_route(model: Lip2Speech, routes: Sequence[str]) -> str:
    """The model's own choice of route where it is among `routes`, else the first of them."""
    return model.config.route if model.config.route in routes else routes[0]


def speak(
    model: Lip2Speech, item: Item, voice: Tensor | None, routes: Sequence[str]
) -> tuple[Tensor, dict[str, Tensor]]:
    """The true sound (640 T,) and every row's sound of the same length, by row name."""
    roi = item.roi()
    reference = fit_wav(item.wav(), len(roi))
    prediction = model.predict(roi, voice)
    sounds = {"true sound": reference, **ceilings(model, reference, routes)}
    sounds |= {route: model.render(prediction, route) for route in routes}
    if item.video is not None:
        route = own_route(model, routes)
        whole = model.convert(item.video, voice=voice, route=route).wav
        assert whole is not None, "convert without a file gives the sound"
        sounds[f"whole path, {route}"] = whole
    return reference, sounds


@torch.inference_mode()
def ceilings(model: Lip2Speech, reference: Tensor, routes: Sequence[str]) -> dict[str, Tensor]:
    """What each route makes of the true mel or the true codes of (640 T,): row name -> (640 T,)."""
    wav = reference[None, None].to(model.device)
    sounds = {}
    for route in routes:
        vocoder = cast(Vocoder, model.vocoders[route])
        if set(vocoder.needs) <= {"mel", "pitch"}:
            true = Prediction(mel=true_mel(model, wav), pitch=true_pitch(reference).to(model.device))
            sounds[f"true mel, {route}"] = model.render(true, route)
        elif isinstance(vocoder, CodesVocoder) and vocoder.needs == ("codes",):
            codes = vocoder.codec.encode(wav)
            sounds[f"true codes, {route}"] = model.render(Prediction(codes=codes), route)
    return sounds


def true_mel(model: Lip2Speech, wav: Tensor) -> Tensor:
    """The mel of (1, 1, 640 T) by the model's own recipe, as its heads would give it: (1, n_mels, 4T)."""
    mel: Tensor = LogMel(model.mel).to(wav.device)(wav)
    return mel[..., : wav.shape[-1] // model.mel.hop_length]  # centred frames are one more


def true_pitch(reference: Tensor) -> Tensor:
    """The pitch of (640 T,) as heads would give it that are sure of it: (1, 2, 4T)."""
    height, voiced = pitch_contour(reference)
    return torch.stack([height, SURE * (2 * voiced - 1)])[None]


class _Spoken:
    """Keeps what the floors are made of."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.references: list[Tensor] = []
        self.wavs: list[Tensor] = []

    def add(self, item: Item, reference: Tensor, wav: Tensor) -> None:
        self.items.append(item)
        self.references.append(reference)
        self.wavs.append(wav)

    def floors(self, model: Lip2Speech, route: str) -> Iterator[tuple[str, Pair]]:
        """Row name and pair of each floor for each clip."""
        n = len(self.items)
        for i, (item, reference) in enumerate(zip(self.items, self.references, strict=True)):
            if n > 1:  # half the set away: neighbours in the order of ids share most of their words
                other = fit_wav(self.wavs[(i + n // 2) % n], _frames(reference))
                yield "floor: another clip", Pair(item.id, reference, other, item.text)
        if (average := self._average(model, route)) is None:
            return
        for item, reference in zip(self.items, self.references, strict=True):
            same = fit_wav(average, _frames(reference))
            yield "floor: average mel", Pair(item.id, reference, same, item.text)

    def _average(self, model: Lip2Speech, route: str) -> Tensor | None:
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
        chosen = route if route in takes_mel else takes_mel[0]
        return model.render(Prediction(mel=(total / count)[None].to(model.device)), chosen)


def _frames(wav: Tensor) -> int:
    return len(wav) // per_video_frame(SAMPLE_RATE)


def table(rows: Sequence[Row]) -> str:
    """Rows as a Markdown table; intervals are 95 %, over clips."""
    head = ["row", "n", "WER, edit [95 %]", "WER, slots", "STOI", "ESTOI [95 %]", "PESQ-WB", "mel L1"]
    head.append("lag ms, median / mean size")
    lines = [head, ["---"] + ["---:"] * (len(head) - 1)]
    for row in rows:
        lines.append(
            [
                row.name,
                str(row.n),
                f"{_number(row.wer)}{_interval(row.wer_interval)}",
                _number(row.wer_slots),
                _number(row.stoi),
                f"{_number(row.estoi)}{_interval(row.estoi_interval)}",
                _number(row.pesq, 2),
                _number(row.mel_l1),
                f"{_number(row.lag_ms, 0)} / {_number(row.lag_spread, 0)}",
            ]
        )
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _number(value: float, digits: int = 3) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"


def _interval(interval: tuple[float, float]) -> str:
    if not all(map(math.isfinite, interval)):
        return ""
    return f" [{_number(interval[0])}, {_number(interval[1])}]"


def meters() -> dict[str, str]:
    """What the figures were measured with: package versions, and how each column is made."""
    used = {name: _version(name) for name in _PACKAGES}
    return {
        **{f"version of {name}": number for name, number in used.items()},
        "recogniser": "pocketsphinx, its own English model, bound to the GRID sentence grammar",
        "wer": "edit errors over words (jiwer); wer_slots: words that differ at their place",
        "mel_l1": "mean distance of natural-log mels (80 bands, 100 Hz) above -60 dB",
        "lag_ms": "median shift of least mel distance, late is positive; lag_spread: mean absolute",
        "interval": "95 %, bootstrap over clips, 2000 draws, seed 0",
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _without_nan(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _without_nan(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(part) for part in value]
    return value
