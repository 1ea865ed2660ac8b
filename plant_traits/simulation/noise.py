"""Smooth random fields on the sphere, without a seam at the antimeridian or the poles."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


def sphere_field(
    rng: np.random.Generator, latitude: npt.ArrayLike, longitude: npt.ArrayLike, scale_degrees: float, waves: int = 48
) -> FloatArray:
    """Draw a Gaussian-like field with mean 0 and variance 1 at the product of a latitude and a longitude axis.

    Random Fourier features of a squared-exponential kernel (Rahimi & Recht 2007) on the unit sphere.

    Args:
        rng: source of the wave vectors and phases.
        latitude: (n,) degrees.
        longitude: (m,) degrees.
        scale_degrees: distance at which the correlation falls to exp(-1/2).
        waves: number of features.

    Returns:
        (n, m) values.
    """
    lat = np.deg2rad(np.asarray(latitude, dtype=np.float64))[:, None]
    lon = np.deg2rad(np.asarray(longitude, dtype=np.float64))[None, :]
    vectors = rng.normal(0.0, 1.0 / np.deg2rad(scale_degrees), (waves, 3))
    phases = rng.uniform(0.0, 2 * np.pi, waves)
    x = (np.cos(lat) * np.cos(lon)).astype(np.float32)
    y = (np.cos(lat) * np.sin(lon)).astype(np.float32)
    z = np.sin(lat).astype(np.float32)
    total = np.zeros(x.shape, dtype=np.float32)
    for (a, b, c), phase in zip(vectors.astype(np.float32), phases.astype(np.float32), strict=True):
        total += np.cos(a * x + b * y + (c * z + phase))
    return np.asarray(np.sqrt(2.0 / waves) * total.astype(np.float64))
