"""DCI by hand, and probes on slots that hold what they are asked for."""

import pytest
import torch

from slot_eval.errors import EvalError
from slot_eval.functional.dci import completeness, disentanglement
from slot_eval.probes import DCI, PropertyProbe, dci, matched_slots, property_prediction


def test_dci_by_hand():
    one_each = torch.eye(3)
    assert (disentanglement(one_each), completeness(one_each)) == (1, 1)
    even = torch.ones(2, 2)
    assert disentanglement(even) == completeness(even) == pytest.approx(0)
    # two values for one property, one for the other: each value is about one property, but the
    # first property is in two of three values
    shared = torch.tensor([[0.5, 0], [0.5, 0], [0, 1]])
    assert disentanglement(shared) == pytest.approx(1)
    expected = (1 - torch.log(torch.tensor(2.0)) / torch.log(torch.tensor(3.0)) + 1) / 2
    assert completeness(shared) == pytest.approx(expected.item())
    # a value without importance has no weight; a property that nothing predicts is not complete
    assert disentanglement(torch.tensor([[1.0, 0], [0, 0]])) == 1
    assert completeness(torch.tensor([[1.0, 0], [0, 0]])) == 0.5
    with pytest.raises(EvalError, match="importances must be at least 0, and one of them above"):
        disentanglement(torch.zeros(2, 2))


@pytest.fixture
def objects():
    """Slots of which value 0 is a size, 1 the colour's sign, and 2 nothing; 60 to train on."""
    slots = torch.randn(90, 3, generator=torch.Generator().manual_seed(0))
    properties = {"size": 3 * slots[:, 0] + 1, "colour": (slots[:, 1] > 0).long()}
    parts = [
        (slots[chosen], {name: values[chosen] for name, values in properties.items()})
        for chosen in (slice(60), slice(60, None))
    ]
    return parts[0], parts[1]


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_properties_that_slots_hold_are_predicted(objects, kind):
    (train, properties), (test, theirs) = objects
    scores = property_prediction(train, properties, test, theirs, kind)
    assert scores["size"] > 0.9
    assert scores["colour"] > 0.85
    shuffled = {name: values.flip(0) for name, values in theirs.items()}
    assert property_prediction(train, properties, test, shuffled, kind)["size"] < 0.5


def test_dci_of_slots_whose_values_are_properties(objects):
    (train, properties), (test, theirs) = objects
    found = dci(train, properties, test, theirs)
    assert found["disentanglement"] > 0.9
    assert found["completeness"] > 0.9
    assert found["informativeness"] > 0.8


@pytest.mark.parametrize(("make", "function"), [(PropertyProbe, property_prediction), (DCI, dci)])
def test_class_streams_the_function_of_its_name(objects, make, function):
    (train, properties), (test, theirs) = objects
    first, second = make(), make()
    parts = [{name: v[s] for name, v in properties.items()} for s in (slice(20), slice(20, None))]
    first.update(train[:20], parts[0], training=True)
    second.update(train[20:], parts[1], training=True)
    second.update(test, theirs, training=False)
    first.merge(second)
    assert first.compute() == pytest.approx(function(train, properties, test, theirs))


def test_objects_are_matched_to_slots_by_their_masks():
    true = torch.tensor([[[1, 1, 2], [1, 1, 3]]])
    predicted = torch.tensor([[[4, 4, 0], [4, 2, 2]]])
    # object 3 shares its only pixel with slot 2, which overlaps object 1 less than slot 4 does
    assert matched_slots(predicted, true, 4).tolist() == [[4, 0, 2, -1]]


def test_a_wide_label_beside_the_objects_moves_no_slot():
    """65535 marks what nobody decided on, in many files of labels."""
    true = torch.zeros(1, 32, 32, dtype=torch.int64)
    predicted = torch.full_like(true, 6)
    true[0, :8, :8], true[0, :8, 16:], true[0, 30:] = 1, 2, 65_535
    predicted[0, :8, :8], predicted[0, :8, 16:] = 3, 5
    assert matched_slots(predicted, true, 2).tolist() == [[3, 5]]


def test_wrong_probes_are_one_sentence(objects):
    with pytest.raises(EvalError, match="needs objects to learn from and others to score"):
        PropertyProbe().compute()
    with pytest.raises(EvalError, match="the property size is of shape"):
        PropertyProbe().update(torch.rand(2, 3), {"size": torch.rand(3)}, training=True)
