"""Runs broken on purpose: killed at every moment, out of disk, with damaged files. `make chaos`."""
