"""The stream that retrainings are tried on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from millstream.settings import WarehouseSettings
from ops.kafka.embedded import EmbeddedBroker
from ops.registry.process import EmbeddedRegistry

if TYPE_CHECKING:
    from tests.consumers.retraining_world import World


@pytest.fixture
def make(
    tmp_path: Path,
    served: WarehouseSettings,
    embedded: EmbeddedBroker,
    embedded_registry: EmbeddedRegistry,
) -> Iterator[Callable[..., World]]:
    """Worlds whose rule changes at CHANGE, on the embedded broker."""
    from tests.consumers.retraining_world import worlds

    with worlds(tmp_path, served, embedded, embedded_registry) as made:
        yield made
