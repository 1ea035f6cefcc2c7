"""Modules of kombu that programs import, and that have no place of their own here."""
