"""Print docs/parity/avhubert.md: differences between our encoder and the official AV-HuBERT code.

python -m benchmarks.parity_avhubert > docs/parity/avhubert.md
"""

import torch

from tests.models.golden import TOLERANCE, all_rows

HEAD = f"""# AV-HuBERT parity

Outputs of the official AV-HuBERT code (CPU, float32) compared with ours, for the same weights, imported by
`lip2speech.importers.avhubert`. The difference is the maximum absolute difference divided by the tensor's
maximum absolute value. The tolerance is {TOLERANCE:g}; the official code in float32 and float64 differs
by up to 7e-7.

Printed by `python -m benchmarks.parity_avhubert`.

| golden file | tensor | difference |
|---|---|---|"""


def main() -> None:
    torch.set_num_threads(1)
    print(HEAD)
    for name, tensor, value in all_rows():
        print(f"| {name} | {tensor} | {value:.1e} |")


if __name__ == "__main__":
    main()
