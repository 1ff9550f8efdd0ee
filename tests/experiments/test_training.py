"""Networks, training, solvers and commands of the experiments, in small."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from experiments import (
    cli,
    colour,
    data,
    dynamic,
    masks,
    metrics,
    ports,
    solvers,
    speed,
    stress,
    table1,
)
from experiments import training as tr
from experiments.dynamic_solver import phase_error
from experiments.gradients import gradient_errors
from experiments.lowrank import GapWatch, InvWithoutPhase, LowRank, low_rank_names
from experiments.networks import ColourNetwork, DynamicNetwork, FrameConvolution
from experiments.operators import FourierSampling, PixelSampling, share_over_time
from torch import nn

GUARDED = [n for n in low_rank_names() if n not in ("native", "svd-plain")]


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def photographs():
    return data.training_images()


@pytest.fixture(scope="module")
def series():
    return data.dynamic_series("phantom", (6, 32, 32), subjects=3, slices=2)


def falls(history, part=8):
    """Ratio of the first losses to the last ones."""
    return np.mean(history.loss[:part]) / np.mean(history.loss[-part:])


# low-rank steps


@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("method", low_rank_names())
def test_all_low_rank_steps_have_one_value(method, is_complex, hold):
    torch.manual_seed(0)
    x = torch.randn(4, 7, 5, dtype=torch.complex128 if is_complex else torch.float64)
    share = torch.tensor(0.4, dtype=torch.float64)
    U, S, Vh = torch.linalg.svd(x, full_matrices=False)
    expected = (U * torch.relu(S - 0.4 * S[..., :1])[..., None, :]) @ Vh
    error = (LowRank(method)(x, share) - expected).abs().max()
    hold("experiments: low-rank step", error, 1e-13)


@pytest.mark.parametrize("method", [n for n in low_rank_names() if n != "svd-taylor"])
def test_and_one_gradient_for_distinct_values(method, hold):
    torch.manual_seed(0)
    weights = torch.randn(7, 5, dtype=torch.complex128)
    start = torch.randn(7, 5, dtype=torch.complex128)
    gradients = []
    for name in ("svt", method):
        x = start.clone().requires_grad_()
        share = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
        (weights.conj() * LowRank(name)(x, share)).real.sum().backward()
        gradients.append(torch.cat([x.grad.flatten(), share.grad[None] + 0j]))
    error = (gradients[0] - gradients[1]).norm() / gradients[0].norm()
    hold("experiments: gradient of the low-rank step", error, 1e-10)


def test_without_the_phase_complex_gradients_are_wrong_and_real_ones_are_not():
    rng = np.random.default_rng(0)
    z = rng.standard_normal((3, 6, 6)) + 1j * rng.standard_normal((3, 6, 6))
    error = phase_error(z, 0.12, seed=1)
    assert error["svd-inv"] < 1e-10 < 0.01 < error["inv-no-phase"]
    x = torch.from_numpy(z.real.copy())
    found = []
    for rule in ("svd-inv", InvWithoutPhase.name):
        A = x.clone().requires_grad_()
        LowRank(rule)(A, torch.tensor(0.2)).square().sum().backward()
        found.append(A.grad)
    torch.testing.assert_close(*found, rtol=1e-12, atol=1e-12)


def test_unknown_low_rank_step():
    with pytest.raises(ValueError, match="unknown low-rank step 'nuclear'; use one of svt, "):
        LowRank("nuclear")


def test_gap_watch():
    watch = GapWatch()
    watch.see(torch.tensor([[4.0, 3.0, 1.0], [2.0, 2.0, 1.0]]))
    watch.see(torch.tensor([[8.0, 7.0, 1.0]]))
    assert watch.take() == {"smallest_gap": 0.0, "ties": 1, "matrices": 3}
    watch.see(torch.tensor([[8.0, 7.0, 1.0], [float("nan"), 1.0, 1.0]]))
    assert watch.take()["matrices"] == 0


# networks


def test_frame_convolution_is_the_three_dimensional_one():
    torch.manual_seed(0)
    three = nn.Conv3d(2, 5, 3, padding=1, bias=False)
    frames = FrameConvolution(2, 5, 3, padding=1, bias=False)
    with torch.no_grad():
        frames.weight.copy_(three.weight.permute(0, 2, 1, 3, 4).flatten(1, 2))
    x = torch.randn(2, 2, 4, 9, 8)
    again = torch.cat((x[:, :, :1], x, x[:, :, -1:]), dim=2)  # the first frame and the last one
    expected = three(again)[:, :, 1:-1]
    torch.testing.assert_close(expected, frames(x.transpose(1, 2)).transpose(1, 2))


def test_colour_network_keeps_what_is_known():
    network = ColourNetwork(iterations=2)
    image, mask = torch.rand(2, 3, 16, 16), (torch.rand(3, 16, 16) < 0.4).float()
    out = network(mask * image, mask)
    assert out.shape == image.shape
    torch.testing.assert_close(mask * out, mask * image)
    assert sum(p.numel() for p in ColourNetwork().parameters()) == 10 * (2 * 3168 + 2)


def test_networks_reach_every_parameter():
    colour, moving = ColourNetwork(iterations=3), DynamicNetwork(iterations=3, width=4)
    colour(torch.rand(1, 3, 12, 12), (torch.rand(3, 12, 12) < 0.5).float()).sum().backward()
    mask = (torch.rand(1, 4, 12, 12) < 0.5).float()
    k = mask * torch.randn(1, 4, 12, 12, dtype=torch.complex64)
    moving(k, mask).abs().sum().backward()
    for network in (colour, moving):
        for name, p in network.named_parameters():
            if p.requires_grad and not name.endswith("eta"):
                assert p.grad is not None, name
                assert p.grad.abs().max() > 0, name


def test_a_smooth_start_is_a_solver(photographs, series):
    """Untrained, it improves its input, with almost no effect of the low-rank step."""
    image = data.whole_images()["chelsea"][:, :64, :64]
    y, mask = colour.sample("chelsea", image, 0.4)
    torch.manual_seed(0)
    network = ColourNetwork()
    network.begin_smooth()
    assert metrics.psnr(colour.reconstruct(network, y, mask), image) > metrics.psnr(y, image) + 12
    x = series.subjects["phantom 1"][0]
    y, mask = dynamic.sample(x, "vds-4", 0)
    shared = metrics.measure(dynamic.share_over_time(y, mask), x)["psnr"]
    moving = DynamicNetwork(share=True)
    moving.begin_smooth()
    assert shared > metrics.measure(dynamic.reconstruct(None, y, mask), x)["psnr"] + 1
    assert metrics.measure(dynamic.reconstruct(moving, y, mask), x)["psnr"] > shared


def test_frames_share_what_others_measured():
    rng = np.random.default_rng(0)
    still = np.broadcast_to(rng.standard_normal((1, 8, 8)) + 0j, (4, 8, 8))
    mask = np.zeros((4, 8, 8))
    mask[np.arange(8) % 4, np.arange(8)] = 1  # every line in one frame
    y = FourierSampling(mask).forward(still)
    np.testing.assert_allclose(dynamic.share_over_time(y, mask), still, atol=1e-14)
    mask[:, 3] = 0  # never measured: stays zero
    shared = share_over_time(mask * y, mask)
    assert (shared[:, 3] == 0).all()


# training


def test_colour_network_learns(photographs):
    torch.manual_seed(0)
    problem = colour.Problem(photographs, 0.4, batch=8, side=16)
    network = ColourNetwork("svt", iterations=4)
    log = tr.train(network, problem, tr.Settings(60, rate=5e-3))
    assert not log.nonfinite
    assert falls(log) > 4
    summary = log.summary()
    assert summary["steps_done"] == 60
    assert len(summary["loss"]) == 6
    assert 0 <= summary["smallest_relative_gap"] < 1e-2


@pytest.mark.parametrize("method", ["svd-inv", "svd-fit", "svd-pinv"])
def test_rules_learn_as_svt_does(photographs, method):
    problem = colour.Problem(photographs, 0.4, batch=4, side=12)
    curves = []
    for name in ("svt", method):
        torch.manual_seed(0)
        network = ColourNetwork(name, iterations=2)
        curves.append(tr.train(network, problem, tr.Settings(30, rate=5e-3)).loss)
    np.testing.assert_allclose(curves[0], curves[1], rtol=0.1)


def test_gradients_of_the_rules_are_those_of_svt(photographs, hold):
    torch.manual_seed(0)
    problem = colour.Problem(photographs, 0.4, batch=2)
    methods = ("svt", "svd-inv", "svd-fit")
    network = ColourNetwork(iterations=2)
    for method, errors in gradient_errors(network, methods, problem, 2, 0).items():
        hold(f"experiments: gradient of a network, {method}", max(errors), 1e-2)


def test_dynamic_network_learns():
    """With lines that move from frame to frame, tested on a subject it has not seen."""
    series = data.dynamic_series("phantom", (8, 32, 32), subjects=3, slices=4)
    train, test = dynamic.split(series)
    mask = "vista-4"
    problem = dynamic.Problem([series.subjects[n] for n in train], mask, 8, 24, batch=2)
    torch.manual_seed(0)
    network = DynamicNetwork("svt", iterations=2, width=8)
    log = tr.train(network, problem, tr.Settings(60, rate=3e-3))
    assert not log.nonfinite
    assert falls(log, 12) > 1.3
    unseen = dynamic.Problem([series.subjects[n] for n in test], mask, 8, 24, batch=4)
    (y, drawn), x = unseen(np.random.default_rng(0))
    with torch.no_grad():
        after = tr.squared_error(network(y, drawn), x)
    assert after < 0.75 * tr.squared_error(FourierSampling(drawn).adjoint(y), x)


def test_rate():
    halves = tr.Settings(8, rate=2.0)
    assert [halves.rate_at(n) for n in (0, 4)] == pytest.approx([2, 1])
    paper = tr.Settings(8, rate=2.0, epoch=3)
    assert [paper.rate_at(n) for n in (0, 2, 3, 6)] == pytest.approx([2, 2, 1.9, 1.805])


def test_a_large_gradient_is_shortened(photographs):
    """Adam's first step depends on signs only; the second one shows the length."""
    problem = colour.Problem(photographs, 0.4, batch=2, side=8)
    after = []
    for largest in (None, 1e-12):
        torch.manual_seed(0)
        network = ColourNetwork("svt", iterations=1)
        before = [p.detach().clone() for p in network.parameters()]
        log = tr.train(network, problem, tr.Settings(1, rate=0.1, largest=largest))
        moved = (p.detach() - q for p, q in zip(network.parameters(), before, strict=True))
        after.append(max(float(d.abs().max()) for d in moved))
        assert log.gradient > 1e-3
    assert after[1] < 1e-2 * after[0]  # below Adam's epsilon


