"""Slot Attention, slot encoders for images and videos, and checkpoints on the Hugging Face Hub."""

from slot_core.clustered_slots import ClusteredSlots
from slot_core.conditioned_slots import ConditionedSlots
from slot_core.config import StrictConfig
from slot_core.errors import CheckpointError, ConfigError, InputError
from slot_core.fingerprint import fingerprint
from slot_core.hub import HubModel
from slot_core.model_card import ModelCard
from slot_core.noise import Generators, sample_generators
from slot_core.outputs import DecoderOutput, EncoderState, LossOutput, SlotOutput
from slot_core.position_embedding import PositionEmbedding
from slot_core.relation_readout import RelationReadout
from slot_core.slot_attention import SlotAttention
from slot_core.slot_dynamics import SlotFormer, prediction_losses
from slot_core.slot_encoder import SlotEncoder
from slot_core.slot_initializers import GaussianSlots, LearnedSlots
from slot_core.slot_predictors import (
    RecurrentPredictor,
    RecurrentState,
    ResidualMLPPredictor,
    TransformerPredictor,
)

__all__ = [
    "CheckpointError",
    "ClusteredSlots",
    "ConditionedSlots",
    "ConfigError",
    "DecoderOutput",
    "EncoderState",
    "GaussianSlots",
    "Generators",
    "HubModel",
    "InputError",
    "LearnedSlots",
    "LossOutput",
    "ModelCard",
    "PositionEmbedding",
    "RecurrentPredictor",
    "RecurrentState",
    "RelationReadout",
    "ResidualMLPPredictor",
    "SlotAttention",
    "SlotEncoder",
    "SlotFormer",
    "SlotOutput",
    "StrictConfig",
    "TransformerPredictor",
    "fingerprint",
    "prediction_losses",
    "sample_generators",
]
