"""A run for MLflow, in `mlflow/` of its folder: `mlflow ui --backend-store-uri FOLDER/mlflow`.

MLFLOW_TRACKING_URI in the environment names another place, such as one for all runs.
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

EXPERIMENT = "cluster-zoo"
LONGEST = 500  # characters of a parameter


class Mlflow:
    """One run of the experiment; a resumed training is another one, with all of its lines."""

    def __init__(self, folder: Path, name: str, settings: Mapping[str, Any]) -> None:
        # A folder needs no data base; newer versions want to be told that this is on purpose.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        mlflow: Any = importlib.import_module("mlflow")
        self._metric: Any = mlflow.entities.Metric
        place = os.environ.get("MLFLOW_TRACKING_URI") or (folder / "mlflow").absolute().as_uri()
        self._client: Any = mlflow.MlflowClient(tracking_uri=place)
        found = self._client.get_experiment_by_name(EXPERIMENT)
        experiment = found.experiment_id if found else self._client.create_experiment(EXPERIMENT)
        self._run: str = self._client.create_run(experiment, run_name=name).info.run_id
        for key, value in settings.items():
            self._client.log_param(self._run, key, str(value)[:LONGEST])

    def write(self, step: int, row: Mapping[str, float]) -> None:
        now = int(1000 * time.time())
        self._client.log_batch(self._run, [self._metric(k, float(v), now, step) for k, v in row.items()])

    def close(self) -> None:
        self._client.set_terminated(self._run)
