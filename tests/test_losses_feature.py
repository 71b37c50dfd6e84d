# Generated from nbs/42_losses.feature.ipynb; edit the notebook, not this file
import torch
import torch.nn.functional as F
from copy import deepcopy
from fastcore.basics import patch
from torch import nn, Tensor
from stereo_kd.models.base import get_map
import matplotlib.pyplot as plt
from functools import partial
from fastcore.test import *
from stereo_kd.losses.response import tempered_kl
from stereo_kd.models.base import StereoOutput, STAGES
from stereo_kd.models.zoo import create_model
from stereo_kd.losses.feature import *

def test_map_loss_by_hand():
    def output(v, **extras): return StereoOutput([[],torch.as_tensor(v),[],[],extras])
    s,t = output([[1.,2.]], coarse=torch.zeros(1,2)),output([[3.,2.]], coarse=torch.tensor([[0.,2.]]))
    test_close(MapLoss('cost_volume')(s, t, None, None), 2.)
    test_close(MapLoss('cost_volume', relative=True)(s, t, None, None), 2/6.5)
    test_close(MapLoss('coarse')(s, t, None, None), 2.)
    def apart(a, b): return (a-b).abs() # a distance for each element is averaged
    test_close(MapLoss('cost_volume', apart)(s, t, None, None), 1.)
    test_close(MapLoss('coarse', relative=True)(s, t, None, None), 1.)
    q = torch.tensor([0.,2.]).div(.5).softmax(0)
    test_close(MapLoss('coarse', tempered_kl)(s, t, None, None, tau=.5), .25*(q*(q*2).log()).sum(), eps=1e-5)
    test_fail(
        lambda: MapLoss('hourglass')(s, t, None, None), exc=ValueError,
        contains="no map 'hourglass'; it has cost_volume, coarse")
    test_fail(
        lambda: MapLoss('cost_volume')(s, output([1.]), None, None), exc=ValueError,
        contains='student is (1, 2), that of the teacher (1,)')
    test_eq(
        get_map(StereoOutput([[],torch.zeros(1),[torch.zeros(2),torch.ones(3)],[],{}]), 'aggregation'),
        torch.ones(3))

def test_gradients_reach_the_student_only():
    a,b = torch.zeros(1,3,2,2, requires_grad=True),torch.ones(1,3,2,2, requires_grad=True)
    output = lambda v: StereoOutput([[],v,[],[],{}])
    MapLoss('cost_volume')(output(a), output(b), None, None).backward()
    assert a.grad is not None and b.grad is None
    test_close(a.grad, torch.full_like(a, -2/12))

def test_cosine_is_taken_along_the_channels():
    torch.manual_seed(0)
    s,t = torch.randn(2,2,8,6,5,7)
    want = torch.stack([1-s[b,:,d,y,x]@t[b,:,d,y,x]/(s[b,:,d,y,x].norm()*t[b,:,d,y,x].norm())
                        for b in range(2) for d in range(6) for y in range(5) for x in range(7)]).mean()
    test_close(cosine_distance(s, t), want, eps=1e-5)
    test_close(cosine_distance(s, 3*s), 0, eps=1e-6) # size means nothing
    test_close(cosine_distance(s, -s), 2, eps=1e-6)
    half = t.clone()
    half[...,:3] = 0 # x < d: no direction, no constant
    test_close(cosine_distance(s, half), cosine_distance(s[...,3:], t[...,3:]), eps=1e-6)
    empty = torch.zeros_like(s).requires_grad_()
    loss = cosine_distance(empty, t)
    loss.backward()
    test_eq([loss.item(),empty.grad.abs().sum().item()], [0.,0.])
    maps = lambda x: StereoOutput([[[x[:,:,0]],[x[:,:,1]]],x,[],[],{}])
    test_close(MapLoss('cost_volume', cosine_distance)(maps(s), maps(t), None, None), want, eps=1e-5)
    test_close(
        MapLoss('features.right.0', cosine_distance)(maps(s), maps(t), None, None),
        cosine_distance(s[:,:,1], t[:,:,1]), eps=1e-6)

