"""The package and what it needs; tool settings are in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "reidtools/__init__.py").read_text()).group(1)

setup(
    name="reidtools",
    version=VERSION,
    description="A person re-identification toolbox: train, fine-tune, evaluate, search.",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    python_requires=">=3.10",
    packages=find_packages(include=["reidtools", "reidtools.*"]),
    package_data={"reidtools.modeling": ["zoo.yml"]},
    # Ranges, not pins: pip picks a torch and a torchvision that fit each other.
    install_requires=[
        "torch>=2.4",
        "torchvision>=0.19",
        "timm>=1.0.9",
        "numpy>=1.26",
        "opencv-python-headless>=4.11",
        "pillow>=10",
        "yacs>=0.1.8",
        "pyyaml>=6",
        "tensorboard>=2.16",
        "faiss-cpu>=1.8",
        "scipy>=1.11",
        "termcolor>=2.3",
        "tabulate>=0.9",
        "tqdm>=4.66",
        "gdown>=5",
    ],
    extras_require={
        "gpu": ["faiss-gpu-cu12>=1.8"],
        "mlflow": ["mlflow>=2.14"],
        "export": ["onnx>=1.16", "onnxscript>=0.1", "onnxruntime>=1.18"],
        "plots": ["matplotlib>=3.8", "scikit-learn>=1.4"],
        "clip": ["open_clip_torch>=2.24"],
        "umap": ["umap-learn>=0.5.6"],
        "parquet": ["pyarrow>=14"],
        "dev": [
            "mlflow>=2.14",
            "open_clip_torch>=2.24",
            "pytest>=8",
            "ruff>=0.6",
            "mypy>=1.10",
            "matplotlib>=3.8",
            "scikit-learn>=1.4",
            "pyarrow>=14",
            "onnx>=1.16",
            "onnxscript>=0.1",
            "onnxruntime>=1.18",
        ],
    },
)
