import logging

import numpy as np
import pytest

from reidtools.tracks.mot import read_seqinfo, read_tracks


def written(tmp_path, text, name="mot.txt"):
    file = tmp_path / name
    file.write_text(text)
    return file


COMMAS = "1,2,10,20.5,30,40,0.9,-1,-1,-1\n3,1,0,0,5,5,0.5,-1,-1,-1\n"
SPACES = "1 2 10 20.5 30 40 0.9 1 -1\n3  1\t0 0 5 5 0.5 1 -1\n"


@pytest.mark.parametrize("text", [COMMAS, SPACES, COMMAS.replace(",", ", "), "\ufeff" + COMMAS])
def test_commas_and_spaces_say_the_same(tmp_path, text):
    found = read_tracks(written(tmp_path, text))
    assert found.frames.tolist() == [1, 3]
    assert found.ids.tolist() == [2, 1]
    assert found.boxes.tolist() == [[10, 20.5, 40, 60.5], [0, 0, 5, 5]]
    assert found.confidences.tolist() == [0.9, 0.5]


def test_six_columns_have_confidence_one_and_floats_are_whole_numbers(tmp_path):
    found = read_tracks(written(tmp_path, "1.0,7.0,1,2,3,4\n"))
    assert (found.frames[0], found.ids[0], found.confidences[0]) == (1, 7, 1)


def test_names_of_columns_comments_and_empty_lines_are_no_rows(tmp_path, caplog):
    text = "frame,id,x,y,w,h\n# by hand\n\n1,1,2,3,4,5\n"
    assert len(read_tracks(written(tmp_path, text))) == 1
    assert not caplog.messages


def test_bad_lines_are_told_with_their_place_and_left_out(tmp_path, caplog):
    text = (
        "1,1,2,3,4,5\n1,2,3\n1,3,nan,0,1,1\n0,4,0,0,1,1\n1.5,4,0,0,1,1\nx,4,0,0,1,1\n2,-1,0,0,1,1\n"
    )
    with caplog.at_level(logging.WARNING):
        assert read_tracks(written(tmp_path, text)).ids.tolist() == [1]
    (message,) = caplog.messages
    assert "1 have fewer than six columns (first: line 2)" in message
    assert "1 have NaN or infinite values (first: line 3)" in message
    assert "2 have a frame or id that is no whole number, or a frame below 1" in message
    assert "1 are no rows of numbers (first: line 6)" in message
    assert "1 have no id, while others have one" in message


@pytest.mark.parametrize("text", ["", "\n\n", "frame,id,x,y,w,h\n", "1,1,nan,1,1,1\n"])
def test_without_a_row_there_is_nothing_to_do(tmp_path, text):
    with pytest.raises(ValueError, match="no row that can be used.*with commas or spaces"):
        read_tracks(written(tmp_path, text))


def test_a_missing_file_and_one_that_is_no_text(tmp_path):
    with pytest.raises(FileNotFoundError, match="check the path"):
        read_tracks(tmp_path / "none.txt")
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(ValueError, match="cannot be read as text"):
        read_tracks(tmp_path / "a.txt")


def test_detections_without_ids_are_tracks_of_their_own(tmp_path, caplog):
    found = read_tracks(written(tmp_path, "1,-1,0,0,5,5,0.9\n1,-1,9,0,5,5,0.8\n", "det.txt"))
    assert found.ids.tolist() == [1, 2]
    assert "each of its 2 rows is a track of its own" in caplog.text


def test_ground_truth_says_which_rows_count(tmp_path, caplog):
    text = "1,1,0,0,5,5,1,1,0.9\n1,2,0,0,5,5,0,7,1\n"
    assert read_tracks(written(tmp_path, text, "gt.txt")).ids.tolist() == [1]
    assert "1 have a confidence (in gt.txt a flag) below 0.5" in caplog.text
    assert read_tracks(tmp_path / "gt.txt", min_confidence=0).ids.tolist() == [1, 2]
    assert read_tracks(written(tmp_path, text, "tracks.txt")).ids.tolist() == [1, 2]
    assert read_tracks(tmp_path / "tracks.txt", min_confidence=0.5).ids.tolist() == [1]


def test_an_id_twice_in_a_frame_is_told_and_kept(tmp_path, caplog):
    found = read_tracks(written(tmp_path, "4,9,0,0,5,5\n4,9,8,0,5,5\n4,8,0,0,5,5\n"))
    assert len(found) == 3
    assert (
        "1 times an id stands more than once in a frame (first: track 9 in frame 4)" in caplog.text
    )


def test_seqinfo_of_a_sequence_and_above_its_frames(tmp_path):
    (tmp_path / "img1").mkdir()
    assert read_seqinfo(tmp_path) is None
    written(tmp_path, "[Sequence]\nname=a\nimDir=img1\nseqLength=600\nimExt=.png\n", "seqinfo.ini")
    assert read_seqinfo(tmp_path) == (tmp_path / "img1", ".png", 600)
    assert read_seqinfo(tmp_path / "img1") == (tmp_path / "img1", ".png", 600)
    written(tmp_path, "imDir=img1\n", "seqinfo.ini")
    with pytest.raises(ValueError, match="no seqinfo.ini of MOTChallenge"):
        read_seqinfo(tmp_path)


def test_rows_keep_the_order_of_the_file(tmp_path):
    lines = [f"{frame},{frame % 3},0,0,1,1" for frame in (5, 2, 9, 1)]
    assert np.array_equal(read_tracks(written(tmp_path, "\n".join(lines))).frames, [5, 2, 9, 1])


def test_an_empty_column_is_no_number(tmp_path, caplog):
    text = "1,2,,4,50,60,0.9,-1\n1,3,1,2,3,4,\n"
    assert read_tracks(written(tmp_path, text)).ids.tolist() == [3]
    assert "1 are no rows of numbers (first: line 1)" in caplog.text
