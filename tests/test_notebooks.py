"""The notebooks run from the first cell to the last, on a few drawn tracklets, without Jupyter."""

import json
from pathlib import Path

import pytest

import reidtools as rt
from reidtools.data.datasets.toy_mars import toy_mars

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
FILES = sorted(NOTEBOOKS.glob("*.ipynb"))
PARAMETERS = "parameters"  # the tag by which papermill, too, finds the cell with the variables


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with few tracklets, called mars: what a newcomer with the real ones has."""
    root = tmp_path_factory.mktemp("data")
    toy_mars(root, people=8, cameras=3, tracklets=2, frames=4)
    (root / "toy_mars").rename(root / "mars")
    return root


@pytest.fixture
def executed(data, tmp_path, monkeypatch):
    """Runs a notebook with other variables; gives its names and the number of its pictures."""
    plt = pytest.importorskip("matplotlib.pyplot")
    pytest.importorskip("sklearn")
    plt.switch_backend("agg")
    drawn = []

    def show():
        for number in plt.get_fignums():
            plt.figure(number).canvas.draw()
            drawn.append(number)
        plt.close("all")

    monkeypatch.setattr(plt, "show", show)
    monkeypatch.chdir(tmp_path)

    def run(name, **variables):
        names = {"__name__": "__main__"}
        variables = {"DATASET": "mars", "ROOT": data, "OUT": tmp_path / "out", **variables}
        for cell in cells(NOTEBOOKS / name):
            if cell["cell_type"] == "code":
                exec(compile("".join(cell["source"]), f"{name} {cell['id']}", "exec"), names)
            if PARAMETERS in cell["metadata"].get("tags", ()):
                assert variables.keys() <= names.keys()
                names |= variables
        assert not plt.get_fignums()  # whatever is drawn is shown
        assert [path.name for path in tmp_path.iterdir()] == ["out"]
        return names, len(drawn)

    yield run
    plt.close("all")


def cells(file):
    return json.loads(file.read_text(encoding="utf-8"))["cells"]


def test_there_are_two():
    assert [file.stem[:2] for file in FILES] == ["01", "02"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_notebook_is_stored_clean(file):
    book = json.loads(file.read_text(encoding="utf-8"))
    assert (book["nbformat"], book["nbformat_minor"]) == (4, 5)
    assert book["metadata"] == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    assert len({cell["id"] for cell in book["cells"]}) == len(book["cells"])
    code = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)
    assert code[0]["metadata"] == {"tags": [PARAMETERS]}
    assert not any(cell["metadata"] for cell in book["cells"] if cell is not code[0])
    names = {}
    exec("".join(code[0]["source"]), names)
    assert names["DATASET"] == "toy_mars" and names["ROOT"] == NOTEBOOKS.with_name("datasets")


def test_exploring(executed):
    names, drawn = executed("01_explore_mars.ipynb", SEQUENCE_LEN=3, OVERLAP=1)
    assert drawn == 6
    assert names["chosen"]["even, epoch 0"] == [[0, 3, 7, 11], [0, 2, 5, 8], [0, 1, 2, 2]]
    assert names["same"] == {False: True, True: False}
    splits, again = names["splits"], names["again"]
    assert names["answered"] == len(splits.query) > 0
    assert names["made"].written > 0 and not names["made"].failed
    assert [len(part) for part in again[1:]] == [len(part) for part in splits[1:]]
    assert names["before"] == names["after"] and {len(s.paths) for s in again.train} == {2, 3}


def test_the_sanity_of_embeddings(executed):
    names, drawn = executed("02_sanity_check_embeddings.ipynb", EPOCHS=2)
    assert drawn == 4 and names["picture"].is_file()
    assert names["norms"].tolist() == pytest.approx([1] * len(names["norms"]), abs=1e-5)
    assert names["difference"] < 1e-5 and names["agree"] == 1
    assert names["own"].mean() > names["strangers"].mean()
    report = rt.evaluate(rt.get_config((), ["MODEL.WEIGHTS", str(names["checkpoint"])]))
    assert report.mAP == pytest.approx(100 * names["found"].mAP, abs=1e-3)
    assert names["scores"]["Mean"] == names["found"].mAP == names["maps"][-1]
    assert names["closeness"][0] < names["closeness"][-1] == pytest.approx(1, abs=1e-5)
    assert names["density"].ratio > 0
