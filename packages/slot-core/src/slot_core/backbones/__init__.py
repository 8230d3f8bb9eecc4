"""Features of one frame: a map of feature vectors on a coarser grid than the pixels."""

from slot_core.backbones.cnn import CNN
from slot_core.backbones.pretrained import load_pretrained, preprocessing_of
from slot_core.backbones.resnet import ResNet
from slot_core.backbones.vit import ViT

__all__ = ["CNN", "ResNet", "ViT", "load_pretrained", "preprocessing_of"]
