"""The k-means file of a speech-unit recipe (`km.bin`), opened as data: its centroids and nothing else.

joblib writes a scikit-learn estimator as a pickle in whose middle the numbers of each array lie raw, right
after the record that describes them. The pickle is read by `inert.py`, which runs nothing; arrays are stepped
over, and the one that is asked for is read once its claims were found to fit the file. Knows no model.

    ... NumpyArrayWrapper {shape, dtype, order} BUILD | padding length, padding, numbers | next opcode ...
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lip2speech.importers.inert import (
    MAX_DIMS,
    MAX_SIZE,
    WORDS,
    ForeignFileError,
    GlobalRef,
    StorageRef,
    StubObject,
    read_inert,
    shown,
)
from lip2speech.importers.torchfile import BoundedReader, open_regular

PICKLE_MAGIC = b"\x80"  # joblib writes protocol 2 or later
MAX_CENTROIDS = 1 << 16
CENTROIDS = "cluster_centers_"
ESTIMATORS = {
    f"sklearn.cluster.{module}.{name}"
    for module in ("_kmeans", "k_means_")  # scikit-learn 0.22 renamed the module
    for name in ("KMeans", "MiniBatchKMeans")
}
WRAPPERS = {
    "joblib.numpy_pickle.NumpyArrayWrapper",
    "sklearn.externals.joblib.numpy_pickle.NumpyArrayWrapper",
}
GENERATORS = {
    "numpy.random.__RandomState_ctor",
    "numpy.random._pickle.__randomstate_ctor",
    "numpy.random._pickle.__bit_generator_ctor",
    "numpy.random._mt19937.MT19937",
    "numpy.random.bit_generator.SeedSequence",
    "numpy.random.bit_generator.__pyx_unpickle_SeedSequence",
}
"""An estimator may carry the state of its random numbers."""
DTYPES = {"f2": torch.float16, "f4": torch.float32, "f8": torch.float64}
ITEM_BYTES = {f"{kind}{size}": size for kind in "fiu" for size in (1, 2, 4, 8)} | {"b1": 1}


@dataclass(frozen=True)
class ArrayRef:
    """Numbers somewhere in the file, already checked to lie inside it."""

    start: int
    shape: tuple[int, ...]
    dtype: str
    order: str

    @property
    def nbytes(self) -> int:
        """Bytes it takes."""
        return math.prod(self.shape) * ITEM_BYTES[self.dtype]


def read_kmeans(path: str | Path, dim: int | None = None) -> Tensor:
    """Centroids (K, C) float32 of a joblib file of scikit-learn's k-means; ForeignFileError for another.

    Args:
        dim: C, where the features that were clustered are known.
    """
    path = Path(path)
    with open_regular(path) as file:
        try:
            reader = _Joblib(BoundedReader(file))
            centroids = reader.array(_centroids_of(reader.contents, dim))
        except ForeignFileError as error:
            raise ForeignFileError(f"{path}: {error}") from None
    if not torch.isfinite(centroids).all():
        raise ForeignFileError(f"{path}: {CENTROIDS} holds NaN or infinite values; fetch the file again.")
    return centroids.float().contiguous()


class _Joblib:
    """A file that `joblib.dump` wrote without compression.

    Attributes:
        contents: the saved object; arrays are `ArrayRef`, classes are `Inert`.
    """

    def __init__(self, file: BoundedReader) -> None:
        self.file = file
        self.skipped = 0  # bytes of arrays so far
        if file.size == 0 or file.read(1) != PICKLE_MAGIC:
            raise ForeignFileError(
                "not a plain joblib pickle; expected what joblib.dump writes without compression."
            )
        file.seek(0)
        words = WORDS | ESTIMATORS | WRAPPERS | GENERATORS
        self.contents = read_inert(self, _no_storage, words=words, finish=self._finish)

    def read(self, count: int) -> bytes:
        """Bytes of the pickle."""
        return self.file.read(count)

    def readline(self) -> bytes:
        """A line of the pickle."""
        return self.file.readline()

    def tell(self) -> int:
        """How much of the pickle was read; arrays do not count towards its length."""
        return self.file.tell() - self.skipped

    def array(self, ref: ArrayRef) -> Tensor:
        """The numbers of an array, in its shape."""
        self.file.seek(ref.start)
        flat = torch.frombuffer(bytearray(self.file.read(ref.nbytes)), dtype=DTYPES[ref.dtype])
        return flat.view(ref.shape) if ref.order == "C" else flat.view(ref.shape[::-1]).T

    def _finish(self, record: StubObject) -> Any:
        """An array's description becomes a reference, and the file moves on behind its numbers."""
        if record.name not in WRAPPERS:
            return record
        ref = _described(record.state, self.file)
        self.skipped += ref.start - self.file.tell() + ref.nbytes
        self.file.seek(ref.start)
        self.file.skip(ref.nbytes)
        return ref


