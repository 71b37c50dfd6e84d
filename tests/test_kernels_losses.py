# Generated from nbs/08_kernels.losses.ipynb; edit the notebook, not this file
import numpy as np, torch
from torch import Tensor
from stereo_kd.core import pick
from stereo_kd.kernels.jit import LOG2E, TINY, add_columns, bands, each, f4, finite, four, gather, give_row, njit, own_maximum, row_of_bins
import os
import numpy as np
from statistics import median
from time import perf_counter
import torch.nn.functional as F
from fastcore.test import *
from stereo_kd.kernels.jit import f4
import pytest
from stereo_kd.kernels.losses import *

def test_three_bins_by_hand():
    student = np.zeros((3,1,1), np.float32)
    teacher = np.float32([50,0,0]).reshape(3,1,1)
    weight = np.ones((4,4), np.float32)
    none = np.zeros((0,0,0), np.float32)
    test_close(distances(True, student, teacher, weight, f4(1), none, 3, 0, 4, 0), 16*4/3, eps=1e-4)
    test_close(distances(False, student, teacher, weight, f4(1), none, 3, 0, 4, 0), 16*np.log(3), eps=1e-4)
    test_close(
        cross_entropy(student, np.full((4,4), 1.5, np.float32), weight, none, 3, 0, 4, 0), 16*np.log(3),
        eps=1e-4)
    grad = np.zeros((3,1,1), np.float32)
    cross_entropy(student, np.full((4,4), 1.5, np.float32), weight, grad, 3, 0, 4, 0)
    test_close(grad[:,0,0], 16*np.array([1/3,1/3-.5,1/3-.5]), eps=1e-4)
    test_eq(distances(True, student, teacher, weight, f4(1), none, 3, 2, 2, 0), 0.) # no row

def test_equals_the_full_volume():
    from stereo_kd.losses.response import tempered_kl, tempered_l1
    from stereo_kd.losses.supervised import bin_cross_entropy
    from stereo_kd.models.regression import upsample_scores
    fns = dict(l1=tempered_l1, kl=tempered_kl, ce=lambda s,d,tau: bin_cross_entropy(s, d))
    torch_seed = torch.manual_seed(0)
    class Double(torch.Tensor): # the losses of the library work in float32; here they must not
        def float(self): return self.double()
        @classmethod
        def __torch_function__(cls, f, types, args=(), kwargs=None):
            if f is torch.Tensor.float: return args[0]
            return super().__torch_function__(f, types, args, kwargs or {})
    makers = dict(
        random=lambda *s: 3*torch.randn(*s), uniform=lambda *s: torch.ones(*s),
        one_hot=lambda B,N,h,w: torch.zeros(B,N,h,w).scatter_(1, torch.randint(N, (B,1,h,w)), 30.),
        extreme=lambda *s: torch.randn(*s).sign()*1e4)
    for (N,M,D,h,w,H,W),tau in (((12,48,48,9,10,33,37),.5), ((48,12,48,3,17,12,66),1.), ((12,12,48,1,2,3,7),2.)):
        for name,make in makers.items():
            for kind,fn in fns.items():
                s = make(2,N,h,w)
                t = make(2,M,h,w)+(name!='extreme')*.1*torch.randn(2,M,h,w)
                weight = torch.rand(2,H,W)*(torch.rand(2,H,W)<.7)
                disp = 50*torch.rand(2,H,W)
                x = s.clone().requires_grad_()
                y = s.double().requires_grad_()
                target = disp if kind=='ce' else t
                got = fused_sum(kind, x, target, weight, D, tau)
                got.backward()
                up = [
                    upsample_scores(v, D, (H,W)).as_subclass(Double)
                    for v in ([y] if kind=='ce' else [y,t.double()])]
                want = (
                    fn(*up, *([disp.double()] if kind=='ce' else []), tau)*weight.double()).sum().as_subclass(torch.Tensor)
                want.backward()
                size = max(weight.sum().item(), abs(want.item()))
                test_close(got.item()/size, want.item()/size, eps=1e-6)
                if name=='extreme' and kind=='l1': continue
                # an exponent of 30 is good to 2e-6 in float32
                test_close(x.grad.double(), y.grad, eps=5e-6+1e-5*y.grad.abs().max().item())
                assert name!='random' or y.grad.abs().max()>.01

