# Generated from nbs/25_models.psmnet.ipynb; edit the notebook, not this file
import torch
import torch.nn.functional as F
from fastcore.basics import patch
from torch import nn, Tensor
from stereo_kd.models.base import StereoNet
from stereo_kd.models.cost_volume import concat_volume
from stereo_kd.models.layers import ConvBN, ResidualTrunk, init_convs, inplace_relu
from stereo_kd.models.layers3d import ConvBN3d, StackedHourglass3d, channels_last_3d
from fastcore.test import *
from torch.utils.flop_counter import FlopCounterMode
import matplotlib.pyplot as plt
from stereo_kd.models.psmnet import *

def test_pooling_windows():
    def bare(spp): # mixing replaced by the identity: what remains is pooling and enlarging
        for i in range(len(spp.mix)): spp.mix[i] = nn.Identity()
        return spp
    torch.manual_seed(0)
    x = torch.randn(2,1,6,40)
    got = bare(SPP(1,1,(64,5,2)))(x)
    test_close(got[:,0], x[:,0].mean((1,2))[:,None,None].expand(2,6,40), eps=1e-6)
    windows = x[:,0,:5].unflatten(2,(8,5)).mean((1,3)) # one row of windows; the sixth row is left out
    test_close(got[:,1,3,2::5], windows, eps=1e-6)
    test_eq(tuple(SPP(8,4).eval()(torch.randn(1,8,16,32)).shape), (1,16,16,32))

def test_stages():
    torch.manual_seed(0)
    net = PSMNet(48, width=8, blocks=(1,2,1,1))
    for h,w in ((64,128),(50,77)):
        h4,w4 = -(-h//16)*4,-(-w//16)*4
        x = torch.randn(2,3,h,w)
        out = net.train()(x, x.clone())
        test_eq(
            [tuple(f.shape) for f in out.features[1]],
            [(2,8,2*h4,2*w4),(2,16,h4,w4),(2,32,h4,w4),(2,32,h4,w4),(2,8,h4,w4)])
        test_eq(tuple(out.cost_volume.shape), (2,16,12,h4,w4))
        test_eq([tuple(s.shape) for s in out.aggregation], [(2,12,h4,w4)]*3)
        test_eq([tuple(d.shape) for d in out.disparity], [(2,h,w)]*3)
        out = net.eval()(x, x.clone())
        test_eq([len(out.aggregation), len(out.disparity)], [1,1])
        assert 0<=out.disparity[-1].min() and out.disparity[-1].max()<=47

def test_heads_add_up_and_hourglasses_are_tied():
    torch.manual_seed(0)
    net,x = PSMNet(48, width=8, blocks=(1,1,1,1)),torch.randn(2,3,32,48)
    head,into,outof = [],[],[]
    for h in net.heads: h.register_forward_hook(lambda m,i,o: head.append(o[:,0]))
    for hg in net.hourglasses: hg.register_forward_hook(lambda m,i,o: into.append(i) or outof.append(o))
    scores = net(x, x.flip(0), upto='aggregation').aggregation
    for i in range(3): test_close(scores[i], sum(head[:i+1]), eps=1e-5)
    assert into[0][1] is None and into[0][2] is None
    assert into[1][1] is outof[0][1] and into[2][1] is outof[0][1]  # the first way down
    assert into[1][2] is outof[0][2] and into[2][2] is outof[1][2]  # the way up before
    for i in (1,2): test_close(into[i][0]-outof[i-1][0], into[0][0], eps=1e-4) # plus the first volume
    head.clear()
    test_close(net.eval()(x, x.flip(0)).aggregation[0], sum(head), eps=1e-5)

def test_a_teacher_in_eval_gives_all_its_scores():
    torch.manual_seed(0)
    net,x = PSMNet(48, width=8, blocks=(1,1,1,1)).eval(),torch.randn(2,3,32,48)
    with torch.no_grad():
        one,three = (net(x, x.flip(0), upto='aggregation', all_outputs=a).aggregation for a in (None,True))
        test_eq([len(one),len(three)], [1,3])
        test_eq(one[0], three[-1])
        assert not net.training and not torch.equal(three[0], three[1])

def test_what_is_concatenated():
    torch.manual_seed(0)
    net,x = PSMNet(48, width=8, blocks=(1,1,1,1)),torch.randn(2,3,32,48)
    mixed,volume_in = [],[]
    net.project.register_forward_pre_hook(lambda m,i: mixed.append(i[0]))
    net.hourglasses[0].register_forward_pre_hook(lambda m,i: volume_in.append(i[0]))
    out = net(x, x.flip(0), upto='aggregation')
    left,right = out.features
    test_close(mixed[0][:,:48], torch.cat([left[1],left[3]], 1), eps=1e-6)
    test_close(mixed[1][:,48:], net.spp(right[3]), eps=1e-5)
    test_close(out.cost_volume[:,:8,0], left[-1], eps=1e-6)          # left first
    test_close(out.cost_volume[:,8:,3,:,3:], right[-1][...,:-3], eps=1e-6)
    first = net.dres0(out.cost_volume)
    test_close(volume_in[0], first+net.dres1(first), eps=1e-4) # another layout rounds otherwise

def test_scores_not_costs():
    torch.manual_seed(0)
    net,x = PSMNet(48, width=8, blocks=(1,1,1,1)),torch.randn(2,3,32,48)
    out = net(x, x.flip(0))
    grad, = torch.autograd.grad(out.disparity[-1].sum(), out.aggregation[-1])
    assert (grad[:,-1]>0).all() and (grad[:,0]<0).all()

def test_every_weight_learns():
    torch.manual_seed(0)
    net,x = PSMNet(48, width=8, blocks=(1,2,1,1)),torch.randn(2,3,32,64)
    out = net(x, x.roll(4,-1))
    sum(w*d.mean() for w,d in zip(net.supervised_weights, out.disparity, strict=True)).backward()
    for name,p in net.named_parameters(): assert p.grad is not None and p.grad.abs().sum()>0, name

def test_published_size():
    with torch.device('meta'): net,x = PSMNet().eval(),torch.empty(1,3,256,512)
    test_eq(sum(p.numel() for p in net.parameters()), 5_224_768)
    with FlopCounterMode(display=False) as counter: net(x, x, upto='aggregation')
    test_eq(round(counter.get_total_flops()/2e9, 1), 184.7)
    test_eq([m.out_channels for m in net.bins()], [1,1,1])
    test_eq(net.supervised_weights, (0.5,0.7,1.))
