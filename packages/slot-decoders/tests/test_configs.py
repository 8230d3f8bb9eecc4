"""Configurations: round trips, what is refused and in which words, presets and their changes."""

import json

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from slot_core import (
    ConditionedSlots,
    ConfigError,
    InputError,
    RecurrentPredictor,
    ResidualMLPPredictor,
    SlotAttention,
    TransformerPredictor,
)
from slot_core.backbones import CNN, ResNet
from slot_decoders.models import ModelConfig, SlotAutoencoderConfig, build_model, presets
from slot_decoders.models.build import build_backbone, build_encoder, build_predictor
from slot_decoders.models.configs import (
    CNNConfig,
    ConditionedSlotsConfig,
    DVAEConfig,
    EncoderConfig,
    GaussianSlotsConfig,
    PreprocessingConfig,
    ResidualMLPPredictorConfig,
    ResNetConfig,
    SlotAttentionConfig,
    SpatialBroadcastConfig,
    TransformerConfig,
    TransformerPredictorConfig,
)
from slot_decoders.models.preprocessing import Preprocessing

# Every option away from its default.
UNUSUAL = SlotAutoencoderConfig(
    num_slots=4,
    slot_dim=16,
    preprocessing=PreprocessingConfig(
        image_size=(24, 48), mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6)
    ),
    encoder=EncoderConfig(
        backbone=CNNConfig(channels=(8, 12), strides=(2, 1), kernel_size=3),
        projection_dim=20,
        initializer=GaussianSlotsConfig(),
        corrector=SlotAttentionConfig(
            hidden_dim=0, num_iterations=1, epsilon=0.0, gru=False, differentiation="implicit"
        ),
    ),
    decoder=SpatialBroadcastConfig(
        channels=(8,), broadcast_size=(6, 12), kernel_size=3, output_stride=2
    ),
)
# And of a model of videos, once with each kind of predictor.
UNUSUAL_VIDEO = SlotAutoencoderConfig(
    slot_dim=16,
    encoder=EncoderConfig(
        initializer=ConditionedSlotsConfig(on="masks", hidden_dim=9),
        predictor=TransformerPredictorConfig(
            num_layers=3,
            num_heads=2,
            hidden_dim=10,
            norm_first=False,
            dropout=0.3,
            recurrent_dim=11,
        ),
        first_iterations=5,
        slot_noise=0.25,
        preprocessing=PreprocessingConfig(image_size=(32, 64), mean=(0.2, 0.2, 0.2)),
    ),
)
UNUSUAL_MLP = SlotAutoencoderConfig(
    slot_dim=16,
    encoder=EncoderConfig(
        predictor=ResidualMLPPredictorConfig(hidden_dim=10, norm_first=False, recurrent_dim=11)
    ),
)
UNUSUAL_TOKENS = SlotAutoencoderConfig(
    slot_dim=16,
    decoder=TransformerConfig(
        tokenizer=DVAEConfig(
            vocab_size=5,
            hidden_dim=6,
            start_temperature=3.0,
            end_temperature=0.5,
            anneal_fraction=0.25,
            hard=True,
        ),
        model_dim=20,
        num_layers=3,
        num_heads=2,
        dropout=0.25,
        permuted_orders=True,
        reconstruction_weight=0.5,
    ),
)


@pytest.mark.parametrize(
    "config",
    [
        SlotAutoencoderConfig(),
        UNUSUAL,
        UNUSUAL_VIDEO,
        UNUSUAL_MLP,
        UNUSUAL_TOKENS,
        *presets.PRESETS.values(),
    ],
)
def test_json_and_back(config: ModelConfig):
    written = json.loads(json.dumps(config.model_dump(mode="json")))
    assert type(config).parse(written, source="test") == config


def test_every_option_reaches_its_module():
    model = build_model(UNUSUAL)
    encoder, decoder = model.encoder, model.decoder
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert encoder.features(torch.rand(1, 1, 3, 24, 48))[1] == (12, 24)
    assert shapes["encoder.backbone.layers.2.weight"] == (12, 8, 3, 3)
    assert shapes["encoder.projection.3.weight"] == (20, 20)
    assert type(encoder.initializer).__name__ == "GaussianSlots"
    corrector = encoder.corrector
    assert (corrector.num_iterations, corrector.epsilon) == (1, 0.0)
    assert (corrector.gru, corrector.mlp, corrector.differentiation) == (None, None, "implicit")
    assert shapes["decoder.layers.0.weight"] == (16, 8, 3, 3)
    assert shapes["decoder.output.weight"] == (8, 4, 4, 4)
    assert decoder.image_size == model.preprocessing.image_size == (24, 48)
    assert model.preprocessing.std.flatten().tolist() == pytest.approx([0.4, 0.5, 0.6])


