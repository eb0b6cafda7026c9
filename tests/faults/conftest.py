"""The soak is collected where its migrations are wanted."""

from tests.drawn import amount

collect_ignore = [] if amount("soak") else ["soak.py"]
