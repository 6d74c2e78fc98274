"""Unpickling without executing anything: every global in the file becomes a stub.

`pickle` imports the names in a file and calls them. `SafeUnpickler` is Python's own unpickler with that taken
out: a name must be on an allowlist and becomes a `GlobalRef` (its name, never the object), a call becomes a
`StubObject` (name, arguments, state), and only the opcodes of plain data, calls and states are accepted.

Why not `torch.load(weights_only=True, mmap=True)` with stub classes: it loads 6 of our malicious files and
raises no error (a changed weight, a storage that declares 4 TB, a view of another storage, ...), one crashes
the process (nested tuples as a dictionary key), and it reads neither protocol 4 nor joblib.
"""

from __future__ import annotations

import pickle
import pickletools
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from lip2speech.importers.foreign_file import BoundedReader, ForeignFileError, printable

MAX_PICKLE_BYTES = 16 << 20  # besides the weights: a large fine-tuned AV-HuBERT has about 1 MB
MAX_KEY_BITS = 64  # wider integers can be made to collide in a dict by the thousand

DAMAGE = (
    pickle.UnpicklingError, ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError,
    EOFError, struct.error,
)  # fmt: skip
"""What the unpickler raises for bytes that are no valid pickle."""

DICTS = ("collections.OrderedDict", "collections.defaultdict")
RECONSTRUCTOR = "copyreg._reconstructor"
NAMES = frozenset({
    *DICTS,
    RECONSTRUCTOR,
    "builtins.bool", "builtins.bytes", "builtins.dict", "builtins.float", "builtins.int", "builtins.list",
    "builtins.object", "builtins.set", "builtins.str", "builtins.tuple",
    "typing.Any", "typing.Dict", "typing.List", "typing.Optional", "typing.Tuple", "typing.Union",
    "_codecs.encode",
    "argparse.Namespace",
    "numpy.dtype",
    "numpy.ndarray",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "sentencepiece.SentencePieceProcessor",
})  # fmt: skip
"""Globals that any training run may have in its checkpoint."""
CLASS_PACKAGES = ("fairseq.", "omegaconf.")  # their classes (capitalised names) are allowed too
PYTHON_2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}
PYTHON_2_NAMES = {"builtins.long": "builtins.int", "builtins.unicode": "builtins.str"}

OPCODES = [
    "PROTO", "STOP", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT",
    "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINSTRING", "SHORT_BINSTRING", "BINBYTES",
    "SHORT_BINBYTES", "BINBYTES8", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST",
    "LIST", "APPEND", "APPENDS", "EMPTY_DICT", "EMPTY_SET", "MARK", "POP", "POP_MARK", "DUP", "BINGET",
    "LONG_BINGET", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GLOBAL", "STACK_GLOBAL", "BINPERSID",
]  # fmt: skip
"""Opcodes that Python's unpickler executes; `SafeUnpickler` has its own for keys, calls and states. Refused:
INST, OBJ, NEWOBJ_EX, EXT*, PERSID, buffers, integers over 2040 bits, and the text opcodes of protocol 0."""
CODES = [getattr(pickle, name)[0] for name in OPCODES]


@dataclass(frozen=True)
class GlobalRef:
    """The name of a class or function in the file."""

    path: str


@dataclass(eq=False)
class StubObject:
    """An object that the file would have created: the name it calls, the arguments and the state."""

    name: str
    args: tuple[Any, ...]
    state: Any = None


class _Dispatch(dict[int, Callable[[Any], None]]):
    """Opcode -> method; any other opcode is an error."""

    def __missing__(self, code: int) -> Callable[[Any], None]:
        name = next((op.name for op in pickletools.opcodes if op.code == chr(code)), hex(code))
        raise ForeignFileError(f"the pickle uses opcode {name}, which is not accepted.")


class _PickleReader:
    """Counts the bytes of a pickle; data that an unpickler skips in the file does not count."""

    def __init__(self, file: BoundedReader) -> None:
        self.file = file
        self.n_bytes = 0

    def read(self, count: int, /) -> bytes:
        return self._count(self.file.read(count))

    def readline(self) -> bytes:
        return self._count(self.file.readline())

    def _count(self, data: bytes) -> bytes:
        self.n_bytes += len(data)
        if self.n_bytes > MAX_PICKLE_BYTES:
            raise ForeignFileError(f"the pickle is longer than {MAX_PICKLE_BYTES} bytes without the weights.")
        return data


