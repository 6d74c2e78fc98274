"""Golden files of official code (EnCodec, SimVQ, WavTokenizer), and our modules filled with their weights."""

import json
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from lip2speech.codecs.encodec import EnCodec, EnCodecConfig
from lip2speech.codecs.quantization import QuantizerConfig, ResidualVQ, SemanticAcousticQuantizer
from lip2speech.codecs.quantization.simvq import SemanticCodebookConfig, SimVQCodebook, SimVQConfig
from lip2speech.importers.encodec import encodec_key
from lip2speech.modules.seanet import SEANetConfig, SEANetDecoder, SEANetEncoder
from lip2speech.modules.vocos import VocosConfig, VocosDecoder

FOLDER = Path(__file__).parents[1] / "golden" / "codec"
SEANETS = sorted(path.stem for path in FOLDER.glob("seanet_*.safetensors"))
RVQS = sorted(path.stem for path in FOLDER.glob("rvq_*.safetensors"))
WHOLE = ["full_16k_50hz_causal", "full_16k_50hz_noncausal", "full_24k_causal"]
SEGMENTED = "full_24k_segmented_tgn_norm"
SIMVQ, DUAL, VOCOS = "simvq_64x16", "sacodec_dualquant", "wavtok_decoder_small"
SURE_MARGIN = 1e-4  # a code is certain where the second-best entry is this much farther away

Golden = tuple[dict[str, Any], dict[str, Tensor]]


def read(name: str) -> Golden:
    """The file's config and tensors."""
    with safe_open(FOLDER / f"{name}.safetensors", "pt") as file:
        return json.loads(file.metadata()["config"]), {key: file.get_tensor(key) for key in list(file.keys())}


def tolerance(expected: Tensor) -> float:
    """The largest difference allowed to a golden wav or latent."""
    return 1e-5 * max(1.0, float(expected.std()))


def distance(actual: Tensor, expected: Tensor) -> float:
    """The largest difference, in tolerances."""
    assert actual.shape == expected.shape, f"shape {tuple(actual.shape)} is not {tuple(expected.shape)}"
    return float((actual - expected).detach().abs().max()) / tolerance(expected)


def renamed(tensors: dict[str, Tensor], *prefixes: str) -> dict[str, Tensor]:
    """Official weights under our names, those with one of the prefixes."""
    return {encodec_key(key): tensor for key, tensor in tensors.items() if key.startswith(prefixes)}


def seanet_config(config: dict[str, Any]) -> SEANetConfig:
    """Golden numbers over EnCodec's official defaults (which pad by reflection)."""
    numbers = {key: config[key] for key in config if key in SEANetConfig.__dataclass_fields__}
    return SEANetConfig(**{"pad_mode": "reflect", **numbers})


def seanet(name: str) -> tuple[SEANetEncoder, SEANetDecoder, dict[str, Tensor]]:
    config, tensors = read(name)
    encoder, decoder = SEANetEncoder(seanet_config(config)), SEANetDecoder(seanet_config(config))
    for side, module in (("encoder.", encoder), ("decoder.", decoder)):
        state = renamed(tensors, side)
        module.load_state_dict({key.removeprefix(side): tensor for key, tensor in state.items()})
    return encoder.eval(), decoder.eval(), tensors


def rvq(name: str, moment: str = "before.") -> tuple[ResidualVQ, dict[str, Tensor]]:
    """The quantiser before (or "after.") the golden training step."""
    config, tensors = read(name)
    quantizer = ResidualVQ(
        QuantizerConfig(
            config["n_q"], config["bins"], config["dim"], decay=config["decay"], dead_code_threshold=0
        )
    )
    state = {key.removeprefix(moment): tensors[key] for key in tensors if key.startswith(moment)}
    state = {key.removeprefix("quantizer."): tensor for key, tensor in renamed(state, "").items()}
    quantizer.load_state_dict(state)
    return quantizer.eval(), tensors


def encodec(name: str) -> tuple[EnCodec, dict[str, Any], dict[str, Tensor]]:
    config, tensors = read(name)
    codec = EnCodec(
        EnCodecConfig(
            sample_rate=config["sample_rate"],
            seanet=seanet_config(config),
            quantizer=QuantizerConfig(config["n_q"], config["bins"], config["dimension"]),
            normalize=config["normalize"],
            segment=config["segment"],
        )
    )
    codec.load_state_dict(renamed(tensors, "encoder.", "decoder.", "quantizer."))
    return codec.eval(), config, tensors


def simvq(name: str) -> tuple[SimVQCodebook, dict[str, Tensor]]:
    config, tensors = read(name)
    codebook = SimVQCodebook(SimVQConfig(config["n_e"], config["e_dim"], config["beta"]))
    state = {"frozen": "embedding.weight", "proj.weight": "embedding_proj.weight"}
    state["proj.bias"] = "embedding_proj.bias"
    codebook.load_state_dict({ours: tensors[theirs] for ours, theirs in state.items()})
    return codebook, tensors


