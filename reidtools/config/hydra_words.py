"""The keys of CLIP-ReID's Hydra tree, in the words of CLIP-ReID's own YAML and in ours.

What a run there did by its constants (precision, devices, early stopping) may stand at the root.
"""

import re
from pathlib import Path
from typing import Any

from reidtools.config.trees import Tree, unflatten
from reidtools.registry import unknown

# Where their keys go. A key below one of these is the upper-case word of CLIP-ReID.
SECTIONS = {
    "preprocessing.": "INPUT.",
    "model.": "MODEL.",
    "training.solver.": "SOLVER.",
    "training.dataloader.": "DATALOADER.",
    "dataset.": "DATASETS.",
    "testing.": "TEST.",
}
# Keys that change nothing, with the reason.
WITHOUT_EFFECT = {
    "model.model_chkp_name_stage1": "tools/train_clipreid.py names its files",
    "model.model_chkp_name_stage2": "tools/train_clipreid.py names its files",
    "model.model_chkp_final_onnx": "tools/export.py is told the name of its file",
    "export_to_onnx": "tools/export.py exports a model",
    "training.solver.eval_period": "nothing was tested in training there; TEST.EVAL_PERIOD does it "
    "here",
    "training.dataloader.graph_sampling_verbose": "the graph tells nothing while it samples",
    "dataset.from_dvc": "data that `dvc pull` has fetched are found, and so are others",
    "dataset.files_dir": "tools/download.py fetches data",
    **dict.fromkeys(
        ("dataset.dataset_dir", "dataset.datast_dir"),  # the second is a typo of theirs
        "the folder of a dataset is found by the names that it is known by",
    ),
    **dict.fromkeys(
        ("logging.tensorboard_dir", "logging.tesorboard_dir"),  # as well
        "TensorBoard's events are written beside the log of a run",
    ),
    "logging.output_log_dir": "the log is in the folder of a run",
    "logging.mlflow_dir": "an MLflow server keeps its files",
    "accelerator": "MODEL.DEVICE auto takes a GPU if there is one",
    "devices": "training runs on one device",
    "strategy": "training runs in one process",
    **dict.fromkeys(
        (f"early_stopping{word}" for word in ("", ".monitor", ".mode", ".patience", ".min_delta")),
        "nothing stops early; the best checkpoint is kept",
    ),
    "save_top_k": "the best and the last checkpoint are kept",
    "save_last": "the best and the last checkpoint are kept",
    "path_to_bpe": "MODEL.TEXT.VOCAB names the vocabulary, if CLIP's own is not to be found",
}
# Further keys outside of the sections.
ROOT = ("output_dir", "precision", "deterministic")
LOGGING = ("logging.experiment_name", "logging.run_name", "logging.mlflow_tracking_uri")
PRECISIONS = {"16-mixed": "fp16", "bf16-mixed": "bf16", "16": "fp16", "bf16": "bf16"}
FULL = ("32", "32-true")
GRAPH = {"NAME": "TextGraphSampler", "BEGIN": 3, "EVERY": 1, "FIRST": "RandomSampler"}


