"""The Fréchet distance: the closed form for Gaussians, scipy's matrix root, streams, files."""

import contextlib
import io
import json
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch

from slot_eval.errors import EvalError
from slot_eval.features import load_extractor
from slot_eval.functional.composition import compose_slots
from slot_eval.functional.frechet import frechet_distance, gaussian_distance, moments
from slot_eval.streaming import FrechetDistance


@pytest.fixture
def features():
    """Correlated features of two sets of different size."""
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(2, 6, 6, generator=generator, dtype=torch.float64)
    true = torch.randn(50, 6, generator=generator, dtype=torch.float64) @ mixing[0]
    predicted = 1 + torch.randn(40, 6, generator=generator, dtype=torch.float64) @ mixing[1]
    return predicted, true


def test_closed_form_of_gaussians_whose_axes_are_shared():
    """Then the root is that of each variance: the sum of (m1 - m2)^2 + (s1 - s2)^2."""
    spreads = torch.tensor([[1.0, 2.0, 0.0], [3.0, 0.5, 2.0]]).double()
    means = torch.tensor([[0.0, 1.0, 2.0], [1.0, -1.0, 2.0]]).double()
    generator = torch.Generator().manual_seed(1)
    turn, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    covariances = [turn @ (s**2).diag() @ turn.T for s in spreads]
    expected = ((means[0] - means[1]) ** 2 + (spreads[0] - spreads[1]) ** 2).sum().item()
    found = gaussian_distance(turn @ means[0], covariances[0], turn @ means[1], covariances[1])
    assert found == pytest.approx(expected, abs=1e-6)  # 0 is the square of 1e-8 or so
    assert gaussian_distance(means[0], covariances[0], means[0], covariances[0]) < 1e-6


def test_worked_by_hand():
    # means 1 and 4, variances 2 and 8: 9 + 2 + 8 - 2 * 4
    predicted, true = torch.tensor([[0.0], [2.0]]), torch.tensor([[2.0], [6.0]])
    assert frechet_distance(predicted, true) == pytest.approx(9 + (2**0.5 - 8**0.5) ** 2)


def test_against_the_root_of_a_product_by_scipy(features):
    predicted, true = features
    (m1, c1), (m2, c2) = (moments(one) for one in features)
    root = scipy.linalg.sqrtm((c1 @ c2).numpy())
    expected = ((m1 - m2) ** 2).sum() + c1.trace() + c2.trace() - 2 * np.trace(root).real
    assert frechet_distance(predicted, true) == pytest.approx(float(expected))
    np.testing.assert_allclose(c1, np.cov(predicted.numpy().T))


def test_class_streams_the_function_of_its_name(features):
    predicted, true = features
    metric, other = FrechetDistance(), FrechetDistance()
    metric.update(predicted[:7], true[:30])
    other.update(true=true[30:])
    other.update(predicted=predicted[7:])
    metric.merge(other)
    assert metric.compute() == pytest.approx(frechet_distance(predicted, true))
    assert metric.num_samples == {"predicted": 40, "true": 50}


def test_too_few_samples_and_other_features_are_refused(features):
    predicted, true = features
    with pytest.raises(EvalError, match="at least 2 samples, not 1"):
        frechet_distance(predicted[:1], true)
    with pytest.raises(EvalError, match="features of 5 and of 6 values do not compare"):
        frechet_distance(predicted[:, :5], true)
    with pytest.raises(EvalError, match="at least 2 samples, not 0"):
        FrechetDistance().compute()


# ------------------------------------------------------------------ extractors from files


