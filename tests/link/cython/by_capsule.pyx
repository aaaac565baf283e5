# cython: language_level=3
"""Trains through the functions of the installed bptt: this module links nothing."""
include "train.pxi"
