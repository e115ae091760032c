"""One request over one to three axes: planned, queued, and shown as a labelled sheet."""
