# Generated from nbs/07_kernels.tail.ipynb; edit the notebook, not this file
import os, torch, warnings
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from importlib import import_module
from torch import nn, Tensor
import ctypes, os
from statistics import median
from time import perf_counter
import torch.nn.functional as F
from fastcore.test import *
from stereo_kd.kernels.tail import *

def test_what_is_not_chosen_is_not_imported():
    import subprocess, sys
    code = """import sys
from stereo_kd.kernels.tail import backend, use
with use('torch'): assert backend()=='torch' and 'numba' not in sys.modules
assert backend()!='torch' and 'numba' in sys.modules"""
    test_eq(subprocess.run([sys.executable, '-c', code]).returncode, 0)

def test_equals_the_full_volume():
    def plain(s, D, size): # linear along the bins, bilinear in the image, softmax, mean
        n = s.shape[1]
        flat = s.flatten(2).transpose(1,2)
        if n!=D: s = F.interpolate(flat, size=D, mode='linear').transpose(1,2).unflatten(2, s.shape[2:])
        p = F.interpolate(s, scale_factor=4, mode='bilinear')[...,:size[0],:size[1]].softmax(1)
        return torch.einsum('bdhw,d->bhw', p, torch.arange(D, dtype=p.dtype))
    torch.manual_seed(0)
    for N,D,h,w,size,tau in (
        (12,48,12,20,(45,77),1.), (48,48,8,17,(32,68),.5), (48,192,3,18,(9,70),1.),
        (48,192,3,18,(9,70),.4), (12,48,1,1,(1,3),2.)):
        for kind in ('random','steep','one-hot','uniform','extreme'):
            s = dict(
                random=lambda: 5*torch.randn(2,N,h,w), steep=lambda: 60*(2*torch.rand(2,N,h,w)-1),
                uniform=lambda: torch.ones(2,N,h,w), extreme=lambda: torch.randn(2,N,h,w).sign()*1e4)
            s['one-hot'] = lambda: torch.zeros(2,N,h,w).scatter_(1, torch.randint(N, (2,1,h,w)), 50.)
            x = s[kind]().requires_grad_()
            y = x.detach().double().requires_grad_()
            g = torch.randn(2, *size)
            out = fused_tail(x, D, size, tau)
            out.backward(g)
            ref = plain(y/tau, D, size)
            ref.backward(g.double())
            test_close(out.double(), ref, eps=1e-3)
            test_close(x.grad.double(), y.grad, eps=1e-5*max(1e-3, y.grad.abs().max().item()))

def test_half_precision_threads_and_gradcheck():
    torch.manual_seed(0)
    s = torch.randn(1,12,21,9)
    half = s.bfloat16().requires_grad_()
    out = fused_tail(half, 48, (84,36))
    out.sum().backward()
    test_eq([out.dtype,half.grad.dtype], [torch.float32,torch.bfloat16])
    test_eq(out.detach(), fused_tail(half.detach().float(), 48, (84,36)))
    results,threads = [],torch.get_num_threads()
    for n in (1,2,3):
        torch.set_num_threads(n)
        x = s.clone().requires_grad_()
        y = fused_tail(x, 48, (83,35))
        y.square().sum().backward()
        results.append((y.detach(), x.grad))
    torch.set_num_threads(threads)
    for y,g in results[1:]:
        test_eq(y, results[0][0])
        test_eq(g, results[0][1])
    m = torch.empty(1,12,2,3, device='meta')
    test_eq([tuple(t.shape) for t in torch.ops.stereo_kd.tail(m, 4, 8, 12, 1., False)], [(1,8,12),(1,0,8,12)])
    results = torch.library.opcheck(torch.ops.stereo_kd.tail.default, (s.requires_grad_(), 4, 84, 36, .5, True))
    with torch.no_grad(): test_eq(fused_tail(s, 48, (84,36)), fused_tail(s.detach(), 48, (84,36)))

