"""Made-up clips and teachers of the true shape, so that a recipe can be tried before its corpus is there.

Pictures and sound are noise. What the recipe names and is already there stays; only the clips are always made
up, for a corpus may take long to read.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch

from lip2speech import checkpoint
from lip2speech.audio.io import write_wav
from lip2speech.audio.pitch import QUANTILES
from lip2speech.codecs.builders import codec_from_dict
from lip2speech.config import to_dict
from lip2speech.data.targets import SAMPLES_PER_FRAME
from lip2speech.data.unit_tokenizers import N_MFCC
from lip2speech.models.heads.conv import MEL_RATE
from lip2speech.models.speaker_encoder.xvector import KIND, XVectorConfig, XVectorNet
from lip2speech.modules.codebook_layout import books

CLIP_FRAMES = 75  # 3 s, as long as a sentence of GRID
TRAIN_CLIPS, HELD_OUT_CLIPS = 8, 2
CROP = 96  # pixels of a prepared crop's side
DIFFERENCES = 3  # cepstra, their first and their second differences: what units are clustered by


class DummyData:
    """Writes them into `folder`, which is empty. made: what of the recipe was not there."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.made: list[str] = []

    def clips(self, *, frames: int = CLIP_FRAMES, voices: Sequence[str] = ("one", "two")) -> str:
        """Prepared clips of `frames` at least, voices in turn; the folder itself."""
        from safetensors.torch import save_file

        frames = max(frames, CLIP_FRAMES)
        generator, rows = torch.Generator().manual_seed(0), []
        (self.folder / "clips").mkdir()
        for i in range(max(TRAIN_CLIPS, len(voices)) + HELD_OUT_CLIPS):
            roi = torch.randint(256, (frames, CROP, CROP), generator=generator, dtype=torch.uint8)
            wav = (3000 * torch.randn(frames * SAMPLES_PER_FRAME, generator=generator)).to(torch.int16)
            save_file({"roi": roi, "wav": wav}, self.folder / "clips" / f"{i}.safetensors")
            split = "valid" if i >= max(TRAIN_CLIPS, len(voices)) else "train"
            shared = {"text": "made up", "status": "done", "n_frames": frames}
            rows.append({"id": str(i), "split": split, "speaker": voices[i % len(voices)], **shared})
        (self.folder / "index.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(self.folder)

    def sounds(self, seconds: float, sample_rate: int) -> str:
        """A folder of sound files longer than `seconds`."""
        generator = torch.Generator().manual_seed(0)
        (self.folder / "sounds").mkdir()
        for i in range(TRAIN_CLIPS):
            wav = 0.1 * torch.randn(int((seconds + 1) * sample_rate), generator=generator)
            write_wav(self.folder / "sounds" / f"{i}.wav", wav, sample_rate)
        return str(self.folder / "sounds")

    def units(self, given: str, n_units: int, dim: int = DIFFERENCES * N_MFCC) -> str:
        """A unit teacher with `n_units` centroids of `dim` numbers, unless `given` is one or empty."""
        if self.is_there(given):
            return given
        centroids = torch.randn(n_units, dim, generator=torch.Generator().manual_seed(0))
        tensors = {"centroids": centroids, "mean": torch.zeros(dim), "std": torch.ones(dim)}
        return self.write("units", {"kind": "kmeans-mfcc"}, tensors)

    def codec(self, given: str, sizes: tuple[int, ...], frame_rate: int) -> str:
        """A small codec with books of those sizes at that rate, unless `given` is one or empty."""
        if self.is_there(given):
            return given
        if frame_rate * 2 != MEL_RATE or len(set(sizes)) != 1:
            raise ValueError(
                f"no codec of {books(sizes)} at {frame_rate} Hz can be made up; give a trained one, got "
                f"{given!r}."
            )
        values = {
            "encoder": {"width": 16, "blocks": [1, 1]},
            "quantizer": {"n_q": len(sizes), "codebook_size": sizes[0]},
            "decoder": {"n_filters": 2, "n_residual_layers": 1},
        }
        codec = codec_from_dict("melcodec", values)
        config = {"kind": "codec", "name": "melcodec", "codec": to_dict(codec.config)}
        return self.write("codec", config, codec.state_dict())

    def speaker(self, given: str, dim: int) -> str:
        """A small speaker encoder of `dim` numbers, unless `given` is one or empty."""
        if self.is_there(given):
            return given
        sizes = XVectorConfig(channels=8, pool_dim=8, attention_dim=4, dim=max(1, dim - len(QUANTILES)))
        values = {"kind": KIND, "encoder": to_dict(sizes)}
        return self.write("speaker", values, XVectorNet(sizes).state_dict())

    def is_there(self, given: str) -> bool:
        """Whether nothing has to be made up for it."""
        if given and not Path(given).is_dir():
            self.made.append(given)
            return False
        return True

    def write(self, name: str, config: dict, tensors: dict[str, torch.Tensor]) -> str:
        """A checkpoint folder."""
        checkpoint.save(self.folder / name, config, tensors, "# Made up\n")
        return str(self.folder / name)