def test_cells_beyond_the_image_do_not_count():
    from stereo_kd.models.cost_volume import groupwise_volume
    torch.manual_seed(0)
    s,t = (groupwise_volume(*torch.randn(2,1,16,3,6), 6, 4) for _ in 'st')
    wide = [F.pad(v, (0,0,0,0,0,6)) for v in (s,t)] # as a range of 12 candidates on a map of 6 columns would have them
    assert (s==0).all(1).any() # there are such cells already
    test_close(cosine_distance(*wide), cosine_distance(s, t), eps=1e-6)
    inside = (torch.arange(6)>=torch.arange(6)[:,None])[:,None].expand(6,3,6)
    angles = 1-F.cosine_similarity(s, t, dim=1)
    test_close(cosine_distance(s, t), angles[0][inside].mean(), eps=1e-6)
    assert abs(angles.mean()-angles[0][inside].mean())>1e-2 # with them it would be another number

def test_pyramid_weighs_what_regions_share():
    torch.manual_seed(0)
    noise,shift = torch.randn(4,2,32,32),torch.ones(4,2,32,32)
    noise = noise/noise.square().mean().sqrt()
    at = [pyramid_mse(v, 0*v).item() for v in (noise,shift)]
    test_close(at, [(1+1/8+1/64+1/512)/1.875,1.], eps=.02) # means over n cells have a mean square of 1/n
    s = torch.randn(2,3,8,8,8)
    zero = torch.zeros_like(s)
    def blocks(n): # means over n cells along each axis
        return s.unflatten(4, (-1,n)).unflatten(3, (-1,n)).unflatten(2, (-1,n)).mean((3,5,7)).square().mean()
    test_close(pyramid_mse(s, zero), (s.square().mean()+blocks(2)/2)/1.5, eps=1e-6) # 16 and 8 leave it as it is
    test_close(pyramid_mse(s, zero, (4,2)), (s.square().mean()+blocks(2)/2+blocks(4)/4)/1.75, eps=1e-6)
    test_close(pyramid_mse(s, zero, ()), F.mse_loss(s, zero), eps=1e-6)
    flat = torch.randn(1,2,3,8) # a short axis keeps its cells
    test_close(pyramid_mse(flat, 0*flat, (4,)), (flat.square().mean()+flat.unflatten(3, (4,2)).mean(4).square().mean()/2)/1.5, eps=1e-6)

def test_the_naive_meets_all_layers():
    torch.manual_seed(0)
    def features(widths): return StereoOutput([[[torch.randn(1,c,4,4) for c in widths]]*2,[],[],[],{}])
    teacher,naive = features((32,64,128,128)),features((16,80))
    for adapt,shapes in (
        ('student',[(32,16),(64,16),(128,32),(128,32)]), ('teacher',[(16,32),(16,64),(32,128),(32,128)])):
        loss = FeatureLoss((32,64,128,128), (16,80), adapt)
        test_eq([tuple(p.shape[:2]) for p in loss.parameters() if p.dim()==4], shapes)
        value = loss(naive, teacher, None, None)
        value.backward()
        assert value>0 and all(p.grad.abs().sum()>0 for p in loss.parameters())
    same = FeatureLoss((32,64), (32,64))
    test_eq(list(same.parameters()), [])
    test_eq(same(features((32,64)), features((32,64)), None, None).dim(), 0)
    a = features((32,64))
    test_eq(same(a, a, None, None).item(), 0.)
    one,two = ([torch.full((1,c,4,4), v) for c in (32,64)] for v in (0.,4.))
    def views(*features): return StereoOutput([list(features),[],[],[],{}])
    test_close(same(views(one, two), views(one, one), None, None), (0+3.5)/2)
    test_eq(same(views(one, two), views(one, two), None, None).item(), 0.) # left with left
    for x in (*one,*two): x.requires_grad_()
    same(views(one, one), views(two, two), None, None).backward()
    assert all(x.grad is not None for x in one) and all(x.grad is None for x in two)
    test_eq(layer_pairs(2, 2), [(0,0,0.,1.),(1,1,0.,1.)])
    test_fail(lambda: layer_pairs(5, 2), exc=ValueError, contains='5 layers and a student with 2')
    # a pruned one
    test_eq(FeatureLoss((32,64,128,128), (16,56)).pairs, [(0,0,0,16),(1,1,0,11),(2,1,11,34),(3,1,34,56)])
    test_fail(lambda: FeatureLoss((1,), (1,), 'both'), exc=ValueError, contains="got 'both'")

