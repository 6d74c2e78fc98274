"""YAML <-> dataclass: what fits comes back equal, what does not is an error that names the field."""

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
class Recipe:
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
class Needy:
    corpus: str
    size: int = 1

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size must be at least 1, got {self.size}.")


def test_nothing_given_is_the_dataclass_itself() -> None:
    assert from_dict(Recipe, {}) == Recipe()


def test_values_come_back_equal_through_yaml(tmp_path: Path) -> None:
    recipe = Recipe(lr=3e-5, seed=7, mode="gan", ratios=(2,), weights={"mel": 2.0}, teacher=Quantizer())
    path = tmp_path / "recipe.yaml"
    path.write_text(dump_yaml(recipe))
    assert load_config(Recipe, path) == recipe
    assert load_yaml(path) == to_dict(recipe)


def test_an_int_is_a_float_and_scientific_notation_is_a_number() -> None:
    recipe = from_dict(Recipe, parse_yaml("lr: 1e-4\nbetas: [0, 1]", "here"))
    assert recipe.lr == 1e-4
    assert recipe.betas == (0.0, 1.0)
    assert isinstance(recipe.betas[0], float)


def test_a_group_keeps_the_outer_default_of_what_it_leaves_out() -> None:
    assert from_dict(Recipe, {"quantizer": {"codebook_size": 8}}).quantizer == Quantizer(
        n_q=2, codebook_size=8
    )


@dataclass(frozen=True)
class Comb:
    kind: Literal["comb"] = "comb"
    teeth: int = 8


@dataclass(frozen=True)
class Filtered:
    plug: Quantizer | Comb = field(default_factory=Quantizer)


def test_values_choose_a_dataclass_by_its_kind() -> None:
    assert from_dict(Filtered, {"plug": {"kind": "comb", "teeth": 3}}).plug == Comb(teeth=3)
    assert isinstance(from_dict(Filtered, {"plug": {}}).plug, Quantizer)
    assert from_dict(Quantizer | Comb, {"kind": "comb"}) == Comb()  # type: ignore[arg-type]
    assert from_dict(Quantizer | Comb, {}) == Quantizer()  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="config: kind 'brush' is unknown"):
        from_dict(Quantizer | Comb, {"kind": "brush"})  # type: ignore[arg-type]
    given = Filtered(Comb(teeth=5))
    assert from_dict(Filtered, to_dict(given)) == given


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "brush"}, "config: plug: kind 'brush' is unknown; leave it out, or one of 'comb'."),
        ({"kind": ["comb"]}, "is unknown; leave it out"),
        ({"kind": "comb", "tooth": 3}, "unknown key 'tooth'; did you mean teeth"),
        (3, "plug: expected a group of Quantizer fields, got 3"),
    ],
)
def test_a_kind_or_its_values_that_do_not_fit_are_named(values: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_dict(Filtered, {"plug": values})


def test_an_exact_type_wins_in_a_union() -> None:
    assert isinstance(from_dict(Recipe, {"width": 2}).width, int)
    assert isinstance(from_dict(Recipe, {"width": 2.0}).width, float)


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
def test_what_does_not_fit_is_named(data: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("|", r"\|").replace("?", r"\?")):
        from_dict(Recipe, data)


def test_a_missing_value_and_a_refused_value_are_named() -> None:
    with pytest.raises(ConfigError, match="a.yaml: Needy needs a value for corpus"):
        from_dict(Needy, {}, "a.yaml")
    with pytest.raises(ConfigError, match="a.yaml: size must be at least 1, got 0"):
        from_dict(Needy, {"corpus": "grid", "size": 0}, "a.yaml")


def test_overrides_reach_into_groups_and_are_typed(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("lr: 0.1\n")
    given = ["lr=2e-4", "quantizer.n_q=8", "ratios=[4, 4]", "name=7b", "seed=null", "teacher.n_q=1"]
    recipe = load_config(Recipe, path, given)
    assert (recipe.lr, recipe.quantizer.n_q, recipe.ratios, recipe.name) == (2e-4, 8, (4, 4), "7b")
    assert recipe.teacher == Quantizer(n_q=1)
    assert load_config(Recipe, None, ["seed=3"]).seed == 3


@pytest.mark.parametrize("override", ["lr", "=3", "quantizer.=3", "lr.x=3", "nope=1", "name=${oc.env:HOME}"])
def test_a_bad_override_is_an_error(override: str, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("lr: 0.1\n")
    with pytest.raises(ConfigError):
        load_config(Recipe, path, [override])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: ${b}", "holds an expression"),
        ("a: !!python/object/apply:os.system ['true']", "not valid YAML"),
        ("a: 1\na: 2", "not valid YAML"),
        ("a: &x [1]\nb: *x", "aliases are not accepted"),
        ("- 1\n- 2", "expected `key: value` lines"),
        ("word", "expected `key: value` lines"),
        ("a: [1", "not valid YAML"),
    ],
)
def test_a_file_holds_values_only(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_yaml(path)
    assert str(path) in str(caught.value)


def test_an_empty_file_is_an_empty_recipe_and_a_missing_one_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert load_yaml(tmp_path / "empty.yaml") == {}
    with pytest.raises(ConfigError, match="cannot be read"):
        load_yaml(tmp_path / "missing.yaml")


def test_only_plain_values_are_written() -> None:
    with pytest.raises(ConfigError, match="plain values, got object"):
        to_dict({"a": [object()]})


@pytest.mark.parametrize(
    "text", ["a: " + "[" * 60, "a: " + "{b: " * 60, "".join(" " * n + "a:\n" for n in range(60))]
)
def test_a_nest_deeper_than_any_config_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="x: nested deeper than 50 levels"):
        parse_yaml(text, "x")


def test_lists_in_lists_and_ends_of_blocks_are_counted_right() -> None:
    text = "".join(f"k{n}:\n  a: [[1, 2], {{b: 3}}]\n" for n in range(60))
    assert len(parse_yaml(text, "x")) == 60


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)


