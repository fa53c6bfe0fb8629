"""Trained and tested by a package of OpenMMLab's, on the checkpoint's weights."""

from __future__ import annotations

from benchmarks.mm.bridge.run import run as run
