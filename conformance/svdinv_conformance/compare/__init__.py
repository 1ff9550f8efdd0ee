"""One table of every framework and every rule: the command ``compare``."""

from .runner import Comparison, Group, Plan, Row, compare

__all__ = ["Comparison", "Group", "Plan", "Row", "compare"]
