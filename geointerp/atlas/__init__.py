"""The atlas: what was found, as one page to look at, which opens from disk and asks nobody."""

from __future__ import annotations

from geointerp.atlas.pages import write

__all__ = ["write"]