def test_half_precision_threads_and_bad_input():
    torch.manual_seed(0)
    s,t,weight = torch.randn(1,12,21,9),torch.randn(1,48,21,9),torch.rand(1,83,35)
    results,threads = [],torch.get_num_threads()
    for n in (1,2,3):
        torch.set_num_threads(n)
        x = s.clone().requires_grad_()
        (2*fused_sum('l1', x, t, weight, 48, .7)).backward()
        results.append(x.grad)
    torch.set_num_threads(threads)
    test_eq(results[0], results[1])
    test_eq(results[0], results[2])
    half = s.bfloat16().requires_grad_()
    loss = fused_sum('kl', half, t.half(), weight, 48)
    loss.backward()
    test_eq([loss.dtype,half.grad.dtype], [torch.float32,torch.bfloat16])
    test_eq(fused_sum('kl', s, t, weight, 48).requires_grad, False)
    assert abs(fused_sum('kl', s, t, weight, 48)-loss)<.01*loss # no gradient asked: the same number
    test_eq(fused_sum('ce', s, torch.zeros(1,83,35), 0*weight, 48).item(), 0.)
    for value in (float('nan'),float('inf')): # in student or teacher: the sum shows it, as a sum does
        x = s.clone().requires_grad_()
        x.data[0,3,2,1] = value
        loss = fused_sum('l1', x, t, weight, 48)
        loss.backward()
        assert loss.isnan() and x.grad.isnan().any()
        y = t.clone()
        y[0,3,2,1] = value
        assert fused_sum('kl', s, y, weight, 48).isnan() and fused_sum(
            'ce', x, torch.zeros(1,83,35), weight, 48).isnan()
    for args,say in (
        (('l2', s, t, weight, 48), "unknown kind 'l2'"),
        (('l1', s, t[:,:40], weight, 48), '12 or 48 bins for max_disp=48, got 40'),
        (('l1', s, t[...,1:], weight, 48), 'differ'), (('ce', s, weight[:,1:], weight, 48), 'must fit'),
        (('l1', s, t, torch.ones(1,85,36), 48), 'must fit')):
        test_fail(lambda: fused_sum(*args), exc=ValueError, contains=say)

@pytest.mark.slow
def test_cold_and_warm_give_the_same_bytes():
    import subprocess, sys, tempfile
    script = """
import hashlib, torch
from stereo_kd.kernels.losses import fused_sum
from stereo_kd.kernels.tail import fused_tail
torch.manual_seed(0)
torch.set_num_threads(1)
s,t,weight,h = 6*torch.randn(1,12,9,20).requires_grad_(),6*torch.randn(1,12,9,20),torch.rand(1,36,80),hashlib.sha256()
smooth = torch.nn.functional.avg_pool2d(s, 3, 1, 1)
losses = [fused_sum('l1', s, t, weight, 48),fused_tail(s, 48, (36,80)),fused_tail(smooth, 48, (36,80))]
for loss in losses:
    grad, = torch.autograd.grad(loss.square().sum(), s)
    for x in (loss,grad): h.update(x.detach().numpy().tobytes())
print(h.hexdigest())"""
    with tempfile.TemporaryDirectory() as d:
        def answer():
            done = subprocess.run(
                [sys.executable,'-c',script], env=os.environ|dict(NUMBA_CACHE_DIR=d), capture_output=True, text=True)
            return done.stdout or done.stderr
        cold = answer()
        assert len(cold.strip())==64 and any(f.endswith('.nbi') for _,_,files in os.walk(d) for f in files)
        test_eq(answer(), cold)
