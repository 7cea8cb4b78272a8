"""A checkpoint of a published size with random weights, and a tokenizer for it.

    python -m benchmarks.full_size FILE {sd1,sd2,sdxl} TOKENIZER_FOLDER

2 to 7 GB. Made by the code of the slow tests; run it from the repository.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from easyphoto.config import Family
from tests.weights import full_size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("family", choices=("sd1", "sd2", "sdxl"))
    parser.add_argument("tokenizer", type=Path)
    options = parser.parse_args()
    full_size.vocabulary(options.tokenizer)
    full_size.write(options.file, Family(options.family))


if __name__ == "__main__":
    main()
