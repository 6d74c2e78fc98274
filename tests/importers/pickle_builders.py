"""Build PyTorch and joblib files opcode by opcode, valid and malicious ones, without torch or joblib."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
TERA = 1 << 40
WRAPPER = "joblib.numpy_pickle.NumpyArrayWrapper"
ESTIMATOR = "sklearn.cluster._kmeans.MiniBatchKMeans"


class Raw(bytes):
    """Opcodes that leave one value on the stack."""


def body(value: Any) -> bytes:
    """The opcodes of a value; containers may hold `Raw`."""
    if isinstance(value, Raw):
        return bytes(value)
    if isinstance(value, dict):
        return b"}(" + b"".join(body(k) + body(v) for k, v in value.items()) + b"u"
    if isinstance(value, list):
        return b"](" + b"".join(map(body, value)) + b"e"
    if isinstance(value, tuple):
        return b"(" + b"".join(map(body, value)) + b"t"
    return pickle.dumps(value, 2)[2:-1]


def document(value: Any) -> bytes:
    """A whole pickle of protocol 2."""
    return b"\x80\x02" + body(value) + b"."


def name(path: str) -> Raw:
    """GLOBAL: `a.b.c` as the file would name it."""
    module, _, last = path.rpartition(".")
    return Raw(f"c{module}\n{last}\n".encode())


def call(path: str, *args: Any, state: Any = None) -> Raw:
    """REDUCE, and BUILD when a state is given."""
    built = b"" if state is None else body(state) + b"b"
    return Raw(name(path) + body(args) + b"R" + built)


def new(path: str, state: Any) -> Raw:
    """NEWOBJ and BUILD, as pickle writes an ordinary object."""
    return Raw(name(path) + b")\x81" + body(state) + b"b")


def storage(key: str = "0", kind: str = "FloatStorage", numel: int = 4) -> Raw:
    """A persistent id."""
    return Raw(body(("storage", name(f"torch.{kind}"), key, "cpu", numel)) + b"Q")


def tensor(
    shape: tuple[Any, ...] = (2, 2),
    stride: tuple[Any, ...] = (2, 1),
    offset: int = 0,
    stored: Raw | None = None,
) -> Raw:
    """A view of a storage."""
    where = storage() if stored is None else stored
    hooks = call("collections.OrderedDict")
    return call("torch._utils._rebuild_tensor_v2", where, offset, shape, stride, False, hooks)


FOUR = np.arange(4, dtype="<f4").tobytes()


def write_zip(
    path: Path,
    contents: Any,
    storages: dict[str, bytes] | None = None,
    *,
    deflate: bool = False,
    **extra: bytes,
) -> Path:
    """A zip file as torch.save writes it; `extra` are entries beside data.pkl."""
    kind = zipfile.ZIP_DEFLATED if deflate else zipfile.ZIP_STORED
    pickled = (
        contents if isinstance(contents, bytes) and not isinstance(contents, Raw) else document(contents)
    )
    with zipfile.ZipFile(path, "w", kind) as archive:
        archive.writestr("archive/data.pkl", pickled)
        for entry, data in extra.items():
            archive.writestr(f"archive/{entry.replace('__', '.')}", data)
        for key, data in (storages if storages is not None else {"0": FOUR}).items():
            archive.writestr(f"archive/data/{key}", data)
    return path


def write_legacy(
    path: Path, contents: Any, *, keys: Any = ("0",), lengths: tuple[int, ...] = (4,), data: bytes = FOUR
) -> Path:
    """A file in the legacy format."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}
    parts = [document(value) for value in (MAGIC, 1001, system, contents, list(keys))]
    step = len(data) // max(1, len(lengths))
    for index, length in enumerate(lengths):
        parts += [length.to_bytes(8, "little"), data[index * step : (index + 1) * step]]
    path.write_bytes(b"".join(parts))
    return path


def dtype(code: Any = "f4", order: Any = "<") -> Raw:
    """A pickled numpy dtype."""
    return call("numpy.dtype", code, False, True, state=(3, order, None, None, None, -1, -1, 0))


def array(shape: Any = (2, 2), data: bytes = FOUR, *, padding: bytes | None = b"\0", **changes: Any) -> Raw:
    """An array as joblib writes it: its description, a padding and its length, the numbers."""
    state = {"subclass": name("numpy.ndarray"), "shape": shape, "order": "C", "dtype": dtype()}
    if padding is not None:
        state["numpy_array_alignment_bytes"] = 16
    return Raw(new(WRAPPER, state | changes) + (padding or b"") + data)


def write_kmeans(path: Path, contents: Any = None, **state: Any) -> Path:
    """A joblib file of these contents; by default an estimator with two centroids and this state."""
    if contents is None:
        contents = new(ESTIMATOR, {"n_clusters": 2, "cluster_centers_": array(), **state})
    path.write_bytes(document(contents))
    return path


CALLS: dict[str, Any] = {
    "os.system": call("os.system", "touch MARK"),
    "posix.system": call("posix.system", "touch MARK"),
    "builtins.eval": call("builtins.eval", "open('MARK', 'w')"),
    "builtins.exec": call("__builtin__.exec", "open('MARK', 'w')"),
    "builtins.getattr": call("builtins.getattr", name("argparse.Namespace"), "__init__"),
    "builtins.__import__": call("builtins.__import__", "marked"),
    "builtins.open": call("builtins.open", "MARK", "w"),
    "subprocess.Popen": call("subprocess.Popen", ["touch", "MARK"]),
    "importlib.import_module": call("importlib.import_module", "marked"),
    "runpy.run_path": call("runpy.run_path", "marked.py"),
    "torch.load": call("torch.load", "other.pt"),
    "torch.hub.load": call("torch.hub.load", "a", "b"),
    "torch.storage._load_from_bytes": call("torch.storage._load_from_bytes", b"x"),
    "numpy.load": call("numpy.load", "x.npy"),
    "marked.Thing": new("marked.Thing", {}),
    "fairseq.utils.import_user_module": call("fairseq.utils.import_user_module", "marked"),
    "fairseq.os.system": call("fairseq.os.system", "touch MARK"),
    "omegaconf.os.system": call("omegaconf.os.system", "touch MARK"),
    "argparse.FileType": call("argparse.FileType", "w"),
    "sklearn.cluster._kmeans.KMeans": new("sklearn.cluster._kmeans.KMeans", {}),
    "builtins.bytearray": call("builtins.bytearray", TERA),
}
"""Name that the file calls -> the pickled call."""
