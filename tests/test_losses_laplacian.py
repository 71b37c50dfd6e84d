# Generated from nbs/46_losses.laplacian.ipynb; edit the notebook, not this file
import torch
from torch import Tensor
from stereo_kd.losses.response import tempered_l1
from stereo_kd.models.base import get_map, own_scores, own_weights
from stereo_kd.models.regression import pixel_mean
import matplotlib.pyplot as plt
from fastcore.test import *
from stereo_kd.losses.response import tempered_kl
from stereo_kd.models.base import StereoOutput
from stereo_kd.models.madis import bounded_scale
from stereo_kd.models.regression import soft_argmax
from stereo_kd.models.zoo import create_model
from stereo_kd.losses.laplacian import *

def test_likelihood_by_hand():
    mu,c = torch.tensor([[3.,3.,3.]]),torch.tensor([[0.,1.,-2.]])
    test_close(laplacian_nll(mu, c, torch.tensor([[5.,5.,3.]])), torch.tensor([[2.,2/2.7182818+1,-2.]]), eps=1e-5)
    torch.manual_seed(0)
    x = torch.distributions.Laplace(10., 2.).sample((4000,))
    scales = torch.linspace(-1, 2, 301)
    best = scales[laplacian_nll(torch.tensor(10.), scales[:,None], x).mean(1).argmin()]
    test_close(best.exp(), (x-10).abs().mean(), eps=.05) # the scale is the mean error
    from torch.distributions import Laplace
    two = torch.tensor(2.).log() # the constant is log 2
    test_close(laplacian_nll(torch.tensor(10.), two, x)+two, -Laplace(10., 2.).log_prob(x), eps=1e-4)

def test_any_amount_of_truth():
    torch.manual_seed(0)
    for share in (1.,.3,.05,0.):
        raw = torch.randn(2,2,16,24, requires_grad=True) # 16x24: padded by the network
        answer = torch.stack([20*raw[:,0].exp(),bounded_scale(raw[:,1])], 1)
        out = StereoOutput([[],[],[],[],dict(laplace=answer)])
        valid = torch.rand(2,13,20)<share
        disp = torch.where(valid, 30., 0.)
        loss = LaplacianLoss()(out, disp, valid)
        loss.backward()
        assert loss.isfinite() and raw.grad.isfinite().all(), share
        test_eq((raw.grad.abs().sum(1)>0)[:,:13,:20], valid)
        test_eq(raw.grad[:,:,13:].abs().sum()+raw.grad[...,20:].abs().sum(), torch.tensor(0.))
        mu,c = (m[valid] for m in answer[:,:,:13,:20].unbind(1))
        if share==0: test_eq(loss.item(), 0.)
        else: test_close(loss, laplacian_nll(mu, c, disp[valid]).mean(), eps=1e-4)

def test_scores_are_the_distribution():
    from torch.distributions import Laplace
    mu = torch.tensor([[30.,30.2,30.5,41.9]], dtype=torch.float64)
    for c in (-3.,-1.,0.,1.):
        scores = laplace_scores(mu, torch.full_like(mu, c), 96)
        d = Laplace(mu, torch.full_like(mu, c).exp())
        want = torch.stack([d.cdf(mu.new_tensor(k+.5))-d.cdf(mu.new_tensor(k-.5)) for k in range(96)], 1)
        test_close(scores.exp(), want, eps=1e-7)
        test_close(scores.exp().sum(1), torch.ones(1,4).double(), eps=1e-5)
    for c,eps in ((-3.,.5),(1.,.01)): # its mean is the place; bins are 1 px wide
        assert (soft_argmax(laplace_scores(mu, torch.full_like(mu, c), 96))-mu).abs().max()<=eps
    far = laplace_scores(torch.tensor([[0.,190.]]), torch.tensor([[-3.,-3.]]), 192)
    assert far.isfinite().all() and far.softmax(1).isfinite().all()
    test_eq(far.argmax(1).tolist(), [[0,190]])

def test_scores_are_compared_with_the_distribution():
    torch.manual_seed(0)
    mu,c = 10+20*torch.rand(1,1,1).expand(1,16,24),torch.full((1,16,24), .5)
    teacher = StereoOutput([[],[],[],[],dict(laplace=torch.stack([mu,c], 1))])
    valid = torch.zeros(1,14,22, dtype=torch.bool) # no truth is needed
    same = laplace_scores(mu[:,::4,::4], c[:,::4,::4], 48)
    out = lambda s: StereoOutput([[],[],[s],[],{}])
    for at in ('full','sampled','quarter'):
        for distance in (tempered_l1,tempered_kl):
            loss = LaplaceResponseLoss(48, distance, at)
            right,wrong = (loss(out(s), teacher, None, valid).item() for s in (same,same.roll(9, 1)))
            assert abs(right)<1e-4<.1<wrong
    def read_at(tau, s): return StereoOutput([[],[],[s],[],dict(tau=torch.full((1,), tau))])
    for at in ('full','sampled'): # a network that is read at a third needs a third of the scores
        same_,other = (LaplaceResponseLoss(48, at=at)(read_at(1/3, v), teacher, None, valid).item() for v in (same/3,same))
        assert abs(same_)<1e-4<.1<other
    z = torch.zeros(1,144,4,6, requires_grad=True) # a learned upsampling is part of the answer
    learned = StereoOutput([[],[],[same.roll(9, 1)],[],dict(tau=torch.ones(1), upsample_weights=z)])
    LaplaceResponseLoss(48, tempered_kl, 'full')(learned, teacher, None, valid).backward()
    assert z.grad is not None
    s = torch.zeros(1,48,4,6, requires_grad=True) # knows nothing: its gradient leads to the probabilities
    LaplaceResponseLoss(48, tempered_kl)(out(s), teacher, None, valid).backward()
    test_close(s.grad.sum((2,3))[0], 1/48-same[0,:,0,0].softmax(0), eps=1e-5)
    test_eq(LaplaceResponseLoss(48, masked=True)(out(same.roll(9, 1)), teacher, None, valid).item(), 0.)

def test_madis_teaches_a_network_of_scores():
    torch.manual_seed(0)
    teacher,student = create_model('madis', size='tiny', max_disp=48).freeze(),create_model('dtpnet', max_disp=48)
    x,y = torch.randn(2,1,3,37,70)
    taught = teacher(x, y, upto='aggregation')
    test_eq(taught.disparity, [])
    valid = torch.ones(1,37,70, dtype=torch.bool)
    loss = LaplaceResponseLoss(48)(student(x, y, upto='aggregation'), taught, None, valid, tau=.5)
    loss.backward()
    assert 0<loss.item()<=2 and student.score.weight.grad.abs().max()>0
    test_eq([p.grad for p in teacher.parameters() if p.grad is not None], [])
