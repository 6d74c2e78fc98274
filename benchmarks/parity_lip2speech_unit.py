"""Print docs/parity/lip2speech_unit.md: how far our models are from lip2speech-unit itself on its golden files.

python -m benchmarks.parity_lip2speech_unit > docs/parity/lip2speech_unit.md
"""

import torch

from tests.importers.unit_golden import TOLERANCE, all_rows

HEAD = f"""# lip2speech-unit parity

Golden outputs of the official lip2speech-unit (CPU, float32) against ours, with the same weights by
`lip2speech.importers.lip2speech_unit` and `lip2speech.importers.hifigan`. The number is the largest difference as a
share of the tensor's largest value, where nothing else is said; {TOLERANCE:g} is accepted, and the official
code differs from its own float64 by up to 6e-7.

Printed by `python -m benchmarks.parity_lip2speech_unit`.

| golden file | tensor | difference |
|---|---|---|"""


def main() -> None:
    torch.set_num_threads(1)
    print(HEAD)
    for name, tensor, value in all_rows():
        print(f"| {name} | {tensor} | {value:.1e} |")


if __name__ == "__main__":
    main()
