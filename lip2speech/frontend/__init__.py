"""Front ends: mouth crops in, features (B, T, C) at 25 Hz out."""
