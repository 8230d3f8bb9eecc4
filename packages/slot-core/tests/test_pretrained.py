"""Published weights: read from what transformers writes, by folder and by id, and nothing else."""

import hashlib
import json
import re
import socket
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import snapshot_download
from safetensors.torch import load_file, save_file
from tiny_vits import KINDS, make_foreign, make_vit
from transformers import PreTrainedModel

from hub_server import Hub, Repository, running_hub
from slot_core import CheckpointError
from slot_core.backbones import ViT, load_pretrained, preprocessing_of
from slot_core.backbones.vit import Kind, hub_name

REPOSITORY = "someone/tiny-vit"
COLOURS = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 1]}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param


def save(network: PreTrainedModel, folder: Path) -> Path:
    network.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(COLOURS))
    return folder


@pytest.fixture
def folder(kind: Kind, tmp_path: Path) -> Path:
    return save(make_foreign(kind), tmp_path / "repository")


def patch_tokens(network: PreTrainedModel, frames: torch.Tensor) -> torch.Tensor:
    """What transformers computes, as a map."""
    options = {"interpolate_pos_encoding": True} if network.config.model_type == "vit" else {}
    with torch.no_grad():
        tokens = network(frames, **options).last_hidden_state[:, 1:]
    return tokens.mT.unflatten(2, (frames.shape[2] // 8, frames.shape[3] // 8))


def sentence_of_loading(backbone: ViT, place: str | Path, **options: Any) -> str:
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load_pretrained(backbone, place, **options)
    assert "\n" not in str(caught.value)
    for name, value in backbone.state_dict().items():
        assert torch.equal(value, before[name])
    return str(caught.value)


# --- from a folder ------------------------------------------------------------------------------


def test_a_vit_without_the_last_norm_leaves_its_weights_out(kind: Kind, folder: Path):
    whole, backbone = make_vit(kind), make_vit(kind, final_norm=False)
    load_pretrained(whole, folder)
    load_pretrained(backbone, folder)
    kept = backbone.state_dict()
    for name, value in whole.state_dict().items():
        assert (name in kept) != name.startswith("layernorm.")
        assert name not in kept or torch.equal(kept[name], value)


@pytest.mark.parametrize("with_unused", [True, False])
def test_the_features_are_those_of_transformers(kind: Kind, with_unused: bool, tmp_path: Path):
    network = make_foreign(kind, with_unused=with_unused)
    backbone = make_vit(kind)
    load_pretrained(backbone, save(network, tmp_path))
    for size in ((32, 32), (40, 24)):
        frames = torch.randn(2, 3, *size)
        torch.testing.assert_close(
            backbone(frames), patch_tokens(network, frames), atol=1e-6, rtol=1e-5
        )


def test_what_transformers_does_not_share_does_not_matter(kind: Kind, folder: Path):
    first, second = make_vit(kind), make_vit(kind)
    load_pretrained(first, folder)
    unused = {"dino": "pooler.dense.weight", "dinov2": "embeddings.mask_token"}[kind]
    weights = load_file(folder / "model.safetensors")
    save_file({**weights, unused: weights[unused] + 7}, folder / "model.safetensors")
    load_pretrained(second, folder)
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True)
    )


def test_the_modules_own_names_and_a_pickle_are_read_too(kind: Kind, folder: Path):
    """A newer transformers may write its own names; older repositories hold a pickle alone."""
    first, second = make_vit(kind), make_vit(kind)
    load_pretrained(first, folder)
    (folder / "model.safetensors").unlink()
    network = make_foreign(kind)
    torch.save(network.state_dict(), folder / "pytorch_model.bin")
    load_pretrained(second, folder)
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True)
    )
    on_the_hub = {hub_name(name, kind) for name in network.state_dict()}
    assert {hub_name(name, kind) for name in on_the_hub} == on_the_hub


def test_dtype_and_freezing_stay_as_built(kind: Kind, folder: Path):
    backbone = make_vit(kind, frozen=False).to(torch.bfloat16)
    load_pretrained(backbone, folder)
    assert all(p.dtype == torch.bfloat16 and p.requires_grad for p in backbone.parameters())


