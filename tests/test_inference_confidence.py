# Generated from nbs/72_inference.confidence.ipynb; edit the notebook, not this file
import math, numpy as np, torch
from torch import Tensor
from stereo_kd.core import evaluating, pick
from stereo_kd.models.base import answer_maps, own_weights
from stereo_kd.models.regression import map_rows, sample_scores
import matplotlib.pyplot as plt, pandas as pd
from fastcore.test import *
from stereo_kd.core import denormalize
from stereo_kd.data.synthetic import SyntheticPairs
from stereo_kd.inference.left_right import left_right_disparities
from stereo_kd.models.regression import soft_argmax, upsample_scores
from stereo_kd.models.zoo import create_model, load_model
import pytest
from stereo_kd.inference.confidence import *

def test_distributions_by_hand():
    D = 192
    def given(**at): # probabilities at bins
        p = torch.zeros(1, D, 1)
        for k,v in at.items(): p[0,int(k[1:])] = v
        return p.log().clamp(min=-1e4)
    all_of = lambda s: {m: round(bin_confidence(s, m).item(), 5) for m in measures}
    test_eq(all_of(given(d40=1.)), dict(mass=1., entropy=1., peak=1., ratio=1.))
    test_eq(all_of(given(d40=.5, d80=.5)), dict(mass=0., entropy=round(1-math.log(2)/math.log(D), 5), peak=.5, ratio=0.))
    test_eq(all_of(given(d40=.5, d41=.5)), dict(mass=1., entropy=round(1-math.log(2)/math.log(D), 5), peak=.5, ratio=1.))
    test_eq(all_of(given(d40=.75, d50=.25))['ratio'], round(1-1/3, 5))
    test_close(bin_confidence(given(d40=.25, d41=.5, d42=.25)), .25*.5*2+.5, eps=1e-5) # half of the outer bins
    flat = all_of(torch.zeros(1, D, 1))
    test_close([flat[m] for m in measures], [2/D,0,1/D,0], eps=1e-4)
    test_fail(lambda: bin_confidence(given(d1=1.), 'variance'), exc=ValueError, contains="unknown measure 'variance'")

def test_confidence_is_that_of_the_full_scores():
    from unittest.mock import patch
    from stereo_kd.inference import confidence as module
    torch.manual_seed(0)
    net = create_model('dtpnet_lite', max_disp=48).eval()
    x,y = torch.randn(2,2,3,37,70)
    with torch.no_grad(): out = net(x, y)
    full = upsample_scores(out.aggregation[-1]/net.tau, 48, (37,70))
    tallest = []
    def seen(s, m):
        tallest.append(s.shape[2])
        return bin_confidence(s, m)
    for m in measures:
        with patch.object(module, 'bin_confidence', seen):
            disp,sure = module.answer_with_confidence(net, x, y, m)
        test_close(sure, bin_confidence(full, m), eps=1e-5)
        test_eq(read_confidence(net, out, (37,70), m), sure)
        test_close(disp, out.disparity[-1], eps=1e-5)
    assert max(tallest)<=16 # rows of the scores at a time
    assert net.tau!=1 and (bin_confidence(full*net.tau)-bin_confidence(full)).abs().max()>.01
    test_fail(lambda: read_confidence(net, net(x, y, upto='cost_volume'), (37,70)), exc=ValueError,
              contains='a DTPnetLite gives no scores to read')
    test_fail(lambda: answer_with_confidence(net, x, y, 'best'), exc=ValueError, contains="unknown measure 'best'")
    net.train()
    answer_with_confidence(net, x, y)
    assert net.training # left as it was

def test_confidence_of_a_learned_upsampling():
    torch.manual_seed(0)
    net = create_model('dtpnet_lite', max_disp=48, upsample='convex').eval()
    torch.nn.init.normal_(net.upsample.out.weight, 0, .5)
    x,y = torch.randn(2,1,3,37,70)
    disp,sure = answer_with_confidence(net, x, y)
    with torch.no_grad(): out = net(x, y)
    ys,xs = (v.flatten()[None] for v in torch.meshgrid(torch.arange(37), torch.arange(70), indexing='ij'))
    logs = sample_scores(out.aggregation[-1]/net.tau, ys, xs, 48, own_weights(out, 48)) # the network's own mixture
    test_close(soft_argmax(logs).view(37,70), disp[0], eps=1e-3)
    test_close(bin_confidence(logs).view(37,70), sure[0], eps=1e-4)

@pytest.mark.slow
def test_scale_is_a_confidence():
    torch.manual_seed(0)
    net = create_model('madis', size='tiny', max_disp=48).eval()
    x,y = torch.randn(2,1,3,40,70)
    disp,sure = answer_with_confidence(net, x, y)
    with torch.no_grad(): log_scale = net(x, y).extras['laplace'][:,1,:40,:70]
    draws = torch.distributions.Laplace(0., log_scale[0,3,5].exp()).sample((100_000,))
    test_close(sure[0,3,5], (draws.abs()<1).float().mean(), eps=.01)
    assert ((sure[0,0,1:]-sure[0,0,:-1])*(log_scale[0,0,1:]-log_scale[0,0,:-1])<=0).all() # wider, less sure
    test_fail(lambda: answer_with_confidence(net, x, y, 'peak'), exc=ValueError, contains="has the measure 'mass', not 'peak'")

def test_sparsification_by_hand():
    error = np.array([4.,0.,2.,6.])
    curve = sparsification(error, -error)
    test_eq((len(curve),curve[0],curve[-1]), (STEPS,3.,0.))
    test_close(curve[STEPS//2], 1.) # the better half: 0 and 2
    test_close(sparsification(error, error)[STEPS//2], 5.) # the worse half
    test_close(sparsification(error, -error, 3)[0], 50.)
    test_eq(ause(error, -error), 0.)
    rng = np.random.default_rng(0)
    error = rng.exponential(1, 20_000)
    blind,opposite = ause(error, rng.random(20_000)),ause(error, error)
    noisy = ause(error, -error+rng.normal(0, .5, 20_000))
    assert 0<noisy<blind/3 and blind<opposite/2, (noisy,blind,opposite)
    test_close(blind, np.mean(error)-np.mean(sparsification(error, -error)), eps=.02) # a flat curve
    test_close(ause(error, -3*error**2+7), 0, eps=1e-9) # only the order counts
    test_fail(lambda: ause(error, error[:-1]), exc=ValueError, contains='of one length, got (20000,) and (19999,)')
