"""Writes the goldens of this folder: `python tests/golden/make.py --public DIR`.

public_modules.npz: outputs of the public modules (DIR: a checkout of OpenVeraTeam/VeraRetouch) on
seeded weights and inputs; per case "<case>" float32 values and "<case>.inputs" the SHA-256 of its
inputs. Weights and inputs are made again where the goldens are read.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent


def main() -> None:
    """Makes every golden anew."""
    parser = argparse.ArgumentParser(description="Write the goldens.")
    parser.add_argument("--public", required=True, type=Path, help="the public repository")
    args = parser.parse_args()
    sys.path.insert(0, str(HERE.parent / "unit"))
    from public_modules import CASES, input_hash, public_output, thinned

    values: dict[str, np.ndarray] = {}
    for case in CASES:
        values[case] = thinned(case, public_output(args.public.resolve(), case))
        values[f"{case}.inputs"] = np.array(input_hash(case))
        print(f"{case}: {values[case].size} values", file=sys.stderr)
    np.savez_compressed(HERE / "public_modules.npz", **values)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
