# Generated from nbs/23_models.base.ipynb; edit the notebook, not this file
from torch import nn, Tensor
from stereo_kd.core import check_pair, pad_to
from stereo_kd.models.regression import disparity_tail
import torch
from fastcore.test import *
from fastai.torch_core import to_detach, to_float, to_cpu
from stereo_kd.models.cost_volume import correlation_volume
from fastcore.basics import patch
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

def test_any_size_and_any_stage():
    class Net(StereoNet):
        def features(self, image): return [image[...,::4,::4]]
        def cost_volume(self, left, right): return correlation_volume(left[-1], right[-1], self.max_disp//4)
        def aggregation(self, volume, left, extras): return [volume]
    x = torch.randn(2,3,37,70)
    out = Net(48)(x, x.clone())
    test_eq(tuple(out.disparity[-1].shape), (2,37,70))
    test_eq(tuple(out.aggregation[-1].shape), (2,12,12,20))
    out = Net(48)(x, x.clone(), upto='cost_volume')
    assert len(out.cost_volume) and out.aggregation==[] and out.disparity==[]
    test_eq(Net(96)(x, x.clone(), upto='cost_volume').cost_volume.shape[1], 24)

def test_bad_arguments_are_named():
    test_fail(lambda: StereoNet(100), contains='multiple of 48, got 100')
    test_fail(lambda: StereoNet()(torch.zeros(1,3,8,8), torch.zeros(1,3,8,9)), contains='!=')
    test_fail(lambda: StereoNet()(torch.zeros(1,3,8,8), torch.zeros(1,3,8,8), upto='depth'), contains='features')
