# Generated from nbs/30_models.dtpnet.ipynb; edit the notebook, not this file
import torch
import torch.nn.functional as F
from fastcore.basics import patch
from torch import nn
from stereo_kd.models.base import StereoNet
from stereo_kd.models.cost_volume import cosine_volume
from stereo_kd.models.regression import expand_bins
from stereo_kd.models.layers import ConvBN, FirstBlock, Hourglass2D, make_upsample, MobileV1, MobileV2
import matplotlib.pyplot as plt
from fastcore.test import *
from stereo_kd.evaluation.cost import count_macs, count_params, module_table, thop_macs
from stereo_kd.data.synthetic import DISAGREEMENTS, SyntheticPairs
from stereo_kd.models.dtpnet import *

def test_features_share_a_scale():
    f = DTPFeatures()(torch.randn(2,3,64,96))
    test_eq([tuple(t.shape[1:]) for t in f], [(32,32,48),(64,16,24),(80,16,24)])

def test_two_forms_and_their_stages():
    torch.manual_seed(0)
    x,y = torch.randn(2,1,3,48,112)
    for form in ('c2d','correlation'):
        out = DTPnet(cost_volume=form).eval()(x, y)
        test_eq(tuple(out.cost_volume.shape), (1,48,12,28))
        test_eq(tuple(out.aggregation[-1].shape), (1,192,12,28))
        test_eq(tuple(out.disparity[-1].shape), (1,48,112))
        assert 0<=out.disparity[-1].min() and out.disparity[-1].max()<=191
    test_eq(DTPnet(96)(x, y).aggregation[-1].shape[1], 96)
    test_fail(lambda: DTPnet(cost_volume='concat'), contains="'c2d' or 'correlation', got 'concat'")

def test_parameters_in_millions():
    n = {f: sum(p.numel() for p in DTPnet(cost_volume=f).parameters()) for f in ('c2d','correlation')}
    test_eq({k:round(v/1e6,3) for k,v in n.items()}, dict(c2d=0.636, correlation=0.645)) # the paper: 0.64

def test_learned_upsampling_is_an_option():
    from stereo_kd.models.base import answer_maps
    torch.manual_seed(0)
    x,y = torch.randn(2,1,3,45,131)
    for form in ('c2d','correlation'):
        net = DTPnet(48, form, stem=8, width=16, upsample='convex').eval()
        nn.init.normal_(net.upsample.out.weight, 0, .5) # no longer bilinear
        with torch.no_grad(): out = net(x, y)
        test_eq([tuple(m.shape) for m in answer_maps(net, out)], [(1,48,12,36),(1,144,12,36)])
        with torch.no_grad(): bilinear = StereoNet.disparity(net, out.aggregation[-1], (45,131))
        assert (out.disparity[-1]-bilinear).abs().max()>.1 and net.upsample.out in net.bins()
    test_eq(len(DTPnet(48, 'c2d').bins()), 2)

def test_correlation_is_a_cosine():
    torch.manual_seed(0)
    x = torch.randn(1,3,48,112)
    v = DTPnet().eval()(x, x, upto='cost_volume').cost_volume
    test_close(v[:,0]/SHARPNESS, torch.ones_like(v[:,0]), eps=1e-5)
    assert v.abs().max()<=SHARPNESS*(1+1e-5)

def test_starts_as_a_block_matcher():
    torch.manual_seed(0)
    net = DTPnet().eval()
    v = torch.randn(1,48,8,8)
    net.hourglass.up1[1].weight.data.zero_()
    net.hourglass.up1[1].bias.data.zero_()
    net.score.bias.data.zero_()
    net.score.weight.data[:,:48] = 0
    with torch.no_grad(): s = net.aggregation(v, [None,None,torch.randn(1,80,8,8),None], None, {}, False)[0]
    test_close(
        s,
        F.interpolate(v.flatten(2).transpose(1,2), 192, mode='linear').transpose(1,2).unflatten(2, (8,8)),
        eps=1e-5)
