# Generated from nbs/43_losses.relational.ipynb; edit the notebook, not this file
import torch
import torch.nn.functional as F
from torch import Tensor
import matplotlib.pyplot as plt
from fastcore.test import *
from itertools import permutations
from stereo_kd.losses.feature import AdaptedLoss, cosine_distance
from stereo_kd.models.base import StereoOutput
from stereo_kd.losses.relational import *

def test_attention_by_hand():
    s = torch.tensor([[[[3.,0.],[0.,0.]],[[4.,0.],[0.,0.]]]])     # all energy at one position
    t = torch.tensor([[[[0.,0.],[0.,7.]]]])                       # at another one, one channel
    test_close(attention_transfer(s, t), torch.tensor([2.]), eps=1e-6)
    flat = torch.ones(1,5,2,2)
    test_close(attention_transfer(s, flat), torch.tensor([2-2*.5]), eps=1e-6) # (1,0,0,0) against (1,1,1,1)/2
    torch.manual_seed(0)
    v = torch.randn(2,4,3,5,6)
    test_close(attention_transfer(v, -3*v.flip(1)), torch.zeros(2), eps=1e-6) # order, sign and size of channels are free

def test_regions_are_means_or_largest_values():
    x = torch.arange(32.).view(1,2,4,4)
    test_eq(region_vectors(x, 2)[0,:,0].tolist(), [2.5,4.5,10.5,12.5])
    test_eq(region_vectors(x, 2, largest=True)[0,:,0].tolist(), [5.,7.,13.,15.])
    test_eq(region_vectors(x, 2)[0,:,1].tolist(), [18.5,20.5,26.5,28.5])
    test_eq(tuple(region_vectors(torch.zeros(2,3,6,4,9), 4).shape), (2,64,3))
    test_eq(tuple(region_vectors(torch.zeros(2,3,6,2,9), 4).shape), (2,4*2*4,3)) # no more regions than cells

def test_pairwise_by_hand():
    s = torch.tensor([[[[1.,0.]],[[0.,1.]]]]) # two positions, at a right angle
    t = torch.tensor([[[[1.,1.]],[[1.,1.]]]]) # the same direction
    test_close(pairwise_similarity(s, t), torch.tensor([2/4]), eps=1e-6) # two of four entries are wrong by 1
    test_close(pairwise_similarity(s, 5*s), torch.zeros(1), eps=1e-6)
    s = torch.tensor([[[[3.,-3.,0.,1.]],[[0.,0.,1.,1.]]]]) # largest values of the halves: (3,0) and (1,1); means (0,0), (.5,1)
    test_close(pairwise_similarity(s, torch.ones(1,2,1,4), regions=2), torch.tensor([2*(1-.5**.5)**2/4]), eps=1e-6)

def test_triangles():
    def points(*p): return torch.tensor(p).T.reshape(1,2,1,-1) # (1,2,1,3): three regions
    a = points((0.,0.),(1.,0.),(.5,3**.5/2))
    b = points((0.,0.),(3.,0.),(0.,4.))
    legs = torch.tensor([3.,4.,5.])
    want = F.smooth_l1_loss(legs/legs.mean(), torch.ones(3))
    test_close(relational_distance(b, a, angle=0.), 25*want, eps=1e-4)
    corner = {0:0., 1:.6, 2:.8} # cosines of the angles of the second; those of the first are one half
    diffs = [.5-corner[j] for i,j,k in permutations(range(3))] + [0.]*21 # of 27, the others have i or k equal to j, or i=k
    test_close(relational_distance(b, a, distance=0.), 50*sum(d*d/2 for d in diffs)/27, eps=1e-4)
    turned = points((9.,9.),(9.,15.),(1.,9.)) # by a right angle, twice as large
    test_close(relational_distance(b, turned), 0, eps=1e-5)
    test_fail(lambda: relational_distance(torch.zeros(1,2,1,1), torch.zeros(1,2,1,1)), contains='at least two regions')
    pair = [torch.cat([a,40*b]),torch.cat([b,9*a])] # each map of a batch by its own mean distance
    test_close(relational_distance(*pair), relational_distance(a, b), eps=1e-4)
    x = torch.ones(1,3,4,4, requires_grad=True) # regions that coincide: no nan on the way back
    relational_distance(x, torch.randn(1,3,4,4)).backward()
    assert x.grad.isfinite().all()

def test_neighbourhoods_by_hand():
    s = torch.tensor([[[[1.,0.,-1.]],[[0.,1.,0.]]]])  # cosines: 0, -1; 0, 0; -1, 0
    t = torch.tensor([[[[1.,1.,0.]],[[0.,0.,1.]]]])   # cosines: 1, 0; 1, 0; 0, 0
    k = lambda *v: torch.tensor([[(1+c)/2 for c in row] for row in v])
    p,q = (m/m.sum(1, keepdim=True) for m in (k((0,-1),(0,0),(-1,0))+1e-6,k((1,0),(1,0),(0,0))))
    test_close(probability_transfer(s, t), (q*(q/p).log()).sum(1).mean()[None], eps=1e-4)
    test_close(probability_transfer(s, 3*s), torch.zeros(1), eps=1e-6)

def test_relations_do_not_see_rotations():
    torch.manual_seed(0)
    for size in ((8,9),(5,6,7)):
        t = torch.randn(2,6,*size)
        turn,_ = torch.linalg.qr(torch.randn(6,6))
        s = torch.einsum('ij,bj...->bi...', turn, t)
        wide = torch.cat([s,torch.zeros_like(s)], 1) # and other widths do not matter
        for name,f in RELATIONS.items():
            other = f(torch.randn_like(t), t).mean()
            if name=='pairwise': continue # the largest value of a channel turns with the channels
            for v in (s,wide): assert f(v, t).mean().abs()<1e-4*other, (name, f(v, t), other)
        assert cosine_distance(s, t)>.5
        for f in (pairwise_similarity,relational_distance,probability_transfer):
            test_fail(lambda: f(t[...,1:], t), exc=ValueError, contains='differ in size')
        test_close(pairwise_similarity(t.flip(1), t), torch.zeros(2), eps=1e-6)

def test_gradients_reach_the_student_only():
    torch.manual_seed(0)
    def output(c): # features of both views and a volume
        return StereoOutput([[[torch.randn(2,c,6,8, requires_grad=True)] for _ in 'lr'],torch.randn(2,c,4,6,8, requires_grad=True),[],[],{}])
    weights = {'features.left.0':1., 'features.right.0':1., 'cost_volume':1.}
    for f in RELATIONS.values():
        s,t = output(3),output(5)
        loss = AdaptedLoss(weights, distance=f)
        test_eq(list(loss.parameters()), [])
        loss(s, t, None, None).backward()
        for a,b in zip((*[v[0] for v in s.features],s.cost_volume), (*[v[0] for v in t.features],t.cost_volume)):
            assert a.grad.isfinite().all() and a.grad.abs().sum()>0 and b.grad is None