def test_cuts_of_photographs(photographs):
    pictures = data.photographs()
    problem = colour.Problem(photographs, 0.4, 8, photographs=pictures, share=0.5)
    shapes = [tuple(problem(np.random.default_rng(n))[1].shape) for n in range(20)]
    assert set(shapes) == {(8, 3, 32, 32), (2, 3, 64, 64)}
    crops = data.photograph_crops(pictures[:1], np.random.default_rng(0), 4, 24)
    windows = np.lib.stride_tricks.sliding_window_view(pictures[0], (3, 24, 24))[0]
    for crop in np.round(255 * crops).astype(np.uint8):
        found = [
            np.array_equal(windows[i, j], c)
            for c in (crop, crop[..., ::-1])
            for i, j in zip(*np.nonzero((windows[:, :, 0, 0] == c[0, 0]).all(-1)), strict=True)
        ]
        assert any(found)


def test_resumed_training_is_the_training(tmp_path, photographs):
    problem = colour.Problem(photographs, 0.4, batch=2, side=8)
    settings = tr.Settings(8, rate=5e-3)

    def network():
        torch.manual_seed(0)
        return ColourNetwork("svt", iterations=1)

    whole = tr.train(network(), problem, settings).loss
    file = tmp_path / "a" / "checkpoint.pt"

    class Interrupted(Exception):  # noqa: N818
        pass

    def until(rng, count=[0]):  # noqa: B006
        count[0] += 1
        if count[0] > 5:
            raise Interrupted
        return problem(rng)

    with pytest.raises(Interrupted):
        tr.train(network(), until, settings, checkpoint=file, save_every=0)
    part = tr.train(network(), problem, settings, file, resume=True, as_it_is=True).loss
    assert part == whole[: len(part)]
    assert 0 < len(part) < len(whole)
    resumed = tr.train(network(), problem, settings, checkpoint=file, resume=True)
    assert resumed.loss == whole
    again = tr.train(network(), problem, settings, checkpoint=file, resume=True)
    assert again.loss == whole

    for other in ({"settings": tr.Settings(9, rate=5e-3)}, {"label": "something else"}):
        arguments = {"settings": settings, "checkpoint": file, "resume": True, **other}
        with pytest.raises(ValueError, match="was written with"):
            tr.train(network(), problem, **arguments)