class Small(torch.nn.Module):
    """Features of videos: the mean colour of each frame's halves, through a layer."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(6, 4)

    def forward(self, video: torch.Tensor) -> torch.Tensor:
        halves = video.unflatten(3, (2, -1)).mean((1, 4, 5))
        return self.layer(halves.flatten(1))


@pytest.mark.parametrize("suffix", [".pt", ".pt2"])
def test_a_small_extractor_saved_and_loaded(tmp_path, suffix):
    torch.manual_seed(0)
    network, path = Small().eval(), tmp_path / f"small{suffix}"
    videos = torch.rand(5, 2, 3, 8, 8)
    if suffix == ".pt":
        torch.jit.save(torch.jit.trace(network, videos), path)
    else:
        shapes = ({0: torch.export.Dim("batch")},)
        torch.export.save(torch.export.export(network, (videos,), dynamic_shapes=shapes), path)
    extract = load_extractor(str(path))
    torch.testing.assert_close(extract(videos[:3]), network(videos[:3]).detach())
    distance = FrechetDistance(extract)
    for start in (0, 2):
        distance.update(videos[start : start + 2] / 2, videos[start : start + 2])
    expected = frechet_distance(network(videos[:4] / 2).detach(), network(videos[:4]).detach())
    assert distance.compute() == pytest.approx(expected, rel=1e-4)


def test_a_network_that_is_read_is_no_reason_for_a_warning(tmp_path, recwarn):
    saved = torch.jit.trace(torch.nn.Flatten(), torch.rand(2, 3, 4, 4))
    torch.jit.save(saved, tmp_path / "a.pt")
    recwarn.clear()
    load_extractor(str(tmp_path / "a.pt"))
    assert not list(recwarn)


def test_wrong_extractors_are_one_sentence(tmp_path):
    with pytest.raises(EvalError, match=r"none.pt: there is no such file, nor a known feature"):
        load_extractor(str(tmp_path / "none.pt"))
    (tmp_path / "broken.pt").write_bytes(b"broken")
    with pytest.raises(EvalError, match=r"broken.pt: cannot be read as a network: .*zip archive"):
        load_extractor(str(tmp_path / "broken.pt"))
    with pytest.raises(EvalError, match=r"a network: [^.]*$"):  # without what torch guesses
        load_extractor(str(tmp_path / "broken.pt"))
    torch.jit.save(
        torch.jit.trace(torch.nn.AvgPool2d(2), torch.rand(2, 3, 4, 4)), tmp_path / "a.pt"
    )
    with pytest.raises(EvalError, match=r"expected features \[samples, dim\] of 2 samples"):
        load_extractor(str(tmp_path / "a.pt"))(torch.rand(2, 3, 4, 4))
    with pytest.raises(EvalError, match="no such file of Inception's weights"):
        load_extractor(f"inception:{tmp_path / 'none.pth'}")


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


@pytest.mark.parametrize("where", ["pickle.pt", "pickle.pt2", "weights", "constants", "inputs"])
def test_code_in_a_network_is_never_run(tmp_path, where):
    """torch.export itself would unpickle its weights, its constants and its example inputs."""
    target, path = tmp_path / "exploded", tmp_path / (where if "." in where else "a.pt2")
    if where.startswith("pickle"):
        torch.save({"bomb": Bomb(target)}, path)
    else:
        program = torch.export.export(Small().eval(), (torch.rand(2, 2, 3, 8, 8),))
        torch.export.save(program, tmp_path / "whole.pt2")
        spoil(tmp_path / "whole.pt2", path, where, Bomb(target))
    if where in ("weights", "inputs"):  # torch's versions differ in whether they look at them
        with contextlib.suppress(EvalError):
            load_extractor(str(path))
    else:
        with pytest.raises(EvalError, match="cannot be read as a network") as caught:
            load_extractor(str(path))
        assert "\n" not in str(caught.value)
    assert not target.exists()
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


def spoil(whole, path, where, bomb):
    """A copy of an exported program in which one file is a bomb, and is said to be a pickle."""
    file = io.BytesIO()
    torch.save(bomb, file)
    with zipfile.ZipFile(whole) as before, zipfile.ZipFile(path, "w") as after:
        for member in before.infolist():
            content = before.read(member)
            if where == "weights" and "config" in member.filename:
                content = content.replace(b'"use_pickle": false', b'"use_pickle": true')
            names = {
                "weights": ("/weights/weight_", "serialized_state_dict"),
                "inputs": ("sample_inputs", "serialized_example_inputs"),
            }
            if any(name in member.filename for name in names.get(where, ())):
                content = file.getvalue()
            after.writestr(member.filename, content)
        if where == "constants":
            after.writestr("whole/data/constants/opaque_obj_0", pickle.dumps(bomb))


def test_code_in_inceptions_weights_is_never_run(tmp_path):
    pytest.importorskip("torch_fidelity")
    torch.save({"bomb": Bomb(tmp_path / "exploded")}, tmp_path / "weights.pth")
    with pytest.raises(EvalError, match=r"weights\.pth: is no file of Inception's weights, or dam"):
        load_extractor(f"inception:{tmp_path / 'weights.pth'}")
    assert not (tmp_path / "exploded").exists()


def test_inception_is_given_the_bytes_of_a_picture(monkeypatch, tmp_path):
    """The nearest ones, as what a model paints lies between them."""
    module = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")

    class Told(torch.nn.Module):
        """In the network's place, which takes seconds to make: gives what it is given."""

        def __init__(self, *_):
            super().__init__()

        def forward(self, pixels):
            assert pixels.dtype == torch.uint8
            return (pixels.flatten(1),)

    monkeypatch.setattr(module, "FeatureExtractorInceptionV3", Told)
    (tmp_path / "weights.pth").touch()
    extract = load_extractor(f"inception:{tmp_path / 'weights.pth'}")
    levels = torch.arange(256, dtype=torch.uint8).expand(1, 3, 1, 256)
    for beside in (-0.4, 0.0, 0.4):
        assert torch.equal(extract((levels + beside) / 255), levels.flatten(1).float())
    beyond = torch.tensor([-0.2, 1.2]).expand(1, 3, 1, 2)
    assert extract(beyond).tolist() == [[0, 255] * 3]
    assert extract(torch.rand(2, 4, 3, 5, 5)).shape == (8, 75)  # each frame is a picture


