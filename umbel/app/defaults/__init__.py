"""Every setting: name, type, default, one sentence."""

from __future__ import annotations

from umbel.app.defaults.setting import Setting
from umbel.app.defaults.table import NAME_BY_OLD_NAME, SECTIONS, SETTINGS

__all__ = ["NAME_BY_OLD_NAME", "SECTIONS", "SETTINGS", "Setting"]
