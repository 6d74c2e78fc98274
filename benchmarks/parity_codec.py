"""Print docs/parity/codec.md: differences to the official EnCodec code on its golden files.

python -m benchmarks.parity_codec > docs/parity/codec.md
"""

import torch

from tests.codecs.golden import all_rows

HEAD = """# Codec parity

Golden outputs of the official EnCodec code (CPU, float32) against ours, with the same weights, converted by
`lip2speech.importers.encodec`. Differences are in units of the tolerance: 1e-5 * max(1, standard deviation)
for wavs and latents; for codes, the number of differing codes where the two nearest entries differ in
distance by more than 1e-4.

Printed by `python -m benchmarks.parity_codec`.

| golden file | what | worst difference |
|---|---|---|"""


def main() -> None:
    torch.set_num_threads(1)
    print(HEAD)
    for name, what, value in all_rows():
        print(f"| {name} | {what} | {value:.3g} |")


if __name__ == "__main__":
    main()