class Words:
    """The keys of a Hydra tree, dotted, on their way into a tree in CLIP-ReID's words.

    A sentence for each that is read otherwise or left out joins `notes`.
    """

    def __init__(self, flat: Tree, notes: list[str]):
        self.flat, self.notes = {key: value for key, value in flat.items() if value != {}}, notes
        self.out: Tree = {}

    def tree(self) -> Tree:
        """The whole tree; a LookupError names a key that is in no section."""
        self.out["MODEL.PRETRAIN_CHOICE"] = "imagenet"  # without it, it would be no document
        for take in (self._folders, self._weight, self._logs, self._graph, self._hardware):
            take()
        for key, value in self.flat.items():
            start = next((start for start in SECTIONS if key.startswith(start)), "")
            if key in WITHOUT_EFFECT:
                self.notes.append(f"{key} {value} has no effect here: {WITHOUT_EFFECT[key]}.")
            elif start:
                self.out[SECTIONS[start] + key.removeprefix(start).upper()] = value
            else:
                raise unknown(
                    "key of the Hydra tree", key, (*SECTIONS, *WITHOUT_EFFECT, *ROOT, *LOGGING)
                )
        return unflatten(self.out.items())

    def pop(self, key: str, default: Any = None) -> Any:
        """Take `key`; null says nothing."""
        value = self.flat.pop(key, None)
        return default if value is None else value

    def put(self, their: str, **ours: Any) -> None:
        """Put `ours`, with __ for dots, and say so."""
        ours = {key.replace("__", "."): value for key, value in ours.items()}
        self.out |= ours
        told = " and ".join(f"{key} {value}" for key, value in ours.items())
        self.notes.append(f"{their} is read as {told}.")

    def _folders(self) -> None:
        """Data lie in root_dir/data_dir, captions below."""
        root, data = self.pop("dataset.root_dir", ""), self.pop("dataset.data_dir", "")
        folder = Path(str(root)) / str(data)
        captions = self.pop("dataset.captions_json", "")
        if root or data:
            told = "dataset.root_dir/data_dir"
            self.put(told, DATASETS__ROOT=folder.as_posix())
        if captions:
            path = (folder / captions).as_posix()
            self.put(f"dataset.captions_json {captions}", DATASETS__CAPTIONS=path)

    def _weight(self) -> None:
        """testing.weight lies in output_dir; what training leaves there, nothing starts from."""
        folder = Path(str(self.pop("output_dir", "")))
        if folder.parts:
            self.put("output_dir", OUTPUT_DIR=folder.as_posix())
        weight, article = (
            self.pop("testing.weight", ""),
            self.pop("testing.article_name_weight", ""),
        )
        published = self.pop("testing.load_from_article", False)
        if weight and weight != self.flat.get("model.model_chkp_name_stage2"):
            self.put(f"testing.weight {weight}", TEST__WEIGHT=(folder / weight).as_posix())
        elif published and article:
            path = (folder / article).as_posix()
            self.put(f"testing.article_name_weight {article}", TEST__WEIGHT=path)
        elif weight:
            self.notes.append(
                f"testing.weight {weight} is what training leaves in {folder}; to test it, type "
                f"MODEL.WEIGHTS {(folder / weight).as_posix()}."
            )

    def _logs(self) -> None:
        """MLflow's words, and the pictures of text features."""
        for theirs, ours in zip(
            LOGGING, ("LOG__EXPERIMENT", "EXP_NAME", "LOG__MLFLOW_URI"), strict=True
        ):
            value = self.pop(theirs, "")
            if value and ours == "EXP_NAME":
                value = re.sub(r"[^\w.+-]+", "_", str(value)).lstrip(".+-")
            if value:
                self.put(theirs, **{ours: value})
        if "LOG.MLFLOW_URI" in self.out:
            self.notes.append("Figures go to MLflow with LOG.MLFLOW True.")
        key = "training.solver.text_features_viz"
        every, drawn = self.pop(f"{key}_frequency", 200), self.pop(key)
        if drawn is not None:
            self.put(f"{key} {drawn}", LOG__TEXT_MAPS=int(every) if drawn else 0)

    def _graph(self) -> None:
        """use_graph_sampling is of stage 1, with as many pictures a person as any sampler."""
        key = "training.dataloader.use_graph_sampling"
        if self.pop(key, False):
            each = self.flat.get("training.dataloader.num_instance", 4)
            self.put(f"{key} True", SOLVER__STAGE1__SAMPLER={**GRAPH, "NUM_INSTANCE": each})

    def _hardware(self) -> None:
        """precision, accelerator and deterministic; other constants change nothing."""
        precision = self.pop("precision")
        if precision is not None:
            name = str(precision)
            if name not in PRECISIONS and name not in FULL:
                raise unknown("precision", name, (*PRECISIONS, *FULL))
            half = {"SOLVER__AMP__ENABLED": name in PRECISIONS}
            half |= {"SOLVER__AMP__DTYPE": PRECISIONS[name]} if name in PRECISIONS else {}
            self.put(f"precision {name}", **half)
        if self.flat.get("accelerator") == "cpu":
            self.put(f"accelerator {self.pop('accelerator')}", MODEL__DEVICE="cpu")
        deterministic = self.pop("deterministic")
        if deterministic is not None:
            self.put(f"deterministic {deterministic}", DETERMINISTIC=bool(deterministic))
