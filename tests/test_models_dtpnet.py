# Generated from nbs/30_models.dtpnet.ipynb; edit the notebook, not this file
import torch
import torch.nn.functional as F
from fastcore.basics import patch
from torch import nn, Tensor
from stereo_kd.core import pick
from stereo_kd.models.base import StereoNet
from stereo_kd.models.cost_volume import cosine_volume
from stereo_kd.models.regression import check_reading, expand_bins
from stereo_kd.models.layers import ConvBN, FirstBlock, Hourglass2D, make_upsample, MobileV1, MobileV2
from stereo_kd.models.psmnet import SPP
from stereo_kd.models.tsnnet import InterlacedVolume
import matplotlib.pyplot as plt
import pandas as pd
from copy import deepcopy
from fastcore.test import *
from stereo_kd.evaluation.cost import count_macs, count_params, module_table, thop_macs
from stereo_kd.data.synthetic import DISAGREEMENTS, SyntheticPairs
from stereo_kd.models.tsnnet import looped
from stereo_kd.models.dtpnet import *

def test_features_share_a_scale():
    shapes = lambda f: [tuple(t.shape[1:]) for t in f(torch.randn(2,3,64,96))]
    test_eq(shapes(DTPFeatures()), [(32,32,48),(64,16,24),(80,16,24)])
    deep = DTPFeatures(8, 16, (1,1,1,1), spp=True)
    test_eq(shapes(deep), [(8,32,48),(16,16,24),(32,16,24),(32,16,24),(16+2*32+16+4*32,16,24)])
    test_eq([deep.channels,DTPFeatures(8, 16, (1,2,3)).channels,DTPFeatures().channels], [224,64,80])
    dilations = lambda layer: {m.dilation for m in layer.modules() if isinstance(m, nn.Conv2d) and m.groups>1}
    test_eq([dilations(l) for l in deep.deeper], [{(1,1)},{(2,2)}])
    x = torch.randn(2,3,64,96) # pooling is the mean over all that the small map has
    f = deep.eval()(x)
    test_close(f[-1][:,-128:], deep.spp(f[-2]), eps=1e-5)
    test_fail(lambda: DTPFeatures(blocks=(3,)), contains='blocks must be two to four numbers, got [3]')

def test_three_forms_and_their_stages():
    torch.manual_seed(0)
    x,y = torch.randn(2,1,3,48,112)
    for form in ('c2d','msn','correlation'):
        out = DTPnet(cost_volume=form).eval()(x, y)
        test_eq(tuple(out.cost_volume.shape), (1,48,12,28))
        test_eq(tuple(out.aggregation[-1].shape), (1,192,12,28))
        test_eq(tuple(out.disparity[-1].shape), (1,48,112))
        assert 0<=out.disparity[-1].min() and out.disparity[-1].max()<=191
    test_eq(DTPnet(96)(x, y).aggregation[-1].shape[1], 96)
    test_fail(lambda: DTPnet(cost_volume='concat'), contains="cost volume 'concat'; known: c2d, correlation, msn")
    test_fail(lambda: DTPnet(hourglasses=-1), contains='hourglasses must be 0 or more, got -1')

def test_equation_3_one_pair_of_pixels():
    torch.manual_seed(0)
    net = DTPnet(48, 'msn', stem=8, width=16, blocks=(1,1)).eval()
    x,y = torch.randn(2,1,3,32,64)
    out = net(x, y, upto='cost_volume')
    (*_,left),(*_,right) = out.features
    g,d = looped(net.volume).net,5
    pairs = torch.stack([left[:,:,3,d:],right[:,:,3,:-d]], 2).flatten(1,2) # l0,r0,l1,r1,... of x and x-d
    want = g(pairs[:,:,None])[0,0,0]
    assert want.max()>0
    test_close(out.cost_volume[0,d,3,d:]/want.max(), want/want.max(), eps=1e-3)
    test_eq(out.cost_volume[0,d,:,:d].abs().max().item(), 0.)

def test_hourglasses_in_series():
    torch.manual_seed(0)
    x,y = torch.randn(2,1,3,32,64)
    for form in ('c2d','msn','correlation'):
        tiny = dict(max_disp=48, cost_volume=form, stem=8, width=16)
        none,three = DTPnet(**tiny, hourglasses=0).eval(),DTPnet(**tiny, hourglasses=3).eval()
        test_eq(count_params(three)-count_params(none), 3*count_params(three.hourglass[0]))
        seen = []
        for m in three.hourglass: m.register_forward_hook(lambda m,i,o: seen.append((i[0],o)))
        three(x, y)
        assert seen[1][0] is seen[0][1] and seen[2][0] is seen[1][1]
        v = none(x, y)
        if form!='correlation': test_close(v.aggregation[-1], none.score(v.cost_volume), eps=1e-6)

def test_parameters_in_millions():
    n = {f: sum(p.numel() for p in DTPnet(cost_volume=f).parameters()) for f in ('c2d','correlation')}
    test_eq({k:round(v/1e6,3) for k,v in n.items()}, dict(c2d=0.636, correlation=0.645)) # the paper: 0.64
    from stereo_kd.models.zoo import load_model
    shipped = load_model('dtpnet')
    test_eq([list(DTPnet().state_dict()),DTPnet().form], [list(shipped.state_dict()),'correlation'])

def test_learned_upsampling_is_an_option():
    from stereo_kd.models.base import answer_maps
    torch.manual_seed(0)
    x,y = torch.randn(2,1,3,45,131)
    for form in ('c2d','correlation'):
        net = DTPnet(48, form, stem=8, width=16, upsample='convex').eval()
        with torch.no_grad(): out = net(x, y)
        scores,weights = answer_maps(net, out)
        test_eq([tuple(m.shape) for m in (scores,weights)], [(1,48,12,36),(1,144,12,36)])
        test_eq(out.disparity[-1], net.disparity(scores, (45,131), weights))
        steep = 30*torch.randn_like(scores)
        assert (net.disparity(steep, (45,131), weights)-net.disparity(steep, (45,131))).abs().max()>1
        assert net.upsample.out in net.bins()
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

def test_sizes_of_the_settings():
    n = {k: sum(p.numel() for p in DTPnet(**a).parameters()) for k,a in SETTINGS.items()}
    test_eq({k:round(v/1e6, 3) for k,v in n.items()}, {1:2.101, 2:0.955, 3:0.636}) # the paper: 2.04, 0.95, 0.64
    layers = DTPnet(**SETTINGS[1]).extract
    for part,size,m,g in (
        (layers.layer1,(32,240,320),.0086,.7225), (layers.layer2,(32,240,320),.1575,3.182),
        (layers.deeper[0],(64,120,160),.1078,2.132), (layers.deeper[1],(128,120,160),.1083,2.138)):
        macs,params = thop_macs(part, shapes=[(1,*size)])
        test_close([params/1e6, macs/1e9], [m,g], eps=6e-4)
    spp = sum(p.numel() for p in DTPFeatures(spp=True).parameters())-sum(p.numel() for p in DTPFeatures().parameters())
    test_eq(spp, 4*(64*32+2*32)) # Table IV: +0.01 M
