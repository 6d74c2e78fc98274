"""Malicious and damaged k-means files: each is refused, nothing is executed, little memory is taken."""

import os
import pickle
import zlib
from pathlib import Path
from typing import Any

import pytest
import torch

from lip2speech.importers.foreign_file import ForeignFileError
from lip2speech.importers.kmeans import read_kmeans
from tests.importers.pickle_builders import (
    CALLS,
    ESTIMATOR,
    TERA,
    WRAPPER,
    Raw,
    array,
    body,
    call,
    dtype,
    name,
    new,
    storage,
    tensor,
    write_kmeans,
    write_zip,
)

pytestmark = pytest.mark.usefixtures("watched")

NAMES = {path: value for path, value in CALLS.items() if not path.startswith("sklearn")} | {
    "joblib.load": call("joblib.load", "other.bin"),
    "joblib.numpy_pickle.NDArrayWrapper": new("joblib.numpy_pickle.NDArrayWrapper", {"filename": "x.npy"}),
    "joblib.numpy_pickle.ZNDArrayWrapper": new("joblib.numpy_pickle.ZNDArrayWrapper", {}),
    "joblib.externals.cloudpickle.cloudpickle._make_function": call(
        "joblib.externals.cloudpickle.cloudpickle._make_function", "x"
    ),
    "numpy.memmap": call("numpy.memmap", "MARK", "f4", "w+"),
    "numpy.core.records.fromfile": call("numpy.core.records.fromfile", "MARK"),
    "sklearn.cluster._dbscan.DBSCAN": new("sklearn.cluster._dbscan.DBSCAN", {}),
    "sklearn.pipeline.Pipeline": new("sklearn.pipeline.Pipeline", {}),
    "sklearn.cluster._kmeans.os.system": call("sklearn.cluster._kmeans.os.system", "touch MARK"),
}
"""Name that the file calls -> the pickled call."""

ARRAYS: dict[str, tuple[Any, str]] = {
    "4 TB of numbers": (array((TERA, 1)), "claims 4398046511104 bytes; the file is smaller"),
    "2^20 x 2^20 numbers": (array((1 << 20, 1 << 20)), "claims 4398046511104 bytes"),
    "a little more than is there": (array((2, 3), b"\1" * 4), "claims 24 bytes; the file is smaller"),
    "a negative shape": (array((-2, 2)), "impossible shape"),
    "a shape of words": (array(("a", "b")), "impossible shape"),
    "a shape of truths": (array((True, 2)), "impossible shape"),
    "a list for a shape": (array([2, 2]), "impossible shape"),
    "too many dimensions": (array((1,) * 20), "impossible shape"),
    "an empty array of immense size": (array((0, 1 << 62)), "impossible shape"),
    "an unknown order": (array(order="K"), "impossible shape or order"),
    "no type": (array(dtype=None), "of None, which are not plain numbers"),
    "a type that is a word": (array(dtype="f4"), "not plain numbers"),
    "a type that is another record": (array(dtype=call("numpy.ndarray", "f4")), "not plain numbers"),
    "a type without its byte order": (array(dtype=call("numpy.dtype", "f4")), "big-endian"),
    "objects": (array(dtype=dtype("O8", "|")), "of O8, which are not plain numbers"),
    "structures": (array(dtype=dtype("V9999999999", "|")), "of V9999999999, which"),
    "big-endian numbers": (array(dtype=dtype("f4", ">")), "big-endian"),
    "another class of array": (array(subclass=name("numpy.dtype")), "described in an unknown way"),
    "no description": (new(WRAPPER, None), "described in an unknown way"),
    "a list for a description": (new(WRAPPER, [1]), "described in an unknown way"),
}

CONTENTS: dict[str, tuple[Any, str]] = {
    "an array alone": (array(), "contains ArrayRef; expected scikit-learn's KMeans"),
    "a dict": ({"cluster_centers_": array()}, "contains dict; expected"),
    "a Namespace": (new("argparse.Namespace", {"cluster_centers_": array()}), "contains argparse.Namespace"),
    "an estimator without a state": (Raw(name(ESTIMATOR) + b")\x81"), "no array cluster_centers_"),
    "an estimator with a list for a state": (new(ESTIMATOR, [1]), "no array cluster_centers_"),
    "an array that was never described": (
        new(ESTIMATOR, {"cluster_centers_": Raw(name(WRAPPER) + b")\x81")}),
        "no array cluster_centers_",
    ),
    "PyTorch weights": (tensor(), "names torch._utils._rebuild_tensor_v2, which"),
    "a storage of PyTorch": (storage(), "names torch.FloatStorage, which"),
    "a class that is called twice": (Raw(body(call(ESTIMATOR)) + body(("touch MARK",)) + b"R"), "is called"),
}


