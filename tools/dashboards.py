"""Start TensorBoard and, where it is installed, MLflow's server; Ctrl-C stops both."""

import argparse
import os

from _tool import main


def run() -> None:
    host = os.environ.get("DASHBOARDS_HOST", "127.0.0.1")  # set in the Docker image
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--logdir", default="logs", metavar="DIR", help="the folder of the runs; default logs")
    add("--host", default=host, help=f"0.0.0.0 lets others in; default {host}")
    add("--tensorboard-port", type=int, default=6006, metavar="N", help="default 6006; 0: none")
    add("--mlflow-port", type=int, default=8080, metavar="N", help="default 8080; 0: none")
    options = vars(parser.parse_args())
    from reidtools.engine.dashboards import serve

    serve(options.pop("logdir"), **options)


if __name__ == "__main__":
    main(run)
