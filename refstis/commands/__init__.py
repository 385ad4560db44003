"""The shell: the refstis command and the documented ones."""
