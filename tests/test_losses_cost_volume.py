# Generated from nbs/44_losses.cost_volume.ipynb; edit the notebook, not this file
import torch
from torch import Tensor
from stereo_kd.losses.response import ResponseLoss, tempered_ce
from stereo_kd.models.base import StereoOutput, get_map
import torch.nn.functional as F
import matplotlib.pyplot as plt
from fastcore.test import *
from stereo_kd.kernels.tail import use
from stereo_kd.losses.feature import AdaptedLoss
from stereo_kd.losses.response import tempered_kl
from stereo_kd.models.cost_volume import correlation_volume, groupwise_volume
from stereo_kd.models.regression import upsample_scores
from stereo_kd.losses.cost_volume import *

def test_outputs_are_compared_one_by_one():
    torch.manual_seed(0)
    def output(n, bins=12, tau=1.):
        scores = [(2*torch.randn(2,bins,6,8)).requires_grad_() for _ in range(n)]
        return StereoOutput([[],[],scores,[],dict(tau=torch.full((2,), tau))])
    s,t,valid = output(3),output(4, 48),torch.ones(2,24,32, dtype=torch.bool)
    weights = {'aggregation.-2':.5, 'aggregation.-1':1.}
    def want(i): # mean over batch and pixels of the cross-entropy over 48 bins
        p,q = (upsample_scores(o.aggregation[i], 48).softmax(1) for o in (s,t))
        return -(q*p.log()).sum(1).mean()
    for name in ('','torch'): # fused, and row by row
        with use(name): got = OutputsLoss(48, weights, at='full')(s, t, None, valid)
        test_close(got, .5*want(-2)+want(-1), eps=1e-4)
    half = [StereoOutput([[],[],[v[:1] for v in o.aggregation],[],{'tau':o.extras['tau'][:1]}]) for o in (s,t)]
    first = OutputsLoss(48, weights, at='full')(*half, None, valid[:1])
    assert abs(first-got)<.2*got # a mean over the batch, not a sum
    got.backward()
    test_eq([v.grad is not None for v in s.aggregation], [False,True,True])
    test_eq([v.grad for v in t.aggregation], [None]*4)
    test_close(OutputsLoss(48, at='full')(s, t, None, valid), want(-1), eps=1e-4)
    learned = output(1) # with an upsampling of its own: as `ResponseLoss` sees it
    learned.extras['upsample_weights'] = torch.randn(2,144,6,8)
    one = ResponseLoss(48, tempered_ce, 'full')(learned, t, None, valid)
    test_close(OutputsLoss(48, at='full')(learned, t, None, valid), one, eps=1e-5)
    bare = StereoOutput([[],[],learned.aggregation,[],dict(tau=learned.extras['tau'])])
    assert abs(one-ResponseLoss(48, tempered_ce, 'full')(bare, t, None, valid))>1e-3
    test_fail(lambda: OutputsLoss(48, {'aggregation.-4':1.})(s, t, None, valid), exc=ValueError, contains="no map 'aggregation.-4'")

def test_cross_entropy_is_divergence_plus_entropy():
    torch.manual_seed(0)
    s,t = (2*torch.randn(1,12,5,6) for _ in 'st')
    valid = torch.ones(1,20,24, dtype=torch.bool)
    def run(scores, distance):
        x = scores.clone().requires_grad_()
        out = [StereoOutput([[],[],[v],[],{}]) for v in (x,t)]
        loss = OutputsLoss(48, distance=distance, at='full')(*out, None, valid)
        return loss.detach(),*torch.autograd.grad(loss, x)
    ce,kl,own = run(s, tempered_ce),run(s, tempered_kl),run(t, tempered_ce)
    test_close(ce[0]-kl[0], own[0], eps=1e-4)
    test_close(ce[1], kl[1], eps=1e-6)
    assert own[1].abs().max()<1e-6<ce[1].abs().max()
    q = upsample_scores(t, 48).softmax(1)
    test_close(own[0], -(q*q.log()).sum(1).mean(), eps=1e-4)

def test_divergence_is_over_candidates():
    torch.manual_seed(0)
    s,t = torch.randn(2,6,5,3,4),torch.randn(2,8,5,3,4)
    P,Q = (torch.distributions.Categorical(logits=v.mean(1).permute(0,2,3,1)/.5) for v in (s,t))
    test_close(volume_kl(s, t, .5), torch.distributions.kl_divergence(Q, P), eps=1e-5)
    test_close(volume_kl(volume_scores(s), t, .5), volume_kl(s, t, .5), eps=1e-5) # a volume without channels
    test_close(volume_kl(s, s.repeat(1,2,1,1,1)+3), torch.zeros(2,3,4), eps=1e-6) # a constant is ignored
    test_fail(lambda: volume_kl(s, t[:,:,1:]), exc=ValueError, contains='(2, 5, 3, 4) and teacher (2, 4, 3, 4) differ')
    a,b = (StereoOutput([[],v.requires_grad_(),[],[],{}]) for v in (s,t))
    loss = AdaptedLoss({'cost_volume':2.}, distance=volume_kl)(a, b, None, None)
    test_close(loss, 2*volume_kl(s, t).mean(), eps=1e-6)
    loss.backward()
    assert a.cost_volume.grad.abs().sum()>0 and b.cost_volume.grad is None
