# Generated from nbs/20_models.cost_volume.ipynb; edit the notebook, not this file
import torch
import torch.nn.functional as F
from torch import Tensor
from stereo_kd.core import check_pair
from statistics import median
from time import perf_counter
from fastcore.test import *
import matplotlib.pyplot as plt
import pytest
from stereo_kd.models.cost_volume import *

def test_shifted_right_is_x_minus_d():
    right = torch.arange(1.,6).expand(1,2,3,5)
    want = [[1,2,3,4,5],[0,1,2,3,4],[0,0,1,2,3]]
    for y in range(3): test_eq(shifted_right(right, 3)[0,1,:,y].tolist(), want)
    far = shifted_right(right, 8) # more candidates than columns
    test_eq(tuple(far.shape), (1,2,8,3,5))
    test_eq(far[:,:,5:].abs().max().item(), 0.)

def test_cosine_of_equal_vectors_is_one():
    l = F.normalize(torch.randn(1,6,3,9), dim=1)
    v = cosine_volume(l, l, 4, 16.)
    test_close(v[:,0], torch.full((1,3,9), 16.), eps=1e-4)
    assert v.abs().max()<16.0001 and (v[:,1:]<15.9).all()
    test_close(cosine_volume(l, -l.roll(-2, -1), 4)[:,2,:,2:], torch.full((1,3,7), -1.), eps=1e-5)

def test_recovers_known_shift():
    torch.manual_seed(0)
    right = F.normalize(torch.randn(1,8,4,32), dim=1)
    left  = right.roll(3, dims=-1)
    vol = correlation_volume(left, right, max_disp=8)
    test_eq(vol[...,8:].argmax(1).unique().tolist(), [3])
    test_close(vol[:,3,:,8:], torch.full((1,4,24), 1/8), eps=1e-6) # a unit vector with itself, mean over 8

def test_correlation_equals_the_loop():
    def loop(l, r, D):
        vol = l.new_zeros(l.shape[0], D, *l.shape[2:])
        for d in range(min(D, l.shape[-1])): vol[:,d,:,d:] = (l[...,d:]*r[...,:l.shape[-1]-d]).mean(1)
        return vol
    torch.manual_seed(0)
    for C,W,D in ((5,29,6),(4,24,12),(3,7,20),(3,6,6),(3,5,1),(2,1,4),(2,1,1)):
        l,r = torch.randn(2,2,C,3,W).requires_grad_().unbind()
        got,want = correlation_volume(l, r, D),loop(l, r, D)
        test_close(got, want, eps=1e-6)
        g = torch.randn_like(want)
        for a,b in zip(torch.autograd.grad(got, (l,r), g), torch.autograd.grad(want, (l,r), g)):
            test_close(a, b, eps=1e-6)

def test_groupwise_limits():
    torch.manual_seed(0)
    l,r = torch.randn(2,2,6,3,11)
    test_close(groupwise_volume(l, r, 5, 1)[:,0], correlation_volume(l, r, 5), eps=1e-6)
    test_close(groupwise_volume(l, r, 5, 6), l[:,:,None]*shifted_right(r, 5), eps=1e-6)
    vol = groupwise_volume(l, r, 5, 3)
    test_close(vol[:,1], correlation_volume(l[:,2:4], r[:,2:4], 5), eps=1e-6)
    test_close(vol.mean(1), correlation_volume(l, r, 5), eps=1e-6)

def test_concat_equals_the_loop():
    def loop(l, r, D):
        C,W = l.shape[1],l.shape[3]
        vol = l.new_zeros(l.shape[0], 2*C, D, *l.shape[2:])
        for d in range(min(D,W)):
            vol[:,:C,d,:,d:] = l[...,d:]
            vol[:,C:,d,:,d:] = r[...,:W-d]
        return vol
    torch.manual_seed(0)
    for W,D in ((11,4),(5,9),(6,1)):
        l,r = torch.randn(2,2,3,2,W).requires_grad_().unbind()
        got,want = concat_volume(l, r, D),loop(l, r, D)
        test_eq(got.detach(), want.detach())
        g = torch.randn_like(want)
        for a,b in zip(torch.autograd.grad(got, (l,r), g), torch.autograd.grad(want, (l,r), g)):
            test_close(a, b, eps=1e-6)

def test_interlaced_is_a_permutation_of_concat():
    torch.manual_seed(0)
    l,r = torch.randn(2,1,3,2,8)
    vol = interlaced_volume(l, r, 4)
    test_eq(vol[:,[0,2,4,1,3,5]], concat_volume(l, r, 4))
    test_eq(vol[:,2,0], l[:,1])
    test_eq(vol[:,3,0], r[:,1])

def test_zero_triangle():
    torch.manual_seed(0)
    l,r = torch.rand(2,1,4,2,6)+1
    outside = torch.arange(6)<torch.arange(9)[:,None]
    for vol in (
        correlation_volume(l,r,9)[:,None], groupwise_volume(l,r,9,2), concat_volume(l,r,9),
        interlaced_volume(l,r,9)):
        seen = (vol!=0).transpose(2,3)
        assert not seen[...,outside].any() and seen[...,~outside].all()
    l[...,0] = float('inf')
    assert concat_volume(l,r,9)[:,:,1:].isfinite().all()

def test_refuses_wrong_arguments():
    a = torch.randn(1,8,4,32)
    for f in (correlation_volume, concat_volume, interlaced_volume):
        test_fail(lambda: f(a, a[...,1:], 8), contains='(1, 8, 4, 32) != (1, 8, 4, 31)')
        test_fail(lambda: f(a, a, 0), contains='max_disp must be at least 1')
    test_fail(lambda: groupwise_volume(a, a[:,:4], 8, 4), contains='!=')
    test_fail(lambda: groupwise_volume(a, a, 8, 3), contains='8 channels into 3 groups')

def test_half_precision():
    torch.manual_seed(0)
    l,r = torch.randn(2,1,32,3,40)
    for f in (correlation_volume, concat_volume, interlaced_volume, lambda *a: groupwise_volume(*a, 4)):
        half = f(l.bfloat16(), r.bfloat16(), 12)
        test_eq(half.dtype, torch.bfloat16)
        test_close(half.float(), f(l.bfloat16().float(), r.bfloat16().float(), 12), eps=0.02)

@pytest.mark.cuda
def test_agrees_on_the_gpu():
    torch.manual_seed(0)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    l,r = torch.randn(2,2,16,9,50)
    for f in (correlation_volume, concat_volume, interlaced_volume, lambda *a: groupwise_volume(*a, 4)):
        test_close(f(l.to(device), r.to(device), 12).cpu(), f(l, r, 12), eps=1e-5)
