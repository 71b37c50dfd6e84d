# Generated from nbs/22_models.layers.ipynb; edit the notebook, not this file
import math
import torch
import torch.nn.functional as F
from torch import nn, Tensor
from fastcore.test import *
import matplotlib.pyplot as plt
from stereo_kd.models.layers import *

def test_strided_pointwise_survives_bf16():
    torch.manual_seed(0)
    for ni,size in ((3,(9,13)),(8,(48,96)),(12,(48,95))): # with nn.Conv2d this kills the process
        conv = StridedPointwise(ni, 24, bias=False).to(memory_format=torch.channels_last)
        x = torch.randn(4,ni,*size).contiguous(memory_format=torch.channels_last)
        test_close(conv(x), F.conv2d(x, conv.weight, stride=2), eps=1e-5)
        want, = torch.autograd.grad(conv(x).square().sum(), conv.weight)
        with torch.autocast('cpu', torch.bfloat16): y = conv(x)
        got, = torch.autograd.grad(y.float().square().sum(), conv.weight)
        assert (got-want).abs().max()<.03*want.abs().max()

def test_dilated_depthwise_gradient_in_bf16():
    torch.manual_seed(0)
    conv = DilatedDepthwise(64, 64, 3, 1, 2, 2, 64, bias=False).to(memory_format=torch.channels_last)
    x = torch.randn(4,64,16,32).contiguous(memory_format=torch.channels_last)
    want, = torch.autograd.grad(conv(x).square().sum(), conv.weight)
    for _ in range(5):
        with torch.autocast('cpu', torch.bfloat16): y = conv(x)
        got, = torch.autograd.grad(y.float().square().sum(), conv.weight)
        assert (got-want).abs().max()<.03*want.abs().max(), (got-want).abs().max()

def test_convbn_keeps_the_size():
    x = torch.randn(2,4,10,12)
    test_eq(tuple(ConvBN(4,6,dilation=2)(x).shape), (2,6,10,12))
    test_eq(tuple(ConvBN(4,4,groups=4,stride=2)(x).shape), (2,4,5,6))
    test_eq([len(ConvBN(4,4)), len(ConvBN(4,4,act=nn.ReLU()))], [2,3])
    assert isinstance(
        ConvBN(4,4,dilation=2,groups=4)[0], DilatedDepthwise) and isinstance(ConvBN(4,6,1,2)[0], StridedPointwise)
    test_eq(tuple(ConvBN(4,6,1,2)(x[...,:9,:11]).shape), (2,6,5,6))

def test_frozen_norm_is_folded():
    torch.manual_seed(0)
    kinds = [
        ConvBN(6, 8, act=nn.ReLU()), ConvBN(6, 8, 1), ConvBN(6, 8, 1, 2), ConvBN(6, 6, 3, 1, 2, 6, nn.ReLU6()),
        ConvBN(6, 6, 3, 2, groups=6)]
    x = torch.randn(2, 6, 20, 24).contiguous(memory_format=torch.channels_last)
    for layer in kinds:
        norm = layer[1]
        for t,lo,hi in ((norm.running_mean,-1,1),(norm.running_var,.5,2),(norm.weight.data,-1,1.5),(norm.bias.data,-1,1)):
            t.uniform_(lo, hi)
        layer.train()
        calls = []
        norm.register_forward_hook(lambda *_: calls.append(1))
        norm.eval()
        def grads(y): return torch.autograd.grad(y.square().sum(), [z,*layer.parameters()])
        z = x.clone().requires_grad_()
        got = layer(z)
        test_eq(calls, []) # not asked
        want = nn.Sequential.forward(layer, z)
        test_close(got, want, eps=1e-5)
        for a,b in zip(grads(got), grads(want), strict=True): test_close(a, b, eps=1e-4*b.abs().max().item())
        norm.train()
        before = norm.running_mean.clone()
        layer(x)
        assert len(calls)==2 and (norm.running_mean-before).abs().max()>0 # learns as ever

