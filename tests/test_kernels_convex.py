# Generated from nbs/06_kernels.convex.ipynb; edit the notebook, not this file
import numpy as np
from stereo_kd.kernels.jit import LOG2E, _exp2, exact, f4, four, njit, take_higher
import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from fastcore.test import *
from stereo_kd.kernels.convex import *

def test_rows_of_either_layout():
    maps = torch.randn(6,4,5)
    maps[1,2,3],maps[4,2,0],maps[5,2,1] = torch.inf,-torch.inf,1e38
    last = maps.permute(1,2,0).contiguous().permute(2,0,1) # the same maps, channels last in memory
    for m in (maps,last):
        u,spoilt = np.empty((6,5), np.float32),np.empty((3,5), np.float32)
        read_maps(m.numpy(), 2, u, spoilt)
        test_eq(u, maps[:,2].nan_to_num(posinf=0, neginf=0).numpy())
        test_eq(np.argwhere(np.isnan(spoilt)).tolist(), [[1,0],[1,3]]) # maps 4 and 1 of 6, in three rows
        spoil(u[0], spoilt[1])
        test_eq(np.isnan(u[0]).tolist(), [True,False,False,True,False])

def test_soft_argmax_of_each_cell():
    rng = np.random.default_rng(0)
    for f,N,tau in ((4,12,.5),(1,12,.5),(4,12,1)):
        for size in (1,60,1e4): # ordinary, steep and extreme scores
            s = (size*rng.normal(size=(N,3,5))).astype(np.float32)
            got = np.empty((2,3,5), np.float32)
            coarse_forward(s, got, f, np.float32(tau), 0, 3)
            bins = torch.tensor(s, dtype=torch.double).flatten(1).T
            if f==4: bins = F.interpolate(bins[:,None], 48, mode='linear')[:,0]
            d = (bins/tau).softmax(-1)@torch.arange(f*N, dtype=bins.dtype)
            conf = (bins.log_softmax(-1)/tau).logsumexp(-1)
            test_close(got, torch.stack([d,conf]).view(2,3,5).numpy(), eps=1e-4)
    u,X,best = np.array([[0,2,5],[3,1,5]], np.float32),np.empty(3, np.float32),np.empty(3, np.float32)
    best_bin(u, 4, X, best)
    test_close(X, [3,2,5], eps=1e-4)
    test_eq(best.tolist(), [7,0,0]) # bins 6 and 7 repeat the last score, 0 and 1 the first
    best_bin(u, 1, X, best)
    test_eq(best.tolist(), [1,0,0])

def test_totals_of_columns():
    rng = np.random.default_rng(0)
    u = rng.normal(size=(3,5)).astype(np.float32)
    X,best,S,E,A,B = np.empty((6,5), np.float32)
    bins = F.interpolate(torch.tensor(u).T[:,None], 12, mode='linear')[:,0].numpy() # (5,12)
    best_bin(u, 4, X, best)
    column_totals(u, 4, LOG2E, X, best, S, E)
    e = np.exp(bins-bins.max(1, keepdims=True))
    test_eq(best, bins.argmax(1))
    test_close(S, e.sum(1), eps=1e-4)
    test_close(E/S, (e*(np.arange(12)-best[:,None])).sum(1)/e.sum(1), eps=1e-4)
    adj = np.zeros((3,5), np.float32)
    A[:] = rng.normal(size=5)
    B[:] = rng.normal(size=5)
    column_shares(u, 4, LOG2E, X, best, A, B, adj)
    test_close(adj.sum(0), (e*(A[:,None]*(np.arange(12)-best[:,None])+B[:,None])).sum(1), eps=1e-4) # shares lose nothing

def test_gradient_of_each_cell():
    torch.manual_seed(0)
    for f,N,tau in ((4,12,.5),(1,12,.5),(4,12,1)):
        for kind in ('ordinary','steep','extreme'):
            s = torch.randn(N,3,5)
            s = dict(ordinary=s, steep=60*s, extreme=1e4*s.sign())[kind].double().requires_grad_()
            bins = s.flatten(1).T
            if f==4: bins = F.interpolate(bins[:,None], 48, mode='linear')[:,0]
            d = (bins/tau).softmax(-1)@torch.arange(f*N, dtype=bins.dtype)
            conf = (bins.log_softmax(-1)/tau).logsumexp(-1)
            g = torch.randn(2,3,5)
            torch.stack([d,conf]).backward(g.double().view(2,15))
            got = np.empty((N,3,5), np.float32)
            coarse_backward(s.detach().float().numpy(), g.numpy(), got, f, np.float32(tau), 0, 3)
            test_close(got, s.grad.numpy(), eps=1e-5*max(.05, s.grad.abs().max().item()))

def test_a_pixel_takes_its_neighbours():
    rng = np.random.default_rng(0)
    near = rng.normal(size=(18,3,5)).astype(np.float32)
    z = (3*rng.normal(size=(144,3,5))).astype(np.float32)
    z[16*7+4*2+1,1,3] = 200. # row 2, column 1 of cell (1,3) takes neighbour 7
    z[:,2,0] *= 1e4
    near[9+4,0,0] = 1e3 # all of cell (0,0) takes neighbour 4, which is sure
    disp = np.full((11,18), np.nan, np.float32)
    convex_forward(near, z, disp, np.float32(.5), 0, 3)
    test_close(disp[4*1+2,4*3+1], near[7,1,3], eps=1e-6)
    test_close(disp[:4,:4], np.full((4,4), near[4,0,0]), eps=1e-6)
    n = torch.tensor(near)
    w = (torch.tensor(z).view(9,16,3,5)/.5+n[9:,None]).softmax(0)
    want = F.pixel_shuffle((w*n[:9,None]).sum(0)[None], 4)[0,0,:11,:18]
    test_close(disp, want.numpy(), eps=1e-5)

def test_nine_weights_of_a_pixel():
    rng = np.random.default_rng(0)
    u,v = rng.normal(size=(144,5)).astype(np.float32),rng.normal(size=(18,5)).astype(np.float32)
    z = u.reshape(9,16,5)/.5+v[9:,None]
    sharpen(u, v, np.float32(.5))
    test_close(u, z.reshape(144,5), eps=1e-5)
    M,S,T = np.empty((3,5), np.float32)
    largest(u, 6, M)
    test_close(M, z[:,6].max(0), eps=1e-5)
    combine(u, v, 6, M, S, T)
    e = np.exp(z[:,6]-z[:,6].max(0))
    test_close(np.stack([S,T]), np.stack([e.sum(0),(e*v[:9]).sum(0)]), eps=1e-5)

def test_gradients_of_the_combination():
    torch.manual_seed(0)
    near,z,g = torch.randn(18,3,5),3*torch.randn(144,3,5),torch.randn(10,17)
    z[:,1,1] *= 1e4
    n,q = (t.double().requires_grad_() for t in (near,z))
    w = (q.view(9,16,3,5)/.5+n[9:,None]).softmax(0)
    F.pixel_shuffle((w*n[:9,None]).sum(0)[None], 4)[0,0,:10,:17].backward(g.double())
    gn,gz = np.empty((18,3,5), np.float32),np.empty((144,3,5), np.float32)
    convex_backward(near.numpy(), z.numpy(), g.numpy(), gn, gz, np.float32(.5), 0, 3)
    test_close(gn, n.grad.numpy(), eps=1e-5)
    test_close(gz, q.grad.numpy(), eps=1e-5)
