# Generated from nbs/23_models.base.ipynb; edit the notebook, not this file
from fastcore.basics import patch
from torch import nn, Tensor
from stereo_kd.core import check_pair, pad_to
from stereo_kd.models.regression import confidence, disparity_tail, neighbours, sharpen_weights
import torch
from fastcore.test import *
from fastai.torch_core import to_detach, to_float, to_cpu
from stereo_kd.models.cost_volume import correlation_volume
from stereo_kd.models.base import *

def test_output_survives_fastai():
    t = torch.ones(1,2, requires_grad=True)*2
    # a stage that was not computed is empty, not None: fastai converts all it finds
    out = StereoOutput([[[t],[t]], [], [t], [t.half()], {}])
    for f in (to_detach, to_float, to_cpu):
        res = f(out)
        assert isinstance(res, StereoOutput)
        test_eq(tuple(res.disparity[-1].shape), (1,2))
    assert not to_detach(out).disparity[-1].requires_grad and out.aggregation[0].requires_grad
    test_fail(lambda: out.disparities, exc=AttributeError)

def test_sharper_scores_stay_with_one_answer():
    scores = torch.full((1,12,2,3), -9.)
    scores[:,2],scores[:,9] = 2.,1. # bins 8 to 11 a little better than 36 to 39
    net = StereoNet(48)
    soft = net.disparity(scores, (8,12))
    net.tau = .1
    sharp = net.disparity(scores, (8,12))
    assert 14<soft.min() and soft.max()<20 and (sharp-9.5).abs().max()<.1
    test_close(sharp, StereoNet(48).disparity(scores/.1, (8,12)), eps=1e-5)

def test_dominant_mode_of_the_scores():
    scores = torch.full((1,12,2,3), -9.)
    scores[:,2],scores[:,9] = 2.,1.9 # bins 8 to 11 a little better than 36 to 39
    net = StereoNet(48)
    mean = net.disparity(scores, (8,12))
    net.reading = 'mode'
    mode = net.disparity(scores, (8,12))
    assert 20<mean.min() and (mode-9.5).abs().max()<.2, (mean, mode)
    test_eq(mode, disparity_tail(scores, 48, (8,12), reading='mode'))
    net.reading = 'median'
    test_fail(lambda: net.disparity(scores, (8,12)), exc=ValueError, contains="unknown reading 'median'; known: mean, mode")

