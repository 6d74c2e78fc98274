"""Kinds of malicious file, each with the door it knocks at and the words it is refused with.

What a file would have run makes a file called MARK or imports the module `marked`; neither may ever happen.
"""

import json
from dataclasses import dataclass

from tests.importers.file_builders import (
    GOOD,
    TERA,
    Build,
    codes,
    data,
    deflate_bomb,
    endless,
    entry,
    extra,
    fifo,
    flipped,
    in_folder,
    link_entry,
    link_to,
    many_layers,
    npy,
    objects,
    ours,
    overlapping_entries,
    patched,
    pickled,
    safetensors,
    settings_with,
    tar,
    weight,
    zip_of,
)
from tests.importers.pickle_builders import Raw, body, call, document, name, new, storage, tensor


@dataclass(frozen=True)
class Kind:
    """One kind: which command it is given to, how it is made, what the refusal says."""

    door: str
    build: Build
    says: str


REACH = Raw(
    body("os") + b"q\x01" + body("system") + b"q\x02" + b"h\x01h\x02\x93" + body(("touch MARK",)) + b"R"
)
DOTTED = Raw(body("argparse") + body("Namespace.__init__") + b"\x93" + body(("x",)) + b"R")
TOO_LONG = b"\x80\x02" + b"N0" * (9 << 20) + b"N."
SCRIPT = b"#!/bin/sh\ntouch MARK\nexit 0\n"
VIEW = Raw(
    body(("storage", name("torch.FloatStorage"), "0", "cpu", 4, ("0", 0, 4))) + b"Q"
)  # a storage that is part of another
TWICE = b'{"w": %s, "w": %s}' % ((json.dumps(entry([4])).encode(),) * 2)
LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}, *{chr(97 + n)}]\n" for n in range(20)
)

RUNS: dict[str, Kind] = {
    "a system call": Kind("avhubert", extra(call("os.system", "touch MARK")), "names os.system"),
    "the same by its C module": Kind("avhubert", extra(call("posix.system", "touch MARK")), "names posix"),
    "the same before zip": Kind(
        "avhubert", pickled({**GOOD, "x": call("os.system", "touch MARK")}, legacy=True), "names os.system"
    ),
    "a name put together on the stack": Kind("avhubert", pickled({"model": REACH}), "names os.system"),
    "a method by a dotted name": Kind("avhubert", extra(DOTTED), "names argparse.Namespace.__init__"),
    "eval under its Python 2 name": Kind(
        "avhubert", extra(call("__builtin__.eval", "open('MARK', 'w')")), "names builtins.eval"
    ),
    "getattr on a listed class": Kind(
        "avhubert",
        extra(call("builtins.getattr", name("argparse.Namespace"), "__init__")),
        "names builtins.getattr",
    ),
    "an import by a call": Kind("avhubert", extra(call("builtins.__import__", "marked")), "__import__"),
    "an object of a module beside the file": Kind("avhubert", extra(new("marked.Thing", {})), "marked.Thing"),
    "a module inside a trusted package": Kind(
        "avhubert", extra(call("fairseq.os.system", "touch MARK")), "names fairseq.os.system"
    ),
    "code objects": Kind("avhubert", extra(call("types.CodeType", 0, 0)), "names types.CodeType"),
    "marshalled code": Kind("avhubert", extra(call("marshal.loads", b"c")), "names marshal.loads"),
    "a pickle in a pickle": Kind(
        "avhubert", extra(call("torch.storage._load_from_bytes", document(1))), "_load_from_bytes"
    ),
    "a notebook's compiler": Kind("avhubert", extra(call("ctypes.CDLL", "./x.so")), "names ctypes.CDLL"),
    "a result that is called": Kind(
        "avhubert",
        pickled({"model": Raw(call("argparse.Namespace") + body(("touch MARK",)) + b"R")}),
        "a StubObject is called",
    ),
    "opcode INST": Kind(
        "avhubert", pickled(b"\x80\x02(" + body("touch MARK") + b"ios\nsystem\n."), "opcode INST"
    ),
    "opcode OBJ": Kind("avhubert", pickled(b"\x80\x02(" + name("os.system") + b"o."), "names os.system"),
    "opcode NEWOBJ_EX": Kind(
        "avhubert", pickled(b"\x80\x04" + name("argparse.Namespace") + b")}\x92."), "opcode NEWOBJ_EX"
    ),
    "opcode EXT1": Kind("avhubert", pickled(b"\x80\x02\x82\x01."), "opcode EXT1"),
    "opcode PERSID": Kind("avhubert", pickled(b"\x80\x02Pstorage\n."), "opcode PERSID"),
    "opcode NEXT_BUFFER": Kind("avhubert", pickled(b"\x80\x02\x97."), "opcode NEXT_BUFFER"),
    "a state for a list": Kind("avhubert", extra(Raw(body([1]) + body({}) + b"b")), "state is given"),
    "a pickle for transformers": Kind(
        "encodec", in_folder(b"{}", document(call("os.system", "touch MARK"))), "pytorch_model.bin: .*PyTorch"
    ),
    "a folder's tag": Kind(
        "folder", ours("kind: !!python/object/apply:os.system ['touch MARK']\n"), "not valid YAML"
    ),
    "a folder's expression": Kind("folder", ours("kind: ${oc.env:HOME}\n"), "holds an expression"),
    "a folder's class path": Kind("folder", ours("kind: codec\nname: os.system\ncodec: {}\n"), "no codec is"),
    "an array of objects": Kind("vector", objects, "no plain numbers"),
    "an array's header that is code": Kind(
        "vector", data(npy("__import__('os').system('touch MARK')"), "x.npy"), "not a speaker embedding"
    ),
    "a pickle for an array": Kind(
        "vector", data(document(call("os.system", "touch MARK")), "x.npy"), "no plain numbers"
    ),
}
"""What wants something run."""