def test_base_files_are_merged_in_order_and_the_file_itself_wins(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    write(tmp_path / "shared", one="lr: 0.1\nseed: 1\nquantizer: {n_q: 8}\nratios: [2, 2]", two="seed: 2")
    write(tmp_path, x="base: [shared/one.yaml, shared/two.yaml]\nquantizer: {codebook_size: 4}\nratios: [3]")
    config = load_config(Recipe, tmp_path / "x.yaml", ["name=seven"])
    assert (config.lr, config.seed, config.ratios, config.name) == (0.1, 2, (3,), "seven")
    assert config.quantizer == Quantizer(n_q=8, codebook_size=4)


def test_a_base_has_a_base_relative_to_itself(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    write(tmp_path / "shared", one="base: two.yaml\nlr: 0.1", two="seed: 2")
    write(tmp_path, x="base: shared/one.yaml")
    assert load_config(Recipe, tmp_path / "x.yaml") == Recipe(lr=0.1, seed=2)


def test_a_group_of_another_kind_replaces_the_group_of_the_base(tmp_path: Path) -> None:
    write(tmp_path, one="plug: {n_q: 8}", x="base: one.yaml\nplug: {kind: comb, teeth: 3}")
    assert load_config(Filtered, tmp_path / "x.yaml").plug == Comb(teeth=3)


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
        load_config(Recipe, tmp_path / "x.yaml")
    assert "\n" not in str(caught.value)


def test_a_file_that_two_files_share_is_no_cycle(tmp_path: Path) -> None:
    write(tmp_path, x="base: [a.yaml, b.yaml]", a="base: c.yaml", b="base: c.yaml\nlr: 0.1", c="seed: 1")
    assert load_config(Recipe, tmp_path / "x.yaml") == Recipe(seed=1, lr=0.1)
