"""Prompts, and captions in their place: naive texts, who is encoded when, what is drawn."""

import pytest
import torch
from torch import nn

from reidtools.losses import PromptLoss
from reidtools.losses.contrast import image_to_text, supcon
from reidtools.modeling.text import TextTower

DIM, PEOPLE = 6, 5
LABELS = [0, 0, 1, 1, 2, 2, 3, 4]  # of the eight pictures of the training set
CAPTIONS = [["a man in blue", "he walks"], [], [], ["a red bag"], [], [], [], ["she runs", "grey"]]
PLACES = torch.tensor([0, 1, 2, 3, 7, 2])  # a batch, with a picture that comes twice
PIDS = torch.tensor([LABELS[i] for i in PLACES])
JOINT = torch.randn(len(PLACES), DIM, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def tower():
    torch.manual_seed(0)
    return TextTower(DIM, width=16, layers=1, context_length=16)


def prompts(tower, captions=None, *, seed=0, **options):
    torch.manual_seed(1)
    return PromptLoss(PEOPLE, tower, captions, LABELS, seed, **options)


def measured(loss):
    return loss(JOINT, PIDS, PLACES, None)


def naive(loss, pid):
    """The sentence of a person, word by word: (DIM,)."""
    text = loss.text
    tokens = text.tokenize(["A photo of a X X X X person."])
    words = text.token_embedding(tokens)  # 0 is the start; 5 to 8 are learned
    words = torch.cat([words[:, :5], loss.context[pid][None], words[:, 9:]], 1)
    return text(words, torch.tensor([tokens[0].tolist().index(49407)]))[0]


def caption(loss, text):
    return loss.text.encode(loss.text.read([text]))[0]


def drawn(loss, captions):
    """Of each picture the caption that its text is, found among all of them; None for a prompt."""
    known = sorted({text for texts in captions for text in texts})
    features = loss.text.encode(loss.text.read(known))
    assert torch.pdist(features).min() > 1e-3  # no two are taken for each other
    texts = loss.text_features(range(len(captions)))
    # By way of products, cdist's default for many rows, rounding would hide what is equal.
    apart = torch.cdist(texts, features, compute_mode="donot_use_mm_for_euclid_dist")
    nearest, which = apart.min(1)
    return [
        known[i] if gap < 1e-4 else None
        for i, gap in zip(which.tolist(), nearest.tolist(), strict=True)
    ]


class Rows:
    """How many texts the tower was given in each call."""

    def __init__(self, tower):
        self.counts = []
        self.handle = tower.register_forward_hook(lambda m, inputs, _: self.see(inputs[0]))

    def see(self, embedded):
        self.counts.append(len(embedded))

    def __enter__(self):
        return self.counts

    def __exit__(self, *_):
        self.handle.remove()


# --- stage 1: the words are learned --------------------------------------------------------------


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_stage_1_is_both_directions_of_supcon_with_a_text_for_each_picture(tower, temperature):
    loss = prompts(tower, learn=True, temperature=temperature)
    texts = torch.stack([naive(loss, pid) for pid in PIDS])
    expected = supcon(JOINT, texts, PIDS, PIDS, temperature)
    expected = expected + supcon(texts, JOINT, PIDS, PIDS, temperature)
    value = measured(loss)
    torch.testing.assert_close(value, expected)
    (found,) = torch.autograd.grad(value, loss.context)
    (naively,) = torch.autograd.grad(expected, loss.context)
    torch.testing.assert_close(found, naively)


def test_a_person_is_encoded_once_however_many_pictures_show_them(tower):
    loss = prompts(tower, learn=True)
    with Rows(tower) as counts:
        measured(loss)
    assert counts == [3]  # people 0, 1 and 4 in six pictures


def test_only_the_words_are_learned(tower):
    loss = prompts(tower, learn=True)
    assert [n for n, w in loss.named_parameters() if w.requires_grad] == ["context"]
    measured(loss).backward()
    assert all(w.grad is None for w in tower.parameters())
    moved = loss.context.grad.abs().sum((1, 2)) > 0
    assert moved.tolist() == [True, True, False, False, True]  # who is in the batch


def test_the_share_of_pictures_whose_best_sentence_is_their_person_s(tower):
    loss = prompts(tower, learn=True)
    texts = torch.stack([naive(loss, pid) for pid in PIDS]).detach()
    best = [(texts @ picture).argmax().item() for picture in JOINT]
    right = [PIDS[place] == pid for place, pid in zip(best, PIDS, strict=True)]
    measured(loss)
    assert loss.figures["top1_text"].item() == pytest.approx(sum(right) / len(right))
    assert not loss.figures["top1_text"].requires_grad


def test_the_text_of_a_captioned_picture_is_its_caption(tower):
    """Pictures 0, 3 and 7 have captions; picture 1, of the same person as 0, has its prompt."""
    loss = prompts(tower, CAPTIONS, learn=True)
    texts = loss.text_features(range(8))
    for place, (own, text) in enumerate(zip(texts, drawn(loss, CAPTIONS), strict=True)):
        known, prompt = CAPTIONS[place], naive(loss, LABELS[place])
        torch.testing.assert_close(own, caption(loss, text) if known else prompt)
        assert torch.allclose(own, prompt, atol=1e-4) != bool(known)
        assert text in (known or [None])


def test_captions_enter_the_sums_but_no_gradient_comes_from_them(tower):
    """As if the text of a captioned picture were a constant; person 4 has no prompt at all."""
    loss = prompts(tower, CAPTIONS, learn=True)
    value = measured(loss)
    told = drawn(loss, CAPTIONS)
    texts = torch.stack(
        [
            caption(loss, told[place]).detach() if CAPTIONS[place] else naive(loss, pid)
            for place, pid in zip(PLACES.tolist(), PIDS, strict=True)
        ]
    )
    expected = supcon(JOINT, texts, PIDS, PIDS) + supcon(texts, JOINT, PIDS, PIDS)
    torch.testing.assert_close(value, expected)
    (found,) = torch.autograd.grad(value, loss.context)
    (naively,) = torch.autograd.grad(expected, loss.context)
    torch.testing.assert_close(found, naively)
    assert (found[4] == 0).all() and (found[0] != 0).any()


def test_a_batch_of_captions_only_moves_nothing(tower):
    loss = prompts(tower, CAPTIONS, learn=True)
    places = torch.tensor([0, 3, 7])
    value = loss(JOINT[:3], torch.tensor([0, 1, 4]), places, None)
    value.backward()
    assert torch.isfinite(value) and (loss.context.grad == 0).all()


def test_captions_are_encoded_once(tower):
    loss = prompts(tower, CAPTIONS, learn=True)
    with Rows(tower) as counts:
        measured(loss)
        measured(loss)
    assert counts == [3, 2, 2]  # three captions, then the prompts of people 0 and 1 each time


# --- stage 2: the words stay ---------------------------------------------------------------------


def test_stage_2_classifies_pictures_by_the_prompts_of_all_people(tower):
    loss = prompts(tower, epsilon=0.2)
    texts = torch.stack([naive(loss, pid) for pid in range(PEOPLE)])
    pictures = JOINT.clone().requires_grad_()
    value = loss(pictures, PIDS, PLACES, None)
    torch.testing.assert_close(value, image_to_text(JOINT, texts, PIDS, 0.2))
    value.backward()
    assert pictures.grad.abs().sum() > 0
    assert not any(weight.requires_grad for weight in loss.parameters())
    right = ((JOINT @ texts.T).argmax(1) == PIDS).float().mean()
    assert loss.figures["top1_text"] == right


def test_texts_of_people_are_encoded_once(tower):
    loss = prompts(tower)
    with Rows(tower) as counts:
        measured(loss)
        loss.set_epoch(1)
        measured(loss)
    assert counts == [PEOPLE]


def test_the_text_of_a_person_is_one_of_their_captions_if_there_is_any(tower):
    loss = prompts(tower, CAPTIONS)
    value, told = measured(loss), dict(zip(LABELS, drawn(loss, CAPTIONS), strict=True))
    known = {0: CAPTIONS[0], 1: CAPTIONS[3], 4: CAPTIONS[7]}
    assert all(told[pid] in known.get(pid, [None]) for pid in range(PEOPLE))
    texts = torch.stack(
        [caption(loss, told[p]) if p in known else naive(loss, p) for p in range(PEOPLE)]
    )
    torch.testing.assert_close(value, image_to_text(JOINT, texts, PIDS, 0.1))
    each = torch.tensor(LABELS)
    torch.testing.assert_close(loss.text_features(range(8)), texts[each])
    changed = (texts - prompts(tower).text_features([0, 2, 4, 6, 7])).abs().amax(1) > 1e-4
    assert changed.tolist() == [True, True, False, False, True]


@pytest.mark.parametrize("learn", [True, False])
def test_a_text_of_each_person_is_a_caption_where_they_have_one(tower, learn):
    """The captioned pictures of people 0, 1 and 4 are 0, 3 and 7."""
    loss = prompts(tower, CAPTIONS, learn=learn)
    texts, captioned = loss.of_each_person()
    assert captioned == [True, True, False, False, True]
    torch.testing.assert_close(texts, loss.text_features([0, 3, 4, 6, 7]))


def test_a_caption_longer_than_the_context_is_cut(tower):
    long = "a woman with a very large and very red bag who walks to the left and then away"
    loss = prompts(tower, [[long], *CAPTIONS[1:]])
    assert torch.isfinite(measured(loss))


# --- which captions, and when --------------------------------------------------------------------

MANY = [[f"caption {k} of picture {i}" for k in range(20)] for i in range(len(LABELS))]


def drawn_in(loss, epochs):
    """What is drawn of MANY in each of the epochs."""
    found = []
    for epoch in epochs:
        loss.set_epoch(epoch)
        found.append(drawn(loss, MANY))
    return found


@pytest.mark.parametrize("learn", [True, False])
def test_captions_are_drawn_anew_every_so_many_epochs(tower, learn):
    found = drawn_in(prompts(tower, MANY, learn=learn, redraw=3), range(9))
    assert [found[e] == found[e - 1] for e in range(1, 9)] == [*(True, True, False) * 2, True, True]


def test_without_redraw_they_are_drawn_once(tower):
    found = drawn_in(prompts(tower, MANY, learn=True), range(5))
    assert all(texts == found[0] for texts in found)
    assert None not in found[0]
    assert drawn(prompts(tower, MANY, seed=1, learn=True), MANY) != found[0]


def test_what_was_encoded_is_forgotten_with_the_draw(tower):
    loss = prompts(tower, MANY, redraw=2)
    with Rows(tower) as counts:
        first = measured(loss)
        loss.set_epoch(1)
        assert torch.equal(measured(loss), first)
        assert sum(counts) == 2 * PEOPLE  # a prompt and a caption each, in the first epoch
        loss.set_epoch(2)
        assert not torch.isclose(measured(loss), first)
        assert sum(counts) == 4 * PEOPLE


@pytest.mark.parametrize("learn", [True, False])
@pytest.mark.parametrize("begin", [2, 3, 4])
def test_a_resumed_run_has_the_captions_of_an_uninterrupted_one(tower, begin, learn):
    options = {"learn": learn, "redraw": 2, "caption_prob": 0.5}
    whole = drawn_in(prompts(tower, MANY, **options), range(8))
    resumed = prompts(tower, MANY, **options)
    resumed.load_state_dict(prompts(tower, MANY, **options).state_dict())
    assert drawn_in(resumed, range(begin, 8)) == whole[begin:]


def test_the_chance_of_a_caption(tower):
    none = prompts(tower, CAPTIONS, learn=True, caption_prob=0.0)
    assert drawn(none, CAPTIONS) == [None] * 8
    torch.testing.assert_close(measured(none), measured(prompts(tower, learn=True)))
    many = [["a caption", "another"]] * 400
    loss = PromptLoss(PEOPLE, tower, many, [0] * 400, 0, learn=True, caption_prob=0.7)
    captioned = [text for text in drawn(loss, many) if text]
    assert 240 < len(captioned) < 320 and len(set(captioned)) == 2


def test_loaded_words_replace_the_texts_of_the_old_ones(tower):
    loss, other = prompts(tower), prompts(tower)
    nn.init.normal_(other.context)
    before = measured(loss)
    loss.load_state_dict(other.state_dict())
    after = measured(loss)
    assert not torch.isclose(after, before) and torch.equal(after, measured(other))


def test_what_is_drawn_and_encoded_is_in_no_checkpoint(tower):
    loss = prompts(tower, CAPTIONS)
    names = set(loss.state_dict())
    measured(loss)
    assert set(loss.state_dict()) == names
    assert {name for name in names if not name.startswith("text.")} == {
        *("context", "prefix", "suffix")
    }


def test_stage_2_says_that_its_words_must_come_from_somewhere(tower):
    assert prompts(tower).must_be_loaded == ("context",)
    assert prompts(tower, learn=True).must_be_loaded == ()


@pytest.mark.parametrize(
    ("template", "words"), [("A photo of a X X X X person.", 4), ("X", 1), ("A X X car", 2)]
)
def test_as_many_words_are_learned_as_there_are_x(tower, template, words):
    loss = prompts(tower, learn=True, template=template)
    assert loss.context.shape == (PEOPLE, words, 16)
    begin = loss.prefix.shape[1]
    assert begin + words + loss.suffix.shape[1] == 16
    assert tower.tokenize([template])[0, begin : begin + words].unique().numel() == 1
    assert torch.isfinite(measured(loss))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"temperature": 0.0}, "temperature 0.0 must be above 0"),
        ({"epsilon": 1.0}, "epsilon 1.0 a share below 1"),
        ({"caption_prob": 1.5}, "caption_prob 1.5 a share"),
        ({"redraw": -1}, "redraw -1 a number of epochs"),
        ({"template": "A photo of a person."}, "has no X"),
        ({"template": "X photo of a X."}, "side by side"),
        ({"template": "X " * 15}, "17 tokens.*room for 16"),
    ],
)
def test_options_that_mean_nothing_are_refused(tower, options, says):
    with pytest.raises(ValueError, match=says):
        prompts(tower, **options)
