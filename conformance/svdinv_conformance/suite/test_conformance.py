"""What ``pytest -p svdinv_conformance.plugin --pyargs svdinv_conformance`` collects."""

from __future__ import annotations

import pytest

from svdinv_conformance.suite import CheckFailed, Implementation, NotApplicable, Test


def test_conformance(
    svdinv_test: Test, svdinv_implementation: Implementation, svdinv_device: str
) -> None:
    """One check of one case in one dtype."""
    try:
        svdinv_test.run(svdinv_implementation, svdinv_device)
    except NotApplicable as reason:
        pytest.skip(f"not applicable: {reason}")
    except CheckFailed as failure:
        pytest.fail(str(failure), pytrace=False)
