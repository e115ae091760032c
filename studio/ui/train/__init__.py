"""What the Train section is made of."""
