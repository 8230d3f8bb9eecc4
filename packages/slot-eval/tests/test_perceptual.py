"""LPIPS by torchmetrics, with the network's weights from a local file."""

import pytest
import torch

from slot_eval.errors import EvalError
from slot_eval.perceptual import LPIPS, loaded, lpips

pytest.importorskip("torchmetrics")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Random weights in a file as torchvision publishes SqueezeNet's; nothing is fetched."""
    from torchvision.models import squeezenet1_1

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "squeezenet.pth"
    torch.save(squeezenet1_1(weights=None).state_dict(), path)
    return str(path)


@pytest.fixture
def videos():
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, 2, 2, 3, 64, 64, generator=generator).unbind(0)


def test_frames_are_scored_by_the_library_and_averaged(weights, videos):
    predicted, true = videos
    found = lpips(predicted, true, network="squeeze", weights=weights)
    model = loaded("squeeze", weights)
    flat = (video.flatten(0, 1) * 2 - 1 for video in videos)  # the library's own range
    with torch.no_grad():
        frames = torch.stack([model(p[None], t[None]).mean() for p, t in zip(*flat, strict=True)])
    means = frames.view(2, 2).mean(1).double()
    torch.testing.assert_close(found, means, rtol=1e-5, atol=1e-6)
    assert (found > 0).all()
    assert lpips(true, true, network="squeeze", weights=weights).tolist() == [0, 0]


def test_weights_are_those_of_the_file(weights):
    state = torch.load(weights, weights_only=True)
    before = torch.hub.get_dir()
    own = loaded("squeeze", weights).net.state_dict()
    assert torch.equal(own["slices.0.0.weight"], state["features.0.weight"])
    assert len(own) == len([name for name in state if name.startswith("features")])
    assert torch.hub.get_dir() == before


def test_what_lpips_learned_comes_with_the_library(weights):
    """The sum over layers of weighted squared differences of normalised features, by hand."""
    model = loaded("squeeze", weights)
    one, other = torch.rand(2, 1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    mean, std = torch.tensor([-0.03, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.45])
    total = torch.zeros(())
    with torch.no_grad():
        pair = [((x * 2 - 1) - mean[:, None, None]) / std[:, None, None] for x in (one, other)]
        for number in range(7):
            pair = [model.net.slices[number](x) for x in pair]
            a, b = (x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10) for x in pair)
            learned = getattr(model, f"lin{number}").model[-1].weight  # [1 channels 1 1]
            assert (learned >= 0).all()
            assert learned.std() > 0
            total = total + ((a - b).square() * learned).sum(1).mean()
    assert lpips(one, other, network="squeeze", weights=weights).item() == pytest.approx(
        total.item(), rel=1e-4
    )


def test_without_a_network_the_option_that_turns_it_off_is_named(tmp_path, monkeypatch):
    def offline(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(EvalError, match=r"no route to host.*--lpips-weights, or leave --lpips out"):
        loaded("squeeze", None)


def test_class_streams_the_function_of_its_name(weights, videos):
    predicted, true = videos
    metric = LPIPS(network="squeeze", weights=weights)
    metric.update(predicted[:1], true[:1])
    metric.update(predicted[1:], true[1:])
    assert metric.values == pytest.approx(
        lpips(predicted, true, network="squeeze", weights=weights).tolist()
    )


def test_wrong_networks_and_weights_are_one_sentence(tmp_path, weights):
    with pytest.raises(EvalError, match="LPIPS has the networks alex, vgg, squeeze, not 'resnet'"):
        loaded("resnet", None)
    with pytest.raises(EvalError, match=r"none.pth: cannot be read as weights"):
        loaded("alex", str(tmp_path / "none.pth"))
    with pytest.raises(EvalError, match=r"lacks features.*, expected torchvision's vgg"):
        loaded("vgg", weights)
