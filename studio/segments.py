"""What the regions of a segments map are called, and the colours that say so.

ADE20K's colours, as published segmentation ControlNets were taught them, where it has the class or one near it.
"""

REGIONS: dict[str, tuple[int, int, int]] = {
    "sky": (6, 230, 230),
    "ground": (120, 120, 70),  # earth
    "house": (255, 9, 224),
    "tree": (4, 200, 3),
    "car": (0, 102, 200),
    "boat": (173, 255, 0),
    "balloon": (255, 0, 163),  # ball
    "heart": (255, 194, 7),  # cushion
    "star": (224, 255, 8),  # lamp
    "flower": (255, 0, 0),
    "fish": (255, 0, 122),  # animal
    "mushroom": (204, 255, 4),  # plant
    "person": (150, 5, 61),
}
