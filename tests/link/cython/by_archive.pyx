# cython: language_level=3
"""Trains through the libbptt.a that this module links (see setup.py): it runs without bptt installed."""
include "train.pxi"