@pytest.mark.parametrize("stop", [False, True])
def test_nonfinite_gradients_are_counted_and_left_out(stop):
    torch.manual_seed(0)
    network = stress.StressNetwork("native")
    before = [p.detach().clone() for p in network.parameters()]
    log = tr.train(network, stress.batch, tr.Settings(5, stop_at_nonfinite=stop))
    assert log.nonfinite == ([1] if stop else [1, 2, 3, 4, 5])
    for p, q in zip(network.parameters(), before, strict=True):
        assert torch.equal(p, q)


@pytest.mark.parametrize("method", GUARDED)
def test_stress(method):
    torch.manual_seed(0)
    log = tr.train(stress.StressNetwork(method), stress.batch, tr.Settings(150))
    assert not log.nonfinite
    assert all(math.isfinite(x) for x in log.loss)
    assert log.smallest_gap == 0
    assert falls(log, 30) > 2


def test_batches_of_the_stress_test_are_what_they_claim():
    (x,), _ = stress.batch(np.random.default_rng(0))
    assert x.dtype == torch.float32
    S = torch.linalg.svdvals(x.double())
    gaps = ((S[:, :-1] - S[:, 1:]) / S[:, :1].clamp_min(1e-30)).reshape(6, 2, 5)
    identity, permutation, pair, near = gaps[:4]
    assert (identity == 0).all()
    assert ((permutation == 0).sum(-1) >= 4).all()
    assert (pair.amin(-1) < 1e-6).all()
    assert (near.amin(-1) < 2e-3).all()
    assert (S[8:10, -2:] < 1e-12).all()
    assert (S[8:10, :-2] > 1e-3).all()
    assert (S[10:] == 0).all()


