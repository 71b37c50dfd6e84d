# Generated from nbs/40_losses.supervised.ipynb; edit the notebook, not this file
import torch
import torch.nn.functional as F
from functools import partial
from fastcore.basics import patch
from torch import Tensor
from stereo_kd.core import pick
from stereo_kd.kernels.losses import fused_sum
from stereo_kd.models.regression import disparity_tail, pixel_mean, soft_argmax
import matplotlib.pyplot as plt
from statistics import median
from time import perf_counter
from fastcore.test import *
from stereo_kd.data.synthetic import SyntheticPairs
from stereo_kd.kernels.tail import use
from stereo_kd.models.base import StereoOutput
from stereo_kd.models.regression import dominant_mode, upsample_scores
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

def test_modes_of_a_jump():
    nan = torch.nan
    row = torch.tensor([[[10.,10.,10.,40.,40.,40.,40.,7.]]])
    valid = torch.tensor([[[True]*7+[False]]])
    near = torch.stack(neighbour_truth(row, valid, (1,5)), 1)
    test_eq(near[0,:,0,2].tolist(), [10,10,10,40,40])
    assert near[0,:2,0,0].isnan().all() and near[0,3,0,6].isnan() # outside, and without truth
    weight,place,own = truth_modes(row, near)
    at = lambda x: [(round(w, 4),p) for w,p in zip(weight[0,:,0,x].tolist(), place[0,:,0,x].tolist()) if w]
    test_eq([at(x) for x in (0,1,2)], [[(1.,10.)],[(.9333,10.),(.0667,40.)],[(.9,10.),(.1,40.)]])
    test_eq([at(x) for x in (3,4,6)], [[(.1,10.),(.9,40.)],[(.05,10.),(.95,40.)],[(1.,40.)]])
    test_eq(own[0,0,:7].tolist(), [0,0,0,1,1,0,0])
    test_eq([tuple(m.shape) for m in neighbour_truth(row, valid, (3,3))], [(1,1,8)]*9)
    # a slant: the own mode at the truth, another at the mean of its cluster; a step of the gap joins
    slant = torch.tensor([[[20.,23.,26.,39.,42.]]])
    weight,place,own = (t[0,...,0,0] for t in truth_modes(slant, torch.stack(neighbour_truth(slant, slant>0), 1)))
    test_close(weight[:2], torch.tensor([.9,.1]))
    test_close(place[:2], torch.tensor([20.,40.5]))
    lone = torch.tensor([[[5.]]]) # nobody around
    test_eq(truth_modes(lone, torch.stack(neighbour_truth(lone, lone>0), 1))[0].flatten().tolist(), [1.]+[0.]*8)

def test_minimum_is_the_mixture():
    torch.manual_seed(0)
    s = torch.randn(1,48,8, requires_grad=True)
    row = torch.tensor([[10.3,10.3,10.3,30.,30.,30.,30.,30.]])
    near = [m[:,0] for m in neighbour_truth(row[:,None], row[:,None]>0, (1,5))]
    loss = modes_cross_entropy(s, row, *near)
    g, = torch.autograd.grad(loss.sum(), s)
    t = s.detach().softmax(1)-g # the gradient of a cross-entropy is p-t
    assert t.min()>-1e-6
    test_close(t.sum(1), torch.ones(1,8), eps=1e-5)
    low = t[0,:20].sum(0)
    test_close(low, torch.tensor([1.,1-.2/3,.9,.1,.05,0.,0.,0.]), eps=1e-4)
    i = torch.arange(48.)
    test_close((t[0,:20]*i[:20,None]).sum(0)[:3]/low[:3], torch.full((3,), 10.3), eps=1e-3) # the mean of a mode is its truth
    test_close(mode_shares(torch.tensor(10.), 48, .8)[[11,12]].log().diff(), torch.tensor([-1/.8]), eps=1e-4)
    test_close(dominant_mode(t.clamp(min=1e-30).log())[0], row[0], eps=.02)
    test_close(loss, -(t*s.log_softmax(1)).sum(1), eps=1e-4)

def test_narrow_modes_are_two_bins():
    torch.manual_seed(0)
    s,row = torch.randn(1,48,9),10+torch.rand(1,9) # no jump
    near = [m[:,0] for m in neighbour_truth(row[:,None], row[:,None]>0)]
    off = [(modes_cross_entropy(s, row, *near, width=w)-bin_cross_entropy(s, row)).abs().max() for w in (.8,.1,.01,1e-3)]
    assert off[0]>.05 and off[0]>off[1]>off[2]>off[3] and off[3]<5e-3, off
    test_close(mode_shares(torch.tensor([0.,47.,60.]), 48, 1e-4)[[0,1,2],[0,47,47]], torch.ones(3), eps=1e-3) # the ends

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
    from unittest import mock
    for at,read in (('full','disparity_tail'),('quarter','soft_argmax')): # a part of no weight is not computed
        with mock.patch.dict(SupervisedLoss.one.__globals__, {read: None}): SupervisedLoss(48, l1=0, at=at)(out, d, v)
    test_fail(lambda: SupervisedLoss(ce=0, l1=0), exc=ValueError, contains='both 0')

def test_the_target_of_modes_in_every_mean():
    torch.manual_seed(0)
    s = torch.randn(1,12,5,9, requires_grad=True)
    z = torch.randn(1,144,5,9)
    d = torch.where(torch.arange(34)<15, 30., 12.)+torch.rand(1,18,34)
    v = torch.rand(1,18,34)<.8
    def loss(d, at, **extras): return SupervisedLoss(48, at=at, target='modes')(StereoOutput([[],[],[s],[],extras]), d, v)
    full = loss(d, 'full')
    near = neighbour_truth(d, v)
    want = SupervisedLoss(48, target='modes').per_pixel(upsample_scores(s, 48, (18,34)), d, *near)[v].mean()
    test_close(full, want, eps=1e-4)
    assert abs(full-SupervisedLoss(48, at='full')(StereoOutput([[],[],[s],[],{}]), d, v))>1e-3 # of two bins
    test_eq(loss(torch.where(v, d, 500.), 'full').item(), full.item()) # what stands where no truth is
    for extras in ({},dict(upsample_weights=z)):
        want = loss(d, 'full', **extras)
        draws = torch.stack([loss(d, 'sampled', **extras).detach() for _ in range(200)])
        assert abs(draws.mean()-want)<4*draws.std()/200**.5, (draws.mean(), want)
        g, = torch.autograd.grad(loss(d, 'sampled', **extras), s)
        assert g.isfinite().all() and g.abs().max()>1e-5
    assert loss(d, 'quarter')>0
    zero, = torch.autograd.grad(SupervisedLoss(48, target='modes')(StereoOutput([[],[],[s],[],{}]), d, v&~v), s)
    test_eq(zero.abs().max().item(), 0.)
    test_close(SupervisedLoss(48, at='full', target='modes', width=1e-3, share=1.)(StereoOutput([[],[],[s],[],{}]), d, v),
               SupervisedLoss(48, at='full')(StereoOutput([[],[],[s],[],{}]), d, v), eps=1e-2) # nothing for others
    test_fail(lambda: SupervisedLoss(target='mode'), exc=ValueError, contains="unknown target 'mode'; known: bins, modes")
    test_fail(lambda: SupervisedLoss(window=(1,8)), exc=ValueError, contains='window must be two odd numbers, rows and columns, got (1, 8)')

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
