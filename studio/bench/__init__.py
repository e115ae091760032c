"""What the studio measures of itself, beside what it is measured against."""
