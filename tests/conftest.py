"""Fixtures shared by all tests."""

from __future__ import annotations

import pytest
from support.drivers import FRAMEWORKS, driver


@pytest.fixture(params=FRAMEWORKS)
def framework(request):
    """The driver of each framework in turn."""
    return driver(request.param)
