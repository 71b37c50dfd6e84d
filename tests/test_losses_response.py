# Generated from nbs/41_losses.response.ipynb; edit the notebook, not this file
import math, torch
from functools import partial
from torch import Tensor
from stereo_kd.kernels.losses import fused_sum
from stereo_kd.models.base import own_scores, own_weights
from stereo_kd.models.regression import pixel_mean
import matplotlib.pyplot as plt
from fastcore.test import *
from stereo_kd.kernels.tail import use
from stereo_kd.models.base import StereoOutput
from stereo_kd.models.regression import upsample_scores
from stereo_kd.losses.response import *

def test_equation_4_by_hand():
    p,q = torch.tensor([0.,1.,2.]),torch.tensor([2.,1.,0.])
    for tau in (.5,1.):
        want = sum(
            abs((p/tau).exp()[i]/(p/tau).exp().sum()-(q/tau).exp()[i]/(q/tau).exp().sum())
            for i in range(3))
        test_close(tempered_l1(p.view(1,3,1), q.view(1,3,1), tau), want.view(1,1), eps=1e-6)
    far = torch.full((2,1,192,1), -1e4)
    far[0,:,3],far[1,:,90] = 0,0
    test_close(tempered_l1(*far), torch.tensor([[2.]]), eps=1e-6) # the bound

def test_both_vanish_only_when_equal():
    torch.manual_seed(0)
    a,b = torch.randn(2,1,24,5)
    for f in (tempered_l1,tempered_kl):
        test_close(f(a, a+3), torch.zeros(1,5), eps=1e-6) # softmax ignores a constant
        assert (f(a, b)>1e-2).all()
    g = torch.distributions.kl_divergence(*(torch.distributions.Categorical(logits=s[0].T/.5) for s in (b,a)))
    test_close(tempered_kl(a, b, .5)[0], .25*g, eps=1e-5)

def test_cross_entropy_is_divergence_plus_a_constant():
    torch.manual_seed(0)
    p,q = torch.randn(2,3,24,7).unbind()
    for tau in (.5,1.,2.):
        s = p.clone().requires_grad_()
        ce,kl = tempered_ce(s, q, tau),tempered_kl(s, q, tau)
        soft = (q/tau).softmax(1)
        test_close(ce-kl, -(soft*soft.log()).sum(1)*tau**2, eps=1e-5)
        test_close(ce, tau**2*torch.nn.functional.cross_entropy(p/tau, soft, reduction='none'), eps=1e-5)
        a,b = (torch.autograd.grad(l.sum(), s, retain_graph=True)[0] for l in (ce,kl))
        test_close(a, b, eps=1e-6)
        test_close(a, tau*((p/tau).softmax(1)-soft), eps=1e-5) # Hinton: the size of it does not fall with tau**2
    assert tempered_ce(q, q).min()>.1 and tempered_kl(q, q).abs().max()<1e-6

def test_fused_cross_entropy_is_the_sum():
    torch.manual_seed(0)
    s,t,weight = torch.randn(1,12,5,7).requires_grad_(),3*torch.randn(1,48,5,7),torch.rand(1,19,26)
    got = fused_ce(s, t, weight, 48, .5)
    want = (tempered_ce(*(upsample_scores(v, 48, (19,26)) for v in (s,t)), .5)*weight).sum()
    test_close(got/want, 1., eps=1e-5)
    test_close(*(torch.autograd.grad(l, s)[0] for l in (got,want)), eps=1e-5)

def test_full_quarter_and_sampled():
    torch.manual_seed(0)
    s = (2*torch.randn(2,12,8,10)).requires_grad_()
    t = 2*torch.randn(2,48,8,10)
    valid = torch.rand(2,32,40)<.5
    out = lambda x: StereoOutput([[],[],[x],[],{}])
    up = upsample_scores(s,48),upsample_scores(t,48)
    want = tempered_l1(*up, .7)
    for name in ('','torch'): # fused, and row by row
        with use(name):
            for distance in (tempered_l1,tempered_kl,tempered_ce):
                for masked in (False,True):
                    loss = ResponseLoss(48, distance, 'full', masked)(out(s), out(t), None, valid, .7)
                    every = distance(*up, .7)
                    test_close(loss, every[valid].mean() if masked else every.mean(), eps=1e-4)
                    grads = [torch.autograd.grad(l, s, retain_graph=True)[0]
                             for l in (loss, every[valid].mean() if masked else every.mean())]
                    test_close(*grads, eps=1e-6)
    draws = torch.stack([ResponseLoss(48)(out(s), out(t), None, valid, .7) for _ in range(200)])
    assert abs(draws.mean()-want.mean())<4*draws.std()/200**.5
    quarter = ResponseLoss(48, at='quarter')(out(s), out(t), None, valid, .7)
    assert .8<quarter/want.mean()<1.5

