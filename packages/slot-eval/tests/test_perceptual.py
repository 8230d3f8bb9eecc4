"""LPIPS by its authors' library, with the network's weights from a local file."""

import pytest
import torch

from slot_eval.errors import EvalError
from slot_eval.perceptual import LPIPS, loaded, lpips

pytest.importorskip("lpips")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Random weights in a file as torchvision publishes AlexNet's; nothing is fetched."""
    from torchvision.models import alexnet

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "alexnet.pth"
    torch.save(alexnet(weights=None).state_dict(), path)
    return str(path)


@pytest.fixture
def videos():
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, 2, 2, 3, 64, 64, generator=generator).unbind(0)


def test_frames_are_scored_by_the_library_and_averaged(weights, videos):
    predicted, true = videos
    found = lpips(predicted, true, weights=weights)
    model = loaded("alex", weights)
    flat = (video.flatten(0, 1) * 2 - 1 for video in videos)  # the library's own range
    with torch.no_grad():
        frames = torch.stack([model(p[None], t[None]).mean() for p, t in zip(*flat, strict=True)])
    means = frames.view(2, 2).mean(1).double()
    torch.testing.assert_close(found, means, rtol=1e-5, atol=1e-6)
    assert (found > 0).all()
    assert lpips(true, true, weights=weights).tolist() == [0, 0]


def test_weights_are_those_of_the_file(weights):
    state = torch.load(weights, weights_only=True)
    own = loaded("alex", weights).net.state_dict()
    assert torch.equal(own["slice1.0.weight"], state["features.0.weight"])
    assert len(own) == len([name for name in state if name.startswith("features")])


def test_class_streams_the_function_of_its_name(weights, videos):
    predicted, true = videos
    metric = LPIPS(weights=weights)
    metric.update(predicted[:1], true[:1])
    metric.update(predicted[1:], true[1:])
    assert metric.values == pytest.approx(lpips(predicted, true, weights=weights).tolist())


def test_wrong_networks_and_weights_are_one_sentence(tmp_path, weights):
    with pytest.raises(EvalError, match="LPIPS has the networks alex, vgg, squeeze, not 'resnet'"):
        loaded("resnet", None)
    with pytest.raises(EvalError, match=r"none.pth: cannot be read as weights"):
        loaded("alex", str(tmp_path / "none.pth"))
    with pytest.raises(EvalError, match=r"lacks features.*, expected torchvision's weights"):
        loaded("vgg", weights)