# solvers


@pytest.mark.parametrize("solver", [solvers.admm, solvers.proximal_gradient])
@pytest.mark.parametrize("framework", ["numpy", "torch", "jax"])
def test_solvers_complete_a_matrix(solver, framework):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 24, 2)) @ rng.standard_normal((2, 2, 20))
    mask = (rng.random((24, 20)) < 0.6) * 1.0
    if framework == "torch":
        x, mask = torch.from_numpy(x), torch.from_numpy(mask)
    elif framework == "jax":
        import jax.numpy as jnp

        x, mask = jnp.asarray(x, jnp.float32), jnp.asarray(mask, jnp.float32)
    operator = PixelSampling(mask)
    y = operator.forward(x)
    found = solver(operator, y, 0.05, 200)
    assert type(found) is type(x)
    error = np.linalg.norm(np.asarray(found - x)) / np.linalg.norm(np.asarray(x))
    assert error < 0.1
    assert solvers.objective(operator, y, found, 0.05) < solvers.objective(operator, y, y, 0.05)


def test_solvers_agree_and_reconstruct_a_series(series):
    x = series.subjects["phantom 1"][0]
    mask = masks.mri_mask("vds-4", np.random.default_rng(0), x.shape).astype(np.float32)
    operator = FourierSampling(mask)
    y = operator.forward(x)
    a, b = (
        s(operator, y, 0.03, 150, matrices=solvers.casorati)
        for s in (solvers.admm, solvers.proximal_gradient)
    )
    assert metrics.psnr(a, b) > 30
    assert metrics.psnr(a, x) > metrics.psnr(operator.adjoint(y), x) + 3


