"""The keys of CLIP-ReID's Hydra tree, in the words of CLIP-ReID's own YAML and in ours.

What a run there did by its constants (precision, devices, early stopping) may stand in it as well.
"""

import re
from pathlib import Path
from typing import Any

from reidtools.registry import unknown

Tree = dict[str, Any]

# Where their keys go. A key below one of these is the upper-case word of CLIP-ReID.
SECTIONS = {
    "preprocessing": "INPUT",
    "model": "MODEL",
    "training.solver": "SOLVER",
    "training.dataloader": "DATALOADER",
    "dataset": "DATASETS",
    "testing": "TEST",
}
# Their words, by section; stages have further ones.
WORDS = {
    "INPUT": "size_train size_test prob re_prob pixel_mean pixel_std padding re_mode re_max_count",
    "MODEL": "device device_id name last_stride pretrain_path pretrain_choice neck if_with_center "
    "id_loss_type id_loss_weight triplet_loss_weight i2t_loss_weight metric_loss_type dist_train "
    "no_margin if_labelsmooth cos_layer feat_dim_center drop_path drop_out att_drop_rate "
    "transformer_type stride_size sie_coe sie_camera sie_view",
    "SOLVER": "seed margin log_period",
    "DATALOADER": "num_workers sampler num_instance",
    "DATASETS": "names",
    "TEST": "eval ims_per_batch re_ranking neck_feat feat_norm dist_mat",
}
STAGE_WORDS = (
    "ims_per_batch optimizer_name max_epochs base_lr momentum weight_decay weight_decay_bias "
    "warmup_factor warmup_epochs warmup_lr_init warmup_iters warmup_method lr_min cosine_margin "
    "cosine_scale checkpoint_period log_period eval_period large_fc_lr bias_lr_factor center_lr "
    "center_loss_weight gamma steps"
)
# Keys by their last word, wherever they stand, that change nothing, with the reason.
WITHOUT_EFFECT = {
    "model_chkp_name_stage1": "tools/train_clipreid.py names its files",
    "model_chkp_name_stage2": "tools/train_clipreid.py names its files",
    "model_chkp_final_onnx": "tools/export.py is told the name of its file",
    "export_to_onnx": "tools/export.py exports a model",
    "graph_sampling_verbose": "the graph tells nothing while it samples",
    "from_dvc": "data that `dvc pull` has fetched are found, and so are others",
    "files_dir": "tools/download.py fetches data",
    "tensorboard_dir": "TensorBoard's events are written beside the log of a run",
    "output_log_dir": "the log is in the folder of a run",
    "mlflow_dir": "an MLflow server keeps its files",
    "accelerator": "MODEL.DEVICE auto takes a GPU if there is one",
    "devices": "training runs on one device",
    "strategy": "training runs in one process",
    "early_stopping": "nothing stops early; the best checkpoint is kept",
    "save_top_k": "the best and the last checkpoint are kept",
    "save_last": "the best and the last checkpoint are kept",
    "eval_period": "nothing was tested in training there; TEST.EVAL_PERIOD does it here",
    "path_to_bpe": "MODEL.TEXT.VOCAB names the vocabulary, if CLIP's own is not to be found",
}
# Words that `Words` reads one by one, wherever they stand.
SPECIAL = (
    *("root_dir", "data_dir", "dataset_dir", "captions_json", "output_dir", "weight"),
    *("load_from_article", "article_name_weight", "experiment_name", "run_name"),
    *("mlflow_tracking_uri", "text_features_viz", "text_features_viz_frequency"),
    *("use_graph_sampling", "precision", "deterministic"),
)
TYPOS = {"tesorboard_dir": "tensorboard_dir", "datast_dir": "dataset_dir"}
PRECISIONS = {"16-mixed": "fp16", "bf16-mixed": "bf16", "16": "fp16", "bf16": "bf16"}
FULL = ("32", "32-true", "64", "64-true")
GRAPH = {"NAME": "TextGraphSampler", "BEGIN": 3, "EVERY": 1, "FIRST": "RandomSampler"}


