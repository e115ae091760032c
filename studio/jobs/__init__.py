"""The queue of jobs, the worker process that runs them, and the events that tell how they go."""
