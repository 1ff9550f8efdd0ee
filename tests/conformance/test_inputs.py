"""The built-in matrices have the spectra they claim, and bad files are refused in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from svdinv_conformance.inputs import (
    ARRANGEMENTS,
    BUILT_IN,
    InputError,
    arrange,
    built_in,
    from_image,
    from_npy,
)


def values(name: str, dtype: str = "float64") -> np.ndarray:
    x = built_in(name).matrices(dtype)
    assert x is not None
    s = np.linalg.svd(x, compute_uv=False)
    return np.asarray(s / np.max(s, axis=-1, keepdims=True, initial=1e-300))


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_case_builds(name: str) -> None:
    case = built_in(name)
    assert case.real is not None
    assert case.real.dtype == np.float64
    assert case.complex.dtype == np.complex128
    assert case.real.shape == case.complex.shape == case.shape
    assert case.description
    again = built_in(name)
    assert np.array_equal(case.complex, again.complex)
    if name.startswith("photo"):
        assert case.real.min() >= 0
        assert case.real.max() <= 1
        assert np.ptp(case.real) > 0.5


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_spectra(dtype: str) -> None:
    assert np.allclose(values("identity", dtype), 1)
    assert np.allclose(values("all-equal", dtype), 1)
    assert np.allclose(values("tied-pair", dtype)[1:3], 2 / 3)
    assert np.ptp(values("triple-tie", dtype)[:3]) < 1e-14
    assert np.all(values("zeros", dtype)[3:] < 1e-15)
    assert np.min(-np.diff(values("distinct", dtype))) > 0.1
    assert 1e-13 < values("near-tie", dtype)[1] - values("near-tie", dtype)[2] < 1e-11
    for name in ("photo-tiled", "photo-symmetric"):
        s = values(name, dtype)
        assert np.max(np.abs(s[..., ::2] - s[..., 1::2])) < 1e-14
    assert np.all(values("photo-zero-rows", dtype)[..., 32:] < 1e-15)


def test_complex_cases_are_complex() -> None:
    for name in ("tied-pair", "tall", "photo", "photo-tiled"):
        assert np.max(np.abs(built_in(name).complex.imag)) > 0.1


def test_arrangements() -> None:
    crop = np.random.default_rng(0).random((3, 6, 6))
    for how in ARRANGEMENTS:
        assert arrange(crop, how).shape[-2:] in ((6, 6), (12, 12))
    with pytest.raises(InputError, match="unknown arrangement"):
        arrange(crop, "spiral")


def test_unknown_case() -> None:
    with pytest.raises(InputError, match="list-cases"):
        built_in("nope")


def test_types_that_cannot_hold_a_matrix(tmp_path: Path) -> None:
    np.save(tmp_path / "c.npy", np.eye(2) * 1j)
    case = from_npy(tmp_path / "c.npy")
    assert case.real is None
    assert case.matrices("float64") is None
    assert case.matrices("complex64") is not None
    np.save(tmp_path / "large.npy", np.eye(2) * 1e300)
    assert from_npy(tmp_path / "large.npy").matrices("float32") is None


@pytest.mark.parametrize("dtype", ["bool", "int16", "uint8", "float16", "float32"])
def test_numeric_types_are_read(tmp_path: Path, dtype: str) -> None:
    np.save(tmp_path / "x.npy", np.eye(3).astype(dtype))
    case = from_npy(tmp_path / "x.npy")
    assert np.array_equal(case.real, np.eye(3))


def test_images(tmp_path: Path) -> None:
    from PIL import Image

    colour = (np.random.default_rng(0).random((20, 30, 3)) * 255).astype(np.uint8)
    Image.fromarray(colour).save(tmp_path / "colour.png")
    case = from_image(tmp_path / "colour.png", 16, "tiled")
    assert case.shape == (3, 32, 32)
    assert case.real is not None
    assert np.array_equal(case.real[0, :16, :16], colour[2:18, 7:23, 0] / 255)
    Image.fromarray(colour[..., 0]).save(tmp_path / "grey.png")
    assert from_image(tmp_path / "grey.png", 64, "none").shape == (20, 20)
