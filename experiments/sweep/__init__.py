"""Runs of many cells: runner, launchers, status and ledger."""
