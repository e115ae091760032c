"""The prompt language, as pure Python."""
