"""The page: it builds widgets and calls services.Studio, nothing else."""
