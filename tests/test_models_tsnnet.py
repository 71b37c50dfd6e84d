# Generated from nbs/26_models.tsnnet.ipynb; edit the notebook, not this file
import torch
import torch.nn.functional as F
from copy import deepcopy
from fastcore.basics import patch
from functools import partial
from torch import nn, Tensor
from stereo_kd.core import pick
from stereo_kd.models.base import StereoNet
from stereo_kd.models.cost_volume import correlation_volume
from stereo_kd.models.layers import residual_pair, classifier, ConvBN, Hourglass2D, MobileFeatures, MobileV2
import os
from statistics import median
from time import perf_counter
import matplotlib.pyplot as plt
from fastcore.test import *
from stereo_kd.evaluation.cost import count_macs, module_table, thop_macs
from stereo_kd.core import format_table
from stereo_kd.models.tsnnet import *

def test_interlaced_equals_the_loop():
    torch.manual_seed(0)
    outside = torch.arange(9)<torch.arange(6)[:,None]
    l,r = torch.randn(2,1,4,2,9)
    assert not LoopedVolume(4, (6,), 6)(l, r).transpose(1,2)[...,outside].any()
    for c,hidden,bins,H,W in ((4,(6,3),6,5,12), (16,(16,),48,3,20), (32,(32,16),12,40,37)):
        fast = InterlacedVolume(c, hidden, bins).double()
        l,r = torch.randn(2, 2, c, H, W).double().requires_grad_().unbind()
        for m in fast.net.modules():
            if isinstance(m, nn.BatchNorm2d):
                m.running_mean.uniform_(-.2,.2)
                m.running_var.uniform_(.5,2)
                m.weight.data.uniform_(.5,1.5)
                m.bias.data.uniform_(0,.4)
        slow = looped(fast).double().eval()
        fast.eval()
        a,b = fast(l, r),slow(l, r)
        g = torch.randn_like(b)
        assert b.abs().max()>.1
        test_close(a, b, eps=1e-12)
        for p,q in zip(torch.autograd.grad(a, (l,r), g), torch.autograd.grad(b, (l,r), g), strict=True):
            test_close(p, q, eps=1e-11)
        with torch.no_grad(): test_close(fast(l, r), a, eps=1e-12) # row by row
        f32 = fast.float()(l.float(), r.float())
        assert (f32-slow.float()(l.float(), r.float())).abs().max()<1e-6*b.abs().max().clamp(min=1)*4

def test_one_mean_for_all_disparities():
    torch.manual_seed(0)
    vol = InterlacedVolume(4, (6,), 6)
    l,r = torch.randn(2,2,4,5,12)
    vol(l, r)
    inside = torch.arange(12)>=torch.arange(6)[:,None]
    first = torch.stack([vol.left(l)[...,x]+vol.right(r)[...,x-d] for d,x in inside.nonzero().tolist()], -1)
    test_close(vol.net[0].running_mean, .1*first.mean((0,2,3)), eps=1e-5)
    seen = vol.train()(l, r)
    assert not seen.transpose(1,2)[...,~inside].any()

def test_classes_cover_the_bins():
    test_eq(tuple(Bottleneck(6, 4)(torch.randn(2,6,5,7)).shape), (2,4,5,7))
    assert Bottleneck(6, 4)(torch.randn(2,6,5,7)).min()>=0
    h = CoarseHead()
    test_eq(h.spread.tolist()[:6], [0,0,1,1,1,2])
    test_eq(h.spread.tolist()[-3:], [15,15,15])
    logits = torch.zeros(1,16,1,1)
    logits[:,2] = 50
    test_eq(h.attention(logits).flatten().gt(.3).nonzero().flatten().tolist(), [5,6,7])
    test_close(h.attention(torch.randn(1,16,2,2)).sum(1), torch.ones(1,2,2), eps=1e-5)

def test_weights_and_cost_are_as_counted():
    for make,m,g in (
        (tsnnet_teacher,2.213,36.26), (tsnnet_student,.842,15.62), (tsnnet_naive,.663,7.16),
        (partial(tsnnet_student, kernel=3),1.649,None)):
        net = make().eval()
        if net.volume is not None: net.volume = looped(net.volume)
        macs,params = thop_macs(net, (480,640))
        assert abs(params/1e6/m-1)<.005, (params,m)
        assert g is None or abs(macs/1e9/g-1)<.005, (macs,g)
    counts = {n: thop_macs(make().eval())[1]/1e6 for n,make in (('teacher',tsnnet_teacher),('student',tsnnet_student))}
    test_eq({n:int(100*m)/100 for n,m in counts.items()}, dict(teacher=2.21, student=.84)) # as the README prints
    test_eq(
        [sum(p.numel() for p in make().parameters()) for make in (tsnnet_student,tsnnet_naive)],
        [841_810,663_136])
    test_eq(sum(p.numel() for p in classifier(48, 48, 48).parameters()), 2*9*48*48+2*48)
    net = TSNnet()
    n = {k: sum(p.numel() for p in m.parameters()) for k,m in net.named_children()}
    test_eq([round((n['match']+n['volume'])/1e6, 4), round(n['coarse']/1e6, 4)], [.1286,.0117])

def test_outputs_in_train_and_eval():
    torch.manual_seed(0)
    x,y = torch.randn(2,2,3,24,48)
    for make,k in (
        (partial(TSNnet, cost_volume='cosine', skip=True, hourglasses=1, blocks=(1,1,1,1)),2),
        (tsnnet_student,1), (tsnnet_naive,1), (partial(tsnnet_naive, full_bins=True),1)):
        net = make(48)
        out = net(x, y)
        n = net.classifiers[-1][-1].out_channels
        test_eq([len(out.aggregation), len(net.supervised_weights), len(net.eval()(x, y).aggregation)], [k,k,1])
        test_eq(
            [tuple(t.shape) for t in (out.aggregation[-1],out.disparity[-1],out.cost_volume)],
            [(2,n,8,12),(2,24,48),(2,12,8,12)])
        test_eq(
            {k:tuple(v.shape) for k,v in out.extras.items() if k!='tau'},
            dict(coarse=(2,4,8,12), hourglass=(2,12,8,12)))
        sum(d.mean() for d in out.disparity).backward()
        assert all(p.grad is not None for p in net.parameters())
    test_eq(n, 48)
    test_fail(lambda: TSNnet(cost_volume='c2d'), contains="unknown cost_volume 'c2d'; known: correlation, cosine")
    test_fail(lambda: TSNnet(matching='small'), contains="'small'")
