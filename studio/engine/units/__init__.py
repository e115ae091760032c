"""Units: what joins the denoiser for a generation. Each is a small class that leaves the model as it found it."""