def test_teacher_gets_no_gradient():
    torch.manual_seed(0)
    s,t = (torch.randn(1,12,4,4, requires_grad=True) for _ in range(2))
    out = lambda x: StereoOutput([[],[],[x],[],{}])
    ResponseLoss(48)(out(s), out(t), None, torch.ones(1,16,16, dtype=torch.bool)).backward()
    assert s.grad.abs().sum()>0 and t.grad is None

def test_each_side_has_its_own_temperature():
    torch.manual_seed(0)
    s = 3*torch.randn(2,12,6,8)
    def out(scores, tau): return StereoOutput([[],[],[scores],[],dict(tau=torch.full((2,), tau))])
    valid = torch.ones(2,24,32, dtype=torch.bool)
    for distance in (tempered_l1,tempered_kl):
        for at in ('full','quarter'):
            loss = ResponseLoss(48, distance, at)
            gap = loss(out(s, 1.), out(s, 1/3), None, valid)
            want = distance(upsample_scores(s, 48), upsample_scores(3*s, 48)).mean()
            assert gap>.05
            if at=='full': test_close(gap, want, eps=1e-4*want.item())
            test_close(loss(out(s, 1.), out(s/3, 1/3), None, valid), 0, eps=1e-5)

def test_two_networks_that_differ_in_tau_only():
    from copy import deepcopy
    from unittest import mock
    from stereo_kd.losses import response
    from stereo_kd.models.base import get_map
    from stereo_kd.models.zoo import create_model
    torch.manual_seed(0)
    sharp = create_model('dtpnet', max_disp=48, stem=8, width=16).eval()
    soft = deepcopy(sharp)
    sharp.tau,soft.tau = 1/3,1.
    pair = torch.rand(2,1,3,32,64)
    with torch.no_grad(): a,b = (net(*pair) for net in (sharp,soft))
    test_close(get_map(a, 'aggregation'), get_map(b, 'aggregation'), eps=1e-6)
    def gap(distance, at): # what the loss says of the pair, beyond what it says of two equal networks
        return [ResponseLoss(48, distance, at)(a, o, None, torch.ones(1,32,64, dtype=torch.bool)).item() for o in (b,a)]
    for distance in (tempered_l1,tempered_kl,tempered_ce):
        for at in ('sampled','quarter','full'):
            torch.manual_seed(0)
            apart,same = gap(distance, at)
            assert apart>same+.01, (distance,at,apart,same)
    with mock.patch.object(response, 'own_scores', lambda out: get_map(out, 'aggregation')): # Eq. 4 on bare scores is blind to tau
        test_close(gap(tempered_l1, 'full'), [0,0], eps=1e-6)

def test_learned_upsampling_learns_from_the_teacher():
    from stereo_kd.models.regression import sample_scores
    torch.manual_seed(0)
    s,z,t = torch.randn(2,12,4,6, requires_grad=True),torch.randn(2,144,4,6, requires_grad=True),3*torch.randn(2,48,4,6)
    def out(scores, weights): return StereoOutput([[],[],[scores],[],dict(tau=torch.full((2,), .5), upsample_weights=weights)])
    plain,valid = StereoOutput([[],[],[t],[],{}]),torch.ones(2,16,24, dtype=torch.bool)
    for distance in (tempered_l1,tempered_kl):
        loss = ResponseLoss(48, distance, 'full')
        got = loss(out(s, z), plain, None, valid)
        ys,xs = (v.flatten()[None].expand(2,-1) for v in torch.meshgrid(torch.arange(16), torch.arange(24), indexing='ij'))
        mine = sample_scores(s/.5, ys, xs, 48, own_weights(out(s, z), 48))
        test_close(got, distance(mine, sample_scores(t, ys, xs, 48)).mean(), eps=1e-5)
        assert all(g.abs().sum()>0 for g in torch.autograd.grad(got, (s,z)))
        test_close(loss(out(s, z), out(s.detach(), z.detach()), None, valid), 0, eps=1e-5)
        assert not loss(plain, out(s, z), None, valid).requires_grad # nothing reaches a teacher
