"""Loops over bytes and arrays as machine code. Only imported where numba is there and wanted: `models.compiling`."""