def test_every_option_of_a_video_reaches_its_module():
    encoder = build_encoder(UNUSUAL_VIDEO)
    assert (encoder.first_iterations, encoder.slot_noise) == (5, 0.25)
    assert encoder.features(torch.rand(1, 1, 3, 8, 8))[1] == (8, 16)
    assert isinstance(encoder.preprocessing, Preprocessing)
    assert encoder.preprocessing.mean.flatten().tolist() == pytest.approx([0.2, 0.2, 0.2])
    initializer, predictor = encoder.initializer, encoder.predictor
    assert isinstance(initializer, ConditionedSlots)
    assert (initializer.on, initializer.embedding[0].out_features) == ("masks", 9)
    assert isinstance(predictor, RecurrentPredictor)
    assert predictor.lstm.hidden_size == 11
    assert isinstance(predictor.base, TransformerPredictor)
    assert len(predictor.base.layers) == 3
    layer = predictor.base.layers[0]
    assert isinstance(layer, nn.TransformerEncoderLayer)
    assert (layer.self_attn.num_heads, layer.linear1.out_features) == (2, 10)
    assert (layer.norm_first, layer.dropout1.p) == (False, 0.3)


def test_the_other_predictor_is_built_with_and_without_a_memory():
    predictor = build_encoder(UNUSUAL_MLP).predictor
    assert isinstance(predictor, RecurrentPredictor)
    assert isinstance(predictor.base, ResidualMLPPredictor)
    assert predictor.base.mlp[0].out_features == 10
    assert not predictor.base.norm_first
    plain = build_predictor(ResidualMLPPredictorConfig(), 16)
    assert isinstance(plain, ResidualMLPPredictor)
    assert plain.norm_first
    assert build_predictor(None, 16) is None


def test_every_option_of_a_token_decoder_reaches_its_module():
    decoder = build_model(UNUSUAL_TOKENS).decoder
    assert (decoder.dropout, decoder.reconstruction_weight) == (0.25, 0.5)
    assert decoder.slot_projection.weight.shape == (20, 16)
    assert len(decoder.order_table) == 9
    assert len(decoder.blocks) == 3
    assert decoder.blocks[0].dropout == 0.25
    assert decoder.blocks[0].patch_attention.num_heads == 2
    dvae = decoder.tokenizer
    assert (dvae.vocab_size, dvae.encoder[0].conv.out_channels, dvae.hard) == (5, 6, True)
    assert dvae.temperature(0.0) == 3.0
    assert dvae.temperature(0.25) == pytest.approx(0.5)


def num_blocks(backbone: nn.Module) -> list[int]:
    """Of each stage of a ResNet, counted in the names of its weights."""
    names = [name.split(".") for name in backbone.state_dict() if name.endswith("conv1.weight")]
    stages = [parts[1] for parts in names]
    return [stages.count(stage) for stage in sorted(set(stages))]


def test_both_kinds_of_backbone_are_built():
    assert isinstance(build_backbone(CNNConfig(), (64, 64)), CNN)
    deep = build_backbone(ResNetConfig(depth=34, num_stages=2), (64, 64))
    assert isinstance(deep, ResNet)
    assert num_blocks(deep) == [3, 4]


def test_widths_follow_from_the_slot_unless_stated():
    corrector = build_encoder(SlotAutoencoderConfig(slot_dim=24)).corrector
    assert isinstance(corrector, SlotAttention)
    assert corrector.to_key.in_features == 24
    assert corrector.mlp is not None
    assert corrector.mlp[1].out_features == 48


def test_a_configuration_is_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        UNUSUAL.num_slots = 5