GROWS: dict[str, Kind] = {
    "4 TB of storage": Kind("avhubert", weight(tensor(stored=storage(numel=TERA))), "and has 16"),
    "4 TB before zip": Kind(
        "avhubert",
        pickled({"model": {"w": tensor(stored=storage(numel=TERA))}}, legacy=True, lengths=(TERA,)),
        "claims 1099511627776 values",
    ),
    "a view of 2^20 x 2^20": Kind("avhubert", weight(tensor((1 << 20,) * 2, (1 << 20, 1))), "does not fit"),
    "a view repeated without end": Kind("avhubert", weight(tensor((1 << 20,) * 2, (0, 0))), "does not fit"),
    "three thousand layers of one storage": Kind("avhubert", many_layers, "3000 tensors claim 12582912000"),
    "an integer of 4000 bits": Kind("avhubert", extra(1 << 4000), "opcode LONG4"),
    "integers made to collide": Kind("avhubert", extra({((1 << 61) - 1) << 40: 1}), "as a key"),
    "nested tuples as a key": Kind(
        "avhubert", extra(Raw(b"})" + b"\x85" * 1_000_000 + b"Ns")), "a tuple as a key"
    ),
    "a byteorder record of megabytes": Kind(
        "avhubert", pickled(GOOD, byteorder=b"little" + bytes(64 << 20)), "big-endian"
    ),
    "a pickle without end": Kind("avhubert", pickled(TOO_LONG), "longer than 16777216 bytes"),
    "a text of a terabyte": Kind(
        "avhubert", pickled(b"\x80\x04\x8d" + TERA.to_bytes(8, "little") + b"x."), "pickle is damaged"
    ),
    "a deflate bomb": Kind("avhubert", deflate_bomb, "is compressed"),
    "an entry larger than its zip": Kind(
        "avhubert", patched(20, (1 << 30).to_bytes(4, "little") * 2), "claim more than the file's"
    ),
    "entries that overlap": Kind("avhubert", overlapping_entries, "claim more than the file's"),
    "a device": Kind("avhubert", link_to("/dev/zero"), "not a file"),
    "a head of 2^63 bytes": Kind("encodec", safetensors({}, length=1 << 63), "its header claims"),
    "a head beyond the file": Kind("encodec", safetensors({}, length=100), "its header claims 100 bytes of"),
    "a head of megabytes": Kind(
        "encodec", safetensors(None, raw=b" " * (5 << 20)), "its header claims 5242880"
    ),
    "a tensor of 2^80 values": Kind(
        "encodec", safetensors({"w": entry([1 << 40, 1 << 40])}), "not a valid safetensors file"
    ),
    "a file of holes": Kind("encodec", safetensors({"w": entry([4])}, grow=1 << 40), "1099511627768 bytes"),
    "a nest of brackets": Kind("encodec", safetensors(None, raw=b"[" * 200_000), "not valid JSON"),
    "settings of megabytes": Kind("encodec", in_folder(b" " * (2 << 20)), "longer than 1048576 bytes"),
    "settings without end": Kind("encodec", in_folder(link_to("/dev/zero")), "config.json: not a file"),
    "a billion layers": Kind("encodec", in_folder(settings_with(num_residual_layers=10**9)), "is 1000000000"),
    "a billion laughs": Kind("folder", ours(LAUGHS), "aliases are not accepted"),
    "a config of megabytes": Kind("folder", ours("# " + "x" * (2 << 20)), "larger than 1048576 bytes"),
    "a config nested without end": Kind("folder", ours("a: " + "[" * 500_000), "nested deeper than 50"),
    "an array of 2^40 numbers": Kind(
        "vector",
        data(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,), }"), "x.npy"),
        "not a speaker embedding",
    ),
    "codes for 2^63 samples": Kind("codes", codes(samples=1 << 63), "the file has 1"),
}
"""What wants memory or time."""

