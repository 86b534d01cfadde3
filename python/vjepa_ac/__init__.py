"""V-JEPA 2-AC in PyTorch (one definition for all sizes) and its export to ONNX."""

__version__ = "0.1.0"
