"""SlotDiffusion's ``PhysionReadout`` in our terms."""

from __future__ import annotations

from pydantic import Field, PositiveInt

from slot_core import StrictConfig
from slot_core.relation_readout import Aggregation
from slot_decoders.models.configs import ReadoutConfig, RelationReadoutConfig
from slot_decoders.models.state_dicts.mapping import StateDictMap


class ReadoutArguments(StrictConfig):
    """``readout_dict``."""

    num_slots: int = Field(ge=2)
    slot_size: PositiveInt
    agg_func: Aggregation
    feats_dim: PositiveInt


class PhysionReadoutArguments(StrictConfig):
    """The constructor arguments of ``PhysionReadout``."""

    readout_dict: ReadoutArguments

    def config(self) -> RelationReadoutConfig:
        """The configuration of the same model in our terms."""
        theirs = self.readout_dict
        return RelationReadoutConfig(
            num_slots=theirs.num_slots,
            slot_dim=theirs.slot_size,
            readout=ReadoutConfig(hidden_dim=theirs.feats_dim, aggregation=theirs.agg_func),
        )


def readout_map(config: RelationReadoutConfig) -> StateDictMap:
    """Our readout's modules -> theirs."""
    pairs = config.num_slots * (config.num_slots - 1) // 2
    return StateDictMap(
        names={"readout.relation.0": "linear1", "readout.output": "linear2"},
        ignored={"comb_idx": "all pairs of slots, which follow from their number"},
        implied={"comb_idx": (2 * pairs,)},
    )
