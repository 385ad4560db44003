"""How pixels change: pure functions on arrays, without files, headers or stpipe."""
