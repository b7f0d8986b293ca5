#!/bin/sh
# TensorBoard on port 6006 and MLflow on 8080, until Ctrl-C; see tools/dashboards.py --help.
here=$(cd "$(dirname "$0")" && pwd)
python=$here/.venv/bin/python
[ -x "$python" ] || python=python3
exec "$python" "$here/tools/dashboards.py" "$@"
