# Generated from nbs/24_models.layers3d.ipynb; edit the notebook, not this file
import torch.nn.functional as F
from torch import nn
from stereo_kd.models.layers import inplace_relu
import torch
import matplotlib.pyplot as plt
from fastcore.test import *
from stereo_kd.models.layers3d import *

def test_hourglass_links():
    torch.manual_seed(0)
    hg = StackedHourglass3d(4).eval()
    x,skip,post = torch.randn(1,4,8,8,12),torch.randn(1,8,4,4,6),torch.randn(1,8,4,4,6)
    y,pre,up = hg(x)
    test_eq([tuple(t.shape) for t in (y,pre,up)], [tuple(x.shape),tuple(skip.shape),tuple(skip.shape)])
    test_close(hg(x, skip, post)[1], F.relu(hg.mid1(hg.down1(x))+post), eps=1e-6)
    nn.init.zeros_(hg.up2[1].weight) # silence the way up: what remains is the skip connection
    test_close(hg(x)[2], pre, eps=1e-6)
    test_close(hg(x, skip, post)[2], F.relu(skip), eps=1e-6)

def test_layers_3d():
    x = torch.randn(2,3,4,6,8)
    test_eq(tuple(ConvBN3d(3,5,1,stride=2)(x).shape), (2,5,2,3,4))
    test_eq(tuple(UpBN3d(3,5)(x).shape), (2,5,8,12,16))
    test_eq([len(ConvBN3d(3,3)), len(ConvBN3d(3,3,act=nn.ReLU()))], [2,3])
    y = UpBN3d(3,5)(x).transpose(0,1).flatten(1) # normalised
    test_close(y.mean(1), torch.zeros(5), eps=1e-4)
    test_close(y.std(1), torch.ones(5), eps=1e-2)