@pytest.mark.parametrize(
    ("arguments", "words"), [({"weight": 0}, "weight"), ({"weight": 1, "steps": 0}, "steps")]
)
def test_solvers_refuse(arguments, words):
    operator = PixelSampling(np.ones((4, 4)))
    with pytest.raises(ValueError, match=words):
        solvers.admm(operator, np.ones((4, 4)), **arguments)


# ports


@pytest.mark.parametrize("framework", ["jax", "keras"])
def test_ports_have_the_same_loss_curve(framework, photographs):
    problem = colour.Problem(photographs, 0.4, batch=4, side=12)
    settings = tr.Settings(40, rate=3e-3)
    curves = {f: ports.losses(f, problem, settings, iterations=2) for f in ("torch", framework)}
    assert curves[framework][0] == pytest.approx(curves["torch"][0], rel=1e-5)
    assert ports.difference(curves, 10) < 0.03
    assert np.mean(curves[framework][:5]) > 3 * np.mean(curves[framework][-5:])


@pytest.mark.parametrize("framework", ["jax", "keras"])
def test_steps_that_are_timed_are_the_same(framework, photographs):
    """Loss and gradient of the first kernel, whose axes are in another order in Keras."""
    (y, mask), target = colour.Problem(photographs, 0.4, 2, 8)(np.random.default_rng(0))
    batch = y.numpy(), mask.numpy(), target.numpy()
    torch.manual_seed(0)
    network = ColourNetwork("svt", iterations=1)
    for method in speed.METHODS:
        losses, sizes = [], []
        for name in ("torch", framework):
            loss, gradient = speed.FRAMEWORKS[name](network, method)(*batch)
            kernels = gradient.layers[0].transform if name == "jax" else gradient
            first = next(g for g in kernels if g is not None and np.ndim(g) == 4)
            losses.append(float(loss))
            sizes.append(float(np.linalg.norm(np.asarray(first))))
        assert losses[1] == pytest.approx(losses[0], rel=1e-5), method
        assert sizes[1] == pytest.approx(sizes[0], rel=1e-3), method


# data and commands


def test_data_from_folders(tmp_path):
    from skimage.io import imsave

    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (1000, 3, 32, 32), dtype=np.uint8)
    mosaic = pictures.reshape(25, 40, 3, 32, 32).transpose(0, 3, 1, 4, 2).reshape(800, 1280, 3)
    (tmp_path / "m").mkdir()
    imsave(tmp_path / "m" / "train_0.png", mosaic)
    found = data.training_images(str(tmp_path / "m"))
    np.testing.assert_array_equal(found.pixels, pictures)
    assert found.source == "CIFAR-100"

    (tmp_path / "b").mkdir()
    records = np.concatenate([np.zeros((1000, 2), np.uint8), pictures.reshape(1000, -1)], axis=1)
    records.tofile(tmp_path / "b" / "train.bin")
    np.testing.assert_array_equal(data.training_images(str(tmp_path / "b")).pixels, pictures)

    (tmp_path / "p").mkdir()
    imsave(tmp_path / "p" / "one.png", mosaic[:70, :40])
    tiles = data.training_images(str(tmp_path / "p")).pixels
    np.testing.assert_array_equal(tiles[1], mosaic[32:64, :32].transpose(2, 0, 1))
    (whole,) = data.whole_images(str(tmp_path / "p")).values()
    assert whole.shape == (3, 70, 40)

    (tmp_path / "s").mkdir()
    frames = rng.integers(0, 900, (2, 5, 20, 24), dtype=np.uint16)
    np.savez(tmp_path / "s" / "one.npz", frames=frames)
    (one,) = data.dynamic_series(str(tmp_path / "s"), (4, 16, 16)).subjects.values()
    expected = frames[:, :4, 2:18, 4:20]
    size = expected.max(axis=(1, 2, 3), keepdims=True)
    np.testing.assert_allclose(np.abs(one), expected / size, atol=1e-6)

    import h5py

    (tmp_path / "h").mkdir()
    given = rng.standard_normal((1, 4, 16, 16)) + 1j * rng.standard_normal((1, 4, 16, 16))
    with h5py.File(tmp_path / "h" / "one.h5", "w") as content:
        content["frames"] = given
    (one,) = data.dynamic_series(str(tmp_path / "h"), (4, 16, 16)).subjects.values()
    np.testing.assert_allclose(one, given / np.abs(given).max(), rtol=1e-6)


