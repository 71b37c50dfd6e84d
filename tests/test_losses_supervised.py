# Generated from nbs/40_losses.supervised.ipynb; edit the notebook, not this file
import torch
import torch.nn.functional as F
from functools import partial
from fastcore.basics import patch
from torch import Tensor
from stereo_kd.kernels.losses import fused_sum
from stereo_kd.models.regression import disparity_tail, pixel_mean, soft_argmax
import matplotlib.pyplot as plt
from fastcore.test import *
from stereo_kd.kernels.tail import use
from stereo_kd.models.base import StereoOutput
from stereo_kd.models.regression import upsample_scores
from stereo_kd.losses.supervised import *

def test_minimum_has_the_right_mean():
    s = torch.zeros(1,12,1, requires_grad=True)
    d = torch.tensor([[4.3]])
    opt = torch.optim.LBFGS([s], max_iter=200)
    def step():
        opt.zero_grad()
        l = bin_cross_entropy(s, d).mean()
        l.backward()
        return l
    for _ in range(5): opt.step(step)
    test_close(soft_argmax(s.detach()), d, eps=.02)
    test_close(s.softmax(1)[0,[4,5],0], torch.tensor([.7,.3]), eps=.02)
    test_close(
        bin_cross_entropy(torch.zeros(1,12,1), torch.tensor([[11.]])), torch.tensor([[12.]]).log(),
        eps=1e-6)

def test_bins_see_what_the_mean_does_not():
    split = torch.full((1,64,1), -20.)
    split[:,[10,50]] = 0
    right = torch.full((1,64,1), -20.)
    right[:,30] = 0
    d = torch.tensor([[30.]])
    test_close(soft_argmax(split), d, eps=1e-2)
    test_close(soft_argmax(right), d, eps=1e-2)
    assert bin_cross_entropy(split, d)>15 and bin_cross_entropy(right, d)<1e-3

def test_weights_and_outputs():
    torch.manual_seed(0)
    a,b = torch.randn(2,1,12,4,6)
    d = 30*torch.rand(1,16,24)
    v = torch.ones(1,16,24, dtype=torch.bool)
    loss = SupervisedLoss(48, (.5,1.), at='full')
    one = lambda s: loss(StereoOutput([None,None,[s],None,{}]), d, v)
    both = loss(StereoOutput([None,None,[a,b],None,{}]), d, v)
    test_close(both, (.5*one(a)+one(b))/1.5, eps=1e-5)
    assert one(b)!=one(a)
    test_fail(
        lambda: SupervisedLoss(48, (1.,1.,1.))(StereoOutput([None,None,[a,b],None,{}]), d, v),
        contains='2 outputs for 3 weights')
    test_fail(lambda: loss(StereoOutput([[],[],[],[],{}]), d, v), exc=ValueError, contains='needs scores')

def test_parts_can_be_switched_off():
    torch.manual_seed(0)
    s = torch.randn(1,48,4,6)
    d = 30*torch.rand(1,16,24)
    v = torch.rand(1,16,24)<.5
    out = StereoOutput([None,None,[s],None,{}])
    both,ce,l1 = (SupervisedLoss(48, ce=c, l1=l, at='full')(out, d, v) for c,l in ((1,.1),(1,0),(0,.1)))
    test_close(both, ce+l1, eps=1e-5)
    assert ce>0 and l1>0
    with use('torch'): test_close(SupervisedLoss(48, at='full')(out, d, v), both, eps=1e-5)
    test_close(both, SupervisedLoss(48).per_pixel(upsample_scores(s, 48), d)[v].mean(), eps=1e-5)

def test_regression_loss_by_hand():
    pred,disp = torch.tensor([[[3.,7.,1e6]]]).requires_grad_(),torch.tensor([[[3.,5.,0.]]])
    valid = torch.tensor([[[True,True,False]]])
    def out(*disps): return StereoOutput([[],[],[],list(disps),{}])
    logs = torch.tensor([.5,2.5]).log()
    test_close(RegressionLoss()(out(pred), disp, valid), logs.mean(), eps=1e-6)
    test_close(RegressionLoss(distance=smooth_l1)(out(pred), disp, valid), (0+1.5)/2, eps=1e-6)
    two = RegressionLoss((.5,1.))
    test_close(two(out(disp,pred), disp, valid), (.5*torch.tensor(.5).log()+logs.mean())/1.5, eps=1e-6)
    test_close(two(out(pred), disp, valid), logs.mean(), eps=1e-6) # one output in evaluation: the answer
    RegressionLoss()(out(pred), disp, valid).backward()
    test_close(pred.grad, torch.tensor([[[0.,1/2.5/2,0.]]]), eps=1e-6)
    test_eq(RegressionLoss()(out(pred), disp, ~valid&valid).item(), 0.)
    test_fail(lambda: RegressionLoss((1.,1.,1.))(out(pred,pred), disp, valid), contains='2 outputs for 3 weights')