IMPLICIT = {"differentiation": "implicit"}
REFUSED = {
    "unknown key": ({"num_slot": 5}, "unknown key 'num_slot'; did you mean 'num_slots'?"),
    "unknown nested key": (
        {"encoder": {"corrector": {"iterations": 2}}},
        "unknown key 'encoder.corrector.iterations'; did you mean 'num_iterations'?",
    ),
    "option of another type": (
        {"encoder": {"backbone": {"type": "cnn", "depth": 18}}},
        "unknown key 'encoder.backbone.depth'; allowed: channels, kernel_size, strides, type",
    ),
    "unknown type": (
        {"encoder": {"backbone": {"type": "vgg"}}},
        "key 'encoder.backbone.type' has the value 'vgg': expected one of 'cnn', 'resnet'",
    ),
    "no slots": ({"num_slots": 0}, "key 'num_slots' has the value 0: .* greater than 0"),
    "not a number": ({"slot_dim": "wide"}, "key 'slot_dim' has the value 'wide': .* integer"),
    "no layers": ({"decoder": {"channels": []}}, "key 'decoder.channels' .* at least 1 item"),
    "one side": (
        {"preprocessing": {"image_size": [64]}},
        "key 'preprocessing.image_size.1' is missing",
    ),
    "no spread": (
        {"preprocessing": {"std": [0.5, 0.0, 0.5]}},
        "key 'preprocessing.std.1' has the value 0.0: .* greater than 0",
    ),
    "predictor that does not learn": (
        {"encoder": {"predictor": {"type": "transformer"}, "corrector": IMPLICIT}},
        "'differentiation' is implicit, by which no gradient reaches the 'predictor', which would",
    ),
    "first slots that do not learn": (
        {"encoder": {"initializer": {"type": "conditioned"}, "corrector": IMPLICIT}},
        "'differentiation' is implicit, by which no gradient reaches the 'initializer'",
    ),
    "even kernel": (
        {"decoder": {"kernel_size": 4}},
        "key 'decoder.kernel_size' has the value 4: expected an odd number",
    ),
    "even kernel of a backbone": (
        {"encoder": {"backbone": {"type": "cnn", "kernel_size": 2}}},
        "key 'encoder.backbone.kernel_size' has the value 2: expected an odd number",
    ),
    "surplus strides": (
        {"encoder": {"backbone": {"type": "cnn", "channels": [8], "strides": [2, 2]}}},
        "2 strides for 1 channels, expected at most one for each",
    ),
    "other depth": (
        {"encoder": {"backbone": {"type": "resnet", "depth": 50}}},
        "key 'encoder.backbone.depth' has the value 50: input should be 18 or 34",
    ),
    "fifth stage": (
        {"encoder": {"backbone": {"num_stages": 5}}},
        "key 'encoder.backbone.num_stages' has the value 5",
    ),
    "negative epsilon": (
        {"encoder": {"corrector": {"epsilon": -1}}},
        "key 'encoder.corrector.epsilon' has the value -1",
    ),
    "unknown predictor": (
        {"encoder": {"predictor": {"type": "lstm"}}},
        "key 'encoder.predictor.type' has the value 'lstm': expected one of 'transformer', 'resi",
    ),
    "predictor of no type": (
        {"encoder": {"predictor": {"num_layers": 1}}},
        "key 'encoder.predictor.type' is missing",
    ),
    "option of another predictor": (
        {"encoder": {"predictor": {"type": "residual_mlp", "num_heads": 2}}},
        "unknown key 'encoder.predictor.num_heads'; allowed: hidden_dim, norm_first, recurrent_dim",
    ),
    "no first iteration": (
        {"encoder": {"first_iterations": 0}},
        "key 'encoder.first_iterations' has the value 0",
    ),
    "negative noise": (
        {"encoder": {"slot_noise": -0.1}},
        "key 'encoder.slot_noise' has the value -0.1",
    ),
    "unknown conditioning": (
        {"encoder": {"initializer": {"type": "conditioned", "on": "names"}}},
        "key 'encoder.initializer.on' has the value 'names': input should be 'boxes'",
    ),
    "no mapping": ({"decoder": 3}, "key 'decoder' has the value 3"),
    "no preset": (
        {},
        f"no preset 'slot_attentoin'; there are {', '.join(sorted(presets.PRESETS))}",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_change_of_a_preset_may_not_be(case: str):
    changes, sentence = REFUSED[case]
    name = "slot_attentoin" if case == "no preset" else "slot_attention"
    with pytest.raises(ConfigError, match=sentence) as caught:
        presets.configure(name, changes, source="recipe.yaml")
    assert str(caught.value).startswith("recipe.yaml: ")
    assert "\n" not in str(caught.value)


def test_layers_that_do_not_arrive_at_the_picture_are_refused():
    with pytest.raises(ConfigError, match=r"becomes 128x128 after 4 layers .* expected 256x256"):
        presets.slot_attention(image_size=256)


def test_slot_attention_is_the_published_setting():
    """SlotDiffusion's configuration file of Slot Attention on CLEVRTex, value by value."""
    model = presets.slot_attention()
    assert (model.num_slots, model.config.slot_dim) == (11, 192)
    shapes = {name: tuple(value.shape) for name, value in model.decoder.state_dict().items()}
    widths = [shapes.get(f"layers.{2 * layer}.weight", ())[:2] for layer in range(5)]
    assert widths == [(192, 128), (128, 128), (128, 128), (128, 128), ()]
    assert shapes["output.weight"] == (4, 128, 1, 1)
    assert num_blocks(model.encoder.backbone) == [2, 2, 2]
    assert model.preprocessing.image_size == (128, 128)


def test_savi_is_the_published_setting():
    """SlotDiffusion's configuration files of SAVi on MOVi-D and MOVi-E, value by value."""
    model = presets.savi()
    assert (model.num_slots, model.config.slot_dim) == (15, 192)
    assert model.encoder.corrector.num_iterations == 2
    predictor = model.encoder.predictor
    assert isinstance(predictor, TransformerPredictor)
    assert len(predictor.layers) == 2
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert shapes["encoder.predictor.layers.1.linear1.weight"] == (768, 192)
    assert shapes["encoder.corrector.mlp.1.weight"] == (384, 192)
    assert shapes["decoder.layers.6.weight"] == (64, 64, 5, 5)
    assert num_blocks(model.encoder.backbone) == [2, 2, 2]


def test_savi_conditioned_and_with_changes():
    model = presets.savi(
        conditioning="points",
        image_size=64,
        num_slots=4,
        slot_dim=16,
        encoder={"predictor": {"recurrent_dim": 12, "num_heads": 2}},
        decoder={"channels": [8, 8, 8]},
    )
    assert model.conditioned_on == "points"
    assert model.preprocessing.image_size == (64, 64)
    assert model.config.encoder.predictor == TransformerPredictorConfig(
        num_heads=2, hidden_dim=768, recurrent_dim=12
    )
    plain = presets.configure("savi", {"encoder": {"predictor": None}}, source="test")
    assert plain.encoder.predictor is None


def test_heads_that_do_not_divide_the_slot_are_refused():
    with pytest.raises(InputError, match="slots of width 190 cannot be split among 4 heads"):
        presets.savi(slot_dim=190)


def test_a_preset_with_changes():
    model = presets.slot_attention(
        image_size=64,
        num_slots=5,
        encoder={"initializer": {"type": "gaussian"}, "corrector": {"num_iterations": 1}},
    )
    config = model.config
    assert config.preprocessing.image_size == (64, 64)
    assert config.num_slots == 5
    assert config.encoder.initializer == GaussianSlotsConfig()
    assert config.encoder.corrector == SlotAttentionConfig(hidden_dim=384, num_iterations=1)
    assert config.encoder.backbone == presets.SLOT_ATTENTION.encoder.backbone


@pytest.mark.parametrize("preset", [presets.slate, presets.slot_diffusion])
def test_masks_of_a_decoder_that_makes_none_are_refused_before_anything_is_painted(preset):
    with pytest.raises(ConfigError, match=r"'mask_source' is decoder, but .* expected encoder"):
        preset(mask_source="decoder")
    small = {"channels": (8,), "num_groups": 4, "layers_per_block": 1}
    changes = {"num_layers": 1, "num_heads": 2, "tokenizer": {"vocab_size": 8, "hidden_dim": 8}}
    if preset is presets.slot_diffusion:
        changes = {
            "tokenizer": None,
            "denoiser": {**small, "attention_levels": (0,), "head_dim": 8},
        }
    model = preset(image_size=16, num_slots=2, slot_dim=8, decoder=changes)
    model.decoder.forward = model.decoder.decode = None  # nothing of it is called
    video = torch.rand(1, 1, 3, 16, 16)
    with pytest.raises(InputError, match="makes no masks"):
        model.segment(video, source="decoder")
    with pytest.raises(InputError, match="makes no masks"):
        next(model.stream([video], source="decoder"))


def test_features_that_learn_are_not_decoded():
    with pytest.raises(ConfigError, match=r"decoder feature_mlp .* type tokens learns"):
        presets.dinosaur(encoder={"backbone": {"type": "tokens"}})
