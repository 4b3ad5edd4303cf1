"""`python -m ops.grafana`: write the dashboards beside this file."""

from __future__ import annotations

import json
from pathlib import Path

from ops.grafana.models import models
from ops.grafana.operations import operations

HERE = Path(__file__).parent


def files() -> dict[Path, str]:
    """Every file that is made, and what it is to hold."""
    made = {"operations.json": operations(), "models.json": models()}
    return {HERE / name: json.dumps(found, indent=1) + "\n" for name, found in made.items()}


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text, "utf-8")