class SafeUnpickler(pickle._Unpickler):
    """Unpickles plain data; globals become `GlobalRef`, calls `StubObject`.

    Derives from the Python implementation, as joblib does: the C one allocates its memo by the largest index
    in the file, and neither lets its opcodes be replaced nor its file be moved between two of them.
    """

    names: ClassVar[frozenset[str]] = NAMES
    dispatch = _Dispatch()
    stack: list[Any]
    metastack: list[list[Any]]

    def __init__(self, file: BoundedReader) -> None:
        super().__init__(_PickleReader(file), encoding="latin-1")
        self.file = file

    def load(self) -> Any:
        """The value of the pickle at the file's position; the file then stands behind it."""
        try:
            value = super().load()
        except ForeignFileError:
            raise
        except DAMAGE as error:
            reason = f"{type(error).__name__}: {printable(str(error))}"
            raise ForeignFileError(f"the pickle is damaged ({reason}).") from None
        if self.stack or self.metastack:
            raise ForeignFileError("the pickle ends with values left over; it is damaged.")
        return value

    def find_class(self, module: str, name: str) -> GlobalRef:
        """The name, if it is on the allowlist; nothing is imported."""
        path = f"{PYTHON_2.get(module, module)}.{name}"
        path = PYTHON_2_NAMES.get(path, path)
        last = path.rpartition(".")[2]
        is_class = path.startswith(CLASS_PACKAGES) and last.isidentifier() and last[0].isupper()
        if path not in self.names and not is_class:
            raise ForeignFileError(
                f"the file names {printable(path)}, which is not on the allowlist; nothing was executed. "
                "Get the weights as safetensors or from their official source."
            )
        return GlobalRef(path)

    def persistent_load(self, pid: Any) -> Any:
        """The storage of a persistent id."""
        raise ForeignFileError("PyTorch weights where a plain value is expected.")

    def make(self, name: str, args: tuple[Any, ...]) -> Any:
        """What stands for the result of calling `name`."""
        if name in DICTS:
            return {}
        if name == RECONSTRUCTOR and args and isinstance(args[0], GlobalRef):
            return StubObject(args[0].path, ())
        return StubObject(name, args)

    def built(self, stub: StubObject) -> Any:
        """What takes the place of an object that was just given its state."""
        return stub

    def context(self) -> str:
        """The nearest string below on the stack: inside a dict the key of the value being built."""
        for stack in (self.stack, *reversed(self.metastack)):
            for value in reversed(stack):
                if isinstance(value, str):
                    return printable(value)
        return "the pickle"

    def _load_call(self) -> None:
        args, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, GlobalRef) or not isinstance(args, tuple):
            raise ForeignFileError(
                f"{self.context()}: a {printable(function)} is called; only names on the allowlist may be."
            )
        self.stack.append(self.make(function.path, args))

    def _load_build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, StubObject):
            target.state = state
            self.stack[-1] = self.built(target)
        elif not isinstance(target, dict):  # attributes of an OrderedDict (`_metadata`) are dropped
            raise ForeignFileError(f"{self.context()}: a state is given to a {printable(target)}.")

    def _load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set_items([key, value])

    def _load_setitems(self) -> None:
        self._set_items(self.pop_mark())  # type: ignore[attr-defined]  # undocumented, as `dispatch` is

    def _load_additems(self) -> None:
        items = self.pop_mark()  # type: ignore[attr-defined]  # undocumented, as `dispatch` is
        target = self.stack[-1]
        if not isinstance(target, set):
            raise ForeignFileError(f"{self.context()}: members are added to a {printable(target)}.")
        target.update(map(self._key, items))

    def _load_frame(self) -> None:
        self.read(8)  # type: ignore[attr-defined]  # the length of the frame: opcodes are read one by one

    def _set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise ForeignFileError(f"{self.context()}: keys are set in a {printable(target)}.")
        target.update(zip(map(self._key, items[::2]), items[1::2], strict=True))

    def _key(self, value: Any) -> Any:
        """A string or number; anything else could collide by the thousand, or recurse when hashed."""
        plain = isinstance(value, str | int | float | None)
        if not plain or (isinstance(value, int) and value.bit_length() > MAX_KEY_BITS):
            raise ForeignFileError(
                f"{self.context()}: a {printable(value)} as a key; expected strings or 64-bit numbers."
            )
        return value

    dispatch.update({code: pickle._Unpickler.dispatch[code] for code in CODES})
    dispatch.update({
        pickle.REDUCE[0]: _load_call,
        pickle.NEWOBJ[0]: _load_call,
        pickle.BUILD[0]: _load_build,
        pickle.SETITEM[0]: _load_setitem,
        pickle.SETITEMS[0]: _load_setitems,
        pickle.ADDITEMS[0]: _load_additems,
        pickle.FRAME[0]: _load_frame,
    })  # fmt: skip