LIES: dict[str, Kind] = {
    "a negative stride": Kind("avhubert", weight(tensor(stride=(2, -1))), "impossible"),
    "a view that begins outside": Kind("avhubert", weight(tensor(offset=1)), "does not fit"),
    "twenty dimensions": Kind("avhubert", weight(tensor((1,) * 20, (1,) * 20)), "impossible"),
    "a storage with a path for a key": Kind(
        "avhubert", weight(tensor(stored=storage("../data.pkl"))), "is not in the file"
    ),
    "numbers of no known type": Kind("avhubert", weight(tensor(stored=storage(kind="device"))), "not a type"),
    "storages that overlap": Kind(
        "avhubert", pickled({"model": {"w": tensor(stored=VIEW)}}, legacy=True), "is a view of another"
    ),
    "one storage of two types": Kind(
        "avhubert",
        pickled({"model": {"w": tensor(), "v": tensor(stored=storage(kind="LongStorage"))}}, legacy=True),
        "described in two ways",
    ),
    "a list that holds itself": Kind("avhubert", pickled({"model": endless()}), "expected named weights"),
    "values left over": Kind("avhubert", pickled(b"\x80\x02NN."), "values left over"),
    "a pickle cut off": Kind("avhubert", pickled(document(GOOD)[:-3]), "pickle"),
    "a zip in a zip": Kind("avhubert", data(zip_of(("archive/data.pkl", zip_of(("a", b"x"))))), "pickle"),
    "two pickles": Kind(
        "avhubert", data(zip_of(("a/data.pkl", document(GOOD)), ("b/data.pkl", document(GOOD)))), "2 data.pkl"
    ),
    "a pickle that is a link": Kind("avhubert", data(zip_of((link_entry(), b"/etc/passwd"))), "pickle"),
    "a TorchScript program": Kind("avhubert", pickled(GOOD, constants__pkl=b"x"), "TorchScript"),
    "an encrypted entry": Kind("avhubert", patched(8, b"\x01\x00"), "is encrypted"),
    "a changed weight": Kind("avhubert", flipped, "w.*|CRC-32"),
    "a script that is a zip too": Kind(
        "avhubert", data(SCRIPT + zip_of(("archive/data.pkl", document(GOOD)))), "not a PyTorch file"
    ),
    "a zip's first bytes alone": Kind("avhubert", data(b"PK\x03\x04" + bytes(100)), "x.pt"),
    "a tar": Kind("avhubert", tar, "not a PyTorch file"),
    "a link to itself": Kind("avhubert", link_to("x.pt"), "cannot be read"),
    "a pipe": Kind("avhubert", fifo, "not a file"),
    "a head with one name twice": Kind("encodec", safetensors(None, raw=TWICE), "duplicate key"),
    "tensors that overlap": Kind(
        "encodec", safetensors({"a": entry([4]), "b": entry([2], 0, 8)}), "not a valid safetensors file"
    ),
    "a hole between tensors": Kind(
        "encodec", safetensors({"a": entry([1], 0, 4), "b": entry([1], 12, 16)}), "not a valid"
    ),
    "a tensor outside the file": Kind("encodec", safetensors({"a": entry([4], 16, 32)}), "not a valid"),
    "a negative size": Kind("encodec", safetensors({"a": entry([-4])}), "not a valid"),
    "a type of no numbers": Kind("encodec", safetensors({"a": entry([4], dtype="PY")}), "not a valid"),
    "a head that is a list": Kind("encodec", safetensors([1]), "expected a mapping"),
    "settings that are no number": Kind(
        "encodec", in_folder(b'{"sampling_rate": NaN}'), "NaN is not a number"
    ),
    "codes of another codec": Kind("codes", codes(), "was made by another codec"),
    "codes cut off": Kind("codes", codes(samples=3200), "cut off or damaged"),
}
"""What says of itself what is not so."""

KINDS = {**RUNS, **GROWS, **LIES}