class Words:
    """The keys of a Hydra tree, dotted, on their way into a tree in CLIP-ReID's words."""

    def __init__(self, flat: Tree):
        self.flat, self.out, self.notes = flat, {}, []
        for key in list(flat):
            *route, last = key.split(".")
            if last in TYPOS:
                right = ".".join([*route, TYPOS[last]])
                flat.setdefault(right, flat.pop(key))
                self.notes.append(f"{key} is read as {right}.")

    def tree(self) -> Tree:
        """The whole tree; a LookupError names a key that is unknown."""
        self.out["MODEL.PRETRAIN_CHOICE"] = "imagenet"  # without it, it would be no document
        for take in (self._folders, self._weight, self._logs, self._graph, self._hardware):
            take()
        for key, value in self.flat.items():
            place = _place(key)
            last = "early_stopping" if "early_stopping" in key else key.split(".")[-1]
            if place:
                self.out[place] = value
            elif last in WITHOUT_EFFECT:
                reason = WITHOUT_EFFECT[last]
                self.notes.append(f"{key} {value} has no effect here: {reason}.")
            elif value is not None:
                raise unknown("key of the Hydra tree", key, _known())
        tree: Tree = {}
        for key, value in {**self.out, "HYDRA.NOTES": self.notes}.items():
            *route, last = key.split(".")
            node = tree
            for part in route:
                node = node.setdefault(part, {})
            node[last] = value
        return tree

    def pop(self, last: str, default: Any = None) -> Any:
        """Take the key whose last word this is, wherever it stands."""
        found = [key for key in self.flat if key.split(".")[-1] == last]
        values = [self.flat.pop(key) for key in found]
        return default if not values or values[-1] is None else values[-1]

    def put(self, their: str, **ours: Any) -> None:
        """Put `ours`, with __ for dots, and say so."""
        ours = {key.replace("__", "."): value for key, value in ours.items()}
        self.out |= ours
        told = " and ".join(f"{key} {value}" for key, value in ours.items())
        self.notes.append(f"{their} is read as {told}.")

    def _folders(self) -> None:
        """Data lie in root_dir/data_dir, captions below."""
        names = ("root_dir", "data_dir", "dataset_dir")
        if not any(key.split(".")[-1] in (*names, "captions_json") for key in self.flat):
            return
        root, data = Path(str(self.pop("root_dir", ""))), self.pop("data_dir", "")
        dataset, captions = self.pop("dataset_dir", ""), self.pop("captions_json", "")
        told = "dataset.root_dir, data_dir"
        self.put(told, DATASETS__ROOT=(root / data).as_posix())
        if dataset:
            self.notes.append(
                f"dataset.dataset_dir {dataset} has no effect here: the folder of a dataset is "
                "found by the names that it is known by."
            )
        if captions:
            path = (root / data / captions).as_posix()
            self.put(f"dataset.captions_json {captions}", DATASETS__CAPTIONS=path)

    def _weight(self) -> None:
        """testing.weight lies in output_dir; what training leaves there, nothing starts from."""
        folder = Path(str(self.pop("output_dir", "")))
        if folder.parts:
            self.put("output_dir", OUTPUT_DIR=folder.as_posix())
        last = next((v for k, v in self.flat.items() if k.endswith("chkp_name_stage2")), None)
        weight, article = self.pop("weight", ""), self.pop("article_name_weight", "")
        published = self.pop("load_from_article", False)
        if weight and weight != last:
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
        words = {"experiment_name": "LOG__EXPERIMENT", "run_name": "EXP_NAME"}
        words |= {"mlflow_tracking_uri": "LOG__MLFLOW_URI"}
        for theirs, ours in words.items():
            value = self.pop(theirs, "")
            if value and theirs == "run_name":
                value = re.sub(r"[^\w.+-]+", "_", str(value)).lstrip(".+-")
            if value:
                self.put(f"logging.{theirs}", **{ours: value})
        if "LOG.MLFLOW_URI" in self.out:
            self.notes.append("Figures go to MLflow with LOG.MLFLOW True.")
        every, drawn = self.pop("text_features_viz_frequency", 200), self.pop("text_features_viz")
        if drawn is not None:
            self.put(f"text_features_viz {drawn}", LOG__TEXT_MAPS=int(every) if drawn else 0)

    def _graph(self) -> None:
        """use_graph_sampling is of stage 1, with as many pictures a person as any sampler."""
        if self.pop("use_graph_sampling", False):
            each = self.flat.get("training.dataloader.num_instance", 4)
            node = {**GRAPH, "NUM_INSTANCE": each}
            self.put("use_graph_sampling True", SOLVER__STAGE1__SAMPLER=node)

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
        if "cpu" in [v for k, v in self.flat.items() if k.split(".")[-1] == "accelerator"]:
            self.pop("accelerator")
            self.put("accelerator cpu", MODEL__DEVICE="cpu")
        deterministic = self.pop("deterministic")
        if deterministic is not None:
            self.put(f"deterministic {deterministic}", DETERMINISTIC=bool(deterministic))


def _place(key: str) -> str:
    """The key of CLIP-ReID that a key of the tree is; empty if there is none."""
    for section, ours in SECTIONS.items():
        if not key.startswith(f"{section}."):
            continue
        word = key.removeprefix(f"{section}.")
        stage, _, below = word.partition(".")
        if ours == "SOLVER" and stage in ("stage1", "stage2") and below in STAGE_WORDS.split():
            return f"SOLVER.{stage.upper()}.{below.upper()}"
        if word in WORDS[ours].split():
            return f"{ours}.{word.upper()}"
    return ""


def _known() -> list[str]:
    known = [f"{s}.{word}" for s, ours in SECTIONS.items() for word in WORDS[ours].split()]
    stages = [f"training.solver.{s}.{w}" for s in ("stage1", "stage2") for w in STAGE_WORDS.split()]
    return [*known, *stages, *SPECIAL, *WITHOUT_EFFECT]
