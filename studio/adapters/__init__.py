"""Adapters: files of small changes to a checkpoint's weights, read exactly, and the sum that puts them on."""
