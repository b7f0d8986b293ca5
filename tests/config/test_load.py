import pytest
import yaml

from reidtools.config.load import changed, differences, load, merge, pairs, plain


def write(folder, name, text):
    (folder / name).write_text(text)
    return folder / name


def test_every_option_in_force_is_shown():
    config = load("", ["MODEL.BACKBONE.NAME", "resnet18", "MODEL.LOSSES", "TripletLoss"])
    assert config.MODEL.BACKBONE.LAST_STRIDE == 1  # from the signature of resnet18
    assert config.MODEL.LOSSES.TripletLoss.MARGIN == 0.3
    assert config.MODEL.LOSSES.TripletLoss.WEIGHT == 1.0
    assert config.SOLVER.OPT == "Adam" and config.INPUT.FLIP_PROB == 0.5
    assert config.is_frozen()


def test_files_overrides_and_defaults_in_that_order(tmp_path):
    write(tmp_path, "base.yml", "SOLVER: {BASE_LR: 0.1, MAX_EPOCH: 7}\nSEED: 5")
    child = write(tmp_path, "child.yml", "_BASE_: base.yml\nSOLVER: {BASE_LR: 0.2}")
    config = load(child, ["SEED", "6"])
    assert (config.SOLVER.BASE_LR, config.SOLVER.MAX_EPOCH, config.SEED) == (0.2, 7, 6)


def test_under_a_new_name_the_options_stay_that_it_has_as_well(tmp_path):
    """A recipe's non-local blocks are not lost with MODEL.BACKBONE.NAME resnet50_ibn_a."""
    text = "MODEL: {BACKBONE: {NAME: resnet50, STEM_RELU: false, PRETRAIN_PATH: a.pth}}"
    file = write(tmp_path, "a.yml", text)
    other = load(file, ["MODEL.BACKBONE.NAME", "resnet101_ibn_a"]).MODEL.BACKBONE
    assert other.STEM_RELU is False and other.PRETRAIN_PATH == ""  # which is another's
    theirs = load(file, ["MODEL.NAME", "resnet18"]).MODEL.BACKBONE  # in SNU_ReID's words
    assert (theirs.NAME, theirs.STEM_RELU, theirs.PRETRAIN_PATH) == ("resnet18", False, "")
    assert load(file).MODEL.BACKBONE.STEM_RELU is False
    config = load(file, ["MODEL.BACKBONE.NAME", "osnet_x0_25"])
    assert "STEM_RELU" not in config.MODEL.BACKBONE and config.MODEL.BACKBONE.FC is True
    assert load(file, ["MODEL.BACKBONE", "resnet50"]).MODEL.BACKBONE.STEM_RELU is False


def test_weight_zero_removes_a_loss_of_the_base():
    config = load("", ["MODEL.LOSSES.CenterLoss.WEIGHT", "0"])
    assert config.MODEL.LOSSES.CenterLoss.WEIGHT == 0.0


@pytest.mark.parametrize(
    ("value", "expected"),
    [("1", 1.0), ("1e-4", 1e-4), ("0.5", 0.5), (3, 3.0)],
)
def test_numbers_are_numbers_however_they_are_written(value, expected):
    config = load("", ["SOLVER.BASE_LR", value])
    assert config.SOLVER.BASE_LR == expected and isinstance(config.SOLVER.BASE_LR, float)


@pytest.mark.parametrize(
    "value", ["market1501", "Market1501", '("Market1501",)', "[market1501]", ["market1501"]]
)
def test_a_dataset_name_may_be_a_word_a_list_or_a_tuple(value):
    assert load("", ["DATASETS.NAMES", value]).DATASETS.NAMES == ["market1501"]


def test_several_datasets_and_an_own_folder():
    names = load("", ["DATASETS.NAMES", '("Market1501", "My_People")']).DATASETS.NAMES
    assert names == ["market1501", "My_People"]


