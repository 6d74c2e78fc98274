"""What is made of each clip, and the fingerprint of it all: clips of another recipe are made anew.

Crops and sound always; targets when asked for, each with a teacher. A process loads the teachers once.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from lip2speech.data.targets import TargetExtractor

VERSION = 1  # of the crops and of the sound; one more whenever the same video gives other bytes
LTAS = "ltas"


@dataclass(frozen=True)
class TargetsConfig:
    """Which targets are stored, by the folders of their teachers; empty: not stored.

    mel: whether the log-mel is; speaker: a speaker encoder, or `spectrum` for the long-term spectrum.
    """

    mel: bool = False
    units: str = ""
    codec: str = ""
    speaker: str = ""

    def names(self) -> list[str]:
        """The targets that are stored."""
        asked = {"mel": self.mel, "units": self.units, "codes": self.codec, "speaker": self.speaker}
        return [name for name, wanted in asked.items() if wanted]

    def absolute(self) -> TargetsConfig:
        """The same for a process that works elsewhere."""
        units, codec, speaker = (
            str(Path(folder).absolute()) if folder and folder != LTAS else folder
            for folder in (self.units, self.codec, self.speaker)
        )
        return replace(self, units=units, codec=codec, speaker=speaker)


@cache
def load_extractor(recipe: TargetsConfig) -> TargetExtractor:
    """The teachers of a recipe. ValueError: a folder holds no such teacher."""
    from lip2speech.codecs import load_codec
    from lip2speech.data.unit_tokenizers import load_unit_tokenizer
    from lip2speech.models.speaker_encoder import load_speaker_encoder

    return TargetExtractor(
        load_unit_tokenizer(recipe.units) if recipe.units else None,
        load_codec(recipe.codec) if recipe.codec else None,
        speaker_encoder=load_speaker_encoder("" if recipe.speaker == LTAS else recipe.speaker),
    )


def target_fingerprints(recipe: TargetsConfig) -> dict[str, str]:
    """Name of each stored target -> fingerprint of its teacher."""
    names = recipe.names()
    return {name: load_extractor(recipe).fingerprints[name] for name in names} if names else {}


@cache
def config_fingerprint(recipe: TargetsConfig) -> str:
    """The same for two recipes that make the same of a clip."""
    return hashlib.sha256(json.dumps([VERSION, target_fingerprints(recipe)]).encode()).hexdigest()[:16]
