"""Made batch_norm.pt, a module that a federation refuses: python3 batch_norm.py batch_norm.pt"""
import sys
import torch
from torch import nn

torch.jit.script(nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(64, 4))).save(sys.argv[1])