def test_any_size_and_any_stage():
    class Net(StereoNet):
        def features(self, image, extras): return [image[...,::4,::4]]
        def cost_volume(self, left, right, extras):
            return correlation_volume(left[-1], right[-1], self.max_disp//4)
        def aggregation(self, volume, left, right, extras, all_outputs): return [volume]
    x = torch.randn(2,3,37,70)
    out = Net(48)(x, x.clone())
    test_eq(tuple(out.disparity[-1].shape), (2,37,70))
    test_eq(tuple(out.aggregation[-1].shape), (2,12,12,20))
    out = Net(48)(x, x.clone(), upto='cost_volume')
    assert len(out.cost_volume) and out.aggregation==[] and out.disparity==[]
    test_eq(Net(96)(x, x.clone(), upto='cost_volume').cost_volume.shape[1], 24)

def test_bad_arguments_are_named():
    test_fail(lambda: StereoNet(100), contains='multiple of 48, got 100')
    assert check_network(StereoNet()) is None
    test_fail(lambda: check_network(nn.Conv2d(3, 1, 1), 'teacher'), exc=ValueError, contains='teacher must be a StereoNet, got Conv2d')
    test_fail(lambda: StereoNet()(torch.zeros(1,3,8,8), torch.zeros(1,3,8,9)), contains='!=')
    test_fail(lambda: StereoNet()(torch.zeros(1,3,8,8), torch.zeros(1,3,8,8), upto='depth'), contains='features')

def test_maps_have_names():
    maps = [[torch.full((1,2), 10.*view+layer) for layer in range(3)] for view in range(2)]
    scores = [torch.full((1,2), 100.+k) for k in range(2)]
    extras = dict(mask=[torch.zeros(1),torch.ones(1)], coarse=torch.full((1,), 7.))
    out = StereoOutput([maps, torch.full((1,2), 50.), scores, [], extras])
    wanted = {'features.left.2': 2., 'features.right.0': 10., 'features.right': 12., 'cost_volume': 50.,
              'aggregation': 101., 'aggregation.0': 100., 'aggregation.-2': 100., 'coarse': 7., 'mask.right': 1.}
    test_eq({k: get_map(out, k).flatten()[0].item() for k in wanted}, wanted)
    for wrong in (
        'features', 'features.left.3', 'features.middle', 'aggregation.5', 'disparity', 'hourglass',
        'coarse.left.1'):
        test_fail(
            lambda: get_map(out, wrong), exc=ValueError,
            contains=f'no map {wrong!r}; it has features, cost_volume')

def test_a_disparity_is_read_from_several_maps():
    class Net(StereoNet):
        answer_with = ('upsample_weights',)
        tau = .5
        def features(self, image, extras): return [image[...,::4,::4]]
        def cost_volume(self, left, right, extras): return correlation_volume(left[-1], right[-1], 12)
        def aggregation(self, volume, left, right, extras, all_outputs):
            extras['upsample_weights'] = left[-1].repeat(1, 48, 1, 1)
            return [volume,2*volume]
    torch.manual_seed(0)
    net,(x,y) = Net(48),torch.randn(2,1,3,20,33)
    out = net(x, y)
    maps = answer_maps(net, out)
    assert maps[0] is out.aggregation[-1] and maps[1] is out.extras['upsample_weights']
    test_eq(out.disparity[-1], net.disparity(maps[0], (20,33), *maps[1:]))
    test_eq(out.disparity[0], disparity_tail(out.aggregation[0], 48, (20,33), .5, weights=maps[1])) # the weaker output too
    assert (out.disparity[-1]-disparity_tail(maps[0], 48, (20,33), .5)).abs().max()>.1

def test_scores_carry_their_temperature():
    class Net(StereoNet):
        tau = .25
        def features(self, image, extras): return [image[...,::4,::4]]
        def cost_volume(self, left, right, extras): return correlation_volume(left[-1], right[-1], 12)
        def aggregation(self, volume, left, right, extras, all_outputs): return [volume]
    torch.manual_seed(0)
    net,x = Net(48).eval(),torch.randn(2,3,32,64)
    out = net(x, x.flip(-1))
    test_eq(out.extras['tau'].tolist(), [.25,.25])
    test_close(disparity_tail(own_scores(out), 48), out.disparity[-1], eps=1e-5)
    assert (disparity_tail(get_map(out, 'aggregation'), 48)-out.disparity[-1]).abs().max()>1
    test_eq('tau' in net(x, x, upto='cost_volume').extras, False)
    test_eq(own_scores(StereoOutput([[],[],[x],[],{}])), x) # without a temperature: 1

def test_own_mixture_has_the_disparity_as_its_mean():
    from stereo_kd.models.regression import sample_scores, soft_argmax
    torch.manual_seed(0)
    scores,weights,tau = torch.randn(2,12,4,5),torch.randn(2,144,4,5),torch.full((2,), .4)
    out = StereoOutput([[],[],[scores],[],dict(tau=tau, upsample_weights=weights)])
    ys,xs = torch.randint(16, (2,50)),torch.randint(20, (2,50))
    own = sample_scores(own_scores(out), ys, xs, 48, own_weights(out, 48))
    want = disparity_tail(scores, 48, None, .4, weights=weights)
    test_close(soft_argmax(own), torch.stack([want[b,ys[b],xs[b]] for b in range(2)]), eps=1e-4)
    assert own_weights(StereoOutput([[],[],[scores],[],{}]), 48) is None

def test_every_stage_writes_extras():
    class Net(StereoNet):
        answer = 'head'
        def features(self, image, extras):
            extras['mean'] = image.mean((2,3))
            return [image[...,::4,::4]]
        def cost_volume(self, left, right, extras):
            extras['gap'] = extras['mean'][0]-extras['mean'][1]
            return left[-1]*right[-1]
        def aggregation(self, volume, left, right, extras, all_outputs):
            extras['head'] = left[-1][:,:1]-right[-1][:,:1]
            return []
        def disparity(self, head, size):
            return nn.functional.interpolate(head, scale_factor=4)[:,0,:size[0],:size[1]]
    x,y = torch.randn(2,1,3,20,33)
    out = Net(48)(x, y)
    test_eq(get_map(out, 'mean.right'), nn.functional.pad(y, (0,15,0,12), mode='replicate').mean((2,3)))
    test_eq(out.extras['gap'], get_map(out, 'mean.left')-get_map(out, 'mean.right'))
    test_eq([tuple(out.disparity[-1].shape),out.aggregation], [(1,20,33),[]])
    test_close(out.disparity[-1][0,::4,::4], (x-y)[0,0,::4,::4])
    assert get_map(out, Net.answer) is out.extras['head']
    given = (dict(seen='a'),dict(seen='b'))
    test_eq([Net(48)(x, y, 'features', None, given).extras['seen'],given], [['a','b'],(dict(seen='a'),dict(seen='b'))])
    test_fail(lambda: get_map(out, 'aggregation'), contains="no map 'aggregation'")

def test_a_call_leaves_no_trace():
    class Net(StereoNet):
        def features(self, image, extras): return [image[...,::4,::4]]
        def cost_volume(self, left, right, extras): return correlation_volume(left[-1], right[-1], 12)
        def aggregation(self, volume, left, right, extras, all_outputs):
            return [volume,2*volume] if all_outputs else [2*volume]
    net,x = Net(48),torch.randn(1,3,32,64)
    counts = lambda **kw: [len(getattr(net(x, x.clone(), **kw), s)) for s in ('aggregation','disparity')]
    # in training mode
    test_eq([counts(), counts(upto='aggregation'), counts(all_outputs=False)], [[2,2],[2,0],[1,1]])
    net.eval()
    before = dict(vars(net))
    test_eq([counts(), counts(all_outputs=True), counts(upto='features')], [[1,1],[2,2],[0,0]])
    net.disparity = lambda *a: 1/0
    test_fail(lambda: net(x, x.clone(), all_outputs=True), exc=ZeroDivisionError)
    del net.disparity
    test_eq(vars(net), before)

def test_a_frozen_network_is_a_teacher():
    net = StereoNet(48)
    net.layer = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1))
    assert net.train().freeze() is net
    test_eq([m.training for m in net.modules()], [False]*4)
    test_eq([p.requires_grad for p in net.parameters()], [False]*4)
