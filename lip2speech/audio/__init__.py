"""Audio: files, resampling, mel spectrograms, pitch, cross-fades."""
