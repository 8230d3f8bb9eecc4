"""A protocol is a frozen list of named switches with one way to make labels of soft masks."""

import dataclasses
import json

import jaxtyping
import pytest
import torch

from slot_eval import Results, protocols
from slot_eval.errors import EvalError
from slot_eval.functional import identity_switches

PROTOCOL = protocols.get("slotdiffusion")


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(EvalError, match="no protocol 'slotdifusion'; known: slotdiffusion"):
        protocols.get("slotdifusion")


def test_a_protocol_cannot_be_changed_and_says_all_its_switches():
    with pytest.raises(dataclasses.FrozenInstanceError):
        PROTOCOL.epsilon = 0.0  # pyright: ignore[reportAttributeAccessIssue]: that is the test
    settings = json.loads(json.dumps(PROTOCOL.settings()))
    assert settings["id"] == "slotdiffusion"
    assert set(settings) == {field.name for field in dataclasses.fields(PROTOCOL)}


def test_labels_upsample_before_the_argmax():
    # two slots cross between the two columns; by weight, the border lies at 3/4 of the width
    masks = torch.tensor([[0.7, 0.1], [0.3, 0.9]]).view(1, 1, 2, 1, 2)
    labels = PROTOCOL.labels(masks, 2, 8)
    assert labels.shape == (1, 1, 2, 8)
    assert labels.dtype == torch.int64
    # sample centres 0, 0, 1/8, 3/8, 5/8, 7/8, 1, 1 of the way; even at 1/3 of the way
    assert labels[0, 0, 0].tolist() == [0, 0, 0, 1, 1, 1, 1, 1]
    # the argmax first would put the border in the middle
    first = masks.argmax(2).repeat_interleave(4, dim=-1)
    assert first[0, 0, 0].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    # even at 9/10 of the way, which is after 7/8; between the outermost pixels, it would be 6/7
    late = torch.tensor([[0.95, 0.45], [0.05, 0.55]]).view(1, 1, 2, 1, 2)
    assert PROTOCOL.labels(late, 1, 8).flatten().tolist() == [0, 0, 0, 0, 0, 0, 1, 1]


def test_labels_of_half_precision_masks_are_those_of_float():
    masks = torch.rand(2, 3, 4, 5, 5, generator=torch.Generator().manual_seed(0)).half()
    assert torch.equal(PROTOCOL.labels(masks, 9, 7), PROTOCOL.labels(masks.float(), 9, 7))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_upsampling_half_precision_masks_makes_no_ties(dtype):
    """Two slots differ by one step of the type at a place, so by a part of it beside that."""
    first = torch.tensor([[0.5, 0.5]], dtype=dtype)
    second = torch.tensor([[0.5 + torch.finfo(dtype).eps / 2, 0.5]], dtype=dtype)
    masks = torch.stack([first, second]).view(1, 1, 2, 1, 2)
    assert PROTOCOL.labels(masks, 1, 8).flatten().tolist() == [1, 1, 1, 1, 1, 1, 0, 0]


