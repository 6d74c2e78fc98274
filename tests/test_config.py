"""YAML <-> dataclass: valid values come back equal, others are an error with the path of the field."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from lip2speech.config import ConfigError, dump_yaml, from_dict, load_config, load_yaml, parse_yaml, to_dict


@dataclass(frozen=True)
class Quantizer:
    n_q: int = 4
    codebook_size: int = 256


@dataclass(frozen=True)
class Config:
    name: str = "base"
    lr: float = 1e-3
    causal: bool = True
    seed: int | None = None
    mode: Literal["gan", "plain"] = "plain"
    ratios: tuple[int, ...] = (8, 5, 4, 2)
    betas: tuple[float, float] = (0.9, 0.98)
    out: Path = Path("runs")
    weights: dict[str, float] = field(default_factory=dict)
    quantizer: Quantizer = Quantizer(n_q=2)
    teacher: Quantizer | None = None
    width: int | float = 1


@dataclass(frozen=True)
class Required:
    corpus: str
    size: int = 1

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size must be at least 1, got {self.size}.")


def test_no_values_give_the_defaults() -> None:
    assert from_dict(Config, {}) == Config()


def test_values_come_back_equal_through_yaml(tmp_path: Path) -> None:
    config = Config(lr=3e-5, seed=7, mode="gan", ratios=(2,), weights={"mel": 2.0}, teacher=Quantizer())
    path = tmp_path / "config.yaml"
    path.write_text(dump_yaml(config))
    assert load_config(Config, path) == config
    assert load_yaml(path) == to_dict(config)


def test_an_int_is_a_float_and_scientific_notation_is_a_number() -> None:
    config = from_dict(Config, parse_yaml("lr: 1e-4\nbetas: [0, 1]", "here"))
    assert config.lr == 1e-4
    assert config.betas == (0.0, 1.0)
    assert isinstance(config.betas[0], float)


def test_a_group_keeps_the_outer_default_of_fields_it_leaves_out() -> None:
    assert from_dict(Config, {"quantizer": {"codebook_size": 8}}).quantizer == Quantizer(
        n_q=2, codebook_size=8
    )


@dataclass(frozen=True)
class Lookup:
    kind: Literal["lookup"] = "lookup"
    width: int = 8


@dataclass(frozen=True)
class Codec:
    quantizer: Quantizer | Lookup = field(default_factory=Quantizer)


def test_the_kind_chooses_the_dataclass() -> None:
    assert from_dict(Codec, {"quantizer": {"kind": "lookup", "width": 3}}).quantizer == Lookup(width=3)
    assert isinstance(from_dict(Codec, {"quantizer": {}}).quantizer, Quantizer)
    assert from_dict(Quantizer | Lookup, {"kind": "lookup"}) == Lookup()  # type: ignore[arg-type]
    assert from_dict(Quantizer | Lookup, {}) == Quantizer()  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="config: kind 'unknown' is unknown"):
        from_dict(Quantizer | Lookup, {"kind": "unknown"})  # type: ignore[arg-type]
    config = Codec(Lookup(width=5))
    assert from_dict(Codec, to_dict(config)) == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"kind": "unknown"},
            "config: quantizer: kind 'unknown' is unknown; leave it out, or one of 'lookup'.",
        ),
        ({"kind": ["lookup"]}, "is unknown; leave it out"),
        ({"kind": "lookup", "widht": 3}, "unknown key 'widht'; did you mean width"),
        (3, "quantizer: expected a group of Quantizer fields, got 3"),
    ],
)
def test_an_invalid_kind_or_its_invalid_values_are_named(values: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_dict(Codec, {"quantizer": values})


def test_an_exact_type_wins_in_a_union() -> None:
    assert isinstance(from_dict(Config, {"width": 2}).width, int)
    assert isinstance(from_dict(Config, {"width": 2.0}).width, float)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"lrr": 1.0}, "unknown key 'lrr'; did you mean lr?"),
        ({"quantizer": {"nq": 1}}, "config: quantizer: unknown key 'nq'; did you mean n_q?"),
        ({"lr": "fast"}, "config: lr: expected float, got 'fast'"),
        ({"lr": True}, "lr: expected float, got True"),
        ({"seed": 1.5}, "seed: expected int, got 1.5"),
        ({"causal": 1}, "causal: expected bool, got 1"),
        ({"name": 3}, "name: expected str, got 3"),
        ({"mode": "GAN"}, "mode: expected one of 'gan', 'plain', got 'GAN'"),
        ({"ratios": "842"}, "ratios: expected tuple"),
        ({"ratios": [8, "5"]}, r"ratios\[1\]: expected int"),
        ({"betas": [0.9]}, "betas: expected 2 values, got 1"),
        ({"quantizer": 3}, "quantizer: expected a group of Quantizer fields"),
        ({"weights": {"mel": "big"}}, "weights.mel: expected float"),
        ({"width": "wide"}, "width: expected int | float"),
    ],
)
def test_an_invalid_value_is_named_with_its_path(data: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("|", r"\|").replace("?", r"\?")):
        from_dict(Config, data)


def test_a_missing_value_and_a_value_out_of_range_are_named() -> None:
    with pytest.raises(ConfigError, match="a.yaml: Required needs a value for corpus"):
        from_dict(Required, {}, "a.yaml")
    with pytest.raises(ConfigError, match="a.yaml: size must be at least 1, got 0"):
        from_dict(Required, {"corpus": "grid", "size": 0}, "a.yaml")


def test_overrides_set_fields_of_groups_and_are_typed(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("lr: 0.1\n")
    overrides = ["lr=2e-4", "quantizer.n_q=8", "ratios=[4, 4]", "name=7b", "seed=null", "teacher.n_q=1"]
    config = load_config(Config, path, overrides)
    assert (config.lr, config.quantizer.n_q, config.ratios, config.name) == (2e-4, 8, (4, 4), "7b")
    assert config.teacher == Quantizer(n_q=1)
    assert load_config(Config, None, ["seed=3"]).seed == 3


@pytest.mark.parametrize("override", ["lr", "=3", "quantizer.=3", "lr.x=3", "nope=1", "name=${oc.env:HOME}"])
def test_a_bad_override_is_an_error(override: str, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("lr: 0.1\n")
    with pytest.raises(ConfigError):
        load_config(Config, path, [override])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: ${b}", "is an expression"),
        ("a: !!python/object/apply:os.system ['true']", "tags are not accepted"),
        ("a: 1\na: 2", "not valid YAML .*duplicate key a"),
        ("a: {b: 1, b: 2}", "not valid YAML .*duplicate key b"),
        ("a: !!timestamp 2020-01-01", "tags are not accepted"),
        ("a: &x [1]\nb: *x", "aliases are not accepted"),
        ("- 1\n- 2", "expected `key: value` lines"),
        ("word", "expected `key: value` lines"),
        ("a: [1", "not valid YAML"),
    ],
)
def test_a_file_may_have_plain_values_only(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_yaml(path)
    assert str(path) in str(caught.value)


def test_an_empty_file_has_no_values_and_a_missing_one_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert load_yaml(tmp_path / "empty.yaml") == {}
    with pytest.raises(ConfigError, match="cannot be read"):
        load_yaml(tmp_path / "missing.yaml")


def test_only_plain_values_are_written() -> None:
    with pytest.raises(ConfigError, match="plain values only, got object"):
        to_dict({"a": [object()]})


@pytest.mark.parametrize(
    "text", ["a: " + "[" * 60, "a: " + "{b: " * 60, "".join(" " * n + "a:\n" for n in range(60))]
)
def test_nesting_deeper_than_any_config_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="x: nested deeper than 50 levels"):
        parse_yaml(text, "x")


def test_nesting_is_counted_within_blocks_and_not_across_them() -> None:
    text = "".join(f"k{n}:\n  a: [[1, 2], {{b: 3}}]\n" for n in range(60))
    assert len(parse_yaml(text, "x")) == 60


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)


def test_base_files_are_merged_in_order_and_the_file_itself_wins(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    write(tmp_path / "shared", one="lr: 0.1\nseed: 1\nquantizer: {n_q: 8}\nratios: [2, 2]", two="seed: 2")
    write(tmp_path, x="base: [shared/one.yaml, shared/two.yaml]\nquantizer: {codebook_size: 4}\nratios: [3]")
    config = load_config(Config, tmp_path / "x.yaml", ["name=seven"])
    assert (config.lr, config.seed, config.ratios, config.name) == (0.1, 2, (3,), "seven")
    assert config.quantizer == Quantizer(n_q=8, codebook_size=4)


def test_a_base_has_a_base_relative_to_itself(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    write(tmp_path / "shared", one="base: two.yaml\nlr: 0.1", two="seed: 2")
    write(tmp_path, x="base: shared/one.yaml")
    assert load_config(Config, tmp_path / "x.yaml") == Config(lr=0.1, seed=2)


def test_a_group_of_another_kind_replaces_the_group_of_the_base(tmp_path: Path) -> None:
    write(tmp_path, one="quantizer: {n_q: 8}", x="base: one.yaml\nquantizer: {kind: lookup, width: 3}")
    assert load_config(Codec, tmp_path / "x.yaml").quantizer == Lookup(width=3)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"x": "base: x.yaml"}, "x.yaml: is its own base"),
        ({"x": "base: one.yaml", "one": "base: x.yaml"}, r"x.yaml: is its own base \(by way of one.yaml\)"),
        ({"x": "base: one.yaml"}, "one.yaml: cannot be read"),
        ({"x": "base: 3"}, "x.yaml: base: expected a file name or a list of file names, got 3"),
        ({"x": "base: [{a: 1}]"}, "base: expected a file name or a list"),
        ({"x": "base: one.yaml", "one": "lrr: 1"}, "unknown key 'lrr'; did you mean lr?"),
    ],
)
def test_a_base_that_cannot_be_merged_is_an_error(
    files: dict[str, str], message: str, tmp_path: Path
) -> None:
    write(tmp_path, **files)
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")) as caught:
        load_config(Config, tmp_path / "x.yaml")
    assert "\n" not in str(caught.value)


def test_a_file_that_two_files_share_is_no_cycle(tmp_path: Path) -> None:
    write(tmp_path, x="base: [a.yaml, b.yaml]", a="base: c.yaml", b="base: c.yaml\nlr: 0.1", c="seed: 1")
    assert load_config(Config, tmp_path / "x.yaml") == Config(seed=1, lr=0.1)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3), ("1.", 1.0), ("-.5", -0.5), ("1_000", 1000), ("0x1F", 31), (".inf", float("inf")),
        ("2020-01-01", "2020-01-01"), ("1.5.2", "1.5.2"), ('"1e3"', "1e3"), ("e3", "e3"), ("yes", True),
        ("~", None),
    ],
)  # fmt: skip
def test_exponents_make_floats_and_dates_stay_strings(text: str, value: object) -> None:
    parsed = parse_yaml(f"a: {text}", "x")["a"]
    assert parsed == value
    assert type(parsed) is type(value)


def test_a_long_string_of_digits_is_read_in_linear_time() -> None:
    text = "1" * 100_000 + "x"
    assert parse_yaml(f"a: {text}", "x") == {"a": text}
