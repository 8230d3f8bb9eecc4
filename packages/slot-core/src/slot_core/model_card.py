"""The README.md of a checkpoint: what it was trained on, how well, and by which command."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

NOT_STATED = "not stated"


@dataclass(frozen=True)
class ModelCard:
    """What a reader of a checkpoint needs to know besides its configuration.

    Attributes:
        data: the dataset, its split and its options.
        metrics: values by name, as measured; the name says on what and under which protocol.
        command: the command that made the checkpoint.
        license: SPDX identifier of the weights' licence, in lower case as the Hub writes it; who
            made them decides, so it is "unknown" until they say.
    """

    data: str = NOT_STATED
    metrics: Mapping[str, float | int | str] = field(default_factory=dict)
    command: str = NOT_STATED
    license: str = "unknown"

    def render(self, model_class: str, config: Mapping[str, object], num_parameters: int) -> str:
        """The card as Markdown with the Hub's front matter."""
        rows = [f"| {name} | {_number(value)} |" for name, value in self.metrics.items()]
        table = ["| metric | value |", "|---|---|", *rows] if rows else [f"Metrics: {NOT_STATED}."]
        return "\n".join(
            [
                "---",
                f"license: {self.license}",
                "library_name: slot-core",
                "tags:",
                "- object-centric-learning",
                "- unsupervised",
                "---",
                "",
                f"# {model_class}",
                "",
                f"{num_parameters:,} parameters. Finds objects without labels: it encodes a",
                "picture or video (float, [batch time 3 height width], in [0, 1]) into slots, one",
                "for each object.",
                "",
                "```python",
                "from slot_decoders.models import load_model",
                "",
                'model = load_model("this/repository")',
                "masks = model.segment(video)  # [batch time slots height width]",
                "```",
                "",
                "## Data",
                "",
                self.data,
                "",
                "## Metrics",
                "",
                *table,
                "",
                "## Made by",
                "",
                "```",
                self.command,
                "```",
                "",
                "## Configuration",
                "",
                "```json",
                json.dumps(config, indent=2),
                "```",
                "",
            ]
        )


def _number(value: float | int | str) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
