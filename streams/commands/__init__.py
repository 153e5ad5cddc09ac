"""One file per command: read settings, build what is needed, call it, print."""
