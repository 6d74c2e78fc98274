"""Pre-training of AV-HuBERT by masked multimodal cluster prediction (Shi et al. 2022)."""
