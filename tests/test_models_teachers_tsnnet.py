# Generated from nbs/26_models.teachers.tsnnet.ipynb; edit the notebook, not this file
import torch
import torch.nn.functional as F
from torch import nn
from stereo_kd.models.base import StereoNet
from stereo_kd.models.cost_volume import correlation_volume, interlaced_volume
from stereo_kd.models.layers import ConvBN, MobileV1, MobileV2, Hourglass2D
import matplotlib.pyplot as plt
from fastcore.test import *
from stereo_kd.bench import module_table
from stereo_kd.models.teachers.tsnnet import *

def test_features_count():
    f = MobileFeatures()
    test_eq(round(sum(p.numel() for p in f.parameters())/1e6, 4), 0.3976)
    test_eq([tuple(t.shape[1:]) for t in f(torch.randn(1,3,32,64))], [(32,16,32),(64,8,16),(128,8,16),(128,8,16),(320,8,16)])

def test_volume_is_one_network_per_disparity():
    torch.manual_seed(0); l,r = torch.randn(2,2,4,5,12)
    vol = InterlacedVolume(4, 6).eval()
    for d in range(6):
        both = torch.stack([l[...,d:],r[...,:12-d]], 2).flatten(1,2) # l0,r0,l1,r1,...
        test_close(vol(l, r)[:,d,:,d:], vol.net(both)[:,0], eps=1e-5)
        assert not vol(l, r)[:,d,:,:d].any()

def test_classes_cover_the_bins():
    test_eq(tuple(Bottleneck(6, 4)(torch.randn(2,6,5,7)).shape), (2,4,5,7)); assert Bottleneck(6, 4)(torch.randn(2,6,5,7)).min()>=0
    h = CoarseHead()
    test_eq(h.spread.tolist()[:6], [0,0,1,1,1,2]); test_eq(h.spread.tolist()[-3:], [15,15,15])
    logits = torch.zeros(1,16,1,1); logits[:,2] = 50
    test_eq(h.attention(logits).flatten().gt(.3).nonzero().flatten().tolist(), [5,6,7])
    test_close(h.attention(torch.randn(1,16,2,2)).sum(1), torch.ones(1,2,2), eps=1e-5)

def test_weights_match_the_published_size():
    net = TSNnetTeacher()
    n = {k: sum(p.numel() for p in m.parameters()) for k,m in net.named_children()}
    idle = sum(p.numel() for c in net.classifiers[:3] for p in c.parameters())
    test_eq(round((sum(n.values())-idle)/1e6, 4), 2.2134)
    test_eq([round((n['match']+n['volume'])/1e6, 4), round(n['coarse']/1e6, 4)], [0.1286, 0.0117])

def test_outputs_in_train_and_eval():
    torch.manual_seed(0); net = TSNnetTeacher(96, cost_volume='correlation', hourglasses=1, blocks=(1,1,1,1)); x,y = torch.randn(2,2,3,40,72)
    out = net(x, y)
    test_eq([len(out.aggregation), len(net.eval()(x, y).aggregation)], [2,1])
    test_eq(tuple(out.aggregation[-1].shape), (2,24,12,20)); test_eq(tuple(out.disparity[-1].shape), (2,40,72))
    out.disparity[-1].mean().backward()
    assert all(p.grad is not None for n,p in net.named_parameters() if 'classifiers.0' not in n)
    test_fail(lambda: TSNnetTeacher(cost_volume='c2d'), contains="got 'c2d'")
