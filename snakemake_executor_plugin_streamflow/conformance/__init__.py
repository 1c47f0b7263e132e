"""What every connector must do, as tests that the author of a connector runs with pytest.

    class TestMine(ConformanceSuite):
        @pytest.fixture(scope="class")
        @classmethod
        def deployments(cls) -> dict[str, Deployment]:
            return {"mine": Deployment(name="mine", type="mine", options=MyOptions(...))}

The last deployment is the one under test; those before it are what it wraps. The suite brings them up once per class.
"""

import pytest

pytest.register_assert_rewrite(*(f"{__name__}.{room}" for room in ("commands", "data", "faults", "place", "suite")))

from .place import Place, Watched, WatchedChannel  # noqa: E402
from .suite import ConformanceSuite  # noqa: E402

__all__ = ["ConformanceSuite", "Place", "Watched", "WatchedChannel"]
