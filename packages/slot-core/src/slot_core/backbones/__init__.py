"""Features of one frame: a map of feature vectors on a coarser grid than the pixels."""

from slot_core.backbones.cnn import CNN
from slot_core.backbones.resnet import ResNet

__all__ = ["CNN", "ResNet"]
