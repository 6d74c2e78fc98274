"""Print docs/parity/lip2speech_unit.md: differences between our models and the official lip2speech-unit.

python -m benchmarks.parity_lip2speech_unit > docs/parity/lip2speech_unit.md
"""

import torch

from tests.importers.unit_golden import TOLERANCE, all_rows

HEAD = f"""# lip2speech-unit parity

Outputs of the official lip2speech-unit (CPU, float32) compared with ours, for the same weights, imported by
`lip2speech.importers.lip2speech_unit` and `lip2speech.importers.hifigan`. Unless stated otherwise, the
difference is the maximum absolute difference divided by the tensor's maximum absolute value. The tolerance is
{TOLERANCE:g}; the official code in float32 and float64 differs by up to 6e-7.

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
