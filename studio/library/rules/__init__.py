"""What files of weights are told by: one module for each family of models, all fed by tables."""
