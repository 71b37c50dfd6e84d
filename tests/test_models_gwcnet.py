# Generated from nbs/28_models.gwcnet.ipynb; edit the notebook, not this file
import torch
from fastcore.basics import patch
from functools import partial
from torch import nn, Tensor
from stereo_kd.models.base import StereoNet
from stereo_kd.models.cost_volume import concat_volume, groupwise_volume
from stereo_kd.models.layers import ResidualTrunk, check_width, concat_features, init_convs
from stereo_kd.models.layers3d import Hourglass3d, VolumeStem, score_head3d
import os
from fastcore.test import *
from statistics import median
import matplotlib.pyplot as plt
from stereo_kd.core import format_table
from stereo_kd.deploy.engine import Engine
from stereo_kd.deploy.export import fold_bn
from stereo_kd.evaluation.cost import count_macs, count_params
from stereo_kd.models.gwcnet import *

def test_stages():
    torch.manual_seed(0)
    for make,channels in ((gwcnet_g,10),(partial(gwcnet_gc, concat=3),16)):
        net = make(48, 8, blocks=(1,2,1,1))
        for h,w in ((32,64),(50,77)):
            h4,w4 = -(-h//16)*4,-(-w//16)*4
            x = torch.randn(2,3,h,w)
            out = net.train()(x, x.flip(0))
            test_eq([f.shape[1] for f in out.features[1][:-1]], [8,8,16,32,32])
            test_eq(tuple(out.features[0][-1].shape), (2,80+net.concat,h4,w4))
            test_eq(tuple(out.cost_volume.shape), (2,channels,12,h4,w4))
            test_eq([tuple(s.shape) for s in out.aggregation], [(2,12,h4,w4)]*4)
            test_eq(tuple(out.disparity[-1].shape), (2,h,w))
            test_eq(len(net.supervised_weights), 4)
        net.eval()
        last,every = net(x, x.flip(0)),net(x, x.flip(0), all_outputs=True)
        test_eq([len(last.aggregation),len(every.aggregation)], [1,4])
        test_close(last.aggregation[0], every.aggregation[3], eps=1e-5)
        assert (every.aggregation[2]-every.aggregation[3]).abs().max()>1e-3
    test_fail(lambda: GwcNet(width=10), contains='multiple of 4, got 10')

def test_what_the_volume_holds():
    torch.manual_seed(0)
    net = gwcnet_gc(48, 8, concat=3, blocks=(1,1,1,1)).eval()
    left,right = torch.randn(2,1,3,32,64)
    out = net(left, right, upto='cost_volume')
    l,r = (m[-1] for m in out.features)
    test_close(l[:,:80], torch.cat(out.features[0][2:5], 1), eps=1e-6)
    test_close(out.cost_volume[:,4,0], (l[:,32:40]*r[:,32:40]).mean(1), eps=1e-5)    # the fifth group, d = 0
    test_close(out.cost_volume[:,9,5,:,5:], (l[:,72:80]*r[:,72:80].roll(5, -1)).mean(1)[...,5:], eps=1e-5)
    test_close(out.cost_volume[:,10:13,0], net.project(l[:,:80]), eps=1e-5)
    test_close(out.cost_volume[:,13:,2,:,2:], r[:,80:,:,:-2], eps=1e-6)
    assert not out.cost_volume[:,:,5,:,:5].any()

def test_every_weight_learns():
    torch.manual_seed(0)
    net,x = gwcnet_gc(48, 8, concat=3, blocks=(1,2,1,1)),torch.randn(2,3,32,64)
    out = net(x, x.roll(4, -1))
    sum(w*d.mean() for w,d in zip(net.supervised_weights, out.disparity, strict=True)).backward()
    for name,p in net.named_parameters(): assert p.grad is not None and p.grad.abs().sum()>0, name
    net = gwcnet_g(48, 8, blocks=(1,1,1,1))
    out = net(x, x.flip(0))
    grad, = torch.autograd.grad(out.disparity[-1].sum(), out.aggregation[-1])
    assert (grad[:,-1]>0).all() and (grad[:,0]<0).all() # scores, not costs

def test_published_size():
    published = {gwcnet_g:(6.519,160.0), gwcnet_gc:(6.910,174.2)}
    for make,(params,macs) in published.items():
        with torch.device('meta'): net = make()
        assert abs(count_params(net)/1e6/params-1)<.005, count_params(net)
        assert abs(count_macs(net, (256,512))/1e9/macs-1)<.005, count_macs(net, (256,512))
        test_eq([m.out_channels for m in net.bins()], [1]*4)

def test_forms_agree():
    from unittest.mock import patch as replaced
    from stereo_kd.models import layers3d
    from stereo_kd.models.zoo import create_model
    torch.manual_seed(0)
    x,y = torch.randn(2,1,3,32,64).double()
    def loop(l, r, D, G):
        v = l.new_zeros(len(l), G, D, *l.shape[2:])
        for d in range(D): v[:,:,d,:,d:] = (l[...,d:]*r[...,:l.shape[-1]-d]).unflatten(1, (G,-1)).mean(2)
        return v
    for name in ('gwcnet_g','gwcnet_gc','acvnet','dsnet'):
        args = dict(features=8, width=4, attention_width=4) if name=='dsnet' else dict(width=8)
        net = create_model(name, max_disp=48, blocks=(1,1,1,1), **args).double()
        with torch.no_grad():
            for _ in range(10): net(*torch.randn(2,2,3,32,64).double(), upto='aggregation')
            want = net.eval()(x, y).aggregation[-1]
            test_close(fold_bn(net)(x, y).aggregation[-1], want, eps=1e-8*want.abs().max().item())
            with (replaced.object(layers3d, 'channels_last_3d', lambda v: v),
                  replaced.object(layers3d.Pointwise3d, 'forward', nn.Conv3d.forward)):
                test_close(net(x, y).aggregation[-1], want, eps=1e-8*want.abs().max().item())
            test_close(net(x, y, upto='cost_volume').cost_volume[:,:net.groups],
                       loop(*[m[-1][:,:80] for m in net(x, y, upto='features').features], 12, net.groups), eps=1e-10)
