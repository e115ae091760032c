"""One generation: from params to pictures, on our own denoise loop over diffusers' parts."""

from studio.engine import later as later
from studio.engine import torchvision_ops as torchvision_ops  # before any module here loads diffusers or transformers

later.install()
