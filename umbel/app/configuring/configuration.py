"""What a configuration source says."""

from __future__ import annotations

__all__ = ["Configuration"]


class Configuration(dict[str, object]):
    """Values by setting, under the settings' present names, and where they are written."""

    def __init__(
        self,
        values: dict[str, object] | None = None,
        *,
        origin: str = "set in the configuration",
        written: dict[str, str] | None = None,
        others: dict[str, object] | None = None,
    ) -> None:
        super().__init__(values or {})
        self.origin = origin
        """Completes: "as it is …"."""
        self.others = others or {}
        """What else stands there: a module's own names."""
        self.written = written or {}
        """The names that differ in the source, by setting."""
