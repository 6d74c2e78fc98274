"""Networks: the lip model (front end and heads), HuBERT, the code prior, speaker encoders."""