def dual(name: str) -> tuple[SemanticAcousticQuantizer, dict[str, Tensor]]:
    config, tensors = read(name)
    quantizer = SemanticAcousticQuantizer(
        SemanticCodebookConfig(config["K1"], config["D_s"]),
        SimVQConfig(config["K2"], config["D"], bias=False),
    )
    state = {
        "codebooks.0.frozen": tensors["C_sem"],
        "codebooks.0.proj.weight": tensors["P_sem.weight"],
        "codebooks.0.proj.bias": tensors["P_sem.bias"],
        "codebooks.1.frozen": tensors["C_coeff"],
        "codebooks.1.proj.weight": tensors["W_basis"].t(),  # the paper's basis stands on the right
    }
    quantizer.load_state_dict(state)
    return quantizer.eval(), tensors


# Where our modules have another name than WavTokenizer's; first match wins.
VOCOS_RULES = {
    r"backbone\.embed\.": "embed.",
    r"backbone\.pos_net\.2\.q\.": "pos_net.2.query.",
    r"backbone\.pos_net\.2\.k\.": "pos_net.2.key.",
    r"backbone\.pos_net\.2\.v\.": "pos_net.2.value.",
    r"backbone\.pos_net\.2\.proj_out\.": "pos_net.2.out.",
    r"backbone\.pos_net\.(\d)\.norm1\.": r"pos_net.\1.layers.0.",
    r"backbone\.pos_net\.(\d)\.conv1\.": r"pos_net.\1.layers.2.",
    r"backbone\.pos_net\.(\d)\.norm2\.": r"pos_net.\1.layers.3.",
    r"backbone\.pos_net\.(\d)\.conv2\.": r"pos_net.\1.layers.6.",
    r"backbone\.pos_net\.": "pos_net.",
    r"backbone\.norm\.": "norm.",
    r"backbone\.final_layer_norm\.": "final_layer_norm.",
    r"backbone\.convnext\.(\d+)\.dwconv\.": r"convnext.\1.depthwise.conv.",
    r"backbone\.convnext\.(\d+)\.pwconv1\.": r"convnext.\1.mlp.0.",
    r"backbone\.convnext\.(\d+)\.pwconv2\.": r"convnext.\1.mlp.2.",
    r"backbone\.convnext\.": "convnext.",
    r"head\.out\.": "head.out.",
}


def vocos(name: str) -> tuple[VocosDecoder, dict[str, Tensor]]:
    """The decoder at the golden's one bandwidth: norms conditioned on it are plain norms, with its row."""
    config, tensors = read(name)
    decoder = VocosDecoder(
        VocosConfig(
            dimension=config["input_channels"],
            width=config["dim"],
            hidden=config["intermediate_dim"],
            blocks=config["num_layers"],
            n_fft=config["n_fft"],
            hop_length=config["hop_length"],
        )
    )
    state = {}
    for key, tensor in tensors.items():
        rule = next((rule for rule in VOCOS_RULES if re.match(rule, key)), None)
        if rule is not None:
            ours = re.sub(rule, VOCOS_RULES[rule], key)
            if re.search(r"\.(scale|shift)\.weight$", ours):
                tensor = tensor[config["bandwidth_id"]]
                ours = ours.replace("scale.weight", "weight").replace("shift.weight", "bias")
            state[ours] = (
                tensor[..., 0] if re.match(r"pos_net\.2\.\w+\.weight", ours) and tensor.dim() == 3 else tensor
            )
    decoder.load_state_dict(state)
    return decoder.eval(), tensors


def wrong_codes(actual: Tensor, expected: Tensor, margin: Tensor | None) -> int:
    """Codes (n_q, B, T) that differ where the golden choice was sure."""
    wrong = actual != expected
    return int((wrong if margin is None else wrong & (margin[: len(wrong)] > SURE_MARGIN)).sum())


@torch.no_grad()
def seanet_rows(name: str) -> list[tuple[str, float]]:
    """(what, difference in tolerances) for every stored case."""
    encoder, decoder, tensors = seanet(name)
    rows = []
    for case in sorted(key[:-2] for key in tensors if key.startswith("case") and key.endswith(".x")):
        wav, latent = tensors[f"{case}.x"], tensors[f"{case}.z"]
        rows.append((f"{case} encoder", distance(encoder(wav), latent)))
        rows.append((f"{case} decoder", distance(decoder(latent), tensors[f"{case}.y"])))
    return rows


