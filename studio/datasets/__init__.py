"""Datasets: folders of pictures with captions and masks, and what is wrong with them."""
