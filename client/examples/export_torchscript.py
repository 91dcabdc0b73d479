"""Exports a PyTorch model as the TorchScript module that a federation trains.

    pip install torch==2.11.0
    python3 export_torchscript.py small_cnn.pt
    roundelay-trainer inspect small_cnn.pt --save initial.safetensors

`inspect` prints [model.torchscript] for the task file, and saves what the operator starts the
federation with: `roundelay-coordinator federation start NAME --initial initial.safetensors`.

Only parameters are aggregated: normalise by GroupNorm or LayerNorm, not by BatchNorm.
"""
import sys
import torch
from torch import nn

torch.manual_seed(2026)
model = nn.Sequential()
model.add_module("features", nn.Sequential(
    nn.Conv2d(1, 4, kernel_size=3, padding=1), nn.GroupNorm(2, 4), nn.ReLU(), nn.MaxPool2d(2)))
model.add_module("head", nn.Sequential(nn.Flatten(), nn.Dropout(0.1), nn.Linear(4 * 4 * 4, 4)))

assert model(torch.zeros(2, 1, 8, 8)).shape == (2, 4)  # rows of 1 x 8 x 8, four classes
torch.jit.script(model).save(sys.argv[1])
