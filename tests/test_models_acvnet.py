# Generated from nbs/29_models.acvnet.ipynb; edit the notebook, not this file
import torch
from contextlib import nullcontext
from fastcore.basics import patch
from torch import nn, Tensor
from stereo_kd.models.base import StereoNet
from stereo_kd.models.cost_volume import concat_volume, groupwise_volume
from stereo_kd.models.layers import GROUP, ResidualTrunk, check_width, concat_features, init_convs
from stereo_kd.models.layers3d import Hourglass3d, VolumeAttention, VolumeStem, WindowAttention3d, channels_last_3d, score_head3d
from fastcore.test import *
import matplotlib.pyplot as plt
from stereo_kd.data.synthetic import DISAGREEMENTS, SyntheticPairs
from stereo_kd.evaluation.cost import count_macs, count_params
from stereo_kd.models.acvnet import *

def test_stages():
    torch.manual_seed(0)
    for D,h,w in ((48,32,64),(96,50,77),(192,32,48)):
        net,x = ACVNet(D, 8, (1,1,1,1)),torch.randn(2,3,h,w)
        h4,w4 = -(-h//16)*4,-(-w//16)*4
        out = net.train()(x, x.flip(0))
        test_eq([f.shape[1] for f in out.features[1]], [8,8,16,32,32,8,80])
        test_eq([tuple(s.shape) for s in out.aggregation], [(2,D//4,h4,w4)]*4)
        test_eq([tuple(t.shape) for t in (out.cost_volume,out.disparity[-1])], [(2,10,D//4,h4,w4),(2,h,w)])
        test_eq({k:tuple(v.shape) for k,v in out.extras.items()},
                dict(attention=(2,D//4,h4,w4), attended=(2,16,D//4,h4,w4), tau=(2,)))
        net.eval()
        last,every = net(x, x.flip(0)),net(x, x.flip(0), all_outputs=True)
        test_eq([len(last.aggregation),len(every.aggregation),list(last.extras)], [1,4,['attention','tau']])
        test_close(last.aggregation[0], every.aggregation[-1], eps=1e-5)
    test_fail(lambda: ACVNet(part='volume'), contains="attention, aggregation, all, got 'volume'")

def test_attention_weighs_the_concatenation():
    torch.manual_seed(0)
    net = ACVNet(48, 8, (1,1,1,1)).eval()
    left,right = torch.randn(2,1,3,32,64)
    out = net(left, right, all_outputs=True)
    test_close(out.extras['attention'].sum(1), torch.ones(1,8,16), eps=1e-5)
    test_close(out.extras['attention'], out.aggregation[0].softmax(1), eps=1e-6)
    maps = [m[-2] for m in out.features]
    test_close(out.extras['attended'], out.extras['attention'][:,None]*concat_volume(*maps, 12), eps=1e-5)
    test_close(maps[0], net.project(torch.cat(out.features[0][2:5], 1)), eps=1e-5)
    raw = groupwise_volume(*[m[-1] for m in out.features], 12, 10)
    test_close(out.cost_volume, raw, eps=1e-6)

def test_parts_train_what_they_say():
    torch.manual_seed(0)
    x = torch.randn(2,3,32,64)
    def moved(net, outputs): # names of top-level modules with a gradient
        out = net.train()(x, x.roll(4, -1))
        test_eq([len(out.aggregation),len(net.supervised_weights)], [outputs]*2)
        sum(w*d.mean() for w,d in zip(net.supervised_weights, out.disparity, strict=True)).backward()
        every = {n for n,p in net.named_parameters() if p.grad is not None and p.grad.abs().sum()>0}
        whole = {n.split('.')[0] for n,_ in net.named_parameters()}
        partly = {n.split('.')[0] for n in every}
        assert all(n in every for n,_ in net.named_parameters() if n.split('.')[0] in partly)
        return whole-partly
    first = ACVNet(48, 8, (1,1,1,1), 'attention')
    test_eq(moved(first, 1), {'project','stem','hourglasses','heads'})
    second = ACVNet(48, 8, (1,1,1,1), 'aggregation')
    second.load_state_dict(first.state_dict())
    test_eq(moved(second, 3), {'trunk','attention'})
    third = ACVNet(48, 8, (1,1,1,1))
    third.load_state_dict(second.state_dict())
    test_eq(moved(third, 4), set())
    with torch.no_grad(): # the answer of the first stage is that of the attention
        alone,both = (n.eval()(x, x.flip(0), all_outputs=True) for n in (first,third))
        third.load_state_dict(first.state_dict())
        test_close(alone.aggregation[-1], third(x, x.flip(0), all_outputs=True).aggregation[0], eps=1e-5)
    test_eq([len(alone.aggregation),len(both.aggregation)], [1,4])

def test_published_size():
    with torch.device('meta'): net = ACVNet()
    assert abs(count_params(net)/1e6/7.174-1)<.005, count_params(net)
    assert abs(count_macs(net, (256,512))/1e9/211.4-1)<.005, count_macs(net, (256,512))
    with torch.device('meta'): narrow = ACVNet(96, 8)
    assert count_params(narrow)/count_params(net)<1/15
    test_eq([m.out_channels for m in net.bins()], [1]*4)
    test_eq([m.heads for m in net.modules() if isinstance(m, WindowAttention3d)], [16]*3)
