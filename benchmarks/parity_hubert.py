"""Print docs/parity/hubert.md: differences between our encoder and the official HuBERT code.

python -m benchmarks.parity_hubert > docs/parity/hubert.md
"""

import torch

from tests.models.hubert_golden import TOLERANCE, all_rows, stored, teacher

HEAD = f"""# HuBERT parity

Outputs of the official HuBERT code (CPU, float32) compared with ours, for the same weights, imported by
`lip2speech.importers.hubert`. The relative difference is the maximum absolute difference divided by the
tensor's maximum absolute value. Its tolerance is {TOLERANCE:g}; the official code in float32 and float64
differs by up to 1.6e-6.

Printed by `python -m benchmarks.parity_hubert`.

| tensor | max. abs. difference | relative difference |
|---|---|---|"""


def main() -> None:
    torch.set_num_threads(1)
    print(HEAD)
    for name, error, share in all_rows():
        print(f"| {name} | {error:.1e} | {share:.1e} |")
    expected = stored()["units_layer2"]
    equal = int((teacher()(stored()["wav"]) == expected).sum())
    print(f"\nUnits of layer 2: {equal} of {len(expected)} equal.")


if __name__ == "__main__":
    main()
