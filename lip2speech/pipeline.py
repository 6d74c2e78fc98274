"""The walk: a silent video in, speech out.

Reads like a table of contents: frames, landmarks, mouth crops, prediction, waveform. Long videos run in overlapping
windows that are joined where the speech is quietest, so memory does not grow with the video.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lip2speech import checkpoint
from lip2speech.audio import read_wav, wav_writer
from lip2speech.codec.load import codec_from_dict
from lip2speech.config import from_dict
from lip2speech.frontend.transforms import Transform
from lip2speech.mel import MelConfig
from lip2speech.model import LipModel, ModelConfig
from lip2speech.modules.conv import fold_weight_norm
from lip2speech.prediction import Prediction
from lip2speech.rates import SAMPLE_RATE, VIDEO_FPS
from lip2speech.speaker import embed_speaker
from lip2speech.video import FaceReport, crop_roi, detect_landmarks, read_frames
from lip2speech.vocoder import build_vocoders

PRETRAINED = Path(__file__).parent / "pretrained"
FADE_SAMPLES = 160  # 10 ms across a join


@dataclass(frozen=True)
class PipelineConfig:
    """How a model is run: its route, its default voice, and the windows of a long video (in video frames)."""

    route: str = "mel"
    voice: str = ""
    window: int = 150
    overlap: int = 50


@dataclass(frozen=True)
class Speech:
    """What `convert` gives back. wav is (T_a,) float32, or None when it went straight to a file."""

    wav: Tensor | None
    sample_rate: int
    report: FaceReport
    route: str
    seconds: float

    @property
    def duration(self) -> float:
        """Seconds of video that were spoken."""
        return self.report.frames / VIDEO_FPS


@dataclass
class Lip2Speech:
    """A loaded system: `Lip2Speech.load().convert("talk.mp4")`."""

    name: str
    model: LipModel
    vocoders: dict[str, torch.nn.Module]
    transform: Transform
    voices: dict[str, Tensor]
    config: PipelineConfig = field(default_factory=PipelineConfig)

    @classmethod
    def load(cls, folder: str | os.PathLike = "default", device: str = "auto") -> Lip2Speech:
        """The system in a checkpoint folder, or a shipped one by name.

        Raises:
            CheckpointError: missing or damaged folder, or one that holds something else.
            ValueError: unknown device.
        """
        path = PRETRAINED / folder if isinstance(folder, str) and is_name(folder) else Path(folder)
        loaded = checkpoint.load(path)
        if loaded.config.get("kind") != "lip2speech":
            raise checkpoint.CheckpointError(f"{path} holds {loaded.config.get('kind')!r}, expected a whole lip2speech system.")
        where = choose_device(device)
        model = LipModel(from_dict(ModelConfig, loaded.config["model"], "model"))
        codec = codec_from_dict(loaded.config["codec"]["name"], loaded.config["codec"]["config"])
        mel = from_dict(MelConfig, loaded.config["mel"], "mel")
        check_mel(mel, codec)
        checkpoint.load_into(model, loaded.part("model."))
        checkpoint.load_into(codec, loaded.part("codec."))
        fold_weight_norm(codec.eval())
        return cls(
            name=path.name,
            model=model.eval().to(where),
            vocoders={name: v.eval().to(where) for name, v in build_vocoders(codec, mel).items()},
            transform=from_dict(Transform, loaded.config["transform"], "transform"),
            voices={k: v.to(where) for k, v in loaded.part("voice.").items()},
            config=from_dict(PipelineConfig, loaded.config["pipeline"], "pipeline"),
        )

    @property
    def routes(self) -> list[str]:
        """Names that `route` may take."""
        return list(self.vocoders)

    @property
    def sample_rate(self) -> int:
        return SAMPLE_RATE

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def convert(
        self,
        video: str | os.PathLike,
        *,
        voice: Tensor | str | os.PathLike | None = None,
        route: str | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> Speech:
        """Speech for a silent talking-face video.

        Args:
            voice: a recording to sound like, a voice vector (163,), or the name of a stored voice.
            route: one of `routes`; the model's own choice when None.
            progress: called with the share that is done, 0 to 1.
        Raises:
            MediaError, NoFaceError: from reading the video. ValueError: unknown route or voice.
        """
        pieces: list[Tensor] = []
        speech = self.run(video, pieces.append, voice, route, progress)
        return Speech(torch.cat(pieces), speech.sample_rate, speech.report, speech.route, speech.seconds)

    def convert_to(
        self,
        video: str | os.PathLike,
        out: str | os.PathLike,
        *,
        voice: Tensor | str | os.PathLike | None = None,
        route: str | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> Speech:
        """As `convert`, straight to a wav file, in memory that does not grow with the video."""
        with wav_writer(out, self.sample_rate) as write:
            return self.run(video, write, voice, route, progress)

    def run(
        self,
        video: str | os.PathLike,
        write: Callable[[Tensor], Any],
        voice: Tensor | str | os.PathLike | None,
        route: str | None,
        progress: Callable[[float], None] | None,
    ) -> Speech:
        """The walk from file to sound, window by window."""
        began = time.perf_counter()
        speaker, route = self.speaker(voice), self.check_route(route)
        with read_frames(video) as frames:
            landmarks = detect_landmarks(frames)
            roi = crop_roi(landmarks)
            counted = roi if progress is None else report_progress(roi, frames, progress)
            for wav in join_windows(self.windows(counted, speaker, route), self.config.overlap * SAMPLE_RATE // VIDEO_FPS):
                write(wav)
        return Speech(None, self.sample_rate, roi.report, route, time.perf_counter() - began)

    @torch.inference_mode()
    def __call__(self, roi: np.ndarray | Tensor, speaker: Tensor | None = None, route: str | None = None) -> Tensor:
        """Mouth crops (T, 96, 96) uint8 -> wav (640 T,) float32 in [-1, 1]."""
        prediction = self.predict(roi, speaker)
        return self.render(prediction, route)

    @torch.inference_mode()
    def predict(self, roi: np.ndarray | Tensor, speaker: Tensor | None = None) -> Prediction:
        """Mouth crops (T, 96, 96) uint8 -> Prediction of one clip (B = 1)."""
        speaker = self.speaker(None) if speaker is None else speaker.to(self.device)
        x = self.transform(torch.as_tensor(np.asarray(roi))).to(self.device)  # (1, 1, T, 88, 88)
        return self.model(x, speaker[None])

    @torch.inference_mode()
    def render(self, prediction: Prediction, route: str | None = None) -> Tensor:
        """Prediction (B = 1) -> wav (640 T,)."""
        return self.vocoders[self.check_route(route)](prediction)[0, 0].float().cpu()

    def windows(self, roi: Iterable[np.ndarray], speaker: Tensor, route: str) -> Iterator[Tensor]:
        """Sound of overlapping windows of a stream of crops, each (640 * frames,)."""
        held: list[np.ndarray] = []
        new = 0
        for crop in roi:
            held.append(crop)
            new += 1
            if len(held) == self.config.window:
                yield self(np.stack(held), speaker, route)
                held, new = held[-self.config.overlap :], 0
        if new:
            yield self(np.stack(held), speaker, route)

    def speaker(self, voice: Tensor | str | os.PathLike | None) -> Tensor:
        """The voice vector (163,) of a recording, a stored voice, or the model's own."""
        if isinstance(voice, Tensor):
            return voice.to(self.device)
        name = self.config.voice if voice is None else os.fspath(voice)
        if name in self.voices:
            return self.voices[name]
        if voice is None or not Path(name).exists():
            raise ValueError(f"no voice is called {name!r} and no such recording exists; stored: {', '.join(self.voices)}.")
        return embed_speaker(read_wav(name)).to(self.device)

    def check_route(self, route: str | None) -> str:
        """A known route's name; the model's own choice when None."""
        route = route or self.config.route
        if route not in self.vocoders:
            raise ValueError(f"no route is called {route!r}; this model has {', '.join(self.routes)}.")
        return route


