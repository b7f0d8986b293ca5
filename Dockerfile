# reidtools on CPUs, with the dashboards; neither data nor weights are inside.
#   docker build -t reid .
#   docker run -it -p 6006:6006 -p 8080:8080 -v "$PWD/datasets:/app/datasets" -v "$PWD/logs:/app/logs" reid
FROM python:3.12.11-slim-bookworm

ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONUNBUFFERED=1 \
    DASHBOARDS_HOST=0.0.0.0
WORKDIR /app

# The CPU builds are a tenth of the size; first, so that a change of ours does not load them again.
RUN pip install --index-url https://download.pytorch.org/whl/cpu "torch>=2.4,<3" "torchvision>=0.19,<1"

COPY setup.py pyproject.toml README.md dashboards.sh ./
COPY reidtools reidtools
RUN pip install --editable ".[mlflow,plots]"
COPY configs configs
COPY tools tools

# Folders that are mounted belong to whoever runs: --user "$(id -u)" where that is not 1000.
RUN useradd --create-home --uid 1000 reid \
    && mkdir datasets logs output_dir \
    && chown reid:reid datasets logs output_dir
USER 1000:1000

EXPOSE 6006 8080
CMD ["bash"]
