# Generated from nbs/32_models.dsnet.ipynb; edit the notebook, not this file
import torch
from fastcore.basics import patch
from torch import nn, Tensor
from stereo_kd.models.acvnet import ACVNet
from stereo_kd.models.base import StereoNet
from stereo_kd.models.layers import GROUP, ResidualTrunk, check_width, init_convs
from stereo_kd.models.layers3d import Hourglass3d, VolumeAttention, VolumeStem, channels_last_3d, score_head3d
from fastcore.test import *
import matplotlib.pyplot as plt
from copy import deepcopy
from functools import partial
from stereo_kd.core import format_table
from stereo_kd.evaluation.cost import count_macs, count_params, module_table
from stereo_kd.models.cost_volume import groupwise_volume
from stereo_kd.models.dsnet import *

def test_stages():
    torch.manual_seed(0)
    for attention in (True,False):
        net = DSNet(48, 4, attention, features=8, blocks=(1,1,1,1), attention_width=4)
        for h,w in ((32,64),(50,77)):
            h4,w4 = -(-h//16)*4,-(-w//16)*4
            x = torch.randn(2,3,h,w)
            out = net.train()(x, x.flip(0))
            test_eq([f.shape[1] for f in out.features[1]], [8,8,16,32,32,80])
            test_eq([tuple(s.shape) for s in out.aggregation], [(2,12,h4,w4)]*3)
            test_eq([tuple(t.shape) for t in (out.cost_volume,out.disparity[-1])], [(2,10,12,h4,w4),(2,h,w)])
            test_eq(sorted(out.extras), ['attended','attention','tau'] if attention else ['tau'])
        net.eval()
        last,every = net(x, x.flip(0)),net(x, x.flip(0), all_outputs=True)
        test_eq([len(last.aggregation),len(every.aggregation),list(last.extras)], [1,3,['attention']*attention+['tau']])
        test_close(last.aggregation[0], every.aggregation[2], eps=1e-5)
    test_fail(lambda: DSNet(features=10), contains='multiple of 4, got 10')

def test_attention_weighs_the_volume():
    torch.manual_seed(0)
    net = DSNet(48, 4, features=8, blocks=(1,1,1,1), attention_width=4).eval()
    left,right = torch.randn(2,1,3,32,64)
    out = net(left, right, all_outputs=True)
    test_close(out.extras['attention'].sum(1), torch.ones(1,8,16), eps=1e-5)
    test_close(out.extras['attended'], out.extras['attention'][:,None]*out.cost_volume, eps=1e-6)
    test_close(out.cost_volume, groupwise_volume(*[m[-1] for m in out.features], 12, 10), eps=1e-6)
    nn.init.zeros_(net.attention.head[-1].weight)
    plain = DSNet(48, 4, False, features=8, blocks=(1,1,1,1)).eval()
    plain.load_state_dict({k:v for k,v in net.state_dict().items() if not k.startswith('attention')})
    want = plain.aggregation(out.cost_volume/12, None, None, {}, True)
    for a,b in zip(net(left, right, all_outputs=True).aggregation, want, strict=True): test_close(a, b, eps=1e-5)

def test_every_weight_learns():
    torch.manual_seed(0)
    net,x = DSNet(48, 4, features=8, blocks=(1,2,1,1), attention_width=4),torch.randn(2,3,32,64)
    out = net(x, x.roll(4, -1))
    sum(w*d.mean() for w,d in zip(net.supervised_weights, out.disparity, strict=True)).backward()
    for name,p in net.named_parameters(): assert p.grad is not None and p.grad.abs().sum()>0, name
    grad, = torch.autograd.grad(net(x, x.flip(0)).disparity[-1].sum(), net.heads[-1][-1].weight)
    assert grad.abs().sum()>0

def test_places_have_the_shapes_of_the_teacher():
    from stereo_kd.models.base import get_map
    for c,D in ((32,192),(8,96)):
        with torch.device('meta'):
            x = torch.empty(1,3,64,128)
            teacher,student = ACVNet(D, c).eval(),DSNet(D, c//2, features=c).eval()
            outs = [n(x, x, 'aggregation', all_outputs=True) for n in (teacher,student)]
        names = [f'features.{v}.{i}' for v in ('left','right') for i in (0,1,2,3,4,-1)]
        names += ['cost_volume','attention','aggregation.-1','aggregation.-2','aggregation.-3']
        for n in names: test_eq(get_map(outs[0], n).shape, get_map(outs[1], n).shape)
        test_eq(get_map(outs[1], 'features.left.0').shape[1], c)

def test_published_size():
    dead = (320*120+2*120+120*32+2*32)/1e6 # the branch that the released network never calls
    for (width,attention),(params,macs) in {
        (16,True):(1.856-dead,69.6), (16,False):(1.546-dead,52.6), (8,False):(1.052,37.4), (24,False):(2.249,76.2),
        (32,False):(3.290,108.1)}.items():
        with torch.device('meta'): net = DSNet(width=width, attention=attention)
        assert abs(count_params(net)/1e6/params-1)<.005, (width,attention,count_params(net))
        assert abs(count_macs(net, (256,512))/1e9/macs-1)<.005, (width,attention,count_macs(net, (256,512)))
    assert abs((1.856-dead)/1.814-1)<.001
    test_eq(len(DSNet(48, 4, False, features=8).bins()), 3)
