# Generated from nbs/50_prune.importance.ipynb; edit the notebook, not this file
import torch, torch_pruning as tp
from torch import nn, Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
import matplotlib.pyplot as plt
from fastcore.test import *
from stereo_kd.models.layers import Hourglass2D, MobileV1
from stereo_kd.prune.importance import *

def test_norms_by_hand():
    def layer(make, *size, **kw):
        m = make(*size, bias=False, **kw)
        with torch.no_grad(): m.weight.copy_(torch.arange(1., m.weight.numel()+1).view_as(m.weight))
        return m
    root = lambda *n: sum(i*i for i in n)**.5
    same = lambda norms, *wanted: test_close(norms.tolist(), wanted)
    conv = layer(nn.Conv2d, 2, 3, 1) # weight [[1,2],[3,4],[5,6]]: rows are outputs
    same(channel_norms(conv), root(1,2),root(3,4),root(5,6))
    same(channel_norms(conv, False), root(1,3,5),root(2,4,6))
    up = layer(nn.ConvTranspose2d, 2, 3, 1) # weight [[1,2,3],[4,5,6]]: rows are inputs
    same(channel_norms(up), root(1,4),root(2,5),root(3,6))
    same(channel_norms(up, False), root(1,2,3),root(4,5,6))
    linear = layer(nn.Linear, 2, 3)
    same(channel_norms(linear, False), root(1,3,5),root(2,4,6))
    for make in (nn.Conv2d, nn.ConvTranspose2d):
        depth = layer(make, 2, 2, (1,2), groups=2) # weight [1,2],[3,4]
        for out in (True,False): same(channel_norms(depth, out), root(1,2),root(3,4))
    bn = nn.BatchNorm2d(2)
    bn.weight.data = torch.tensor([-3.,.5])
    same(channel_norms(bn), 3,.5)
    test_fail(
        lambda: channel_norms(nn.Conv2d(4, 4, 1, groups=2)),
        contains='2 groups is neither plain nor depthwise')

def test_sum_of_norms_and_not_of_squares():
    net = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.BatchNorm2d(2), nn.Conv2d(2, 1, 1, bias=False)).eval()
    net[0].weight.data = torch.tensor([6.,-4.]).view(2,1,1,1)
    net[2].weight.data = torch.tensor([1.,4.]).view(1,2,1,1)
    graph = tp.DependencyGraph().build_dependency(net, torch.randn(1,1,4,4))
    group = graph.get_pruning_group(net[0], tp.prune_conv_out_channels, [0,1])
    test_eq(GroupL2Importance()(group).tolist(), [8.,9.])
    net[1].weight.data = torch.tensor([-3.,.5])
    test_eq(GroupL2Importance()(group).tolist(), [10.,8.5])
    test_eq(GroupL2Importance(batchnorm=False)(group).tolist(), [7.,8.])
    net[1].weight.data = torch.ones(2)
    theirs = tp.importance.GroupMagnitudeImportance()(group)
    assert GroupL2Importance()(group).argmin()==0 and theirs.argmin()==1

def test_concatenation_and_shared_weights():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.shared,self.other,self.read = (nn.Conv2d(i, o, 1, bias=False) for i,o in ((1,2),(1,3),(7,1)))
        def forward(self, left, right):
            return self.read(torch.cat([self.shared(left),self.other(left),self.shared(right)], 1))
    net = Net().eval()
    with torch.no_grad():
        net.shared.weight.copy_(torch.tensor([10.,20.]).view(2,1,1,1))
        net.other.weight.fill_(100.)
        net.read.weight.copy_(torch.arange(1.,8.).view(1,7,1,1))
    graph = tp.DependencyGraph().build_dependency(net, tuple(torch.randn(2,1,1,4,4)))
    value = lambda m: GroupL2Importance()(
        graph.get_pruning_group(m, tp.prune_conv_out_channels, list(range(m.out_channels)))).tolist()
    test_eq(value(net.shared), [10.+1+6, 20.+2+7])
    test_eq(value(net.other), [103.,104.,105.])
