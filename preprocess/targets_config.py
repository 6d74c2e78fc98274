"""Which targets are precomputed, and the fingerprint of everything that determines a prepared clip."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from lip2speech.data.targets import TargetExtractor

VERSION = 1
"""Version of crops and audio, to be raised whenever the same video gives other bytes."""

LTAS = "ltas"


@dataclass(frozen=True)
class TargetsConfig:
    """Targets to precompute; an empty path disables one.

    Args:
        mel: Whether to store the log-mel spectrogram.
        unit_tokenizer: Folder of a unit tokenizer.
        codec: Folder of a codec.
        speaker_encoder: Folder of a speaker encoder, or `ltas` for the long-term average spectrum.
    """

    mel: bool = False
    unit_tokenizer: str = ""
    codec: str = ""
    speaker_encoder: str = ""

    def names(self) -> list[str]:
        """Names of the precomputed targets."""
        enabled = {
            "mel": self.mel,
            "units": self.unit_tokenizer,
            "codes": self.codec,
            "speaker": self.speaker_encoder,
        }
        return [name for name, value in enabled.items() if value]

    def absolute(self) -> TargetsConfig:
        """The same with absolute paths, for processes with another working directory."""
        unit_tokenizer, codec, speaker_encoder = (
            str(Path(folder).absolute()) if folder and folder != LTAS else folder
            for folder in (self.unit_tokenizer, self.codec, self.speaker_encoder)
        )
        return replace(self, unit_tokenizer=unit_tokenizer, codec=codec, speaker_encoder=speaker_encoder)


@cache
def load_extractor(config: TargetsConfig) -> TargetExtractor:
    """Load the models of a config, once per process. ValueError: a folder holds another model."""
    from lip2speech.codecs import load_codec
    from lip2speech.data.unit_tokenizers import load_unit_tokenizer
    from lip2speech.models.speaker_encoder import load_speaker_encoder

    return TargetExtractor(
        load_unit_tokenizer(config.unit_tokenizer) if config.unit_tokenizer else None,
        load_codec(config.codec) if config.codec else None,
        speaker_encoder=load_speaker_encoder(
            "" if config.speaker_encoder == LTAS else config.speaker_encoder
        ),
    )


def target_fingerprints(config: TargetsConfig) -> dict[str, str]:
    """Name of each precomputed target -> fingerprint of its extractor."""
    names = config.names()
    return {name: load_extractor(config).fingerprints[name] for name in names} if names else {}


@cache
def config_fingerprint(config: TargetsConfig) -> str:
    """Equal for two configs that give the same prepared clips."""
    return hashlib.sha256(json.dumps([VERSION, target_fingerprints(config)]).encode()).hexdigest()[:16]
