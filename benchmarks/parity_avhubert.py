"""Print docs/parity/avhubert.md: how far our encoder is from the official AV-HuBERT code on its golden files.

python -m benchmarks.parity_avhubert > docs/parity/avhubert.md
"""

import torch

from tests.models.golden import TOLERANCE, all_rows

HEAD = f"""# AV-HuBERT parity

Golden outputs of the official AV-HuBERT code (CPU, float32) against ours, with the same weights by
`lip2speech.importers.avhubert`. The number is the largest difference as a share of the tensor's largest
value; {TOLERANCE:g} is accepted, and the official code differs from its own float64 by up to 7e-7.

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
