"""Operators, masks and metrics of the experiments."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from experiments import masks, metrics
from experiments.data import DataError, data_folder
from experiments.operators import FourierSampling, PixelSampling, centred_fft
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity


def random(rng, shape, is_complex):
    x = rng.standard_normal(shape)
    return x + 1j * rng.standard_normal(shape) if is_complex else x


OPERATORS = {
    "pixels": lambda mask: PixelSampling(mask),
    "frequencies": lambda mask: FourierSampling(mask),
}


@pytest.mark.parametrize("shape", [(3, 12, 10), (2, 4, 9, 9)])
@pytest.mark.parametrize("name", OPERATORS)
def test_adjoint(name, shape, hold):
    rng = np.random.default_rng(1)
    operator = OPERATORS[name]((rng.random(shape) < 0.4).astype(float))
    x, y = random(rng, shape, True), random(rng, shape, True)
    left, right = np.vdot(operator.forward(x), y), np.vdot(x, operator.adjoint(y))
    hold("experiments: adjoint operator", abs(left - right) / abs(left), 1e-13)


@pytest.mark.parametrize("mu", [0.0, 0.3, 5.0])
@pytest.mark.parametrize("name", OPERATORS)
def test_data_step_solves_its_equation(name, mu, hold):
    rng = np.random.default_rng(2)
    shape = (2, 8, 8)
    operator = OPERATORS[name]((rng.random(shape) < 0.4).astype(float))
    z, truth = random(rng, shape, True), random(rng, shape, True)
    y = operator.forward(truth)
    x = operator.data_step(y, z, mu)
    left = operator.adjoint(operator.forward(x)) + mu * x
    right = operator.adjoint(y) + mu * z
    hold("experiments: data step", np.abs(left - right).max(), 1e-13)
    if mu == 0:  # measured entries are restored, the others do not change
        hold("experiments: data step", np.abs(operator.forward(x) - y).max(), 1e-13)


def test_fourier_is_orthonormal_and_centred():
    x = np.random.default_rng(3).standard_normal((2, 6, 8))
    assert np.linalg.norm(centred_fft(x)) == pytest.approx(np.linalg.norm(x))
    k = centred_fft(np.ones((6, 8)))
    assert np.argmax(np.abs(k)) == np.ravel_multi_index((3, 4), k.shape)


def test_operators_take_other_arrays():
    mask = np.random.default_rng(4).random((2, 6, 6)) < 0.5
    x = np.random.default_rng(5).standard_normal((2, 6, 6)) + 0j
    ours = FourierSampling(torch.from_numpy(mask.astype(float))).forward(torch.from_numpy(x))
    np.testing.assert_allclose(ours.numpy(), FourierSampling(mask.astype(float)).forward(x))


def test_pixels_density():
    mask = masks.pixels(np.random.default_rng(0), (3, 128, 128), 0.3)
    assert mask.mean() == pytest.approx(0.3, abs=0.01)


@pytest.mark.parametrize(
    ("name", "density"),
    [
        ("radial-16", 0.115),
        ("radial-30", 0.207),
        ("vds-8", 1 / 8),
        ("vista-8", 1 / 8),
        ("vista-12", 11 / 128),
    ],
)
def test_density_of_masks(name, density):
    shape = (4, 128, 128)
    mask = masks.mri_mask(name, np.random.default_rng(0), shape)
    assert mask.shape == shape
    assert mask.dtype == bool
    for frame in mask:
        assert frame.mean() == pytest.approx(density, abs=0.004)
        assert frame[64, 64] or name.startswith("v")
    assert (mask[0] != mask[1]).any()
    again = masks.mri_mask(name, np.random.default_rng(0), shape)
    np.testing.assert_array_equal(mask, again)


def test_variable_density_is_dense_in_the_middle():
    mask = masks.variable_density(np.random.default_rng(0), (8, 64, 64), 8)
    assert mask[:, 28:36, 28:36].mean() > 0.8
    assert 0.02 < mask[:, :8, :8].mean() < 0.12


def test_vista_lines_repel_each_other():
    rng = np.random.default_rng(0)
    plan, shape = masks.Vista(8), (16, 96)
    k, t = plan.draw(np.random.default_rng(0), shape)
    before, _ = plan.energy(k, t, shape, width=0.5)
    k, t = plan.relax(np.random.default_rng(0), shape)
    after, _ = plan.energy(k, t, shape, width=0.5)
    assert after < 0.93 * before
    lines = plan.lines(rng, shape)
    assert (lines.sum(1) == 12).all()
    spacing = [np.diff(np.flatnonzero(frame)) for frame in lines]
    assert min(s.min() for s in spacing) >= 2
    assert np.median([s.max() for s in spacing]) <= 16  # twice the mean
    # over all frames no line is far from a sampled one, and the middle is denser
    assert np.diff(np.flatnonzero(lines.any(0))).max() <= 4
    assert lines[:, 32:64].mean() > lines[:, :32].mean()


def test_vista_force_is_the_derivative_of_the_energy(hold):
    plan, shape = masks.Vista(4), (4, 32)
    k, t = plan.draw(np.random.default_rng(1), shape)
    direction = np.random.default_rng(3).standard_normal(k.shape)
    _, gradient = plan.energy(k, t, shape, 0.5)
    h = 1e-6
    difference = (
        plan.energy(k + h * direction, t, shape, 0.5)[0]
        - plan.energy(k - h * direction, t, shape, 0.5)[0]
    ) / (2 * h)
    hold("experiments: VISTA force", abs(difference / (gradient @ direction) - 1), 1e-6)


def test_vista_is_as_dense_as_the_published_pattern():
    try:
        folder = data_folder("vista_masks")
    except DataError as error:
        pytest.skip(str(error))
    import h5py
    from scipy.io import loadmat

    for acceleration in (8, 12):
        (path,) = folder.glob(f"*acc_{acceleration}.mat")
        if h5py.is_hdf5(path):
            with h5py.File(path) as content:
                pattern = np.asarray(content["mask"]) > 0
        else:
            pattern = loadmat(path)["mask"] > 0
        pattern = np.moveaxis(pattern, np.argmin(pattern.shape), 0)
        ours = masks.vista(np.random.default_rng(0), pattern.shape, acceleration)
        assert ours.mean() == pytest.approx(pattern.mean(), rel=0.01)


def test_unknown_mask():
    with pytest.raises(ValueError, match="unknown mask 'spiral'; use one like radial-16"):
        masks.mri_mask("spiral", np.random.default_rng(0), (1, 8, 8))


@pytest.mark.parametrize("shape", [(20, 17), (3, 16, 16)])
def test_metrics_against_scikit_image(shape, hold):
    rng = np.random.default_rng(0)
    reference = rng.random(shape)
    image = reference + 0.1 * rng.standard_normal(shape)
    peak = reference.max()
    assert metrics.mse(image, reference) == pytest.approx(mean_squared_error(image, reference))
    expected = peak_signal_noise_ratio(reference, image, data_range=peak)
    assert metrics.psnr(image, reference) == pytest.approx(expected)
    planes = zip(image.reshape(-1, *shape[-2:]), reference.reshape(-1, *shape[-2:]), strict=True)
    expected = np.mean([structural_similarity(x, y, data_range=peak) for x, y in planes])
    hold("experiments: SSIM", abs(metrics.ssim(image, reference) - expected), 1e-12)


def test_metrics_of_the_image_itself():
    x = np.random.default_rng(0).random((8, 8))
    assert metrics.psnr(x, x) == np.inf
    assert metrics.ssim(x, x) == pytest.approx(1)
    with pytest.raises(ValueError, match="7 by 7 or larger"):
        metrics.ssim(x[:4], x[:4])
