"""A Snakemake at a location: found there, or built there of the files that are installed at the controller."""

from .runtimes import Runtime, Runtimes

__all__ = ["Runtime", "Runtimes"]
