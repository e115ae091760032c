"""HTTP: our routes, the stream of events, and the guard in front of every route."""
