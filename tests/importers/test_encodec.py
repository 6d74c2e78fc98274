"""Names of public EnCodec weights (lip2speech/importers/encodec.py)."""

import ast

import pytest
import torch

from lip2speech.codec.encodec import EnCodec, EnCodecConfig
from lip2speech.codec.quantize import QuantizerConfig
from lip2speech.codec.seanet import SEANetConfig
from lip2speech.importers.encodec import encodec_key, encodec_key_map
from tests.codec import golden


@pytest.mark.parametrize(
    ("public", "ours"),
    [
        ("encoder.model.0.conv.conv.weight_v", "encoder.layers.0.conv.parametrizations.weight.original1"),
        ("encoder.model.1.block.3.conv.conv.bias", "encoder.layers.1.block.3.conv.bias"),
        ("encoder.model.1.shortcut.conv.norm.weight", "encoder.layers.1.shortcut.norm.weight"),
        ("decoder.model.3.convtr.convtr.weight_g", "decoder.layers.3.conv.parametrizations.weight.original0"),
        ("decoder.model.3.convtr.norm.bias", "decoder.layers.3.norm.bias"),
        ("decoder.model.1.lstm.weight_hh_l1", "decoder.layers.1.lstm.weight_hh_l1"),
        ("quantizer.vq.layers.31._codebook.embed", "quantizer.codebooks.31.entries"),
        ("quantizer.vq.layers.0._codebook.embed_avg", "quantizer.codebooks.0.entries_sum"),
        ("quantizer.layers.2.codebook.cluster_size", "quantizer.codebooks.2.cluster_size"),
        ("encoder.layers.13.lstm.bias_ih_l0", "encoder.layers.13.lstm.bias_ih_l0"),
    ],
)
def test_every_kind_of_public_name_has_one_of_ours(public, ours):
    assert encodec_key(public) == ours


@pytest.mark.parametrize("name", [*golden.WHOLE, golden.SEGMENTED])
def test_nothing_is_left_over_on_either_side(name):
    codec, _, tensors = golden.encodec(name)  # loads strictly
    public = [key for key in tensors if key.startswith(("encoder.", "decoder.", "quantizer."))]
    assert len(codec.state_dict()) == len(public)


@pytest.mark.parametrize("column", [0, 2], ids=["encodec", "transformers"])
def test_the_published_24_khz_weights_fit_our_numbers_name_by_name(column):
    config = EnCodecConfig(24000, SEANetConfig(pad_mode="reflect"), QuantizerConfig(n_q=32))
    with torch.device("meta"):
        ours = {key: list(tensor.shape) for key, tensor in EnCodec(config).state_dict().items()}
    lines = (golden.FOLDER / "encodec24k_keys.tsv").read_text().splitlines()[1:]
    rows = [line.split("\t") for line in lines]
    assert ours == {encodec_key(row[column]): ast.literal_eval(row[1]) for row in rows}


def test_a_foreign_name_is_refused():
    with pytest.raises(ValueError, match="best_state: expected an EnCodec tensor"):
        encodec_key_map({"best_state": torch.zeros(1)})
