"""The k-means file of a HuBERT unit tokenizer (`km.bin`), read as data: its centroids and nothing else.

joblib writes a scikit-learn estimator as a pickle with the raw values of each array in the middle, right
after the object that describes them. `safe_pickle` reads the pickle and executes nothing; arrays are skipped,
and the centroids are read once their declared size is known to fit the file.

    ... NumpyArrayWrapper {shape, dtype, order} BUILD | padding length, padding, values | next opcode ...
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lip2speech.importers.foreign_file import BoundedReader, ForeignFileError, open_regular, printable
from lip2speech.importers.safe_pickle import NAMES, GlobalRef, SafeUnpickler, StubObject

PICKLE_MAGIC = b"\x80"  # joblib writes protocol 2 or later
MAX_CENTROIDS = 1 << 16
MAX_DIMS = 8
MAX_SIZE = 1 << 48  # of one dimension: far beyond any file, far below overflow
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
RANDOM_STATES = {
    "numpy.random.__RandomState_ctor",
    "numpy.random._pickle.__randomstate_ctor",
    "numpy.random._pickle.__bit_generator_ctor",
    "numpy.random._mt19937.MT19937",
    "numpy.random.bit_generator.SeedSequence",
    "numpy.random.bit_generator.__pyx_unpickle_SeedSequence",
}
"""An estimator may contain the state of its random number generator."""
DTYPES = {"f2": torch.float16, "f4": torch.float32, "f8": torch.float64}
ITEM_BYTES = {f"{kind}{size}": size for kind in "fiu" for size in (1, 2, 4, 8)} | {"b1": 1}


@dataclass(frozen=True)
class ArrayRef:
    """The values of an array in the file, known to lie inside it."""

    start: int
    shape: tuple[int, ...]
    dtype: str
    order: str

    @property
    def n_bytes(self) -> int:
        """Size in the file."""
        return math.prod(self.shape) * ITEM_BYTES[self.dtype]


def read_kmeans(path: str | Path, dim: int | None = None) -> Tensor:
    """Centroids (K, C), float32, of scikit-learn's k-means as joblib saves it.

    Args:
        path: the joblib file.
        dim: C, where the clustered features are known.

    Raises:
        ForeignFileError: the file is no such k-means.
    """
    path = Path(path)
    with open_regular(path) as file:
        try:
            reader = BoundedReader(file)
            ref = _find_centroids(_load_joblib(reader), dim)
            reader.seek(ref.start)
            values = torch.frombuffer(bytearray(reader.read(ref.n_bytes)), dtype=DTYPES[ref.dtype])
        except (ForeignFileError, EOFError) as error:
            raise ForeignFileError(f"{path}: {error}") from None
    centroids = values.view(ref.shape) if ref.order == "C" else values.view(ref.shape[::-1]).T
    if not torch.isfinite(centroids).all():
        raise ForeignFileError(f"{path}: {CENTROIDS} has NaN or infinite values; download it again.")
    return centroids.float().contiguous()


class JoblibUnpickler(SafeUnpickler):
    """Unpickles what `joblib.dump` wrote without compression; arrays become `ArrayRef`."""

    names = NAMES | ESTIMATORS | WRAPPERS | RANDOM_STATES

    def built(self, stub: StubObject) -> Any:
        """An array's description becomes a reference, and the file moves past its values."""
        if stub.name not in WRAPPERS:
            return stub
        ref = _array_ref(stub.state, self.file)
        self.file.seek(ref.start)
        self.file.skip(ref.n_bytes)
        return ref


def _load_joblib(file: BoundedReader) -> Any:
    if file.size == 0 or file.read(1) != PICKLE_MAGIC:
        raise ForeignFileError("not a plain joblib pickle; expected the output of joblib.dump, uncompressed.")
    file.seek(0)
    return JoblibUnpickler(file).load()


def _array_ref(state: Any, file: BoundedReader) -> ArrayRef:
    """The array of a NumpyArrayWrapper with this state; the file is positioned before its padding."""
    if not isinstance(state, Mapping) or state.get("subclass") != GlobalRef("numpy.ndarray"):
        raise ForeignFileError("an array is described in an unknown way.")
    shape, order = state.get("shape"), state.get("order")
    valid = isinstance(shape, tuple) and all(type(n) is int and 0 <= n < MAX_SIZE for n in shape)
    if not isinstance(shape, tuple) or not valid or len(shape) > MAX_DIMS or order not in ("C", "F"):
        raise ForeignFileError("an array of an impossible shape or order.")
    dtype = _dtype(state.get("dtype"))
    start = file.tell()
    if state.get("numpy_array_alignment_bytes") is not None:
        (padding,) = file.read(1)
        start += 1 + padding
    ref = ArrayRef(start, shape, dtype, order)
    if start + ref.n_bytes > file.size:
        raise ForeignFileError(f"an array of shape {shape} claims {ref.n_bytes} bytes; the file is smaller.")
    return ref


def _dtype(stub: Any) -> str:
    """`f4` and the like, from a pickled numpy dtype; little-endian numbers only."""
    code = stub.args[0] if isinstance(stub, StubObject) and stub.name == "numpy.dtype" and stub.args else None
    if not isinstance(code, str) or code not in ITEM_BYTES:
        raise ForeignFileError(f"an array of {printable(code)}, which are not plain numbers.")
    if not isinstance(stub.state, tuple) or len(stub.state) < 2 or stub.state[1] not in ("<", "|"):
        raise ForeignFileError("an array of big-endian numbers; save it on a little-endian machine.")
    return code


def _find_centroids(contents: Any, dim: int | None) -> ArrayRef:
    """The estimator's centroids, once their shape is right."""
    if not isinstance(contents, StubObject) or contents.name not in ESTIMATORS:
        name = contents.name if isinstance(contents, StubObject) else contents
        raise ForeignFileError(
            f"contains {printable(name)}; expected scikit-learn's KMeans or MiniBatchKMeans."
        )
    state = contents.state if isinstance(contents.state, Mapping) else {}
    ref = state.get(CENTROIDS)
    if not isinstance(ref, ArrayRef):
        raise ForeignFileError(f"has no array {CENTROIDS}; was the k-means fitted before it was saved?")
    if ref.dtype not in DTYPES:
        raise ForeignFileError(f"{CENTROIDS} has dtype {ref.dtype}, expected floating point.")
    expected = f"(K, {'C' if dim is None else dim}) with K <= {MAX_CENTROIDS}"
    wrong_dim = dim is not None and ref.shape[1:] != (dim,)
    if len(ref.shape) != 2 or 0 in ref.shape or ref.shape[0] > MAX_CENTROIDS or wrong_dim:
        raise ForeignFileError(f"{CENTROIDS} has shape {ref.shape}, expected {expected}.")
    return ref