@torch.no_grad()
def rvq_rows(name: str) -> list[tuple[str, float]]:
    quantizer, tensors = rvq(name)
    rows = []
    for n_q in range(1, quantizer.config.n_q + 1):
        codes = tensors[f"nq{n_q}.codes"]
        wrong = wrong_codes(quantizer.encode(tensors["z"], n_q).transpose(0, 1), codes, tensors["margin"])
        rows.append((f"n_q {n_q} unambiguous codes that differ", float(wrong)))
        decoded = quantizer.decode(codes.transpose(0, 1))
        rows.append((f"n_q {n_q} decoded", distance(decoded, tensors[f"nq{n_q}.decoded"])))
    return rows


@torch.no_grad()
def whole_rows(name: str) -> list[tuple[str, float]]:
    codec, config, tensors = encodec(name)
    wav = tensors["x"]
    rows = [("latent", distance(codec.encode_latent(wav), tensors["z"]))]
    for kbps in config["bandwidths"]:
        codes = tensors[f"bw{kbps}.frame0.codes"]
        ours = codec.encode(wav, codec.n_q_for_bandwidth(kbps))
        wrong = wrong_codes(ours.transpose(0, 1), codes.transpose(0, 1), tensors["margin"])
        rows.append((f"{kbps} kbit/s unambiguous codes that differ", float(wrong)))
        rows.append((f"{kbps} kbit/s decoded", distance(codec.decode(codes), tensors[f"bw{kbps}.y"])))
        there_and_back = codec.decode(ours)[..., : wav.shape[-1]]
        rows.append((f"{kbps} kbit/s wav to wav", distance(there_and_back, tensors[f"bw{kbps}.forward"])))
    return rows


@torch.no_grad()
def segmented_rows(name: str = SEGMENTED) -> list[tuple[str, float]]:
    codec, config, tensors = encodec(name)
    rows = []
    for kbps in config["bandwidths"]:
        segments = codec.encode_segments(tensors["x"], codec.n_q_for_bandwidth(kbps))
        for i, segment in enumerate(segments):
            wrong = wrong_codes(segment.codes, tensors[f"bw{kbps}.frame{i}.codes"], None)
            rows.append((f"{kbps} kbit/s segment {i} codes that differ", float(wrong)))
            assert segment.scale is not None, "normalised segments have a scale"
            scale = tensors[f"bw{kbps}.frame{i}.scale"]
            rows.append(
                (f"{kbps} kbit/s segment {i} scale", float((segment.scale - scale).abs().max()) / 1e-5)
            )
        rows.append(
            (f"{kbps} kbit/s decoded", distance(codec.decode_segments(segments), tensors[f"bw{kbps}.y"]))
        )
    return rows


@torch.no_grad()
def simvq_rows(name: str = SIMVQ) -> list[tuple[str, float]]:
    codebook, tensors = simvq(name)
    z = tensors["z"].transpose(1, 2)
    codes = codebook.quantize(z.reshape(-1, z.shape[-1])).view(z.shape[:2])
    wrong = float((codes != tensors["codes"]).sum())
    decoded = codebook.dequantize(codes).transpose(1, 2)
    return [("codes that differ", wrong), ("quantised", distance(decoded, tensors["zq"]))]


@torch.no_grad()
def dual_rows(name: str = DUAL) -> list[tuple[str, float]]:
    quantizer, tensors = dual(name)
    latent, codes = tensors["h"].transpose(1, 2), torch.stack([tensors["codes1"], tensors["codes2"]], 1)
    rows = [("codes that differ", float((quantizer.encode(latent) != codes).sum()))]
    for n_q, stored in ((1, "e1"), (2, "e_final")):
        decoded = quantizer.decode(codes[:, :n_q]).transpose(1, 2)
        rows.append((f"n_q {n_q} decoded", distance(decoded, tensors[stored])))
    return rows


@torch.no_grad()
def vocos_rows(name: str = VOCOS) -> list[tuple[str, float]]:
    """The second golden wav is the same spectrum through PyTorch's centered inverse STFT."""
    decoder, tensors = vocos(name)
    config, hidden = decoder.config, decoder.hidden(tensors["x"])
    window = torch.hann_window(config.n_fft)
    spectrum = decoder.head.spectrum(hidden)
    centred = torch.istft(spectrum, config.n_fft, config.hop_length, window=window, center=True)
    return [
        ("hidden", distance(hidden.transpose(1, 2), tensors["features"])),
        ("wav", distance(decoder(tensors["x"])[:, 0], tensors["audio_same"])),
        ("wav, centred", distance(centred, tensors["audio_center"])),
    ]


def all_rows() -> list[tuple[str, str, float]]:
    """(file, what, difference in tolerances) of every golden file."""
    table = []
    for names, rows in (
        (SEANETS, seanet_rows),
        (RVQS, rvq_rows),
        (WHOLE, whole_rows),
        ([SEGMENTED], segmented_rows),
        ([SIMVQ], simvq_rows),
        ([DUAL], dual_rows),
        ([VOCOS], vocos_rows),
    ):
        table += [(name, what, value) for name in names for what, value in rows(name)]
    return table
