# Generated from nbs/27_models.mobilestereonet.ipynb; edit the notebook, not this file
import torch
import torch.nn.functional as F
from fastcore.basics import patch
from torch import nn, Tensor
from stereo_kd.models.base import StereoNet
from stereo_kd.models.cost_volume import interlaced_volume
from stereo_kd.models.layers import ConvBN, Hourglass2D, MobileFeatures, classifier, init_convs, residual_pair
import os
from statistics import median
from time import perf_counter
from fastcore.test import *
from stereo_kd.evaluation.cost import count_macs, thop_macs
from stereo_kd.models.mobilestereonet import *

def test_folded_equals_the_loop():
    torch.manual_seed(0)
    vol = FoldedVolume(12).double().eval()
    for m in vol.modules():
        if isinstance(m, (nn.BatchNorm2d,nn.BatchNorm3d)):
            m.running_mean.uniform_(-.2,.2)
            m.running_var.uniform_(.5,2)
            m.weight.data.uniform_(.5,1.5)
            m.bias.data.uniform_(0,.4)
    for W in (19,7):
        l,r = torch.randn(2, 2, 32, 3, W).double().requires_grad_().unbind()
        a,b = vol(l, r),looped_folds(vol, l, r)
        g = torch.randn_like(b)
        assert b.abs().max()>.1
        test_close(a, b, eps=1e-12)
        for p,q in zip(torch.autograd.grad(a, (l,r), g), torch.autograd.grad(b, (l,r), g), strict=True):
            test_close(p, q, eps=1e-11)
        with torch.no_grad(): test_close(vol(l, r), a, eps=1e-12) # a few at a time

def test_weights_and_cost_are_the_published_ones():
    net = MobileStereoNet2D().eval()
    vol = net.volume
    class Loop(nn.Module):
        def __init__(self):
            super().__init__()
            self.vol = vol
        def forward(self, l, r): return looped_folds(self.vol, l, r)
    params = sum(p.numel() for p in net.parameters())
    net.volume = Loop()
    macs,called = thop_macs(net, (256,512))
    true = count_macs(net, (256,512))
    print(f'{params/1e6:.4f} M ({called/1e6:.4f} M in eval), {macs/1e9:.2f} G thop, {true/1e9:.2f} G')
    for ours,published in ((params,2.353e6), (macs,32.5e9), (true,29.8e9), (called,2.23e6)):
        assert abs(ours/published-1)<.005, (ours, published)

def test_outputs_in_train_and_eval():
    torch.manual_seed(0)
    x,y = torch.randn(2,2,3,40,72)
    net = MobileStereoNet2D(48, (1,1,1,1))
    out = net(x, y)
    test_eq([len(out.aggregation), len(net.supervised_weights), len(net.eval()(x, y).aggregation)], [4,4,1])
    test_eq(
        [tuple(t.shape) for t in (out.aggregation[-1],out.disparity[-1],out.cost_volume)],
        [(2,12,12,20),(2,40,72),(2,12,12,20)])
    sum(d.mean() for d in out.disparity).backward()
    assert all(p.grad is not None for p in net.parameters())