def join_windows(windows: Iterable[Tensor], overlap: int) -> Iterator[Tensor]:
    """Sounds (T_i,) of which each begins `overlap` samples before the last one's end -> pieces of one sound.

    The join lies at the quietest 10 ms of the middle of the overlap, with a linear fade.
    """
    tail: Tensor | None = None
    for wav in windows:
        if tail is not None:
            wav = blend(tail, wav, overlap)
        yield wav[: max(0, len(wav) - overlap)]
        tail = wav[max(0, len(wav) - overlap) :]
    if tail is not None:
        yield tail


def blend(old: Tensor, new: Tensor, overlap: int) -> Tensor:
    """`new` with its beginning taken from `old` (overlap,), up to the quietest place."""
    shared = min(overlap, len(old), len(new))
    quarter = shared // 4
    loudness = (old[:shared].abs() + new[:shared].abs()).unfold(0, FADE_SAMPLES, FADE_SAMPLES).sum(1)
    first, last = quarter // FADE_SAMPLES, max(quarter // FADE_SAMPLES + 1, (shared - quarter) // FADE_SAMPLES)
    join = (first + int(loudness[first:last].argmin())) * FADE_SAMPLES
    ramp = torch.linspace(0, 1, FADE_SAMPLES)
    middle = torch.lerp(old[join : join + FADE_SAMPLES], new[join : join + FADE_SAMPLES], ramp)
    return torch.cat([old[:join], middle, new[join + FADE_SAMPLES :]])


def report_progress(roi: Iterable[np.ndarray], frames: Any, progress: Callable[[float], None]) -> Iterator[np.ndarray]:
    """Pass crops on and tell the share of the file that has been read, as far as the file says."""
    total = frames.expected_frames
    for count, crop in enumerate(roi, 1):
        if total and count % VIDEO_FPS == 1:
            progress(min(1.0, count / total))
        yield crop


def check_mel(mel: MelConfig, codec: Any) -> None:
    """Refuse a codec whose mel recipe is not the model's: its vocoder would be wrong without a sound of warning."""
    other = getattr(codec.config, "mel", None)
    if other is not None and other != mel:
        raise checkpoint.CheckpointError(f"the model predicts {mel}, the codec was trained on {other}; they do not fit.")


def is_name(folder: str) -> bool:
    """Whether this names a shipped model rather than a folder."""
    return os.sep not in folder and not Path(folder).exists() and (PRETRAINED / folder).is_dir()


def choose_device(device: str) -> torch.device:
    """`auto` is the GPU when there is one."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {device!r} cannot be used here ({str(error).splitlines()[0]}); try cpu.") from None