def test_options_of_a_dataset_have_a_node():
    config = load("", ["DATASETS.NAMES", "cuhk03", "DATASETS.CUHK03.LABELED", "True"])
    assert config.DATASETS.CUHK03.LABELED is True


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "MODEL.LOSSES.Tripplet.MARGIN",
            "1",
            "Unknown loss 'Tripplet'. Did you mean 'TripletLoss'",
        ),
        ("MODEL.LOSSES.TripletLoss.MARGN", "1", "Did you mean 'MARGIN'"),
        ("MODEL.BACKBONE.NAME", "resnet5O", "Did you mean 'resnet50'"),
        ("SOLVR.BASE_LR", "1", "Unknown key in the config 'SOLVR'. Did you mean 'SOLVER'"),
        ("SOLVER.BASE_LRR", "1", "Unknown key in SOLVER 'BASE_LRR'. Did you mean 'BASE_LR'"),
    ],
)
def test_unknown_names_come_with_the_nearest_known_one(key, value, message):
    with pytest.raises(LookupError) as caught:
        load("", [key, value])
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("SOLVER.BASE_LR", "big", "SOLVER.BASE_LR is 'big'; expected float, like 0.00035"),
        ("SOLVER.MAX_EPOCH", "1.5", "expected int, like 120"),
        ("SOLVER.NESTEROV", "3", "expected bool"),
        ("SOLVER.WEIGHT_DECAY_BIAS", "x", "expected a number or null"),
        ("SOLVER", "3", "SOLVER is '3'; it holds keys, such as MAX_EPOCH"),
        ("MODEL.BACKBONE.NAME", "[a]", "expected the name of a backbone"),
        ("SOLVER.STEPS", "[a, b]", "SOLVER.STEPS is 'a'; expected int"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_with_an_example(key, value, message):
    with pytest.raises(TypeError) as caught:
        load("", [key, value])
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("SOLVER.IMS_PER_BATCH", "0", "SOLVER.IMS_PER_BATCH is 0; it must be at least 2"),
        ("SOLVER.MAX_EPOCH", "-1", "SOLVER.MAX_EPOCH is -1"),
        ("DATALOADER.NUM_WORKERS", "-1", "at least 0"),
        ("INPUT.SIZE_TRAIN", "256", "height and width"),
        ("INPUT.SIZE_TEST", "[0, 128]", "height and width"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused(key, value, message):
    with pytest.raises(ValueError) as caught:
        load("", [key, value])
    assert message in str(caught.value)


def test_words_stay_as_typed_where_words_are_wanted():
    for word in ("1_2", "012", "2024-01-02", "yes", ""):
        assert load("", ["OUTPUT_DIR", word]).OUTPUT_DIR == word
    assert load("", ["DATASETS.NAMES", "2024"]).DATASETS.NAMES == ["2024"]
    assert load("", ["DETERMINISTIC", "yes"]).DETERMINISTIC is True
    assert load("", ["SOLVER.WEIGHT_DECAY_BIAS", "null"]).SOLVER.WEIGHT_DECAY_BIAS is None


def test_an_empty_node_changes_nothing_and_a_dataset_counts_once(tmp_path):
    assert load(write(tmp_path, "a.yml", "MODEL:\nSEED: 4")) == load("", ["SEED", "4"])
    with pytest.raises(ValueError, match="named twice in toy, toy"):
        load("", ["DATASETS.NAMES", "[toy, Toy]"])


def test_bases_in_a_circle_are_refused(tmp_path):
    write(tmp_path, "a.yml", "_BASE_: b.yml")
    with pytest.raises(ValueError, match="its own _BASE_"):
        load(write(tmp_path, "b.yml", "_BASE_: a.yml"))


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no config file .*none\.yml"):
        load(tmp_path / "none.yml")
    with pytest.raises(ValueError, match="not valid YAML"):
        load(write(tmp_path, "a.yml", "A: [1"))
    with pytest.raises(ValueError, match="no KEY: value"):
        load(write(tmp_path, "b.yml", "just text"))
    with pytest.raises(ValueError, match="odd length"):
        load("", ["SEED"])


def test_the_saved_config_gives_the_same_config(tmp_path):
    config = load("", ["DATASETS.NAMES", "toy", "MODEL.LOSSES", "TripletLoss", "SEED", "9"])
    saved = write(tmp_path, "config.yml", config.dump())
    assert load(saved) == config
    assert load("", base=plain(config.dump())) == config
    assert plain(config) == yaml.safe_load(config.dump())


def test_merging_touches_neither_tree():
    base, over = {"A": {"B": [1]}}, {"A": {"C": 2}}
    merged = merge(base, over)
    merged["A"]["B"].append(3)
    assert base == {"A": {"B": [1]}} and over == {"A": {"C": 2}}
    assert pairs(["A.B", "[1, 2]", "A.C", "x"]) == {"A": {"B": [1, 2], "C": "x"}}


def test_of_several_files_the_later_wins(tmp_path):
    recipe = write(tmp_path, "a.yml", "SOLVER: {BASE_LR: 0.1, MAX_EPOCH: 7}\nSEED: 5")
    fragment = write(tmp_path, "b.yml", "SOLVER: {BASE_LR: 0.2}")
    config = load([recipe, fragment], ["SEED", "6"])
    assert (config.SOLVER.BASE_LR, config.SOLVER.MAX_EPOCH, config.SEED) == (0.2, 7, 6)
    assert load([fragment, recipe]).SOLVER.BASE_LR == 0.1


@pytest.mark.parametrize("scale", ["0", "-2", ".nan", "0.5"])
@pytest.mark.parametrize(
    "key", ["INPUT.SCALE", "DATASETS.LOW_SCALE", "TEST.QUERY_SCALE", "TEST.GALLERY_SCALE"]
)
def test_a_scale_below_one_is_refused(key, scale):
    with pytest.raises(ValueError, match=rf"{key} is .*at least 1"):
        load("", [key, scale])
    assert load("", ["TEST.QUERY_SCALE", "null"]).TEST.QUERY_SCALE is None


def test_a_name_that_is_typed_takes_away_the_options_of_the_last_file(tmp_path):
    (tmp_path / "a.yml").write_text("DATALOADER: {SAMPLER: {NAME: RandomIdentitySampler}}")
    (tmp_path / "b.yml").write_text(
        "DATALOADER: {SAMPLER: {NAME: RandomSampler, DROP_LAST: false}}"
    )
    files = [tmp_path / "a.yml", tmp_path / "b.yml"]
    assert dict(load(files).DATALOADER.SAMPLER) == {"NAME": "RandomSampler", "DROP_LAST": False}
    typed = ["DATALOADER.SAMPLER.NAME", "RandomIdentitySampler"]
    assert dict(load(files, typed).DATALOADER.SAMPLER) == {
        "NAME": "RandomIdentitySampler",
        "NUM_INSTANCE": 4,
    }


def test_a_changed_config_is_another_one():
    config = load()
    other = changed(config, {"MODEL.WEIGHTS": "x.pth", "SEED": 7})
    assert (other.MODEL.WEIGHTS, other.SEED, other.is_frozen()) == ("x.pth", 7, True)
    assert (config.MODEL.WEIGHTS, config.SEED, config.is_frozen()) == ("", 1, True)
    assert differences(plain(config), other) == {"MODEL.WEIGHTS": ("", "x.pth"), "SEED": (1, 7)}


@pytest.mark.parametrize("key", ["MODEL.WEIGHT", "MODEL.BACKBONE.NAME.X", "MODELS.WEIGHTS"])
def test_only_a_key_that_is_there_can_be_changed(key):
    with pytest.raises(LookupError, match=f"Unknown key '{key}'"):
        changed(load(), {key: 1})


def test_differences_to_a_saved_config():
    """A key that is newer than the saved text has its default; another component has other keys."""
    saved = "SEED: 1\nSOLVER: {MAX_EPOCH: 7}\nMODEL: {HEADS: {NAME: Linear}}"
    config = load("", ["SOLVER.MAX_EPOCH", "7", "SEED", "3"])
    assert differences(saved, config) == {
        "SEED": (1, 3),
        "MODEL.HEADS.NAME": ("Linear", "BNNeck"),
        "MODEL.HEADS.DROPOUT": (0.0, None),
        "MODEL.HEADS.NECK_FEAT": (None, "before"),
        "MODEL.HEADS.TEST_FEAT": (None, "after"),
    }
    assert differences(config.dump(), config) == differences(config, config) == {}
