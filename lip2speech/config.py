"""YAML <-> frozen dataclasses, strictly.

A config has values only: numbers, strings, lists, groups. An unknown key is an error that gives the closest
known one, a value of the wrong type is an error that gives its path, and nothing in a file is evaluated.
Independent of any model: every module has its own config dataclass beside its class.

Why not pydantic: a group keeps the outer default of the fields that it leaves out, and among several
dataclasses the `kind` chooses one. Both need a walk over the type hints before `TypeAdapter` can run, and its
errors need translating, which leaves little to save.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

MAX_YAML_BYTES = 1 << 20
"""Configs take a few kilobytes; checkpoint folders come from strangers, so a larger one is refused."""

MAX_DEPTH = 50
"""Levels of a config; ours have five."""

MAX_TOKENS = 30_000
"""Tokens of a YAML text; ours have at most 2000, and each takes 10 us to read."""

FLOAT = (
    r"[-+]?(?:\d[\d_]*(?:\.[\d_]*)?|\.[\d_]+)e[-+]?\d+|[-+]?(?:\d[\d_]*\.[\d_]*|\.[\d_]+)|[-+]?\.inf|\.nan"
)
"""YAML 1.2's floats, in any case: `1e-3` is one, which PyYAML takes for a string."""


class ConfigError(ValueError):
    """A config, an override or a stored config that does not fit its dataclass."""


def from_dict(cls: type[T], data: Mapping[str, Any], where: str = "config") -> T:
    """Build the dataclass `cls` from plain values; fields missing in `data` keep the dataclass's default.

    Args:
        cls: a dataclass; its fields may be bool, int, float, str, Path, Literal, Optional, unions, tuples,
            lists, dicts with str keys, and other dataclasses. In a union of dataclasses (`cls` itself may be
            one) the `kind` in the values chooses the member; without a kind the first is taken.
        data: values as read from YAML.
        where: the name of the source, the start of every error.
    """
    members = typing.get_args(cls)
    return typing.cast(T, _build(_by_kind(members, data, where) if members else cls, data, where, None))


def to_dict(obj: Any) -> dict[str, Any]:
    """Plain YAML values of a dataclass or mapping, every field written out; tuples become lists."""
    plain = _plain(obj, type(obj).__name__)
    if not isinstance(plain, dict):
        raise ConfigError(f"to_dict needs a dataclass or a mapping, got {type(obj).__name__}.")
    return plain


def dump_yaml(obj: Any) -> str:
    """The YAML text of a dataclass or mapping; `parse_yaml` returns the same values."""
    import yaml

    return str(yaml.safe_dump(to_dict(obj), sort_keys=False, allow_unicode=True))


def load_config(cls: type[T], path: str | Path | None, overrides: Sequence[str] = ()) -> T:
    """A dataclass from a YAML config (None: the defaults) and overrides such as `"optimizer.lr=3e-4"`.

    A config may name the files it builds on, relative to itself: `base: [../_base/trainer.yaml]`.
    """
    data = {} if path is None else read_config(Path(path))
    for override in overrides:
        key, equals, value = override.partition("=")
        names = key.strip().split(".")
        if not equals or not all(names):
            raise ConfigError(f"override {override!r}: expected NAME=VALUE or GROUP.NAME=VALUE.")
        parsed = parse_yaml(f"value: {value}", f"override {override!r}").get("value")
        _set(data, names, parsed, f"override {override!r}")
    return from_dict(cls, data, "config" if path is None else str(path))