def _described(state: Any, file: BoundedReader) -> ArrayRef:
    """The array of a NumpyArrayWrapper whose state was just read; the file stands before its numbers."""
    if not isinstance(state, Mapping) or state.get("subclass") != GlobalRef("numpy.ndarray"):
        raise ForeignFileError("an array is described in an unknown way.")
    shape, order = state.get("shape"), state.get("order")
    possible = isinstance(shape, tuple) and all(type(n) is int and 0 <= n < MAX_SIZE for n in shape)
    if not isinstance(shape, tuple) or not possible or len(shape) > MAX_DIMS or order not in ("C", "F"):
        raise ForeignFileError("an array of an impossible shape or order.")
    dtype = _dtype_of(state.get("dtype"))
    start = file.tell()
    if state.get("numpy_array_alignment_bytes") is not None:
        (padding,) = file.read(1)
        start += 1 + padding
    ref = ArrayRef(start, shape, dtype, order)
    if start + ref.nbytes > file.size:
        raise ForeignFileError(f"an array of shape {shape} claims {ref.nbytes} bytes; the file is smaller.")
    return ref


def _dtype_of(record: Any) -> str:
    """`f4` and the like, from numpy's record of a type; only plain little-endian numbers are read."""
    known = isinstance(record, StubObject) and record.name == "numpy.dtype" and record.args
    code = record.args[0] if known else None
    if not isinstance(code, str) or code not in ITEM_BYTES:
        raise ForeignFileError(f"an array of {shown(code)}, which are not plain numbers.")
    state = record.state
    if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", "|"):
        raise ForeignFileError("an array of big-endian numbers; save it on a little-endian machine.")
    return code


def _centroids_of(contents: Any, dim: int | None) -> ArrayRef:
    """Where the estimator's centroids lie, once their shape is right."""
    if not isinstance(contents, StubObject) or contents.name not in ESTIMATORS:
        name = contents.name if isinstance(contents, StubObject) else contents
        raise ForeignFileError(f"holds {shown(name)}; expected scikit-learn's KMeans or MiniBatchKMeans.")
    state = contents.state if isinstance(contents.state, Mapping) else {}
    ref = state.get(CENTROIDS)
    if not isinstance(ref, ArrayRef):
        raise ForeignFileError(f"has no array {CENTROIDS}; was the k-means fitted before it was saved?")
    if ref.dtype not in DTYPES:
        raise ForeignFileError(f"{CENTROIDS} holds {ref.dtype}, expected floating-point numbers.")
    expected = f"(K, {'C' if dim is None else dim}) with K <= {MAX_CENTROIDS}"
    wrong_dim = dim is not None and ref.shape[1:] != (dim,)
    if len(ref.shape) != 2 or 0 in ref.shape or ref.shape[0] > MAX_CENTROIDS or wrong_dim:
        raise ForeignFileError(f"{CENTROIDS} has shape {ref.shape}, expected {expected}.")
    return ref


def _no_storage(pid: Any) -> StorageRef:
    raise ForeignFileError("weights of PyTorch in a k-means file.")
