"""One generation: from params to pictures, on our own denoise loop over diffusers' parts."""
