"""Who may import whom: the table of docs/architecture.md, checked against the sources with `ast`."""

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]

ROW = re.compile(r"^\| (\d+) \| ([\w, ]+) \|$", re.M)
LAYERS = {
    unit: int(number)
    for number, units in ROW.findall((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"))
    for unit in units.split(", ")
}
"""Unit -> layer, as docs/architecture.md has it; a unit imports only from lower layers."""

DOORS = {
    "av": ("lip2speech/video/reader.py", "lip2speech/audio/", "lip2speech/data/synthetic/"),
    "mediapipe": ("lip2speech/video/landmarks",),
    "cv2": ("lip2speech/video/", "lip2speech/data/synthetic/"),
    "gradio": ("lip2speech/web/",),
    "pickle": ("lip2speech/importers/",),
    "joblib": (),
    "espeakng_loader": ("lip2speech/data/synthetic/",),
    "huggingface_hub": ("lip2speech/pretrained/download.py",),
    "ray": ("preprocess/executors.py",),
    "submitit": ("preprocess/executors.py",),
}
"""Outside package -> the only places that may import it, as the beginning of a path."""

INSIDE_FUNCTIONS = {
    "mediapipe", "sklearn", "matplotlib", "skimage", "pocketsphinx", "espeakng_loader", "pesq", "pystoi",
    "jiwer", "tensorboard", "gradio", "transformers", "scipy", "cv2", "huggingface_hub", "ray", "submitit",
    "onnxruntime", "speechmos",
}  # fmt: skip
"""Heavy, or in an extra: imported by the function that needs it, never with the file."""

NO_TORCH = ("lip2speech/video/", "lip2speech/config.py", "lip2speech/constants.py", "lip2speech/__init__.py")
BANNED_NAMES = ("sys.path", "logging.basicConfig", "cv2.VideoCapture", "torchaudio.load")
"""The import path, global logging, and the second FFmpeg that must not open a user's file."""
LIGHT = {"lip2speech", "typer"}
"""What a file of the command may import at its top, beside Python itself."""


class Import(NamedTuple):
    """One imported module: `lip2speech.video.reader` seen in `path` at `line`."""

    path: str
    line: int
    module: str
    at_top: bool
    typing_only: bool

    def __str__(self) -> str:
        return f"{self.path}:{self.line} imports {self.module}"


def sources() -> list[Path]:
    folders = [ROOT / name for name in ("lip2speech", "preprocess", "demo", "benchmarks")]
    return sorted(path for folder in folders if folder.is_dir() for path in folder.rglob("*.py"))


@cache
def imports() -> list[Import]:
    return [found for path in sources() for found in imports_of(path)]


def imports_of(path: Path) -> Iterator[Import]:
    """Every import statement of a file, wherever it stands, as absolute module names."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    name = str(path.relative_to(ROOT))
    inner = {
        id(n)
        for f in ast.walk(tree)
        if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef)
        for n in ast.walk(f)
    }
    typing_only = {id(n) for block in ast.walk(tree) if is_type_checking(block) for n in ast.walk(block)}
    for node in ast.walk(tree):
        for module in modules_of(node, path):
            yield Import(name, node.lineno, module, id(node) not in inner, id(node) in typing_only)


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def modules_of(node: ast.AST, path: Path) -> list[str]:
    """`from a import b` gives a.b where that is a module of ours, else a."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    parts = list(path.relative_to(ROOT).parts[: -node.level]) if node.level else []
    base = ".".join([*parts, *([node.module] if node.module else [])])
    return [f"{base}.{a.name}" if file_of(f"{base}.{a.name}") else base for a in node.names]


def file_of(module: str) -> str | None:
    """The file of one of our modules, relative to the checkout; None for anything else."""
    place = ROOT.joinpath(*module.split("."))
    for file in (place.with_suffix(".py"), place / "__init__.py"):
        if file.is_file():
            return str(file.relative_to(ROOT))
    return None


def unit_of(path: str) -> str | None:
    """The word of the table that a file belongs to: lip2speech/video/crop.py -> video."""
    parts = Path(path).with_suffix("").parts
    return parts[0] if parts[0] != "lip2speech" else (parts[1] if parts[1] != "__init__" else None)


def layer_of(unit: str) -> int:
    assert unit in LAYERS, f"{unit} has no row in docs/architecture.md; decide which layer it belongs to."
    return LAYERS[unit]


def ours() -> list[tuple[Import, str]]:
    """Imports of our own modules with the file each one means."""
    return [(i, file) for i in imports() if (file := file_of(i.module)) is not None]


def top(module: str) -> str:
    return module.split(".")[0]


def report(broken: list[str]) -> None:
    assert not broken, "\n" + "\n".join(broken)


def test_there_is_something_to_check() -> None:
    assert len(ours()) > 20


def test_every_file_has_a_layer() -> None:
    for path in sources():
        if (unit := unit_of(str(path.relative_to(ROOT)))) is not None:
            layer_of(unit)


def test_imports_go_down_only() -> None:
    broken = []
    for found, target in ours():
        source_unit, target_unit = unit_of(found.path), unit_of(target)
        if source_unit is None or target_unit in (None, source_unit, "tests"):
            continue
        if layer_of(target_unit) >= layer_of(source_unit):
            broken.append(
                f"{found}: layer {layer_of(source_unit)} may not import layer {layer_of(target_unit)}"
            )
    report(broken)


def test_nobody_inside_imports_from_the_root() -> None:
    report([str(i) for i in imports() if i.module == "lip2speech" and i.path.startswith("lip2speech/")])


def test_the_installed_package_knows_nothing_of_the_checkout() -> None:
    outside = {"preprocess", "benchmarks", "tests", "configs"}
    report([str(i) for i in imports() if i.path.startswith("lip2speech/") and top(i.module) in outside])


def test_the_root_offers_the_pipeline_lazily() -> None:
    found = [i for i in imports() if i.path == "lip2speech/__init__.py" and top(i.module) == "lip2speech"]
    assert {i.module for i in found} == {"lip2speech.pipeline", "lip2speech.version"}
    at_import = {i.module for i in found if i.at_top and not i.typing_only}
    assert at_import == {"lip2speech.version"}


def test_there_are_no_loops() -> None:
    edges: dict[str, set[str]] = {}
    for found, target in ours():
        if not found.typing_only and target != found.path:
            edges.setdefault(found.path, set()).add(target)
    done: set[str] = set()

    def walk(file: str, trail: tuple[str, ...]) -> None:
        assert file not in trail, "import loop: " + " -> ".join((*trail[trail.index(file) :], file))
        if file not in done:
            for target in sorted(edges.get(file, ())):
                walk(target, (*trail, file))
            done.add(file)

    for file in sorted(edges):
        walk(file, ())


@pytest.mark.parametrize("package", sorted(DOORS))
def test_an_outside_package_has_one_door(package: str) -> None:
    found = [i for i in imports() if top(i.module) == package and not i.path.startswith("benchmarks/")]
    report([str(i) for i in found if not i.path.startswith(DOORS[package])])


def test_heavy_packages_are_imported_where_they_are_used() -> None:
    heavy = [i for i in imports() if i.at_top and not i.typing_only and top(i.module) in INSIDE_FUNCTIONS]
    report([str(i) for i in heavy if not i.path.startswith("lip2speech/web/")])


def test_pixels_know_no_torch() -> None:
    banned = {"torch", "torchaudio", "torchvision", "safetensors"}
    report([str(i) for i in imports() if i.path.startswith(NO_TORCH) and top(i.module) in banned])


def test_the_command_imports_nothing_heavy_at_its_top() -> None:
    files = ("lip2speech/cli", "lip2speech/__main__.py")
    found = [i for i in imports() if i.path.startswith(files) and i.at_top and not i.typing_only]
    broken = [i for i in found if top(i.module) not in LIGHT | sys.stdlib_module_names]
    allowed = ("lip2speech.cli", "lip2speech.constants", "lip2speech.utils.files", "lip2speech.version")
    broken += [i for i in found if top(i.module) == "lip2speech" and not i.module.startswith(allowed)]
    report([str(i) for i in broken])


def test_nobody_uses_a_banned_name() -> None:
    broken = []
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in BANNED_NAMES:
                broken.append(f"{path.relative_to(ROOT)}:{node.lineno} uses {ast.unparse(node)}")
    report(broken)
