"""Foreign weights under our names (lip2speech/importers/keymap.py)."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from lip2speech.importers.base import format_names
from lip2speech.importers.foreign_file import ForeignFileError
from lip2speech.importers.keymap import KeyMap, count_layers, prefixed_state_dict

KEYS = KeyMap(
    Path("x.pt"),
    "Toy",
    {"net.fc": "linear", "net.u": "bias_u", "net.conv": "conv"},
    prefix="enc.",
    leaves={"weight_g": "scale"},
)


def weights() -> dict[str, Tensor]:
    return {
        "enc.net.fc.weight": torch.ones(2, 3),
        "enc.net.u": torch.ones(3),
        "enc.net.conv.weight_g": torch.ones(1),
    }


def test_modules_weights_and_leaves_are_renamed_and_renamed_back() -> None:
    found, dropped = KEYS.translate(weights() | {"dec.w": torch.ones(1)}, dropped=["dec"])
    assert {ours: foreign for ours, (foreign, _) in found.items()} == {
        "linear.weight": "enc.net.fc.weight", "bias_u": "enc.net.u", "conv.scale": "enc.net.conv.weight_g"
    }  # fmt: skip
    assert dropped == ["dec.w"]
    assert all(KEYS.foreign(ours) == foreign for ours, (foreign, _) in found.items())


def test_both_names_of_a_weight_norm_are_the_same_weight() -> None:
    assert KEYS.rename("net.conv.parametrizations.weight.original0") == "conv.scale"
    assert KEYS.rename("net.conv.parametrizations.weight.original1") == "conv.weight_v"


@pytest.mark.parametrize("name", ["net.fc.weight", "enc.net.other.weight", "enc.net", "dec.w"])
def test_a_name_outside_table_and_prefix_is_an_error(name: str) -> None:
    with pytest.raises(ForeignFileError, match=f"x.pt: {name} is not part of Toy"):
        KEYS.translate({name: torch.ones(1)})


def test_nothing_may_be_left_over_on_either_side() -> None:
    found, _ = KEYS.translate(weights())
    expected = {ours: tensor.to("meta") for ours, (_, tensor) in found.items()}
    assert KEYS.match(found, expected).keys() == expected.keys()
    with pytest.raises(ForeignFileError, match="enc.net.fc.bias is missing"):
        KEYS.match(found, expected | {"linear.bias": torch.ones(2)})
    del expected["conv.scale"]
    with pytest.raises(ForeignFileError, match="enc.net.conv.weight_g is not part of this Toy"):
        KEYS.match(found, expected)


def test_an_unknown_name_is_reported_with_the_closest_expected_one() -> None:
    left = {f"enc.net.{name}": torch.ones(1) for name in ("cnov.weight_g", "fd.weight", "x.y", "z.y")}
    with pytest.raises(ForeignFileError) as raised:
        KEYS.translate(left)
    said = str(raised.value)
    assert "(closest expected: enc.net.conv.weight_g for enc.net.cnov.weight_g, enc.net.fc.weight for" in said
    assert "for enc.net.x.y)" in said
    assert "\n" not in said
    found, _ = KEYS.translate(weights())
    expected = {ours: tensor for ours, (_, tensor) in found.items() if ours != "conv.scale"}
    with pytest.raises(ForeignFileError, match="closest expected: enc.net.* for enc.net.conv.weight_g"):
        KEYS.match(found, expected)


def test_float16_weights_take_the_expected_dtype() -> None:
    found, _ = KEYS.translate({name: tensor.half() for name, tensor in weights().items()})
    fitted = KEYS.match(found, {ours: torch.empty(tensor.shape) for ours, (_, tensor) in found.items()})
    assert {tensor.dtype for tensor in fitted.values()} == {torch.float32}


def test_layers_are_counted_rather_than_parsed() -> None:
    names = ["layers.0.w", "layers.1.w", "layers.1.b"]
    assert count_layers(names, "layers.", Path("x"), "Toy") == 2
    for bad in (["layers.1.w"], ["layers.0.w", "layers.999999999.w"], []):
        with pytest.raises(ForeignFileError, match="without gaps; not a Toy file"):
            count_layers(bad, "layers.", Path("x"), "Toy")


def test_long_lists_of_names_are_shortened() -> None:
    assert format_names(["a"]) == "a is"
    assert format_names([str(n) for n in range(9)]) == "0, 1, 2, 3, 4 and 4 more are"


def test_the_state_dicts_of_modules_are_joined_under_their_names() -> None:
    assert set(prefixed_state_dict(a=torch.nn.Linear(1, 1), b=torch.nn.PReLU())) == {
        "a.weight",
        "a.bias",
        "b.weight",
    }
