"""Every operator that a session computes, by its name in ML programs."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from vera_mobile.export.mil.elementwise import ELEMENTWISE, Operator
from vera_mobile.export.mil.movement import MOVEMENT
from vera_mobile.export.mil.products import PRODUCTS

OPERATORS: Mapping[str, Operator] = MappingProxyType({**ELEMENTWISE, **PRODUCTS, **MOVEMENT})