def read_config(path: Path, parents: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The values of a YAML config, merged over those of the files in its `base`, in their order."""
    data = load_yaml(path)
    if path.resolve() in parents:
        raise ConfigError(f"{path}: is its own base (by way of {parents[-1].name}); remove it from `base`.")
    base = data.pop("base", [])
    names = [base] if isinstance(base, str) else base
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"{path}: base: expected a file name or a list of file names, got {base!r}.")
    merged: dict[str, Any] = {}
    for name in names:
        merged = merge(merged, read_config(path.parent / name, (*parents, path.resolve())))
    return merge(merged, data)


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes` applied: groups are merged key by key, other values (lists too) are replaced.

    A group of another `kind` replaces the group of the base, whose keys it does not share.
    """
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            same_kind = value.get("kind", old.get("kind")) == old.get("kind")
            merged[key] = merge(old, value) if same_kind else value
        else:
            merged[key] = value
    return merged


def load_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML file of values. Tags, aliases, `${...}` and duplicate keys are refused."""
    path = Path(path)
    try:
        if path.stat().st_size > MAX_YAML_BYTES:
            raise ConfigError(f"{path}: larger than {MAX_YAML_BYTES} bytes; a config has values only.")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({_reason(error)}); give a YAML file.") from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, where: str) -> dict[str, Any]:
    """The values of a YAML text, which must be a mapping (an empty text is an empty mapping)."""
    import yaml

    try:
        _check_tokens(text, where)
        loaded = yaml.load(text, Loader=_yaml_loader())
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{where}: not valid YAML ({_reason(error)}).") from error
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise ConfigError(f"{where}: expected `key: value` lines, got {type(loaded).__name__}.")
    _refuse_interpolation(loaded, where)
    return typing.cast(dict[str, Any], loaded)


@cache
def _yaml_loader() -> Any:
    """PyYAML's safe loader, with `1e-3` a number, dates strings, and duplicate keys an error."""
    import re

    import yaml

    class ConfigLoader(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML has no types
        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            if len(set(keys)) < len(keys):
                duplicate = next(key for n, key in enumerate(keys) if key in keys[:n])
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {duplicate}")
            return dict(super().construct_mapping(node, deep))

    tags = ("tag:yaml.org,2002:float", "tag:yaml.org,2002:timestamp")
    resolvers = yaml.SafeLoader.yaml_implicit_resolvers
    ConfigLoader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in rows if tag not in tags]
        for first, rows in resolvers.items()
    }
    pattern = re.compile(f"^(?:{FLOAT})$", re.IGNORECASE)
    ConfigLoader.add_implicit_resolver(tags[0], pattern, list("-+0123456789."))
    return ConfigLoader


def _check_tokens(text: str, where: str) -> None:
    """Refuse tags, aliases, too many tokens, and nesting so deep that reading it takes quadratic time."""
    import yaml

    depth = 0
    for count, token in enumerate(yaml.scan(text)):
        if count > MAX_TOKENS:
            raise ConfigError(f"{where}: has more than {MAX_TOKENS} tokens; a config is shorter.")
        if isinstance(token, yaml.AliasToken):
            raise ConfigError(f"{where}: YAML aliases are not accepted; write the value out.")
        if isinstance(token, yaml.TagToken):
            raise ConfigError(f"{where}: YAML tags are not accepted; a config has values only.")
        kind = type(token).__name__
        depth += kind.endswith("StartToken")
        depth -= kind.endswith("EndToken")
        if depth > MAX_DEPTH:
            raise ConfigError(f"{where}: nested deeper than {MAX_DEPTH} levels; a config has values only.")


def _refuse_interpolation(value: Any, where: str) -> None:
    if isinstance(value, str) and "${" in value:
        raise ConfigError(f"{where}: {value!r} is an expression; a config has values only, write it out.")
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _refuse_interpolation(inner, f"{where}: {key}")
    elif isinstance(value, list):
        for inner in value:
            _refuse_interpolation(inner, where)


def _set(data: dict[str, Any], names: Sequence[str], value: Any, where: str) -> None:
    *groups, last = names
    for name in groups:
        inner = data.setdefault(name, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"{where}: {name} is a value ({inner!r}), not a group.")
        data = inner
    data[last] = value


def _build(cls: Any, data: Any, where: str, base: Any) -> Any:
    """An instance of the dataclass `cls`; fields missing in `data` come from `base`, else from the class."""
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
        raise TypeError(f"from_dict needs a dataclass, got {cls!r}.")
    if not isinstance(data, Mapping):
        raise ConfigError(f"{where}: expected a group of {cls.__name__} fields, got {data!r}.")
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}
    hints = typing.get_type_hints(cls)
    values = {} if base is None else {name: getattr(base, name) for name in fields}
    for key, value in data.items():
        if key not in fields:
            raise ConfigError(_unknown_key(key, list(fields), where))
        values[key] = _convert(hints[key], value, f"{where}: {key}", _default(fields[key], base))
    missing = [name for name, f in fields.items() if name not in values and not _has_default(f)]
    if missing:
        raise ConfigError(f"{where}: {cls.__name__} needs a value for {', '.join(missing)}.")
    try:
        return cls(**values)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error


def _has_default(field: dataclasses.Field[Any]) -> bool:
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING


def _default(field: dataclasses.Field[Any], base: Any) -> Any:
    """The value of a field that the file leaves out (None if there is none)."""
    if base is not None:
        return getattr(base, field.name)
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None if field.default is dataclasses.MISSING else field.default