OTHERS: dict[str, tuple[dict[str, int], str]] = {
    "width": ({"hidden_dim": 48}, "hidden_size is 24, expected 48[;,]"),
    "layers": ({"num_layers": 3}, "num_hidden_layers is 2, expected 3, as the ViT was built"),
    "heads": ({"num_heads": 2}, "num_attention_heads is 3, expected 2, as the ViT was built"),
    "patches": ({"patch_size": 16}, "patch_size is 8, expected 16, as the ViT was built"),
    "positions": ({"image_size": 64}, "image_size is 32, expected 64, as the ViT was built"),
    "mlp": ({"mlp_ratio": 3}, "(intermediate_size is 48, expected 72|mlp_ratio is 2, expected 3)"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_another_network_is_told_by_what_differs(kind: Kind, folder: Path, case: str):
    changes, told = OTHERS[case]
    sentence = sentence_of_loading(make_vit(kind, **changes), folder)
    assert sentence.startswith(f"{folder / 'config.json'}: ")
    assert re.search(told, sentence)


def test_another_family_is_told(kind: Kind, folder: Path):
    other: Kind = "dinov2" if kind == "dino" else "dino"
    types = {"dino": "vit", "dinov2": "dinov2"}
    assert sentence_of_loading(make_vit(other), folder) == (
        f"{folder / 'config.json'}: model_type is '{types[kind]}', expected '{types[other]}', "
        f"as the ViT is of kind '{other}'"
    )


SURPRISES: dict[str, tuple[dict[str, Any], str]] = {
    "activation": ({"hidden_act": "relu"}, "hidden_act is relu, expected gelu"),
    "epsilon": ({"layer_norm_eps": 0.1}, "layer_norm_eps is 0.1, expected 1e-"),
    "no bias": ({"qkv_bias": False}, "qkv_bias is False, expected True"),
}


@pytest.mark.parametrize("case", SURPRISES)
def test_what_the_weights_do_not_show_must_agree_too(kind: Kind, tmp_path: Path, case: str):
    changes, told = SURPRISES[case]
    folder = save(make_foreign(kind, **changes), tmp_path)
    assert told in sentence_of_loading(make_vit(kind), folder)


def test_what_config_json_does_not_state_is_transformers_default(kind: Kind, folder: Path):
    described = json.loads((folder / "config.json").read_text())
    for key in ("hidden_act", "layer_norm_eps", "qkv_bias"):
        del described[key]
    (folder / "config.json").write_text(json.dumps(described))
    load_pretrained(make_vit(kind), folder)
    del described["patch_size"]
    (folder / "config.json").write_text(json.dumps(described))
    default = {"dino": 16, "dinov2": 14}[kind]
    assert f"patch_size is {default}, expected 8" in sentence_of_loading(make_vit(kind), folder)


def without(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        del weights[name]
        save_file(weights, folder / "model.safetensors")

    return damage


def with_surplus(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    save_file({**weights, "classifier.bias": torch.zeros(3)}, folder / "model.safetensors")


def truncated(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-5])


def with_a_pickle_of(value: object) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        torch.save(value, folder / "pytorch_model.bin")

    return damage


def with_a_truncated_pickle(folder: Path) -> None:
    with_a_pickle_of({"a": torch.zeros(100)})(folder)
    path = folder / "pytorch_model.bin"
    path.write_bytes(path.read_bytes()[:-400])


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "lacks": (without("layernorm.bias"), "model.safetensors: lacks weights layernorm.bias"),
    "surplus": (with_surplus, "model.safetensors: has the unknown weights classifier.bias"),
    "truncated": (truncated, "model.safetensors: is damaged or truncated"),
    "no weights": (
        lambda folder: (folder / "model.safetensors").unlink(),
        "repository: has neither model.safetensors nor pytorch_model.bin",
    ),
    "objects": (with_a_pickle_of(Path("a")), "bin: holds Python objects besides tensors"),
    "no names": (with_a_pickle_of([1]), "pytorch_model.bin: holds no weights by name"),
    "truncated pickle": (with_a_truncated_pickle, "pytorch_model.bin: is damaged"),
    "no config": (lambda folder: (folder / "config.json").unlink(), "config.json: the file is"),
    "no JSON": (
        lambda folder: (folder / "config.json").write_text("{"),
        "config.json: is not readable JSON",
    ),
    "no object": (
        lambda folder: (folder / "config.json").write_text("[]"),
        "config.json: expected a JSON object",
    ),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_a_damaged_repository_is_refused(tmp_path: Path, case: str):
    damage, told = DAMAGES[case]
    folder = save(make_foreign("dino"), tmp_path / "repository")
    damage(folder)
    assert told in sentence_of_loading(make_vit("dino"), folder)


# --- how its pictures were normalised -----------------------------------------------------------


def test_the_colours_of_the_pre_training_are_read(tmp_path: Path):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**COLOURS, "do_resize": True}))
    assert preprocessing_of(tmp_path) == {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 1.0)}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"image_mean": [0.5]}, "key 'image_mean' is missing or does not hold three numbers"),
        ({"image_std": None}, "key 'image_std' is missing or does not hold three numbers"),
        ({"image_std": ["a", "b", "c"]}, "key 'image_std' is missing or does not hold three"),
    ],
    ids=str,
)
def test_colours_that_it_does_not_tell(tmp_path: Path, changes: dict[str, Any], told: str):
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps({**COLOURS, **changes}))
    with pytest.raises(CheckpointError, match=told):
        preprocessing_of(tmp_path)
    path.unlink()
    with pytest.raises(CheckpointError, match=r"preprocessor_config\.json: the file is missing"):
        preprocessing_of(tmp_path)


