"""The suite `control`: what a starter pack's controls obey, seen by the pack's own reader, and what they cost."""