def test_masks_of_the_right_size_are_left_alone():
    masks = torch.rand(1, 2, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(PROTOCOL.labels(masks, 4, 6), masks.argmax(2))


def test_overlap_pixels_become_a_segment_of_the_background():
    true = torch.tensor([[[[1, 1], [2, 2]]]])
    predicted = torch.tensor([[[[0, 0], [0, 0]]]])
    overlap = torch.tensor([[[[False, True], [False, True]]]])
    scores = PROTOCOL.score(predicted, true, overlap)
    by_hand = PROTOCOL.score(torch.tensor([[[[0, 1], [0, 1]]]]), torch.tensor([[[[1, 0], [2, 0]]]]))
    assert scores == by_hand
    assert scores["miou"].item() == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert not scores["fg_ari"].isnan()


def test_no_overlap_pixel_changes_nothing(draw):
    predicted, true = draw(3, 2, 8, 8)
    plain = PROTOCOL.score(predicted, true)
    with_map = PROTOCOL.score(predicted, true, torch.zeros_like(true, dtype=torch.bool))
    for name in PROTOCOL.metrics:
        assert torch.equal(plain[name], with_map[name])


def test_clips_of_several_frames_are_also_scored_frame_by_frame(draw):
    predicted, true = draw(3, 2, 8, 8)
    true[:, 1] = true[:, 1].where(true[:, 1] != 2, 0)  # out of sight in the second frame
    scores = PROTOCOL.score(predicted, true)
    assert tuple(scores) == PROTOCOL.clip_metrics
    assert PROTOCOL.clip_metrics[:5] == PROTOCOL.metrics
    frames = [PROTOCOL.score(predicted[:, t : t + 1], true[:, t : t + 1]) for t in (0, 1)]
    assert all(tuple(one) == PROTOCOL.metrics for one in frames)
    for name in ("ari", "fg_ari"):
        mean = torch.stack([one[name] for one in frames]).mean(0)
        torch.testing.assert_close(scores[f"frame_{name}"], mean, rtol=0, atol=1e-15)
    # as a picture, the second frame would count 0 for the label that it lacks
    as_pictures = torch.stack([one["mbo"] for one in frames]).mean(0)
    assert (scores["frame_mbo"] > as_pictures).all()
    assert torch.equal(scores["identity_switches"], identity_switches(predicted, true))


def test_frames_are_scored_without_their_overlaps():
    true = torch.tensor([[[[1, 1]], [[1, 1]]]])
    predicted = torch.tensor([[[[0, 0]], [[1, 1]]]])
    assert PROTOCOL.score(predicted, true)["identity_switches"].item() == 1
    overlap = torch.tensor([[[[True, True]], [[False, False]]]])
    assert PROTOCOL.score(predicted, true, overlap)["identity_switches"].item() == 0


def test_every_published_protocol_is_there_and_explains_how_it_differs():
    names = ("slotdiffusion", "savi-code", "savi-paper", "dinosaur", "spot", "videosaur")
    assert {*names, "slotcontrast"} <= set(protocols.names())
    one, other = protocols.get("savi-code"), protocols.get("savi-paper")
    differing = protocols.differences(one, other)
    assert [name for name, *_ in differing] == ["id", "description", "frames"]
    assert differing[-1][1:] == (
        "which frames of a clip count; after_first leaves out the one that a model may be told of",
        "all",
        "after_first",
    )


def test_ignored_pixels_do_not_count_on_either_side():
    true = torch.tensor([[[[1, 1], [2, 0]]]])
    predicted = torch.tensor([[[[0, 1], [2, 2]]]])
    mark = torch.tensor([[[[False, True], [False, True]]]])
    dinosaur = protocols.get("dinosaur")
    for overlap, void in ((mark, None), (None, mark)):
        scores = dinosaur.score(predicted, true, overlap, void)
        # what is left: object 1 is segment 0, object 2 is segment 2
        assert [scores[name].item() for name in ("ari", "fg_ari", "fg_miou", "mbo")] == [1] * 4
    assert dinosaur.score(predicted, true)["mbo"].item() == pytest.approx((1 / 2 + 1 / 2) / 2)


def test_void_is_background_where_a_protocol_says_so():
    true = torch.tensor([[[[1, 1], [0, 0]]]])
    predicted = torch.tensor([[[[1, 1], [1, 1]]]])
    void = torch.tensor([[[[False, True], [False, False]]]])
    # the void pixel is no part of the object, but still of the segment
    assert protocols.get("spot").score(predicted, true, None, void)["mbo"].item() == 1 / 4
    assert protocols.get("dinosaur").score(predicted, true, None, void)["mbo"].item() == 1 / 3


def test_labels_of_classes_add_their_own_mbo():
    true = torch.tensor([[[[1, 2], [0, 0]]]])
    classes = torch.tensor([[[[3, 3], [0, 0]]]])
    predicted = torch.tensor([[[[1, 1], [0, 0]]]])
    scores = protocols.get("dinosaur").score(predicted, true, class_labels=classes)
    assert (scores["mbo"].item(), scores["mbo_class"].item()) == (0.5, 1.0)


def test_ignored_pixels_do_not_count_for_classes_either():
    true = torch.tensor([[[[1, 2], [0, 0]]]])
    classes = torch.tensor([[[[3, 3], [0, 0]]]])
    predicted = torch.tensor([[[[1, 1], [1, 0]]]])
    mark = torch.tensor([[[[False, False], [True, False]]]])
    dinosaur = protocols.get("dinosaur")
    for overlap, void in ((mark, None), (None, mark)):
        scores = dinosaur.score(predicted, true, overlap, void, class_labels=classes)
        assert scores["mbo_class"].item() == 1.0
    without = dinosaur.score(predicted, true, class_labels=classes)
    assert without["mbo_class"].item() == pytest.approx(2 / 3)


def test_the_first_frame_does_not_count_where_a_model_is_told_of_it(draw):
    predicted, true = draw(2, 4, 8, 8)
    paper, code = protocols.get("savi-paper"), protocols.get("savi-code")
    told, rest = paper.score(predicted, true), code.score(predicted[:, 1:], true[:, 1:])
    assert told.keys() == rest.keys()
    for name, values in told.items():
        torch.testing.assert_close(values, rest[name], equal_nan=True)
    assert paper.row_ids(["a", "b"], 4) == ["a", "b"]
    picture = predicted[:, :1], true[:, :1]  # has no other frame
    torch.testing.assert_close(paper.score(*picture)["ari"], code.score(*picture)["ari"])
    frames = dataclasses.replace(paper, sample="frame")
    assert frames.row_ids(["a"], 4) == ["a/1", "a/2", "a/3"]
    torch.testing.assert_close(
        frames.score(predicted, true)["ari"],
        dataclasses.replace(code, sample="frame").score(predicted[:, 1:], true[:, 1:])["ari"],
    )
    chunks = dataclasses.replace(paper, chunk_frames=2)
    assert chunks.row_ids(["a"], 5) == ["a/1", "a/3"]
    assert chunks.row_ids(["a"], 4) == ["a/1"]
    expected = code.score(predicted[:, 1:3], true[:, 1:3])["ari"]
    torch.testing.assert_close(chunks.score(predicted, true)["ari"], expected)


def test_frames_and_chunks_are_samples_of_their_own(draw):
    predicted, true = draw(2, 13, 4, 4)
    spot, chunks = protocols.get("spot"), protocols.get("videosaur-ytvis")
    assert spot.row_ids(["a", "b"], 7)[6:8] == ["a/6", "b/0"]
    assert chunks.row_ids(["a", "b"], 13) == ["a/0", "a/6", "b/0", "b/6"]
    assert spot.row_ids(["a"], 1) == chunks.row_ids(["a"], 6) == ["a"]
    single = spot.score(predicted[1:, 3:4], true[1:, 3:4])["fg_ari"]
    assert spot.score(predicted, true)["fg_ari"][13 + 3] == single
    whole = protocols.get("videosaur").score(predicted[:1, :6], true[:1, :6])["mbo"]
    assert chunks.score(predicted, true, also=["idf1"])["mbo"].view(2, 2)[0, 0] == whole


def test_a_rest_that_fills_no_chunk_is_no_sample(draw):
    """As in VideoSAUR's split_to_chunks: clips shorter than a chunk are not scored at all."""
    predicted, true = draw(2, 8, 4, 4)
    chunks = protocols.get("videosaur-ytvis")
    results = Results(chunks)
    results.update(["a", "b"], predicted, true)
    assert [row["id"] for row in results.rows] == ["a/0", "b/0"]
    short = Results(chunks)
    short.update(["a", "b"], predicted[:, :5], true[:, :5])
    short.update(["c", "d"], predicted[:, :1], true[:, :1])
    assert len(short) == 0
    assert short.summary()["mbo"]["n"] == 0
    told = dataclasses.replace(chunks, frames="after_first")
    assert told.row_ids(["a"], 8) == ["a/1"]
    assert told.row_ids(["a"], 7) == ["a"]


@pytest.mark.parametrize("name", ["spot", "dinosaur", "videosaur-ytvis"])
def test_pictures_without_a_time_are_refused(monkeypatch, draw, name):
    """Their rows would be taken for pictures."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # a user has no type checks
    predicted, true = draw(2, 8, 8)
    with pytest.raises(EvalError, match=r"expected \[batch time height width\]; one clip is"):
        protocols.get(name).score(predicted, true)


def test_without_an_object_there_is_no_fg_ari_on_youtube_vis(draw):
    """Its truth has no background there, unlike in MOVi: see AdjustedRandIndex of VideoSAUR."""
    predicted, true = draw(1, 6, 4, 4)
    for name in ("videosaur", "slotcontrast"):
        empty = torch.zeros_like(true)
        assert protocols.get(name).score(predicted, empty)["fg_ari"].item() == 1
        assert protocols.get(f"{name}-ytvis").score(predicted, empty)["fg_ari"].isnan().all()


def test_a_protocol_of_ones_own_is_one_with_other_switches(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # a user has no type checks
    known = protocols.get("dinosaur")
    mine = dataclasses.replace(known, id="mine", mbo_background=True)
    assert [name for name, *_ in protocols.differences(known, mine)] == ["id", "mbo_background"]
    with pytest.raises(EvalError, match="'mine': overlap is 'ignored', expected 'new_segment' or"):
        dataclasses.replace(mine, overlap="ignored")
    with pytest.raises(EvalError, match="empty_iou is 'none', expected 'one' or 'nan' or 'zero'"):
        dataclasses.replace(mine, empty_iou="none")