# --- by id --------------------------------------------------------------------------------------


def publish(hub: Hub, folder: Path, branch: str) -> None:
    """Every file of a folder, as one commit."""
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    hub.large_files |= {hashlib.sha256(content).hexdigest(): content for content in files.values()}
    hub.repositories.setdefault(REPOSITORY, Repository()).commit(branch, files, branch)


@pytest.fixture
def use_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Downloads come from the Hub of this address, into a cache of the test's own."""

    def use(endpoint: str, cache: str = "cache", **options: Any) -> None:
        download = partial(
            snapshot_download, endpoint=endpoint, cache_dir=tmp_path / cache, **options
        )
        monkeypatch.setattr("slot_core.hub.snapshot_download", download)

    return use


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with running_hub() as hub:
        yield hub


def test_weights_load_by_id_and_revision(hub: Hub, use_hub: Callable[..., None], tmp_path: Path):
    use_hub(hub.endpoint)
    folder = save(make_foreign("dino"), tmp_path / "first")
    publish(hub, folder, "old")
    pickled = save(make_foreign("dinov2"), tmp_path / "second")
    torch.save(make_foreign("dinov2").state_dict(), pickled / "pytorch_model.bin")
    (pickled / "model.safetensors").unlink()
    publish(hub, pickled, "main")

    expected, loaded = make_vit("dino"), make_vit("dino")
    load_pretrained(expected, folder)
    load_pretrained(loaded, REPOSITORY, revision="old")
    assert all(
        torch.equal(a, b) for a, b in zip(expected.parameters(), loaded.parameters(), strict=True)
    )
    load_pretrained(make_vit("dinov2"), REPOSITORY)
    assert "model_type is 'dinov2', expected 'vit'" in sentence_of_loading(loaded, REPOSITORY)
    assert preprocessing_of(REPOSITORY)["mean"] == (0.1, 0.2, 0.3)

    use_hub(hub.endpoint, local_files_only=True)  # as without a network: the cache serves
    load_pretrained(loaded, REPOSITORY, revision="old")


def test_a_repository_that_cannot_be_reached_is_told(hub: Hub, use_hub: Callable[..., None]):
    use_hub(hub.endpoint)
    backbone = make_vit("dino")
    assert sentence_of_loading(backbone, "someone/else").startswith("someone/else: there is no")
    hub.repositories.setdefault(REPOSITORY, Repository())
    told = sentence_of_loading(backbone, REPOSITORY, revision="v9")
    assert told == f"{REPOSITORY}: has no revision 'v9'"
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, but nobody listens
        use_hub(f"http://127.0.0.1:{unused.getsockname()[1]}", "other")
        told = sentence_of_loading(backbone, REPOSITORY)
    assert told.startswith(f"{REPOSITORY}: there is no such folder, and the Hub gave no such")
