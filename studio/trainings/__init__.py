"""Training runs as the studio keeps them: folders, a queue, and one child process at a time. No torch here."""