def test_pointwise_is_fast_on_one_thread():
    from torch.profiler import profile
    torch.manual_seed(0)
    conv = Pointwise(16, 24, 1)
    x = torch.randn(2, 16, 12, 20).contiguous(memory_format=torch.channels_last).requires_grad_()
    before = torch.get_num_threads()
    def asked(training, threads, image):
        torch.set_num_threads(threads)
        conv.train(training)
        with profile() as p: y = conv(image)
        grads = torch.autograd.grad(y.square().sum(), [image,*conv.parameters()])
        return y,grads,{e.key for e in p.key_averages()}
    want = asked(False, 1, x)
    assert 'aten::_slow_conv2d_forward' in want[2]
    for training,threads in ((True,1),(True,2)):
        got = asked(training, threads, x)
        assert 'aten::mkldnn_convolution' in got[2], got[2]
        test_close(got[0], want[0], eps=1e-5)
        for a,b in zip(got[1], want[1], strict=True): test_close(a, b, eps=1e-3)
        assert got[0].is_contiguous(memory_format=torch.channels_last)
    other = asked(True, 1, x.detach().contiguous().requires_grad_())
    test_close(other[0], want[0], eps=1e-5)
    torch.set_num_threads(before)

def test_residuals_are_identity_when_silenced():
    x = torch.randn(2,8,6,10)
    for b in (MobileV1(8,8), MobileV2(8,8)):
        nn.init.zeros_(b.body[-1][1].weight)
        test_close(b.eval()(x), x, eps=1e-6)
    assert not MobileV2(8,12).residual and not MobileV2(8,8,stride=2).residual
    n = sum(p.numel() for p in MobileV1(8,8).parameters())
    test_eq(n, 2*(9*8+8*8) + 4*2*8) # two separable convolutions and four BatchNorms

def test_first_block_keeps_digits():
    torch.manual_seed(0)
    x = 2+.01*torch.randn(1,3,16,24)
    a,b = FirstBlock(3, 8, 2, 3).eval(),MobileV2(3, 8, 2, 3).eval()
    b.load_state_dict(a.state_dict())
    with torch.no_grad():
        want = a(x)
        with torch.autocast('cpu', torch.bfloat16): kept,rounded = a(x),b(x)
    spread = lambda t: t[...,1:-1,1:-1].flatten(2).std(2).mean() # of the texture of each channel
    test_eq(kept.dtype, torch.float32)
    test_eq(kept, want)
    assert spread(rounded.float()-want)>.3*spread(want) # a third of a faint texture is rounded off
    test_eq(a.double()(x.double()).dtype, torch.float64)

def test_costs_need_no_data():
    out = FirstBlock(3, 8, 2, 3).to('meta')(torch.empty(1,3,16,16, device='meta'))
    test_eq([out.device.type,tuple(out.shape)], ['meta',(1,8,8,8)])

def test_hourglass_size_and_weights():
    hg = Hourglass2D(48)
    test_eq(tuple(hg(torch.randn(1,48,16,24)).shape), (1,48,16,24))
    test_eq(round(sum(p.numel() for p in hg.parameters())/1e6, 4), 0.5236)
    conv_only = sum(
        p.numel() for m in hg.modules() if isinstance(m,(nn.Conv2d,nn.ConvTranspose2d))
        for p in m.parameters())
    test_eq(round(conv_only/1e6, 4), 0.5172)
    test_fail(lambda: Hourglass2D(8)(torch.randn(1,8,6,8)))

def test_block_is_linear_after_the_sum():
    x = torch.randn(2,4,6,8)
    b = BasicBlock(4,4).eval()
    nn.init.zeros_(b.body[1][1].weight)
    test_close(b(x), x, eps=1e-6) # silenced, it is the identity, negative values too
    test_eq(tuple(BasicBlock(4,6,stride=2,dilation=2)(x).shape), (2,6,3,4))
    test_eq([m.dilation for m in BasicBlock(4,4,dilation=2).modules() if isinstance(m,nn.Conv2d)], [(2,2)]*2)
    x = torch.tensor([-1.,2.])
    assert inplace_relu()(x) is x and x.tolist()==[0.,2.]

