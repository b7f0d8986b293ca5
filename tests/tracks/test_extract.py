import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
from film import BLUE, GREEN, RED, colour_model, draw, rows, scene

from reidtools.tracks import extract, read_tracks
from reidtools.tracks.extract import chosen_rows
from reidtools.tracks.mot import TrackBoxes


def test_evenly_spread_as_the_original_spreads_them():
    """Golden T13: 23 entries and 10 crops."""
    rows = chosen_rows(np.full(23, 7), 10)
    assert rows.tolist() == [0, 2, 4, 7, 9, 12, 14, 17, 19, 22]


def test_each_track_is_spread_by_itself_in_the_order_of_the_file():
    ids = np.array([2, 1, 2, 2, 1, 2])
    assert chosen_rows(ids, 2).tolist() == [0, 1, 4, 5]
    assert chosen_rows(ids, 1).tolist() == [0, 1]
    assert chosen_rows(ids, 0).tolist() == chosen_rows(ids, 9).tolist() == [0, 1, 2, 3, 4, 5]


def test_every_track_has_the_colour_of_its_person(film, model):
    found = dict(extract(*film, model))
    assert list(found) == [1, 2, 3]
    for number, colour in enumerate((RED, GREEN, BLUE), 1):
        assert found[number].features.dtype == np.float32
        assert found[number].features.tolist() == list(colour)
        assert (found[number].all_features == colour).all()
    assert found[1].frame_indices == list(range(1, 9))
    assert found[3].frame_indices == list(range(3, 9))


def test_a_video_gives_what_its_frames_give(film, model, tmp_path):
    path = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"FFV1"), 25, (64, 48))
    for number in range(1, 9):
        writer.write(scene(number))
    writer.release()
    for number, track in extract(path, film[1], model):
        assert np.abs(track.features - [(), RED, GREEN, BLUE][number]).max() < 4, number


@pytest.mark.parametrize("batch_size", [1, 2, 5, 32])
def test_batches_of_any_size_give_the_same(film, model, batch_size):
    first = dict(extract(*film, model, max_crops=3))
    again = dict(extract(*film, model, max_crops=3, batch_size=batch_size))
    assert first.keys() == again.keys()
    for number, track in first.items():
        assert np.allclose(track.all_features, again[number].all_features, atol=1e-4)
        assert track.frame_indices == again[number].frame_indices


def test_a_batch_holds_crops_of_many_tracks(film, model):
    sizes = []
    model.backbone.register_forward_pre_hook(lambda _, images: sizes.append(len(images[0])))
    dict(extract(*film, model, batch_size=8))
    assert sizes == [8, 8, 6]  # 8 + 8 + 6 boxes, without regard to whom they show


def test_tracks_come_soon_after_they_are_complete(model):
    """Also where the crops of the whole film would fit into one batch."""
    shown = []

    def camera():
        for number in range(1, 3001):
            shown.append(number)
            yield draw([(4, 4, 8, 8, RED)])

    frames = np.array([1, 5, 9, 2900])
    boxes = TrackBoxes(
        frames, np.array([7, 7, 7, 8]), np.tile([4.0, 4, 12, 12], (4, 1)), np.ones(4)
    )
    found = extract(camera(), boxes, model)
    number, track = next(found)
    assert number == 7 and track.frame_indices == [1, 5, 9]
    assert len(shown) < 2000  # the reader is some hundred frames ahead, not at the end
    assert [number for number, _ in found] == [8] and len(shown) == 2900


def test_whoever_stops_listening_stops_the_reader(model):
    shown = []

    def camera():
        for number in range(1, 100_001):
            shown.append(number)
            yield draw([(4, 4, 8, 8, RED)])

    ends = np.array([1, 100_000])
    boxes = TrackBoxes(ends, ends, np.tile([4.0, 4, 12, 12], (2, 1)), np.ones(2))
    found = extract(camera(), boxes, model)
    next(found)
    found.close()
    assert len(shown) < 5000


def test_a_film_that_breaks_gives_what_was_complete_before(model):
    def camera():
        for _ in range(899):
            yield draw([(4, 4, 8, 8, RED)])
        raise OSError("The camera is gone; plug it in.")

    frames = np.array([1, 20, 30, 880, 950])
    ids = np.array([1, 1, 2, 3, 3])
    boxes = TrackBoxes(frames, ids, np.tile([4.0, 4, 12, 12], (5, 1)), np.ones(5))
    found = []
    with pytest.raises(OSError, match="plug it in"):
        for number, _ in extract(camera(), boxes, model):
            found.append(number)
    assert found == [1, 2]


def test_the_mean_of_crops_is_not_normalised_unless_asked_for(model):
    frames = [draw([(0, 0, 8, 8, (100, 0, 0))]), draw([(0, 0, 8, 8, (0, 50, 0))])]
    boxes = TrackBoxes(
        np.array([1, 2]), np.array([4, 4]), np.array([[0, 0, 8, 8.0]] * 2), np.ones(2)
    )
    ((_, plain),) = extract(frames, boxes, model)
    assert plain.features.tolist() == [50, 25, 0]
    ((_, unit),) = extract(frames, boxes, model, normalize=True)
    assert unit.all_features.tolist() == [[1, 0, 0], [0, 1, 0]]
    assert np.allclose(unit.features, [0.5**0.5, 0.5**0.5, 0])


