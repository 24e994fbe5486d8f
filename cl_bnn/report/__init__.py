"""Data frame -> measures, tables and the page of a directory of results, from files alone."""

from cl_bnn.report.page import render, write_readme

__all__ = ["render", "write_readme"]
