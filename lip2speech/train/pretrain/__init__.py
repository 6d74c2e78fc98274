"""AV-HuBERT pretraining by masked cluster prediction."""