def _unknown_key(key: Any, known: list[str], where: str) -> str:
    closest = difflib.get_close_matches(str(key), known, n=1, cutoff=0.0)
    hint = f"did you mean {closest[0]}?" if closest else "it has no fields."
    return f"{where}: unknown key {key!r}; {hint} (known: {', '.join(known)})"


def _convert(hint: Any, value: Any, where: str, base: Any = None) -> Any:
    """`value` as the type `hint`, or ConfigError with the path `where`."""
    origin = typing.get_origin(hint)
    if hint is Any:
        return value
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, where, base if type(base) is hint else None)
    if origin is typing.Literal:
        return _literal(value, typing.get_args(hint), where)
    if origin in (typing.Union, types.UnionType):
        return _union(hint, value, where, base)
    if origin in (tuple, list) or origin is Sequence:
        return _sequence(hint, value, where)
    if origin in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise _wrong_type(hint, value, where)
        return {str(k): _convert(typing.get_args(hint)[1], v, f"{where}.{k}") for k, v in value.items()}
    return _scalar(hint, value, where)


def _literal(value: Any, choices: tuple[Any, ...], where: str) -> Any:
    for choice in choices:
        if value == choice and type(value) is type(choice):
            return choice
    raise ConfigError(f"{where}: expected one of {', '.join(map(repr, choices))}, got {value!r}.")


def _union(hint: Any, value: Any, where: str, base: Any) -> Any:
    members = [m for m in typing.get_args(hint) if m is not type(None)]
    if value is None and len(members) < len(typing.get_args(hint)):
        return None
    if len(members) == 1:
        return _convert(members[0], value, where, base)
    if all(map(dataclasses.is_dataclass, members)):
        return _convert(_by_kind(members, value, where), value, where, base)
    for member in sorted(members, key=lambda m: m is not type(value)):  # an exact type before int -> float
        try:
            return _convert(member, value, where, base)
        except ConfigError:
            continue
    raise _wrong_type(hint, value, where)


def _by_kind(members: Sequence[Any], value: Any, where: str) -> Any:
    """The dataclass whose `kind` the values give; without a kind the first."""
    kind = value.get("kind") if isinstance(value, Mapping) else None
    kinds = {getattr(member, "kind", None): member for member in members}
    if kind is not None and kind not in list(kinds):  # not `in kinds`: the value may be unhashable
        known = ", ".join(repr(name) for name in kinds if name is not None)
        raise ConfigError(f"{where}: kind {kind!r} is unknown; leave it out, or one of {known}.")
    return members[0] if kind is None else kinds[kind]


def _sequence(hint: Any, value: Any, where: str) -> Any:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise _wrong_type(hint, value, where)
    members = typing.get_args(hint)
    if typing.get_origin(hint) is tuple and members[-1:] != (Ellipsis,):
        if len(members) != len(value):
            raise ConfigError(f"{where}: expected {len(members)} values, got {len(value)} ({value!r}).")
    else:
        members = (members[0],) * len(value)
    items = [_convert(m, v, f"{where}[{i}]") for i, (m, v) in enumerate(zip(members, value, strict=True))]
    return items if typing.get_origin(hint) is list else tuple(items)


def _scalar(hint: Any, value: Any, where: str) -> Any:
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if hint is Path and isinstance(value, str | Path):
        return Path(value)
    if isinstance(hint, type) and type(value) is hint:
        return value
    raise _wrong_type(hint, value, where)


def _wrong_type(hint: Any, value: Any, where: str) -> ConfigError:
    plain = isinstance(hint, type) and not typing.get_args(hint)
    name = hint.__name__ if plain else str(hint).replace("typing.", "")
    return ConfigError(f"{where}: expected {name}, got {value!r} ({type(value).__name__}).")


def _plain(obj: Any, where: str) -> Any:
    if dataclasses.is_dataclass(obj) and not isinstance(obj, type):
        names = [f.name for f in dataclasses.fields(obj) if f.init]
        return {name: _plain(getattr(obj, name), f"{where}.{name}") for name in names}
    if isinstance(obj, Mapping):
        return {str(k): _plain(v, f"{where}.{k}") for k, v in obj.items()}
    if isinstance(obj, tuple | list):
        return [_plain(v, f"{where}[{i}]") for i, v in enumerate(obj)]
    if isinstance(obj, Path):
        return str(obj)
    if obj is None or isinstance(obj, bool | int | float | str):
        return obj
    raise ConfigError(f"{where}: a config has plain values only, got {type(obj).__name__}.")


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
