"""The models: arrays from data, the PyMC model, the compiled density, predictions."""
