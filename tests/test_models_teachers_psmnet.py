# Generated from nbs/25_models.teachers.psmnet.ipynb; edit the notebook, not this file
import math
import torch
import torch.nn.functional as F
from torch import nn, Tensor
from fastcore.basics import patch
from stereo_kd.models.base import StereoNet
from stereo_kd.models.cost_volume import concat_volume
from stereo_kd.models.layers import ConvBN
from fastcore.test import *
from torch.utils.flop_counter import FlopCounterMode
import matplotlib.pyplot as plt
from stereo_kd.models.teachers.psmnet import *

def test_block_is_linear_after_the_sum():
    x = torch.randn(2,4,6,8)
    b = BasicBlock(4,4).eval(); nn.init.zeros_(b.body[1][1].weight)
    test_close(b(x), x, eps=1e-6) # silenced, it is the identity, negative values too
    test_eq(tuple(BasicBlock(4,6,stride=2,dilation=2)(x).shape), (2,6,3,4))
    test_eq([m.dilation for m in BasicBlock(4,4,dilation=2).modules() if isinstance(m,nn.Conv2d)], [(2,2)]*2)

def test_trunk_maps():
    maps = ResidualTrunk(8, (1,2,1,1))(torch.randn(1,3,32,64))
    test_eq([tuple(m.shape[1:]) for m in maps], [(8,16,32),(16,8,16),(32,8,16),(32,8,16)])
    test_eq([len(getattr(ResidualTrunk(8), f'layer{i}')) for i in (1,2,3,4)], [3,16,3,3])
    test_eq(ResidualTrunk(8).layer4[0].body[0][0].dilation, (2,2))

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

def test_hourglass_links():
    torch.manual_seed(0)
    hg = StackedHourglass3d(4).eval()
    x,skip,post = torch.randn(1,4,8,8,12),torch.randn(1,8,4,4,6),torch.randn(1,8,4,4,6)
    y,pre,up = hg(x)
    test_eq([tuple(t.shape) for t in (y,pre,up)], [tuple(x.shape),tuple(skip.shape),tuple(skip.shape)])
    test_close(hg(x, skip, post)[1], F.relu(hg.mid1(hg.down1(x))+post), eps=1e-6)
    nn.init.zeros_(hg.up2[1].weight) # silence the way up: what remains is the skip connection
    test_close(hg(x)[2], pre, eps=1e-6); test_close(hg(x, skip, post)[2], F.relu(skip), eps=1e-6)

def test_layers_3d():
    x = torch.randn(2,3,4,6,8)
    test_eq(tuple(ConvBN3d(3,5,1,stride=2)(x).shape), (2,5,2,3,4)); test_eq(tuple(UpBN3d(3,5)(x).shape), (2,5,8,12,16))
    test_eq([len(ConvBN3d(3,3)), len(ConvBN3d(3,3,act=nn.ReLU()))], [2,3])
    y = UpBN3d(3,5)(x).transpose(0,1).flatten(1) # normalised
    test_close(y.mean(1), torch.zeros(5), eps=1e-4); test_close(y.std(1), torch.ones(5), eps=1e-2)

def test_init_deviation():
    torch.manual_seed(0)
    net = init_convs(nn.Sequential(nn.Conv2d(32,64,3,bias=False), nn.Conv3d(64,32,3,bias=False), nn.Conv2d(256,128,1,bias=False)))
    for conv,want in zip(net, (2/(9*64), 2/(27*32), 2/128)): test_close(conv.weight.var().item()/want, 1, eps=0.05)

def test_stages():
    torch.manual_seed(0)
    net = PSMNet(48, width=8, blocks=(1,2,1,1))
    for h,w in ((64,128),(50,77)):
        h4,w4 = -(-h//16)*4,-(-w//16)*4
        x = torch.randn(2,3,h,w)
        out = net.train()(x, x.clone())
        test_eq([tuple(f.shape) for f in out.features[1]], [(2,8,2*h4,2*w4),(2,16,h4,w4),(2,32,h4,w4),(2,32,h4,w4),(2,8,h4,w4)])
        test_eq(tuple(out.cost_volume.shape), (2,16,12,h4,w4))
        test_eq([tuple(s.shape) for s in out.aggregation], [(2,12,h4,w4)]*3)
        test_eq([tuple(d.shape) for d in out.disparity], [(2,h,w)]*3)
        out = net.eval()(x, x.clone())
        test_eq([len(out.aggregation), len(out.disparity)], [1,1]); assert 0<=out.disparity[-1].min() and out.disparity[-1].max()<=47

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
    head.clear(); test_close(net.eval()(x, x.flip(0)).aggregation[0], sum(head), eps=1e-5)

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
    test_close(volume_in[0], first+net.dres1(first), eps=1e-5)

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
