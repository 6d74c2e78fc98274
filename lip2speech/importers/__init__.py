"""Foreign checkpoints -> our checkpoint folders; the files are read as data, nothing in them is executed."""

from collections.abc import Callable

from lip2speech.importers.avhubert import import_avhubert
from lip2speech.importers.base import Imported
from lip2speech.importers.encodec import import_encodec
from lip2speech.importers.hifigan import import_unit_vocoder
from lip2speech.importers.hubert import import_hubert
from lip2speech.importers.lip2speech_unit import import_unit_model

IMPORTERS: dict[str, Callable[..., Imported]] = {
    "avhubert": import_avhubert,
    "encodec": import_encodec,
    "hubert": import_hubert,
    "lip2speech-unit": import_unit_model,
    "lip2speech-unit-vocoder": import_unit_vocoder,
}
"""Kinds of `lip2speech model import`. An importer is f(source, out, *, overwrite, fp16, ...); its other
keywords are the command's NAME=VALUE, converted by their annotations."""

__all__ = ["IMPORTERS", "Imported"]
