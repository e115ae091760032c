"""The command line: `python launch.py COMMAND`. What a command needs is imported when it runs."""
