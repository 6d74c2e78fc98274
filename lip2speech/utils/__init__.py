"""What every layer may use: device choice, processes, atomic files."""
