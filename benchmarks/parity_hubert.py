"""Print docs/parity/hubert.md: how far our encoder is from the official HuBERT code on its golden file.

python -m benchmarks.parity_hubert > docs/parity/hubert.md
"""

import torch

from tests.models.hubert_golden import TOLERANCE, all_rows, stored, teacher

HEAD = f"""# HuBERT parity

Golden outputs of the official HuBERT code (CPU, float32) against ours, with the same weights by
`lip2speech.importers.hubert`; {TOLERANCE:g} of a tensor's largest value is accepted, and the official code
differs from its own float64 by up to 1.6e-6.

Printed by `python -m benchmarks.parity_hubert`.

| tensor | largest difference | share of the largest value |
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
