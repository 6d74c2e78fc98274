"""Dummy clips and teachers of the real shapes, to try a training config before its data exist.

Video and audio are noise. Teachers that the config names and that exist are kept; clips are always dummies,
because reading a whole corpus may take long.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from lip2speech import checkpoint
from lip2speech.audio.io import write_wav
from lip2speech.audio.pitch import QUANTILES
from lip2speech.codecs import codec_from_dict
from lip2speech.config import to_dict
from lip2speech.constants import MEL_RATE, SAMPLES_PER_FRAME
from lip2speech.data.unit_tokenizers import N_MFCC
from lip2speech.models.speaker_encoder.xvector import KIND, XVectorConfig, XVectorNet
from lip2speech.modules.codebook_patterns import describe_codebooks

CLIP_FRAMES = 75  # 3 s, as a GRID sentence
TRAIN_CLIPS, VALID_CLIPS = 8, 2
CROP_SIZE = 96  # pixels
MFCC_ORDERS = 3  # cepstra with first and second differences: the features of MFCC units


class DummyData:
    """Writes dummy data to an empty folder.

    Attributes:
        missing: paths of the config that do not exist and were replaced by dummies.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.missing: list[str] = []

    def clips(self, *, frames: int = CLIP_FRAMES, speakers: Sequence[str] = ("one", "two")) -> str:
        """Write prepared clips of at least `frames` frames, speakers in turn; returns the folder."""
        from safetensors.torch import save_file

        frames = max(frames, CLIP_FRAMES)
        generator, rows = torch.Generator().manual_seed(0), []
        (self.folder / "clips").mkdir()
        n_train = max(TRAIN_CLIPS, len(speakers))
        for i in range(n_train + VALID_CLIPS):
            roi = torch.randint(256, (frames, CROP_SIZE, CROP_SIZE), generator=generator, dtype=torch.uint8)
            wav = (3000 * torch.randn(frames * SAMPLES_PER_FRAME, generator=generator)).to(torch.int16)
            save_file({"roi": roi, "wav": wav}, self.folder / "clips" / f"{i}.safetensors")
            shared = {"text": "dummy", "status": "done", "n_frames": frames}
            split = "train" if i < n_train else "valid"
            rows.append({"id": str(i), "split": split, "speaker": speakers[i % len(speakers)], **shared})
        (self.folder / "index.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(self.folder)

    def audio_dir(self, seconds: float, sample_rate: int) -> str:
        """Write audio files longer than `seconds`; returns their folder."""
        generator = torch.Generator().manual_seed(0)
        (self.folder / "audio").mkdir()
        for i in range(TRAIN_CLIPS):
            wav = 0.1 * torch.randn(int((seconds + 1) * sample_rate), generator=generator)
            write_wav(self.folder / "audio" / f"{i}.wav", wav, sample_rate)
        return str(self.folder / "audio")

    def unit_tokenizer(self, path: str, n_units: int, dim: int = MFCC_ORDERS * N_MFCC) -> str:
        """A unit tokenizer with `n_units` centroids (dim,), unless `path` exists or is empty."""
        if self.exists(path):
            return path
        centroids = torch.randn(n_units, dim, generator=torch.Generator().manual_seed(0))
        tensors = {"centroids": centroids, "mean": torch.zeros(dim), "std": torch.ones(dim)}
        return self.save("units", {"kind": "kmeans-mfcc"}, tensors)

    def codec(self, path: str, codebook_sizes: tuple[int, ...], frame_rate: int) -> str:
        """A small codec with the given codebooks and frame rate, unless `path` exists or is empty."""
        if self.exists(path):
            return path
        if frame_rate * 2 != MEL_RATE or len(set(codebook_sizes)) != 1:
            raise ValueError(
                f"there is no dummy codec of {describe_codebooks(codebook_sizes)} at {frame_rate} Hz; give a "
                f"trained one, got {path!r}."
            )
        values = {
            "encoder": {"width": 16, "blocks": [1, 1]},
            "quantizer": {"n_q": len(codebook_sizes), "codebook_size": codebook_sizes[0]},
            "decoder": {"n_filters": 2, "n_residual_layers": 1},
        }
        codec = codec_from_dict("melcodec", values)
        config = {"kind": "codec", "name": "melcodec", "codec": to_dict(codec.config)}
        return self.save("codec", config, codec.state_dict())

    def speaker_encoder(self, path: str, dim: int) -> str:
        """A small speaker encoder with embeddings (dim,), unless `path` exists or is empty."""
        if self.exists(path):
            return path
        sizes = XVectorConfig(channels=8, pool_dim=8, attention_dim=4, dim=max(1, dim - len(QUANTILES)))
        values = {"kind": KIND, "encoder": to_dict(sizes)}
        return self.save("speaker", values, XVectorNet(sizes).state_dict())

    def exists(self, path: str) -> bool:
        """Whether a path of the config needs no dummy: it exists or is empty."""
        if path and not Path(path).is_dir():
            self.missing.append(path)
            return False
        return True

    def save(self, name: str, config: dict[str, Any], tensors: dict[str, torch.Tensor]) -> str:
        """Write a checkpoint folder and return it."""
        checkpoint.save(self.folder / name, config, tensors, "# Dummy\n")
        return str(self.folder / name)
