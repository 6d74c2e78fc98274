"""The walk: a silent video in, speech out.

Reads like a table of contents: frames, landmarks, mouth crops, prediction, waveform. Long videos run in
overlapping windows that are joined where the speech is quietest, so memory does not grow with the video.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from lip2speech import checkpoint
from lip2speech.audio.crossfade import PER_FRAME, LowConfidenceMode, join_windows, mute
from lip2speech.audio.io import read_wav, wav_writer
from lip2speech.audio.mel import MelConfig
from lip2speech.components import likelihood_of, model_of, speaker_model_of, vocoders_of
from lip2speech.confidence.tracker import Calibration, WindowedConfidenceTracker, observe, replace_unsure
from lip2speech.config import from_dict
from lip2speech.constants import SAMPLE_RATE, VIDEO_FPS, per_video_frame
from lip2speech.models.code_prior import CodePrior, CodePriorState, RunningBits, bits_per_code
from lip2speech.models.frontends.transforms import Transform
from lip2speech.models.lip2speech import LipModel
from lip2speech.models.prediction import Prediction
from lip2speech.models.speaker_encoder import LTASSpeakerEncoder, SpeakerEncoder, read_vector
from lip2speech.pretrained import folder_of
from lip2speech.video import FaceReport, crop_roi, detect_landmarks, read_frames
from lip2speech.voices.store import list_voices, load_voice


@dataclass(frozen=True)
class PipelineConfig:
    """How a model is run: its route, its default voice, and the windows of a long video (in video frames).

    default_voice: may be empty in a folder without voices: then whoever lets it speak gives one.
    usage_note: what its user must know whenever it speaks (the shipped model: that it knows one small grammar).
    confidence: written by `lip2speech calibrate`; a model without it never says how sure it is.
    confidence_threshold: the confidence below which a second of speech may be replaced.
    """

    vocoder: str = "mel"
    default_voice: str = ""
    window_frames: int = 150
    overlap_frames: int = 50
    usage_note: str = ""
    confidence: Calibration | None = None
    confidence_threshold: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.overlap_frames < self.window_frames:
            raise ValueError(
                f"overlap must be 0 .. window - 1, got {self.overlap_frames} and window {self.window_frames}."
            )
        if not 0 <= self.confidence_threshold <= 1:
            raise ValueError(f"unsure must be a confidence of 0 to 1, got {self.confidence_threshold}.")

    def check_unsure(self, unsure: LowConfidenceMode) -> LowConfidenceMode:
        """A known way to deal with unsure speech that this model can go; ValueError otherwise."""
        if unsure not in get_args(LowConfidenceMode):
            raise ValueError(
                f"unsure must be one of {', '.join(get_args(LowConfidenceMode))}, got {unsure!r}."
            )
        if unsure != "speak" and self.confidence is None:
            raise ValueError(
                f"unsure {unsure!r} needs a model that knows how sure it is, and this one was never "
                "calibrated; run `lip2speech calibrate` on it, or choose speak."
            )
        return unsure


@dataclass(frozen=True)
class SynthesisResult:
    """What `convert` gives back. wav is (T_a,) float32, or None when it went straight to a file.

    confidence: the probability that a word is right, for each second of sound and a shorter last one; a frame
        without a face counts as 0. sure: their mean, by how much is said in each. Both are None for a model
        that was never calibrated.
    bits_per_code: what it takes to tell a predicted code, on average; None for a model without a likelihood.
    """

    wav: Tensor | None
    sample_rate: int
    report: FaceReport
    vocoder: str
    elapsed_s: float
    confidence: tuple[float, ...] | None = None
    mean_confidence: float | None = None
    bits_per_code: float | None = None

    @property
    def duration(self) -> float:
        """Seconds of video that were spoken."""
        return self.report.frames / VIDEO_FPS


@dataclass
class Lip2Speech:
    """A loaded system, for speaking and not for training: `Lip2Speech.load().convert("talk.mp4")`."""

    name: str
    model: LipModel
    vocoders: dict[str, torch.nn.Module]
    transform: Transform
    voices: dict[str, Tensor]
    config: PipelineConfig = field(default_factory=PipelineConfig)
    speaker_model: SpeakerEncoder = field(default_factory=LTASSpeakerEncoder)
    mel: MelConfig = field(default_factory=MelConfig)  # of its predictions
    likelihood: CodePrior | None = None

    @classmethod
    def load(cls, folder: str | os.PathLike = "default", device: str = "auto") -> Lip2Speech:
        """The system in a checkpoint folder, or a shipped one by name.

        Raises:
            CheckpointError: missing or damaged folder, or one that holds something else.
            ValueError: unknown device.
        """
        return cls.build(checkpoint.load(folder_of(folder)), device)

    @classmethod
    def build(cls, loaded: checkpoint.Checkpoint, device: str = "auto") -> Lip2Speech:
        """The system that a checkpoint describes; errors as in `load`."""
        where, values = choose_device(device), loaded.config
        if values.get("kind") != "lip2speech":
            raise checkpoint.CheckpointError(
                f"{loaded.folder} holds {values.get('kind')!r}, expected a whole lip2speech system."
            )
        try:
            model = model_of(loaded)
            mel = from_dict(MelConfig, values["mel"], "mel")
            vocoders = vocoders_of(loaded, model.config.heads, mel)
            transform = from_dict(Transform, values["transform"], "transform")
            config = from_dict(PipelineConfig, values["inference"], "inference")
            speakers = speaker_model_of(loaded)
            likelihood = likelihood_of(loaded, model.config.heads, mel, speakers)
        except checkpoint.CheckpointError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise checkpoint.CheckpointError(f"{loaded.folder}: its config is wrong ({error}).") from error
        speech = cls(
            name=loaded.folder.resolve().name,
            model=model.to(where),
            vocoders={name: vocoder.to(where) for name, vocoder in vocoders.items()},
            transform=transform,
            voices={k: v.to(where) for k, v in loaded.part("voice.").items()},
            config=config,
            speaker_model=speakers,
            mel=mel,
            likelihood=None if likelihood is None else likelihood.to(where),
        )
        voiceless = not config.default_voice and not speech.voices
        if config.vocoder not in speech.vocoders or not (voiceless or config.default_voice in speech.voices):
            raise checkpoint.CheckpointError(
                f"{loaded.folder}: its own route {config.vocoder!r} or voice {config.default_voice!r} is not in it "
                f"(routes {', '.join(speech.routes)}; voices {', '.join(speech.voices)})."
            )
        if config.confidence is not None and config.confidence.code_nll and likelihood is None:
            raise checkpoint.CheckpointError(
                f"{loaded.folder}: was calibrated with a likelihood that is not in it; calibrate it again."
            )
        return speech

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
        unsure: LowConfidenceMode = "speak",
        progress: Callable[[float], None] | None = None,
    ) -> SynthesisResult:
        """Speech for a silent talking-face video.

        Args:
            voice: the name of an enrolled or stored voice, a recording to sound like, or a vector of the
                model's speaker encoder, (S,) in memory or FILE.npy.
            route: one of `routes`; the model's own choice when None.
            unsure: what becomes of seconds whose confidence is below `config.unsure`: they are spoken all the
                same, or a soft tone or silence takes their place.
            progress: called with the share that is done, 0 to 1.
        Raises:
            MediaError, NoFaceError: from reading the video. ValueError: unknown route or voice, or unsure
                speech cannot be told from other by this model.
        """
        pieces: list[Tensor] = []
        speech = self.run(video, pieces.append, voice, route, unsure, progress)
        return replace(speech, wav=torch.cat(pieces))

    def convert_to(
        self,
        video: str | os.PathLike,
        out: str | os.PathLike,
        *,
        voice: Tensor | str | os.PathLike | None = None,
        route: str | None = None,
        unsure: LowConfidenceMode = "speak",
        progress: Callable[[float], None] | None = None,
    ) -> SynthesisResult:
        """As `convert`, straight to a wav file, in memory that does not grow with the video."""
        with wav_writer(out, self.sample_rate) as write:
            return self.run(video, write, voice, route, unsure, progress)

    def run(
        self,
        video: str | os.PathLike,
        write: Callable[[Tensor], Any],
        voice: Tensor | str | os.PathLike | None,
        route: str | None,
        unsure: LowConfidenceMode,
        progress: Callable[[float], None] | None,
    ) -> SynthesisResult:
        """The walk from file to sound, window by window."""
        began = time.perf_counter()
        speaker, route, unsure = (
            self.speaker(voice),
            self.check_route(route),
            self.config.check_unsure(unsure),
        )
        with read_frames(video) as frames:
            landmarks = detect_landmarks(frames)
            roi = crop_roi(landmarks)
            counted = roi if progress is None else report_progress(roi, frames, progress)
            account, count = self.account(roi.report), RunningBits()
            windows = self.windows(counted, speaker, route, roi.report.no_face_segments, account, count)
            joined = join_windows(windows, self.config.overlap_frames * PER_FRAME)
            for wav in (
                joined
                if account is None
                else replace_unsure(joined, account, self.config.confidence_threshold, unsure)
            ):
                write(wav)
        if progress is not None:
            progress(1.0)
        seconds = time.perf_counter() - began
        confidence, sure = (None, None) if account is None else (account.confidence, account.sure)
        return SynthesisResult(
            None, self.sample_rate, roi.report, route, seconds, confidence, sure, count.mean
        )

    def account(self, report: FaceReport) -> WindowedConfidenceTracker | None:
        """What keeps count of how sure a video's speech is; None for a model that was never calibrated."""
        calibration = self.config.confidence
        return (
            None
            if calibration is None
            else WindowedConfidenceTracker(
                calibration, (report.no_face_segments, report.interpolated_segments)
            )
        )

    @torch.no_grad()
    def __call__(
        self, roi: np.ndarray | Tensor, speaker: Tensor | None = None, route: str | None = None
    ) -> Tensor:
        """Mouth crops (T, 96, 96) uint8 -> wav (640 T,) float32 in [-1, 1]."""
        return self.speak(roi, speaker, route)[0]

    @torch.no_grad()
    def speak(
        self, roi: np.ndarray | Tensor, speaker: Tensor | None = None, route: str | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Mouth crops (T, 96, 96) uint8 -> wav (640 T,), what `confidence.observe` sees of them, `bits`."""
        prediction = self.predict(roi, speaker)
        bits, _ = self.bits(prediction)
        return self.render(prediction, route), observe(prediction, roi, bits), bits

    @torch.no_grad()
    def predict(self, roi: np.ndarray | Tensor, speaker: Tensor | None = None) -> Prediction:
        """Mouth crops (T, 96, 96) uint8 -> Prediction of one clip (B = 1)."""
        if roi.ndim != 3:
            raise ValueError(f"roi must be one clip (T, 96, 96), got {tuple(roi.shape)}.")
        x = self.transform(roi).to(self.device)  # (1, 1, T, 88, 88)
        return self.model(x, self.speaker(speaker)[None])

    @torch.no_grad()
    def bits(
        self, prediction: Prediction, state: CodePriorState | None = None
    ) -> tuple[Tensor | None, CodePriorState | None]:
        """What it takes to tell a predicted code: the mean of each frame (T,), and a state.

        With the state of the frames before (B = 1) as if all were told at once. None, None without a
        likelihood.
        """
        if self.likelihood is None:
            return None, None
        codes = prediction.require("codes")
        voice = prediction.require("speaker") if self.likelihood.config.speaker_dim else None
        logits, state = self.likelihood.step(codes, voice, state)
        per_frame = per_video_frame(self.model.config.heads.code_frame_rate)
        bits = bits_per_code(logits, codes)[0].mean(0)  # (rT,)
        return bits.unflatten(0, (-1, per_frame)).mean(1).cpu(), state

    @torch.no_grad()
    def render(self, prediction: Prediction, route: str | None = None) -> Tensor:
        """Prediction (B = 1) -> wav (640 T,)."""
        return self.vocoders[self.check_route(route)](prediction)[0, 0].float().cpu()

    def windows(
        self,
        roi: Iterable[np.ndarray],
        speaker: Tensor,
        route: str,
        gaps: Sequence[tuple[float, float]] = (),
        account: WindowedConfidenceTracker | None = None,
        count: RunningBits | None = None,
    ) -> Iterator[Tensor]:
        """Sound of overlapping windows of a stream of crops, each (640 * frames,).

        `gaps` (seconds without a face) may grow while the crops are read; they are spoken as silence.
        `account` is told how sure each window is, `count` what its codes cost.
        """

        def window() -> Tensor:
            wav, observed, bits = self.speak(np.stack(held), speaker, route)
            if account is not None:
                account.add(start, observed)
            if count is not None and bits is not None:
                count.add(start, bits)
            return mute(wav, start, gaps)

        held: list[np.ndarray] = []
        new = start = 0
        for crop in roi:
            held.append(crop)
            new += 1
            if len(held) == self.config.window_frames:
                yield window()
                held, new = held[len(held) - self.config.overlap_frames :], 0
                start += self.config.window_frames - self.config.overlap_frames
        if new:
            yield window()

    def speaker(self, voice: Tensor | str | os.PathLike | None) -> Tensor:
        """The voice vector (S,) of an enrolled voice, one of the model's, or a recording; None: its own."""
        size = self.model.config.heads.speaker_dim
        if isinstance(voice, Tensor):
            if voice.shape != (size,):
                raise ValueError(f"a voice vector must be ({size},), got {tuple(voice.shape)}.")
            return voice.to(self.device)
        if voice is None and not self.config.default_voice:
            raise ValueError(
                "this model has no voice of its own; give one: an enrolled voice, or a vector of its speaker "
                f"encoder's {size} numbers as FILE.npy."
            )
        name = self.config.default_voice if voice is None else os.fspath(voice)
        if name.endswith(".npy"):
            return read_vector(name, size).to(self.device)
        if voice is not None and name in (enrolled := list_voices()):
            return load_voice(name).vector(self.speaker_model).to(self.device)
        if name in self.voices:
            return self.voices[name]
        if voice is None or not Path(name).exists():
            stored = ", ".join([*self.voices, *enrolled])
            raise ValueError(f"no voice is called {name!r} and no such recording exists; stored: {stored}.")
        return self.speaker_model.embed(read_wav(name)).to(self.device)

    def check_route(self, route: str | None) -> str:
        """A known route's name; the model's own choice when None."""
        route = route or self.config.vocoder
        if route not in self.vocoders:
            raise ValueError(f"no route is called {route!r}; this model has {', '.join(self.routes)}.")
        return route


def report_progress(
    roi: Iterable[np.ndarray], frames: Any, progress: Callable[[float], None]
) -> Iterator[np.ndarray]:
    """Pass crops on and tell the share of the file that has been read, as far as the file says."""
    total = frames.expected_frames
    for count, crop in enumerate(roi, 1):
        if total and count % VIDEO_FPS == 1:
            progress(min(1.0, count / total))
        yield crop


def choose_device(device: str) -> torch.device:
    """`auto` is the GPU when there is one."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.zeros(1, device=device).cpu().new_empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {device!r} cannot be used here ({reason}); try cpu.") from None