def test_trunk_maps():
    maps = ResidualTrunk(8, (1,2,1,1))(torch.randn(1,3,32,64))
    test_eq([tuple(m.shape[1:]) for m in maps], [(8,16,32),(16,8,16),(32,8,16),(32,8,16)])
    trunk,x = ResidualTrunk(8, (1,1,1,1)).eval(),torch.randn(1,3,32,64)
    stem,*rest = trunk.with_stem(x)
    test_close(stem, trunk.stem(x), eps=1e-6)
    for a,b in zip(rest, trunk(x), strict=True): test_close(a, b, eps=1e-6)
    test_close(rest[0], trunk.layer1(stem), eps=1e-6)
    test_eq([len(getattr(ResidualTrunk(8), f'layer{i}')) for i in (1,2,3,4)], [3,16,3,3])
    test_eq(ResidualTrunk(8).layer4[0].body[0][0].dilation, (2,2))

def test_groups_of_eight_channels():
    test_eq([check_width(c) for c in (4,8,32)], [5,10,40])
    for width in (0,10): test_fail(lambda: check_width(width), contains=f'multiple of 4, got {width}')
    test_eq(10*32//GROUP, 40)
    net = concat_features(8, 3).eval()
    test_eq(tuple(net(torch.randn(1,80,8,16)).shape), (1,3,8,16))
    test_eq([net[0][0].out_channels,net[1].kernel_size,net[1].bias], [32,(1,1),None])

def test_init_deviation():
    torch.manual_seed(0)
    net = init_convs(
        nn.Sequential(
            nn.Conv2d(32,64,3,bias=False), nn.Conv3d(64,32,3,bias=False),
            nn.Conv2d(256,128,1,bias=False)))
    for conv,want in zip(net, (2/(9*64), 2/(27*32), 2/128)):
        test_close(conv.weight.var().item()/want, 1, eps=0.05)

def test_features_count():
    count = lambda m: round(sum(p.numel() for p in m.parameters())/1e6, 4)
    teacher = MobileFeatures()
    student = MobileFeatures(blocks=(1,1,1,1))
    naive = MobileFeatures(2, (16,80), (1,1))
    test_eq([count(f) for f in (teacher,student,naive)], [.3976,.0997,.0204])
    test_eq(
        [tuple(t.shape[1:]) for t in teacher(torch.randn(1,3,32,64))],
        [(32,16,32),(64,8,16),(128,8,16),(128,8,16),(320,8,16)])
    test_eq([tuple(t.shape[1:]) for t in naive(torch.randn(1,3,32,64))], [(16,16,32),(80,8,16),(80,8,16)])
    test_fail(lambda: MobileFeatures(blocks=(1,1)), exc=ValueError, contains='4 widths and 2 numbers of blocks')

def test_classifiers_give_scores():
    x = torch.randn(1,8,6,10)
    test_eq([tuple(classifier(8, 8, 12)(x).shape),tuple(residual_pair(8)(x).shape)], [(1,12,6,10),(1,8,6,10)])
    assert classifier(8, 8, 12)[-1].bias is None and min(p.numel() for p in residual_pair(8).parameters())==8

def test_upsampling_starts_bilinear():
    from stereo_kd.models.regression import convex_upsample
    torch.manual_seed(0)
    disp = torch.randn(2,1,5,6)
    cells = torch.cat([disp, torch.zeros_like(disp)], 1)
    want = F.interpolate(disp, scale_factor=4, mode='bilinear')[:,0]
    exact = bilinear_weights().add(1e-20).log().flatten()[:,None,None].expand(2,-1,5,6)
    test_close(convex_upsample(cells, exact), want, eps=1e-5)
    net,names = make_upsample('convex', 8, 16)
    net.eval()
    test_eq(names, ('upsample_weights',))
    assert isinstance(net, UpsampleWeights)
    z = net(torch.randn(2,8,10,12), torch.randn(2,16,5,6))
    test_close(z.unflatten(1, (9,16)).softmax(1)[0,:,:,2,3], (bilinear_weights()+.01).flatten(1)/1.09, eps=1e-6)
    test_eq(make_upsample('bilinear', 8, 16), (None,()))
    test_fail(lambda: make_upsample('nearest', 8, 16), contains="'bilinear' or 'convex', got 'nearest'")
