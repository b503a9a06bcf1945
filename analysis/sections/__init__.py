"""Sections of the report: tables and figures that belong together."""
