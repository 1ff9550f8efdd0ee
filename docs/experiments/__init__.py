"""The paper's experiments: Table 1, colour compressive sensing, dynamic MRI.

Run as ``python -m experiments`` from ``docs/``; see ``docs/experiments.md`` for the results.
"""
