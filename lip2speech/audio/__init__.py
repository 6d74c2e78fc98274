"""Audio files, resampling, mel spectrograms, F0 estimation, cross-fades."""
