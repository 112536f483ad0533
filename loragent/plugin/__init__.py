"""Plugins as versioned artefacts: PEFT folders plus a manifest, in a library on disk."""

from .library import Difference, Library
from .manifest import FILE as MANIFEST
from .manifest import Kind, Manifest, check_name, sha256_of
from .shelf import POINTER, Plugin, Shelf
from .shipped import shipped
from .weights import CONFIG, WEIGHTS, LoraPair, LoraWeights, Shapes, check_shapes, load_weights, soften

__all__ = [
    "CONFIG",
    "MANIFEST",
    "POINTER",
    "WEIGHTS",
    "Difference",
    "Kind",
    "Library",
    "LoraPair",
    "LoraWeights",
    "Manifest",
    "Plugin",
    "Shapes",
    "Shelf",
    "check_name",
    "check_shapes",
    "load_weights",
    "sha256_of",
    "shipped",
    "soften",
]
