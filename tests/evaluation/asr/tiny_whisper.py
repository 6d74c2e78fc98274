"""A Whisper with random weights and single characters as tokens, in a folder that transformers loads."""

import json
from pathlib import Path

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|startoftranscript|>",
    "<|en|>",
    "<|transcribe|>",
    "<|notimestamps|>",
)


def save_whisper(folder: Path) -> Path:
    """Write model, tokenizer and feature extractor into `folder`."""
    import transformers

    characters = [*map(chr, range(33, 127)), "\u0120"]  # the last one stands for a space
    vocabulary = {token: i for i, token in enumerate((*characters, *SPECIAL_TOKENS))}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.WhisperTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": list(SPECIAL_TOKENS)})
    tokenizer.save_pretrained(folder)
    end = vocabulary[SPECIAL_TOKENS[0]]
    config = transformers.WhisperConfig(
        vocab_size=len(tokenizer), d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, max_target_positions=24,
        pad_token_id=end, bos_token_id=end, eos_token_id=end,
        decoder_start_token_id=vocabulary[SPECIAL_TOKENS[1]], suppress_tokens=[], begin_suppress_tokens=[],
    )  # fmt: skip
    model = transformers.WhisperForConditionalGeneration(config)
    model.generation_config.max_length = 12
    model.save_pretrained(folder)
    transformers.WhisperFeatureExtractor(feature_size=80).save_pretrained(folder)
    return folder
