"""Errors of commands: one line on stderr and an exit code for scripts.

Anything a caller can cause (a bad file, a bad option, a missing extra) is reported in one line, without a
traceback; anything else is a bug, keeps its traceback and exits with code 1.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from lip2speech.utils.files import FULL

OK = 0
INTERNAL = 1
USAGE = 2
SOME_FAILED = 3
NO_FACE = 4
BAD_MODEL = 5
INTERRUPTED = 130
"""The shell's code for a program ended by Ctrl-C."""

EXTRAS = {
    "espeakng_loader": "synth",
    "skimage": "synth",
    "sklearn": "train",
    "tensorboard": "train",
    "pocketsphinx": "eval",
    "pystoi": "eval",
    "pesq": "eval",
    "jiwer": "eval",
    "speechmos": "eval",
    "onnxruntime": "eval",
    "matplotlib": "eval",
    "transformers": "asr",
    "gradio": "demo",
    "fastapi": "demo",
    "starlette": "demo",
    "uvicorn": "demo",
    "huggingface_hub": "hub",
    "ray": "ray",
    "submitit": "slurm",
}
"""Third-party module -> our extra that installs it."""

SYSTEM_PACKAGES = {"libGL.so": "libgl1", "libgthread-2.0": "libglib2.0-0", "libglib-2.0": "libglib2.0-0"}
"""Shared library required by mediapipe's OpenCV -> its Debian and Ubuntu package."""


class UsageError(ValueError):
    """The command line is invalid; nothing was started."""


def one_line(text: object) -> str:
    """Printable text on one line; control characters and undecodable bytes of file names are escaped."""
    clean = " ".join(str(text).split())
    clean = clean.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in clean)


def escape_unprintable() -> None:
    """Let stdout escape what its encoding lacks, as stderr does, so that no name ends a command."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def eprint(text: object) -> None:
    """Print one line on stderr."""
    typer.echo(one_line(text), err=True)


def user_message(error: BaseException) -> str | None:
    """The line for an error that a caller can cause; None for a bug."""
    if isinstance(error, ImportError):
        return _explain_import(error)
    if (full := _full_disk(error)) is not None:
        error = full
    if isinstance(error, OSError) and error.strerror:
        name = f"{os.fsdecode(error.filename)}: " if error.filename else ""
        return one_line(f"{name}{error.strerror}.")
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "out of memory; try --device cpu, or a shorter or smaller video."
    if isinstance(error, ValueError | OSError):
        return one_line(error)
    return None


def _full_disk(error: BaseException) -> OSError | None:
    """The system's error behind that of a library which could not write; None if there is none."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in FULL:
            return cause
        cause = cause.__cause__ or cause.__context__
    return None


def _explain_import(error: ImportError) -> str | None:
    module = (error.name or "").split(".")[0]
    if module in EXTRAS:
        extra = EXTRAS[module]
        return f"{module} is not installed; install the extra: pip install 'lip2speech[{extra}]'."
    for library, package in SYSTEM_PACKAGES.items():
        if library in str(error):
            return f"the system library {library} is missing; install it: apt-get install {package}."
    return None


def exit_code(error: BaseException) -> int:
    """The exit code for an error that ends the command."""
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & {"CheckpointError", "HubError"}:  # by name: their modules import torch, which is slow
        return BAD_MODEL
    if "NoFaceError" in names:
        return NO_FACE
    if _full_disk(error) is not None:
        return SOME_FAILED
    if user_message(error) is None:
        return INTERNAL
    broken_input = "MediaError" in names or (
        isinstance(error, OSError) and not isinstance(error, FileExistsError)
    )
    return SOME_FAILED if broken_input or isinstance(error, MemoryError) else USAGE


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Report errors that a caller can cause in one line, with their exit code; Ctrl-C exits with 130."""
    escape_unprintable()
    try:
        yield
    except KeyboardInterrupt:
        eprint("stopped.")
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:  # stdout was closed, as by `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(OK) from None
    except Exception as error:
        line = user_message(error)
        if line is None:
            raise
        eprint(f"lip2speech: {line}")
        raise typer.Exit(exit_code(error)) from None
