import pytest

from reidtools.registry import Registry, call, facts, options, unknown


def scale(dim, num_people, *, margin=0.3, soft=False):
    return dim, num_people, margin, soft


def test_a_signature_is_a_schema():
    assert facts(scale) == ("dim", "num_people")
    assert options(scale) == {"margin": 0.3, "soft": False}


def test_call_leaves_surplus_facts_out_and_refuses_unknown_options():
    known = {"dim": 8, "num_people": 3, "seed": 1}
    assert call(scale, known, {"margin": 0.5}) == (8, 3, 0.5, False)
    with pytest.raises(LookupError, match="Did you mean 'margin'"):
        call(scale, known, {"margn": 0.5})


def test_registering_and_building_by_name():
    losses = Registry("loss")
    losses(scale)
    assert "scale" in losses and "scales" not in losses
    assert losses.build("scale", {"dim": 1, "num_people": 2}, {}) == (1, 2, 0.3, False)
    with pytest.raises(
        LookupError, match=r"Unknown loss 'scal'. Did you mean 'scale'\? Known: scale."
    ):
        losses["scal"]


def test_a_name_is_taken_once_and_options_have_defaults():
    losses = Registry("loss")
    losses(scale)
    with pytest.raises(LookupError, match="rename one"):
        losses(scale)

    def bare(*, margin):
        return margin

    with pytest.raises(TypeError, match="without a default"):
        losses(bare)


def test_unknown_suggests_whatever_the_case():
    assert "Did you mean 'TripletLoss'" in str(unknown("loss", "tripletloss", ["TripletLoss"]))
