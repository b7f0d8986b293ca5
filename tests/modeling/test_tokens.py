"""CLIP's byte-pair encoding: ids that CLIP-ReID gave, and what is refused."""

import json
from pathlib import Path

import pytest
import torch

from reidtools.modeling import tokens
from reidtools.modeling.tokens import Tokenizer

GOLDEN = json.loads(
    (Path(__file__).parents[1] / "golden/text_and_pos.json").read_text(encoding="utf-8")
)["tokenizer"]
WORD = 2653  # the id of "word"


@pytest.fixture(scope="module")
def tokenizer():
    pytest.importorskip("open_clip", reason="pip install 'reidtools[clip]'")
    return Tokenizer()


@pytest.mark.parametrize(
    "entry", GOLDEN["strings"], ids=[e["text"][:12] for e in GOLDEN["strings"]]
)
def test_ids_are_those_of_clip_reid(tokenizer, entry):
    (ids,) = tokenizer([entry["text"]])
    assert ids.shape == (GOLDEN["context_length"],) and ids.dtype == torch.int64
    assert ids[: entry["n"]].tolist() == entry["ids"]
    assert ids[entry["n"] :].count_nonzero() == 0
    assert ids.argmax() == entry["argmax"]  # where the text tower reads its output


def test_marks_and_vocabulary_are_those_of_clip():
    assert (tokens.START, tokens.END) == (GOLDEN["sot"], GOLDEN["eot"])
    assert tokens.SHA256 == GOLDEN["vocab_file"]["sha256"]
    assert GOLDEN["vocab_file"]["name"] in tokens.SOURCE


def test_texts_are_cleaned_before_they_are_encoded(tokenizer):
    """Curly quotes are mended, &amp;amp; is &, tabs and line ends are spaces, capitals small."""
    dirty = "A  Man&amp;amp;woman\tisn\u2019t\nHERE "
    assert tokenizer([dirty]).equal(tokenizer(["a man&woman isn't here"]))


def test_texts_come_in_rows(tokenizer):
    ids = tokenizer(["word", "", "word word"])
    assert ids[:, :4].tolist() == [
        [49406, WORD, 49407, 0],
        [49406, 49407, 0, 0],
        [49406, WORD, WORD, 49407],
    ]
    assert tokenizer([]).shape == (0, 77)


def test_a_long_text_is_refused_or_cut_before_its_end(tokenizer):
    long = "word " * 90
    with pytest.raises(ValueError, match=r"'word word .*\.\.\.' takes 92 tokens.* room for 77; sh"):
        tokenizer(["short", long])
    (ids,) = tokenizer([long], truncate=True)
    assert ids[:5].tolist() == GOLDEN["truncated_example"]["first5"]
    assert ids[-5:].tolist() == GOLDEN["truncated_example"]["last5"]
    full = "word " * 75  # with start and end exactly 77
    assert tokenizer([full]).equal(tokenizer([full], truncate=True))
    assert tokenizer([full])[0, -2:].tolist() == [WORD, 49407]


def test_other_contexts_work(tokenizer):
    short = Tokenizer(context_length=4)
    assert short(["word word"]).tolist() == [[49406, WORD, WORD, 49407]]
    assert short(["word word word"], truncate=True).tolist() == [[49406, WORD, WORD, 49407]]
    with pytest.raises(ValueError, match=r"takes 5 tokens.* room for 4"):
        short(["word word word"])
    with pytest.raises(ValueError, match=r"no room for a word.*make it 3 or longer"):
        Tokenizer(context_length=2)


def test_one_text_outside_a_list_is_refused(tokenizer):
    with pytest.raises(ValueError, match=r"'a man' is one text; give a list"):
        tokenizer("a man")


def test_the_file_is_parsed_once(tokenizer):
    assert Tokenizer(context_length=5)._bpe is tokenizer._bpe


def test_a_vocabulary_of_one_s_own_path_must_be_the_right_file(tokenizer, tmp_path):
    from open_clip.tokenizer import default_bpe

    copy = tmp_path / "bpe.gz"
    with pytest.raises(FileNotFoundError, match=r"bpe\.gz; an install of CLIP has it.*download"):
        Tokenizer(str(copy))
    copy.write_bytes(Path(default_bpe()).read_bytes())
    assert Tokenizer(str(copy))(["a man"]).equal(tokenizer(["a man"]))
    copy.write_bytes(copy.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"bpe\.gz is not the vocabulary of CLIP.*download"):
        Tokenizer(str(copy))


def test_without_open_clip_the_extra_is_named(monkeypatch):
    monkeypatch.setattr("reidtools.extras.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'reidtools\[clip\]'"):
        Tokenizer()
