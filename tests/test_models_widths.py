# Generated from nbs/38_models.widths.ipynb; edit the notebook, not this file
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
import json
import matplotlib.pyplot as plt
from copy import deepcopy
from fastcore.test import *
from stereo_kd.models.layers import ConvBN, Hourglass2D, MobileV1
from stereo_kd.models.widths import *

def test_a_pruned_network_reloads():
    torch.manual_seed(0)
    thin,x = Hourglass2D(8), torch.randn(2,8,16,16)
    apply_widths(thin, {
        'down1.body.0.0':[8,12,1], 'down1.body.0.1':[12], 'down1.body.1.0':[12,12,12], 'down1.body.1.1':[12],
        'down1.body.2.0':[12,16,1], 'mid2.body.2.0':[64,20,1], 'mid2.body.2.1':[20],
        'down2.body.2.0':[32,20,1], 'down2.body.2.1':[20], 'mid2.body.0.0':[20,64,1], 'up2.0':[20,16,1]})
    thin(x) # BatchNorm statistics that are not those of a fresh network
    fresh = apply_widths(Hourglass2D(8), json.loads(json.dumps(widths(thin))))
    fresh.load_state_dict(thin.state_dict())
    with torch.no_grad(): test_eq(fresh.eval()(x), thin.eval()(x))
    test_eq(sum(p.numel() for p in fresh.parameters()), sum(p.numel() for p in thin.parameters()))

def test_every_kind_of_layer():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Conv2d(4, 8, (3,1), 2, dilation=2, groups=2, bias=True)
            self.b = nn.ConvTranspose3d(4, 6, 3, 2, groups=2)
            self.c = nn.Linear(4, 5, bias=False)
            self.n = nn.BatchNorm2d(4, affine=False)
    wanted = dict(a=[6,4,2], b=[8,4,4], c=[3,7], n=[9])
    net = Net()
    net.a.weight.requires_grad_(False)
    apply_widths(net, wanted)
    test_eq(widths(net), wanted)
    test_eq(
        [
            tuple(t.shape)
            for t in (net.a.weight,net.a.bias,net.b.weight,net.b.bias,net.c.weight,net.n.running_var)],
        [(4,3,3,1),(4,),(8,1,3,3,3),(4,),(7,3),(9,)])
    test_eq(tuple(net.a(torch.randn(1,6,9,9)).shape), (1,4,3,5))
    test_eq(net.b(torch.randn(1,8,2,2,2)).shape[1], 4)
    test_eq([net.a.weight.requires_grad,net.a.bias.requires_grad,net.c.bias,net.n.weight], [False,True,None,None])
    test_eq(net.n.running_var, torch.ones(9)) # as in a fresh layer

def test_untouched_layers_keep_their_weights():
    torch.manual_seed(0)
    net = ConvBN(3, 8)
    before = deepcopy(net.state_dict())
    apply_widths(net, widths(net))
    for k,v in net.state_dict().items(): test_eq(v, before[k])
    test_eq(apply_widths(ConvBN(3, 8).double(), {'0':[3,4,1],'1':[4]})[0].weight.dtype, torch.float64)

def test_wrong_widths_are_named():
    net = lambda: ConvBN(4, 8)
    test_fail(lambda: apply_widths(net(), {'5':[1,2,1]}), contains="'5', but this network has no such layer")
    test_fail(
        lambda: apply_widths(net(), {'1':[8,8]}),
        contains="'1' must be 1 positive whole numbers (num_features), got [8, 8]")
    test_fail(lambda: apply_widths(net(), {'0':[4,0,1]}), contains="got [4, 0, 1]")
    test_fail(lambda: apply_widths(net(), {'0':[4,6,4]}), contains="got [4, 6, 4]") # groups must divide both
    test_fail(lambda: apply_widths(net(), {'0':None}), contains="got None")
    half = net()
    test_fail(lambda: apply_widths(half, {'0':[4,6,1], '1':[-6]}))
    test_eq(half[0].out_channels, 8) # all or nothing
