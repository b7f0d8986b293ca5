import cv2
import numpy as np
import pytest
from film import scene

from reidtools.tracks.video import open_frames


def numbers(source, wanted=range(1, 100)):
    return [number for number, _ in seen(source, wanted)]


def seen(source, wanted):
    """Number and picture of the wanted frames that there are."""
    found = list(open_frames(source).read(set(wanted)))
    assert [number for number, _ in found] == sorted({number for number, _ in found})
    return [(number, picture) for number, picture in found if picture is not None]


@pytest.fixture
def video(tmp_path):
    """A file of twenty frames, and the shade of each of them."""
    path, shades = tmp_path / "film.mp4", [10 * number for number in range(20)]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 25, (64, 48))
    for shade in shades:
        writer.write(np.full((48, 64, 3), shade, np.uint8))
    writer.release()
    return path, shades


def test_a_video_is_read_in_order_and_only_what_is_wanted(video):
    path, shades = video
    frames = open_frames(path)
    assert frames.length == 20
    found = dict(seen(path, {2, 3, 17}))
    assert list(found) == [2, 3, 17]
    for number, picture in found.items():
        assert picture.shape == (48, 64, 3) and picture.dtype == np.uint8
        assert abs(picture.mean() - shades[number - 1]) < 3  # a codec that loses


def test_no_frame_is_decoded_twice_or_beyond_the_last_wanted(video, monkeypatch):
    frames, decoded = open_frames(video[0]), []

    class Counting:
        def grab(self):
            decoded.append("grabbed")
            return real.grab()

        def retrieve(self):
            decoded.append("seen")
            return real.retrieve()

        def release(self):
            real.release()

    real, frames._video = frames._video, Counting()
    found = list(frames.read({4, 6}))
    assert [n for n, picture in found if picture is not None] == [4, 6]
    assert decoded.count("grabbed") == 6 and decoded.count("seen") == 2


def test_frames_after_the_end_of_a_video_do_not_come(video):
    assert numbers(video[0], {19, 20, 21, 500}) == [19, 20]


def test_a_folder_is_numbered_by_its_names(tmp_path, caplog):
    for number in (5, 6, 10):
        cv2.imwrite(str(tmp_path / f"{number}.png"), scene(number))
    assert numbers(tmp_path) == [5, 6, 10]
    assert "the first is 5" in caplog.text
    ((_, picture),) = seen(tmp_path, {6})
    assert (picture == scene(6)).all()


def test_names_from_zero_are_frames_from_one(tmp_path, caplog):
    for number in (0, 1, 2):
        cv2.imwrite(str(tmp_path / f"{number:06d}.png"), scene(number))
    assert numbers(tmp_path) == [1, 2, 3]
    ((_, picture),) = seen(tmp_path, {1})
    assert (picture == scene(0)).all() and not caplog.text


def test_other_names_count_by_their_order(tmp_path):
    for name in ("b.png", "a.png", "c7.png"):
        cv2.imwrite(str(tmp_path / name), scene(ord(name[0]) - 96))
    assert [(n, int(p.sum())) for n, p in seen(tmp_path, {1, 2, 3})] == [
        (n, int(scene(n).sum())) for n in (1, 2, 3)
    ]


def test_a_pattern_takes_what_fits_it(tmp_path):
    for name in ("img_0001.png", "img_0002.png", "other_0003.png", "img_x.png"):
        cv2.imwrite(str(tmp_path / name), scene(1))
    assert numbers(tmp_path / "img_%04d.png") == [1, 2]
    with pytest.raises(ValueError, match="no frames"):
        open_frames(tmp_path / "none_%d.png")
    with pytest.raises(FileNotFoundError, match="check the path"):
        open_frames(tmp_path / "nowhere" / "%d.png")


def test_a_sequence_of_motchallenge_says_where_its_frames_lie(tmp_path):
    (tmp_path / "left").mkdir()
    for name in ("000001.jpg", "000002.jpg", "000003.png"):
        cv2.imwrite(str(tmp_path / "left" / name), scene(1))
    info = "[Sequence]\nimDir=left\nseqLength=600\nimExt=.jpg\n"
    (tmp_path / "seqinfo.ini").write_text(info)
    for source in (tmp_path, tmp_path / "left"):
        assert open_frames(source).length == 600
        assert numbers(source) == [1, 2]


def test_lists_of_paths_and_a_file_that_names_them(tmp_path):
    paths = [tmp_path / f"{name}.png" for name in "zax"]
    for number, path in enumerate(paths, 1):
        cv2.imwrite(str(path), scene(number))
    (tmp_path / "list.txt").write_text("\n".join(path.name for path in paths) + "\n\n")
    for source in (paths, tmp_path / "list.txt"):
        found = dict(open_frames(source).read({1, 3}))
        assert (found[1] == scene(1)).all() and (found[3] == scene(3)).all()
    assert numbers(paths[1], {1}) == [1]


def test_arrays_may_come_one_after_the_other_without_end():
    def camera():
        number = 0
        while True:
            number += 1
            yield np.full((4, 4, 3), number, np.uint8)

    found = {n: int(p[0, 0, 0]) for n, p in seen(camera(), {2, 5})}
    assert found == {2: 2, 5: 5}
    assert numbers([scene(1), scene(2)]) == [1, 2]


def test_a_broken_picture_is_told_and_left_out(tmp_path, caplog):
    cv2.imwrite(str(tmp_path / "000001.png"), scene(1))
    (tmp_path / "000002.png").write_bytes(b"")
    (tmp_path / "000003.png").write_bytes(b"no picture")
    assert numbers(tmp_path) == [1]
    (message,) = caplog.messages
    assert message.startswith("2 frames cannot be read") and "000002.png" in message


@pytest.mark.parametrize("content", [b"", b"this is no video", bytes(5000)])
def test_what_is_no_video_is_refused(tmp_path, content):
    (tmp_path / "film.mp4").write_bytes(content)
    with pytest.raises(ValueError, match="cannot be opened as a video; convert it"):
        open_frames(tmp_path / "film.mp4")


def test_what_is_not_there_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="check the path"):
        open_frames(tmp_path / "film.mp4")
    with pytest.raises(ValueError, match="no frames"):
        open_frames(tmp_path)


def test_names_without_zeros_are_in_the_order_of_their_numbers(tmp_path):
    for number in range(1, 13):
        cv2.imwrite(str(tmp_path / f"frame_{number}.png"), scene(number))
    for number, picture in seen(tmp_path, range(1, 13)):
        assert (picture == scene(number)).all()


def test_two_files_of_one_number_are_refused(tmp_path):
    for name in ("1.png", "000001.png"):
        cv2.imwrite(str(tmp_path / name), scene(1))
    with pytest.raises(ValueError, match="Two frames .* remove one"):
        open_frames(tmp_path)


def test_a_list_may_come_one_by_one_and_a_file_that_names_none_is_told(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), scene(1))
    assert numbers(iter([tmp_path / "a.png"])) == [1]
    (tmp_path / "mot.txt").write_text("1,1,0,0,5,5\n2,1,0,0,5,5\n")
    with pytest.raises(FileNotFoundError, match="give a path in each line"):
        open_frames(tmp_path / "mot.txt")
    with pytest.raises(ValueError, match="the source is empty"):
        open_frames([])
