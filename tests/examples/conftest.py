"""The example is a folder of scripts that import one another by name, as its users will have it."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "water_flow"))