def test_boxes_count_as_far_as_they_lie_in_the_frame(model, tmp_path, caplog):
    tracks = tmp_path / "t.txt"
    tracks.write_text("1,1,-5,-5,9,9\n1,2,10,10,0,5\n1,3,70,2,5,5\n1,4,60,40,99,99\n1,4,5,5,-3,4\n")
    frame = draw([(0, 0, 4, 4, RED), (60, 40, 4, 8, BLUE)])
    found = dict(extract([frame], tracks, model))
    assert list(found) == [1, 4]
    assert found[1].features.tolist() == list(RED) and found[4].features.tolist() == list(BLUE)
    assert "3 of 5 boxes cover no pixel of their frame" in caplog.text


def test_a_video_that_ends_early_keeps_what_it_showed(film, model, caplog):
    folder, _ = film
    for number in (7, 8):
        (folder / f"{number:06d}.png").unlink()
    found = dict(extract(*film, model, batch_size=4))
    assert found[1].frame_indices == [1, 2, 3, 4, 5, 6]
    assert "6 of 22 boxes lie in 2 frames that the video does not have" in caplog.text
    assert "(from frame 7 to 8)" in caplog.text


def test_a_broken_frame_in_the_middle_is_left_out(film, model, caplog):
    (film[0] / "000004.png").write_bytes(b"broken")
    assert dict(extract(*film, model))[2].frame_indices == [1, 2, 3, 5, 6, 7, 8]
    assert "000004.png is not a readable picture" in caplog.text


def test_two_boxes_of_a_track_in_a_frame_both_count(model, tmp_path):
    tracks = tmp_path / "t.txt"
    tracks.write_text("1,1,0,0,4,4\n1,1,8,8,4,4\n")
    frame = draw([(0, 0, 4, 4, RED), (8, 8, 4, 4, GREEN)])
    folder = tmp_path / "crops"
    ((_, track),) = extract([frame], tracks, model, crops_folder=folder)
    assert track.all_features.tolist() == [list(RED), list(GREEN)]
    assert track.frame_indices == [1, 1]
    names = sorted(path.name for path in (folder / "track_0001").iterdir())
    assert names == ["frame_000001_000.jpg", "frame_000001_001.jpg"]


def test_crops_are_written_as_they_are_in_the_frame(film, model, tmp_path):
    folder = tmp_path / "crops"
    dict(extract(*film, model, max_crops=3, crops_folder=folder))
    found = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.jpg"))
    assert found[:3] == [f"track_0001/frame_{f:06d}_{k:03d}.jpg" for k, f in enumerate((1, 4, 8))]
    crop = cv2.imread(str(folder / "track_0002" / "frame_000001_000.jpg"))
    assert crop.shape == (16, 8, 3) and np.abs(crop.mean((0, 1)) - GREEN[::-1]).max() < 3


def test_coarse_crops_have_the_size_that_the_network_wants(film):
    sizes = []
    model = colour_model((16, 8))
    model.backbone.register_forward_pre_hook(lambda _, args: sizes.append(tuple(args[0].shape)))
    dict(extract(*film, model, scale=2))
    assert {size[2:] for size in sizes} == {(16, 8)}


def test_flipped_crops_join_as_in_a_test(film, model):
    plain, flipped = (dict(extract(*film, model, flip=flip)) for flip in ("off", "raw"))
    assert np.allclose(plain[1].features, flipped[1].features)  # a mean colour has no side


def test_a_long_film_takes_the_memory_of_a_few_frames(model):
    """Frames are let go of: of two hundred never more than a handful are alive."""
    alive = []

    class Frame(np.ndarray):
        pass

    def camera():
        import weakref

        for _ in range(200):
            frame = np.zeros((48, 64, 3), np.uint8).view(Frame)
            alive.append(weakref.ref(frame))
            assert sum(ref() is not None for ref in alive) < 6
            yield frame

    frames = np.arange(1, 201)
    boxes = TrackBoxes(frames, frames // 50, np.tile([0.0, 0, 9, 9], (200, 1)), np.ones(200))
    assert len(dict(extract(camera(), boxes, model, batch_size=4))) == 5


def test_options_out_of_range_and_models_without_preparation_are_refused(film, model):
    with pytest.raises(ValueError, match="or 0 for all"):
        next(extract(*film, model, max_crops=-1))
    model.preparation = None
    with pytest.raises(ValueError, match="reidtools.load"):
        next(extract(*film, model))


def test_values_that_are_no_numbers_name_the_crop(film, model):
    model.preparation = model.preparation._replace(normalize=lambda x: x / 0.0 * 0.0)
    with pytest.raises(ValueError, match=r"values that are no numbers.*track 1 in frame 1"):
        next(extract(*film, model))


MOT17 = Path(__file__).parents[2].parent / "shared" / "data" / "MOT17-mini.tar.gz"


@pytest.mark.skipif(not MOT17.is_file(), reason="the real sequences are not here")
def test_real_sequences_have_their_known_tracks(tmp_path, model, caplog):
    import tarfile

    caplog.set_level(logging.ERROR)
    with tarfile.open(MOT17) as archive:
        archive.extractall(tmp_path, filter="data")
    home = tmp_path / "MOT17-mini" / "train" / "MOT17-02-FRCNN"
    everything = read_tracks(home / "gt" / "gt.txt", min_confidence=0)
    assert len(everything) == 156
    people = read_tracks(home / "gt" / "gt.txt")
    found = dict(extract(home, people, model))
    assert len(found) == len(set(people.ids.tolist())) == 22
    assert sum(len(track.frame_indices) for track in found.values()) == 88


def test_the_text_of_the_film_is_what_the_tests_think(tmp_path):
    (tmp_path / "t.txt").write_text(rows(4))
    assert read_tracks(tmp_path / "t.txt").ids.tolist() == [1, 2, 1, 2, 1, 2, 3, 1, 2, 3]
