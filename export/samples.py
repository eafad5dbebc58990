"""Real photos that installed packages carry, for the demo, calibration and parity."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from vera_mobile.errors import FileError
from vera_mobile.train.quality import developed

SKLEARN = ("china", "flower")
SKIMAGE = ("coffee", "chelsea", "astronaut", "rocket")
FAULTS: tuple[dict[str, float], ...] = (
    {"Exposure2012": -22}, {"IncrementalTemperature": -45}, {"Exposure2012": 12},
    {"Contrast2012": -60, "Blacks2012": 50},
)  # fmt: skip


@lru_cache(maxsize=8)
def photo(name: str) -> np.ndarray:
    """(H, W, 3) uint8 sRGB of scikit-learn's or scikit-image's sample `name`."""
    try:
        if name in SKLEARN:
            from sklearn.datasets import load_sample_image

            return np.asarray(load_sample_image(f"{name}.jpg"))
        from skimage import data

        loader: Callable[[], np.ndarray] = getattr(data, name)
        return np.ascontiguousarray(loader()[..., :3])
    except ImportError as e:
        raise FileError(
            f"sample photo {name!r} needs scikit-learn and scikit-image: "
            "pip install 'vera-mobile[demo]', or give your own photos"
        ) from e


def sample_photos() -> list[np.ndarray]:
    """All samples, as they are and with one fault each: what calibration should have seen."""
    from vera_mobile.develop.sliders import vector

    clean = [photo(n) for n in (*SKLEARN, *SKIMAGE)]
    small = [p[:: max(1, p.shape[0] // 320), :: max(1, p.shape[0] // 320)] for p in clean]
    return clean + [developed(p, vector(FAULTS[i % 4])) for i, p in enumerate(small)]
