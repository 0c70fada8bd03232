"""Real packages, as their users train them: each file says what it installs and how it is watched."""

from pathlib import Path

FOLDER = Path(__file__).parent
NAMES = sorted(file.stem for file in FOLDER.glob("*.py") if not file.stem.startswith("_"))
SEEN = FOLDER / "seen.json"
"""What the latest run of all of them saw."""
