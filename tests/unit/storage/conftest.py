"""An element in memory for each test that asks for one."""

from __future__ import annotations

import pytest

from tests.support.memory_element import MemoryElement


@pytest.fixture
def element() -> MemoryElement:
    """It writes, and is empty."""
    return MemoryElement()