def test_operators_are_for_those_who_trace():
    from torch.utils._python_dispatch import TorchDispatchMode
    class Seen(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            names.append(func.name())
            return func(*args, **(kwargs or {}))
    def asked(f):
        names.clear()
        with Seen(): f()
        return any(n.startswith('stereo_kd::') for n in names)
    names,s = [],torch.randn(1,12,3,4)
    watched = s.clone().requires_grad_()
    assert not asked(lambda: fused_tail(s, 48, (12,16))) and asked(lambda: fused_tail(watched, 48, (12,16)))
    with torch.no_grad(): assert not asked(lambda: fused_tail(watched, 48, (12,16)))
    class Tail(nn.Module):
        def forward(self, x): return fused_tail(x, 48, (12,16))
    graph = str(torch.export.export(Tail(), (s,)).graph)
    assert 'stereo_kd.tail' in graph, graph
    test_eq(fused_tail(s.to('meta'), 48, (12,16)).shape, (1,12,16))
    test_eq(fused_tail(s, 48, (12,16)), fused_tail(watched, 48, (12,16)).detach())

def test_nan_and_infinity_come_out_as_nan():
    from stereo_kd.models.regression import disparity_tail
    torch.manual_seed(0)
    scores = torch.randn(2,12,6,8)
    for value in (float('nan'),float('inf'),1e38):
        for at in ([0,7,2,3],[1,0,0,0],[1,11,5,7]):
            s = scores.clone()
            s[tuple(at)] = value
            s[at[0],at[1]-1,at[2],at[3]] = value # two, so that torch's difference is nan where it is infinite
            x,y = (s.clone().requires_grad_() for _ in 'xy')
            got = disparity_tail(x, 48)
            got.sum().backward()
            with use('torch'):
                want = disparity_tail(y, 48)
                want.sum().backward()
            if value==1e38:
                assert want.isfinite().all() and got[1-at[0]].isfinite().all()
                continue
            test_eq(got.isnan(), want.isnan())
            assert 0<got.isnan().sum()<200
            test_close(got.nan_to_num(-1.), want.nan_to_num(-1.), eps=1e-4)
            test_eq(x.grad.isnan().any(1), y.grad.isnan().any(1))

def test_backends_are_chosen_and_refused():
    import os
    from unittest.mock import patch
    from stereo_kd.kernels import tail
    assert works('torch') and works('numba') and works('triton')==torch.cuda.is_available()
    test_eq([backend('cpu', torch.float64), backend('meta'), backend('mps')], ['torch']*3)
    test_eq(backend(), 'numba')
    with use('torch'): test_eq(backend(), 'torch')
    test_fail(
        lambda: use('fortran').__enter__(), exc=ValueError,
        contains="unknown backend 'fortran'; known: triton, numba, torch")
    with patch.object(tail, 'works', lambda n: n!='numba'):
        test_eq([tail.backend(), tail.backend('cuda')], ['torch','triton'])
        test_fail(lambda: tail.use('numba').__enter__(), exc=ValueError, contains='does not work')
        with tail.use('triton'):
            test_eq([tail.backend(), tail.backend('cuda')], ['torch','triton']) # a CPU has none
    test_fail(
        lambda: fused_tail(torch.zeros(1,10,2,2), 48, (8,8)),
        contains='12 or 48 bins for max_disp=48, got 10')
    test_fail(
        lambda: fused_tail(torch.zeros(1,12,2,2), 48, (9,8)),
        contains='at most 4 times the map, 8x8, got 9x8')

def test_mode_equals_torch():
    from stereo_kd.models.regression import dominant_mode, upsample_scores
    torch.manual_seed(0)
    for N,D,h,w,size,tau in (
        (12,48,12,20,(45,77),1.), (48,48,8,17,(32,68),.5), (48,192,3,18,(9,70),1/3), (12,48,1,1,(1,3),2.)):
        for kind in ('random','grid','steep','one-hot','uniform','extreme'):
            s = dict(
                random=lambda: 5*torch.randn(2,N,h,w), grid=lambda: torch.randint(-4, 5, (2,N,h,w))/2.,
                steep=lambda: 60*(2*torch.rand(2,N,h,w)-1), uniform=lambda: torch.ones(2,N,h,w),
                extreme=lambda: torch.randn(2,N,h,w).sign()*1e4)
            s['one-hot'] = lambda: torch.zeros(2,N,h,w).scatter_(1, torch.randint(N, (2,1,h,w)), 50.)
            x = s[kind]()
            got = fused_mode(x, D, size, tau)
            test_close(got, dominant_mode(upsample_scores(x.double(), D, size)/tau), eps=1e-3)

def test_mode_on_threads_compiled_and_without_a_gradient():
    torch.manual_seed(0)
    s = torch.randn(2,12,21,9)
    results,threads = [],torch.get_num_threads()
    for n in (1,3):
        torch.set_num_threads(n)
        results.append(fused_mode(s, 48, (83,35), .5))
    torch.set_num_threads(threads)
    test_eq(*results)
    test_eq(fused_mode(s.bfloat16(), 48, (83,35)), fused_mode(s.bfloat16().float(), 48, (83,35)))
    test_eq(fused_mode(s.to('meta'), 48, (83,35)).shape, (2,83,35))
    torch.library.opcheck(torch.ops.stereo_kd.mode.default, (s, 4, 83, 35, .5))
    watched = s.clone().requires_grad_()
    for f in (lambda: fused_mode(watched, 48, (84,36)), lambda: fused_cells(watched, 48, reading='mode')):
        test_fail(f, exc=ValueError, contains='has no gradient on compiled kernels')
    with torch.no_grad(): test_eq(fused_mode(watched, 48, (84,36)), fused_mode(s, 48, (84,36)))
    assert asks_gradient(None, watched) and not asks_gradient(s)
    test_fail(lambda: fused_mode(s, 40, (8,8)), contains='10 or 40 bins for max_disp=40, got 12')
    test_fail(lambda: fused_mode(s, 48, (85,8)), contains='at most 4 times the map, 84x36, got 85x8')

def test_a_mode_of_what_is_not_finite_is_nan():
    from stereo_kd.models.regression import convex_tail, disparity_tail
    torch.manual_seed(0)
    scores,weights = torch.randn(2,12,6,8),torch.randn(2,144,6,8)
    for value in (float('nan'),float('inf')):
        s = scores.clone()
        s[0,6:8,2,3] = value
        for tail in (lambda: disparity_tail(s, 48, reading='mode'), lambda: convex_tail(s, weights, 48, reading='mode')):
            got = tail()
            with use('torch'): want = tail()
            test_eq(got.isnan(), want.isnan())
            assert 0<got.isnan().sum()<200
            test_close(got.nan_to_num(-1.), want.nan_to_num(-1.), eps=1e-4)

def test_convex_equals_torch():
    from stereo_kd.models.regression import convex_upsample, neighbours, soft_cells
    torch.manual_seed(0)
    for N,D,h,w,size,tau in ((12,48,5,9,(18,33),1.), (48,48,4,7,(16,28),.5), (48,192,3,8,(9,31),1/3), (12,48,1,1,(1,3),2.)):
        for kind in ('random','steep','one-hot','extreme'):
            s,z = torch.randn(2,N,h,w),torch.randn(2,144,h,w)
            if kind=='steep': s,z = 60*s,20*z
            if kind=='one-hot': s = torch.zeros_like(s).scatter_(1, torch.randint(N, (2,1,h,w)), 50.)
            if kind=='extreme': s,z = 1e4*s.sign(),1e4*z.sign()
            if kind!='random': s,z = (t.contiguous(memory_format=torch.channels_last) for t in (s,z))
            x = [t.detach().clone().requires_grad_() for t in (s,z)]
            y = [t.detach().double().requires_grad_() for t in (s,z)]
            g = torch.randn(2, *size)
            out = fused_convex(neighbours(fused_cells(x[0], D, tau)), x[1], size, tau)
            ref = convex_upsample(soft_cells(y[0], D, tau), y[1], size, tau)
            out.backward(g)
            ref.backward(g.double())
            test_close(out.double(), ref, eps=1e-3 if kind=='steep' else 1e-4) # float32 scores of hundreds
            for a,b in zip(x, y): test_close(a.grad.double(), b.grad, eps=1e-5*max(20, b.grad.abs().max().item()))

def test_convex_in_half_precision_on_threads_and_compiled():
    torch.manual_seed(0)
    scores,near,weights = torch.randn(1,12,21,9),torch.rand(1,18,21,9),torch.randn(1,144,21,9)
    half = [t.bfloat16().requires_grad_() for t in (scores,near,weights)]
    outs = [fused_cells(half[0], 48, .5),fused_convex(*half[1:], (83,35), .5)]
    sum(o.sum() for o in outs).backward()
    test_eq([o.dtype for o in outs]+[t.grad.dtype for t in half], 2*[torch.float32]+3*[torch.bfloat16])
    test_eq(outs[1].detach(), fused_convex(*(t.detach().float() for t in half[1:]), (83,35), .5))
    results,threads = [],torch.get_num_threads()
    for n in (1,3):
        torch.set_num_threads(n)
        x = [t.clone().requires_grad_() for t in (scores,near,weights)]
        outs = [fused_cells(x[0], 48, .5),fused_convex(*x[1:], (83,35), .5)]
        sum(o.square().sum() for o in outs).backward()
        results.append([t.detach() for t in outs]+[t.grad for t in x])
    torch.set_num_threads(threads)
    for a,b in zip(*results): test_eq(a, b)
    ops = torch.ops.stereo_kd
    test_eq(tuple(ops.coarse(torch.empty(1,12,2,3, device='meta'), 4, 1.).shape), (1,2,2,3))
    torch.library.opcheck(ops.coarse.default, (scores.requires_grad_(), 4, .5))
    torch.library.opcheck(ops.convex.default, (near.requires_grad_(), weights.requires_grad_(), 83, 35, .5))
    test_fail(lambda: fused_convex(near, weights[:,:36], (8,8)), contains='(B,144,h,w), got (1, 18, 21, 9) and (1, 36, 21, 9)')
    test_fail(lambda: fused_convex(near, weights, (85,8)), contains='at most 4 times the map, 84x36, got 85x8')
    test_fail(lambda: fused_cells(scores, 40), contains='10 or 40 bins for max_disp=40, got 12')

def test_convex_shows_nan_and_infinity():
    from stereo_kd.models.regression import convex_tail
    torch.manual_seed(0)
    scores,weights = torch.randn(2,12,6,8),torch.randn(2,144,6,8)
    for value in (float('nan'),float('inf'),1e38):
        for spoilt in (0,1): # the scores of a cell, or the weights of a pixel
            both = [scores.clone(),weights.clone()]
            both[spoilt][1,7,2,3] = both[spoilt][1,6 if spoilt==0 else 7,0,0] = value
            x,y = ([t.clone().requires_grad_() for t in both] for _ in 'xy')
            got = convex_tail(*x, 48, (23,32), .5)
            got.sum().backward()
            with use('torch'):
                want = convex_tail(*y, 48, (23,32), .5)
                want.sum().backward()
            test_eq(got.isnan(), want.isnan())
            test_eq(bool(got.isnan().any()), value!=1e38)
            if value==1e38: continue # finite; float32 cannot tell bins apart at such scores
            test_close(got.nan_to_num(-1.), want.nan_to_num(-1.), eps=1e-4)
            for a,b in zip(x, y): test_eq(a.grad.isnan(), b.grad.isnan())
