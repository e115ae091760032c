"""Maquette: a studio for controllable image generation that runs on a person's own machine."""

__version__ = "0.1.0"
