"""Pictures on disk: uploads and maps as assets, results with their settings, and what a browser was editing."""