def test_only_one_side_can_cheat():
    torch.manual_seed(0)
    left = {}
    for adapt in ('teacher','student'):
        loss,free = FeatureLoss((8,), (4,), adapt),nn.Parameter(torch.randn(1,4,1,1))
        opt = torch.optim.Adam([*loss.parameters(),free], .02)
        for _ in range(300):
            t = torch.rand(8,8,6,6)*4
            value = loss(
                StereoOutput([[[free.expand(8,4,6,6)]]*2,[],[],[],{}]),
                StereoOutput([[[t]]*2,[],[],[],{}]), None, None)
            opt.zero_grad()
            value.backward()
            opt.step()
        left[adapt] = value.item()
    assert left['teacher']<.01<.3<left['student'], left

def test_several_maps_and_adapters():
    torch.manual_seed(0)
    def output(c, g, *rest): # features of both views, a volume of g groups
        return StereoOutput([[[torch.randn(2,c,4,6, requires_grad=True)] for _ in 'lr'],torch.randn(2,g,3,4,6, requires_grad=True),[],[],{}])
    names = {'features.left.0':1., 'features.right.0':1., 'cost_volume':5.}
    s,t = output(8, 4),output(8, 4)
    want = sum(w*cosine_distance(get_map(s, n), get_map(t, n)) for n,w in names.items())
    test_close(AdaptedLoss(names)(s, t, None, None), want, eps=1e-6)
    mean = AdaptedLoss({'cost_volume':2.}, distance=F.mse_loss)
    test_close(mean(s, t, None, None), 2*F.mse_loss(s.cost_volume, t.cost_volume), eps=1e-6)
    shape = lambda o: {n:tuple(get_map(o, n).shape) for n in names}
    narrow = output(3, 2)
    loss = AdaptedLoss(names, (shape(narrow),shape(t)), F.mse_loss)
    test_eq({k:tuple(p.shape) for k,p in loss.named_parameters() if p.dim()>1},
            {'adapters.features_left_0.weight':(8,3,1,1), 'adapters.cost_volume.weight':(4,2,1,1,1)})
    assert not loss.adapters['cost_volume'](torch.zeros(1,2,3,4,6)).any() # a cell without a match stays one
    loss(narrow, t, None, None).backward()
    assert all(p.grad.abs().sum()>0 for p in loss.parameters())
    for n in names: test_eq([get_map(narrow, n).grad.abs().sum()>0,get_map(t, n).grad], [torch.tensor(True),None])
    test_eq(list(AdaptedLoss(names, (shape(s),shape(t))).parameters()), []) # equal widths need none
    flat = shape(t)|{'cost_volume':(2,12,4,6)}
    test_fail(lambda: AdaptedLoss(names, (flat,shape(t))), exc=ValueError,
        contains='cost_volume of the student is (2, 12, 4, 6), that of the teacher (2, 4, 3, 4, 6)')

def test_shapes_without_numbers():
    net = create_model('dsnet', max_disp=96, width=4, features=8, blocks=(1,1,1,1)).train()
    names = ('features.left.0','features.right.1','cost_volume','aggregation.-2','attention')
    x = torch.randn(1,3,64,128)
    with torch.no_grad(): out = net(x, x, 'aggregation')
    test_eq(map_shapes(net, names), {n:tuple(get_map(out, n).shape) for n in names})
    test_eq([net.training,next(net.parameters()).device.type], [True,'cpu'])
    test_fail(lambda: map_shapes(net, ['hourglass']), exc=ValueError, contains="no map 'hourglass'")
