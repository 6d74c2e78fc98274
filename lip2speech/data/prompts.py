"""A folder of prompts for one speaker to mouth, and the recordings of them.

    FOLDER/001.txt  the prompt    FOLDER/001.webm  its video, any format    FOLDER/001.wav  its audio

Independent of how prompts are chosen and of how videos are decoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

NON_VIDEO_SUFFIXES = frozenset({".txt", ".json", ".wav"})


def write_prompts(folder: Path, prompts: Sequence[str]) -> list[Path]:
    """Write FOLDER/001.txt and so on, one prompt each. ValueError: the folder is not empty."""
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise ValueError(f"{folder}: is not empty; give a new folder for the prompts and their videos.")
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{i:03d}.txt" for i in range(1, len(prompts) + 1)]
    for path, prompt in zip(paths, prompts, strict=True):
        path.write_text(prompt + "\n", encoding="utf-8")
    return paths


def read_prompts(folder: Path) -> dict[str, str]:
    """Name -> prompt, sorted by name. ValueError: there is no such folder, or no prompt in it."""
    check_folder(folder)
    paths = sorted(p for p in folder.glob("*.txt") if p.is_file() and not p.name.startswith("."))
    prompts = {path.stem: text for path in paths if (text := read_prompt(path))}
    if not prompts:
        raise ValueError(f"{folder}: no prompt 001.txt in it; write some with `lip2speech adapt prompts`.")
    return prompts


def read_prompt(path: Path) -> str:
    """The prompt of one file, on one line."""
    try:
        return " ".join(path.read_text(encoding="utf-8-sig").split())
    except UnicodeDecodeError:
        raise ValueError(f"{path}: is not UTF-8 text; write the prompt as plain text.") from None


def list_videos(folder: Path) -> list[Path]:
    """The videos that have a prompt, sorted by name. ValueError: there is no such folder."""
    check_folder(folder)
    files = (p for p in folder.iterdir() if p.suffix.lower() not in NON_VIDEO_SUFFIXES)
    return sorted(p for p in files if p.with_suffix(".txt").is_file() and p.is_file())


def check_folder(folder: Path) -> None:
    """Raise ValueError unless the folder exists."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; make one with `lip2speech adapt prompts`.")