def refused(path: Path, message: str) -> None:
    """The file is refused in one line that names it and never recommends an unsafe load."""
    with pytest.raises(ForeignFileError, match=message) as error:
        read_kmeans(path, 2)
    text = str(error.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    assert len(text) < 500


def test_the_builders_write_a_valid_file(tmp_path: Path) -> None:
    path = write_kmeans(tmp_path / "km.bin", labels_=array((4,)), inertia_=1.5)
    assert read_kmeans(path, 2).tolist() == [[0, 1], [2, 3]]


@pytest.mark.parametrize("padding", [None, b"\0", b"\5.....", b"\xff" + b"." * 255])
def test_every_padding_is_skipped(tmp_path: Path, padding: bytes | None) -> None:
    path = write_kmeans(tmp_path / "km.bin", cluster_centers_=array(padding=padding), after=array())
    assert read_kmeans(path, 2).tolist() == [[0, 1], [2, 3]]


def test_values_that_look_like_opcodes_are_skipped(tmp_path: Path) -> None:
    shell = b"cos\nsystem\n(S'touch MARK'\ntR."
    data = shell + bytes(-len(shell) % 8)
    path = write_kmeans(tmp_path / "km.bin", other=array((len(data) // 4,), data))
    assert read_kmeans(path, 2).tolist() == [[0, 1], [2, 3]]


@pytest.mark.parametrize("path", NAMES)
@pytest.mark.parametrize("place", ["state", "centroids", "top"])
def test_a_global_outside_the_allowlist_is_refused(tmp_path: Path, path: str, place: str) -> None:
    file, value = tmp_path / "km.bin", NAMES[path]
    if place == "top":
        write_kmeans(file, value)
    else:
        write_kmeans(file, **{"cluster_centers_" if place == "centroids" else "random_state": value})
    refused(file, f"names {path}, which is not on the allowlist")


@pytest.mark.parametrize("kind", ARRAYS)
@pytest.mark.parametrize("field", ["cluster_centers_", "labels_"])
def test_impossible_arrays_are_refused(tmp_path: Path, kind: str, field: str) -> None:
    value, message = ARRAYS[kind]
    refused(write_kmeans(tmp_path / "km.bin", **{field: value}), message)


@pytest.mark.parametrize("kind", CONTENTS)
def test_other_contents_are_refused(tmp_path: Path, kind: str) -> None:
    value, message = CONTENTS[kind]
    refused(write_kmeans(tmp_path / "km.bin", value), message)


def test_a_real_exploit_executes_nothing(tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> Any:
            return os.system, ("touch MARK",)

    for protocol in range(2, 6):
        (tmp_path / "km.bin").write_bytes(pickle.dumps({"a": Attack()}, protocol))
        refused(tmp_path / "km.bin", "names posix.system, which is not on the allowlist")
    (tmp_path / "km.bin").write_bytes(pickle.dumps(Attack(), 0))
    refused(tmp_path / "km.bin", "not a plain joblib pickle")


def test_other_files_are_refused(tmp_path: Path) -> None:
    bomb = zlib.compress(bytes(1 << 24))
    for kind, data in {"nothing": b"", "text": b"hello\n", "bomb": bomb, "old": b"ZF0x10" + bomb}.items():
        (tmp_path / kind).write_bytes(data)
        refused(tmp_path / kind, "not a plain joblib pickle")
    refused(write_zip(tmp_path / "x.pt", {"model": {"w": tensor()}}), "not a plain joblib pickle")
    refused(tmp_path / "absent.bin", "cannot be read")
    refused(tmp_path, "not a file")
    os.mkfifo(tmp_path / "fifo")
    refused(tmp_path / "fifo", "not a file")


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    whole = write_kmeans(tmp_path / "km.bin", labels_=array((4,))).read_bytes()
    for end in range(len(whole)):
        (tmp_path / "cut.bin").write_bytes(whole[:end])
        refused(tmp_path / "cut.bin", "cut.bin: ")


def test_any_flipped_byte_is_read_or_refused(tmp_path: Path) -> None:
    """Hundreds of damaged files; none may raise another error or give NaN."""
    whole = write_kmeans(tmp_path / "km.bin", labels_=array((4,))).read_bytes()
    refusals = 0
    for at in range(len(whole)):
        for flip in (0x01, 0x40):
            bad = bytearray(whole)
            bad[at] ^= flip
            (tmp_path / "bad.bin").write_bytes(bad)
            try:
                assert torch.isfinite(read_kmeans(tmp_path / "bad.bin")).all()
            except ForeignFileError:
                refusals += 1
    assert refusals > len(whole) / 2


def test_a_long_pickle_is_refused_and_arrays_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lip2speech.importers.safe_pickle.MAX_PICKLE_BYTES", 4096)
    refused(write_kmeans(tmp_path / "km.bin", filler=["word"] * 1000), "longer than 4096 bytes")
    path = write_kmeans(tmp_path / "km.bin", labels_=array((1 << 12,), bytes(1 << 14)))
    assert read_kmeans(path, 2).tolist() == [[0, 1], [2, 3]]


def test_deep_nesting_does_not_exhaust_the_stack(tmp_path: Path) -> None:
    deep = Raw(b"]" * 20_000 + b"a" * 19_999)
    assert read_kmeans(write_kmeans(tmp_path / "km.bin", init=deep)).shape == (2, 2)


def test_an_opcode_outside_the_allowlist_is_refused(tmp_path: Path) -> None:
    (tmp_path / "km.bin").write_bytes(b"\x80\x02(" + body("touch MARK") + b"ios\nsystem\n.")
    refused(tmp_path / "km.bin", "opcode INST")
    (tmp_path / "km.bin").write_bytes(b"\x80\x02" + body("os") + body("system") + b"\x93.")
    refused(tmp_path / "km.bin", "names os.system")
