"""The modules of ``evaluate`` give what the functions give, loaded by path and imported."""

from importlib import import_module

import pytest
import torch

from slot_eval import functional, hf
from slot_eval.errors import EvalError

evaluate = pytest.importorskip("evaluate")
CLASSES = {
    "ari": "Ari",
    "fg_ari": "FgAri",
    "miou": "MIoU",
    "fg_miou": "FgMIoU",
    "mbo": "MBO",
    "panoptic_quality": "PanopticQuality",
}


def test_every_module_is_tested():
    assert set(CLASSES) == set(hf.MODULES)
    with pytest.raises(EvalError, match="there is no module 'hota'; there are ari"):
        hf.path("hota")


@pytest.mark.parametrize("name", CLASSES)
def test_imported_module(draw, name):
    predicted, true = draw(3, 6, 5)
    true[1] = 0
    metric = getattr(import_module(f"slot_eval.hf.{name}.{name}"), CLASSES[name])()
    found = metric.compute(predictions=predicted.tolist(), references=true.tolist())
    values = getattr(functional, name)(predicted, true)
    assert found[name] == pytest.approx(values.nanmean().item())
    assert found["n"] == int((~values.isnan()).sum())
    assert found["n"] + found["undefined"] == 3


def test_loaded_by_its_path_with_options_and_in_batches():
    metric = evaluate.load(hf.path("fg_ari"))
    empty = torch.zeros(1, 2, 2, dtype=torch.long)
    objects = torch.tensor([[[0, 1], [1, 2]]])
    metric.add_batch(predictions=empty.tolist(), references=empty.tolist())
    metric.add_batch(predictions=objects.tolist(), references=objects.tolist())
    assert metric.compute(empty="nan") == {"fg_ari": 1.0, "n": 1, "undefined": 1}
