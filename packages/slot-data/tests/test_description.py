"""What a result says of its data, and the hash by which two results know the same data."""

import json

import pytest
import torch

from slot_data import DataError
from slot_data.boxes import boxes_from_labels, conditioning_from_labels, masks_from_labels
from slot_data.description import describe_data


def test_every_option_in_force_is_named():
    found = describe_data("shapes", split="test", num_frames=6)
    assert (found["name"], found["split"], found["preset"]) == ("shapes", "test", None)
    assert found["options"]["num_frames"] == 6
    assert found["options"]["level"] == "plain"
    assert json.loads(json.dumps(found)) == found


def test_a_preset_is_named_beside_what_it_sets():
    found = describe_data("coco", split="validation", preset="dinosaur", root="/somewhere")
    assert found["preset"] == "dinosaur"
    assert (found["options"]["crowd"], found["options"]["overlap"]) == ("drop", "highest_class")
    assert "root" not in found["options"]


def test_the_hash_is_of_the_samples_and_not_of_their_place():
    def hash_of(**options):
        return describe_data("coco", **{"split": "validation", "root": "/one", **options})["hash"]

    assert hash_of() == hash_of(root="/other")
    changes = ({"split": "train"}, {"crowd": "void"}, {"preset": "slotdiffusion"})
    assert len({hash_of(), *(hash_of(**change) for change in changes)}) == 4


def test_wrong_names_and_options_are_named():
    with pytest.raises(DataError, match="has no preset 'spot'"):
        describe_data("coco", split="validation", preset="spot", root="/one")
    with pytest.raises(DataError, match="has no option 'colour'"):
        describe_data("shapes", split="test", colour="red")


def test_conditioning_by_kind():
    labels = torch.tensor([[0, 1], [2, 2]])
    assert torch.equal(conditioning_from_labels("boxes", labels, 3), boxes_from_labels(labels, 3))
    assert torch.equal(conditioning_from_labels("masks", labels, 3), masks_from_labels(labels, 3))
    with pytest.raises(DataError, match="no conditioning on 'words'; there is boxes, points"):
        conditioning_from_labels("words", labels, 3)