@pytest.mark.slow
def test_inception_reads_its_weights_from_a_file(tmp_path):
    pytest.importorskip("torch_fidelity")
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Unfilled(FeatureExtractorInceptionV3):
        """The network with random weights, as nothing is fetched here."""

        def load_state_dict(self, *_, **__):
            return None

    torch.manual_seed(0)
    torch.save({}, tmp_path / "nothing.pth")
    network = Unfilled("inception-v3-compat", ["2048"], str(tmp_path / "nothing.pth"))
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    pictures = torch.rand(2, 3, 32, 32)
    found = load_extractor(f"inception:{tmp_path / 'weights.pth'}")(pictures)
    expected = network.eval()((pictures * 255).round().to(torch.uint8))[0]
    torch.testing.assert_close(found, expected.detach().float())


# ------------------------------------------------------------------ composed slots


def test_composed_slots_by_hand():
    slots = torch.arange(6).view(2, 3, 1).float()  # two samples, three slots
    assert compose_slots(slots).flatten().tolist() == [0, 4, 2, 3, 1, 5]


def test_composed_slots_of_the_slotdiffusion_code():
    if "SLOT_REFERENCE_DATA" not in os.environ:
        pytest.skip("SLOT_REFERENCE_DATA is not set")
    load_file = pytest.importorskip("safetensors.torch").load_file
    folder = Path(os.environ["SLOT_REFERENCE_DATA"], "golden", "compose")
    inputs, outputs = (load_file(folder / f"{name}.safetensors") for name in ("inputs", "outputs"))
    assert len(inputs) == len(json.loads((folder / "config.json").read_text())["shapes"]["inputs"])
    for name, slots in inputs.items():
        assert torch.equal(compose_slots(slots), outputs[name]), name