def test_real_sets():
    try:
        images = data.training_images("cifar100", 1000)
        pictures = data.whole_images("sipi")
    except data.DataError as error:
        pytest.skip(str(error))
    assert images.source == "CIFAR-100"
    assert images.pixels.shape == (1000, 3, 32, 32)
    assert len(pictures) == 14
    # neighbouring pixels of a photograph are alike, which shows that the mosaic is split correctly
    x = images.pixels.astype(float)
    assert np.abs(np.diff(x, axis=-1)).mean() < 0.4 * np.abs(np.diff(x, axis=0)).mean()


def test_phantom_moves_and_is_complex(series):
    x = series.subjects["phantom 2"][1]
    assert np.abs(x).max() == pytest.approx(1)
    assert np.abs(np.abs(x[0]) - np.abs(x[3])).max() > 0.1
    assert np.abs(np.angle(x[:, 16, 16])).max() > 0


COMMANDS = (
    "table1 --matrices 3",
    "colour --steps 2 --batch 2 --side 8 --iterations 1 --quiet",
    "gradients --batches 1 --batch 1 --iterations 1 --method svt svd-inv native",
    "colour-solver --ratio 0.4 --steps 2 --weights 0.1",
    "dynamic --size 16 --frames 4 --side 8 --cut-frames 4 --steps 2 --iterations 1",
    "dynamic-solver --mask vds-8 --size 16 --frames 4 --steps 2 --weights 1",
    "stress --steps 3 --method svt native",
    "ports --framework torch --steps 2 --batch 2 --side 8 --iterations 1",
    "speed --framework torch --batch 2 --side 8 --iterations 1 --repeats 1",
)


@pytest.mark.parametrize("line", COMMANDS, ids=lambda line: line.split()[0])
def test_commands(line, tmp_path, capsys):
    command = line.split()
    assert cli.main([*command, "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    files = sorted(tmp_path.glob("*.json"))
    assert files
    for file in files:
        assert file.name in printed
        assert json.loads(file.read_text())["experiment"] == command[0]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("colour --data nowhere --steps 1", "nowhere is no folder, and no name of photographs"),
        ("colour --test nowhere --steps 1", "nowhere: no PNG pictures"),
        ("colour --start no.pt --steps 1 --no-test", "--start: no file no.pt"),
        ("colour --start text --steps 1 --no-test", "text holds no weights of this network"),
        ("colour --resume --steps 1 --no-test", "--resume needs --checkpoint"),
        ("colour --resume --checkpoint text --steps 1 --no-test", "text is no checkpoint"),
        ("colour --resume --checkpoint empty --steps 1 --no-test", "empty is no checkpoint"),
        ("colour --start empty --steps 1 --no-test", "empty holds no weights of this network"),
        ("table1 --matrices 1 --out text/folder", "text/folder: Not a directory"),
        ("colour --picture text/x.png", "text: File exists"),
        ("report --results results", "wrong.json is no result file"),
        ("dynamic --data nowhere", "nowhere: no .npz or .h5 files"),
        ("dynamic --mask spiral --size 16 --side 16", "unknown mask 'spiral'"),
        ("dynamic --size 16 --side 17", "want no more than --size"),
    ],
)
def test_commands_refuse_in_one_line(command, words, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text").write_text("no checkpoint")
    (tmp_path / "empty").write_text("")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "wrong.json").write_text("no JSON")
    assert cli.main(command.split()) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "command", ["colour --ratio 1.5", "table1 --matrices 0", "table1 --seed -1", "nothing", ""]
)
def test_bad_options(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(command.split())
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert "error: " in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("table1", "interrupted\n"),
        ("colour --checkpoint a.pt", "interrupted; --resume goes on from the last checkpoint\n"),
    ],
)
def test_an_interrupted_command(command, words, capsys, monkeypatch, tmp_path):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(table1, "errors", stop)
    monkeypatch.setattr(data, "training_images", stop)
    assert cli.main([*command.split(), "--out", "out"]) == 130
    assert capsys.readouterr().err == words
