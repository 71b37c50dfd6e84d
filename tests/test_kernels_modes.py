# Generated from nbs/05_kernels.modes.ipynb; edit the notebook, not this file
import numpy as np
from stereo_kd.kernels.jit import LOG2E, _exp2, f4, four, njit, read_row
import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from fastcore.test import *
from stereo_kd.kernels.modes import *

def test_cuts_and_kept_sums():
    changes = [(1,2,0),(1,2,1),(2,1,0),(2,1,1),(1,1,1),(1,1,0)]
    turns = [turn(*map(np.float32, c)) for c in changes]
    test_eq([end for end,_ in turns], [0,1,0,0,0,0]) # up after a fall, and nothing else
    test_eq([fall for _,fall in turns], [0,0,1,1,1,0]) # a plateau keeps what was before
    modes = [(1,2,6,1,5),(1,2,8,3,5),(1,2,8,2,5),(0,2,8,1,5)] # end, s, t, p, q
    test_eq([stronger(*map(np.float32, m)) for m in modes], [(2,6),(3,5),(2,5),(1,5)]) # of equal sums the first stays
    rows = lambda *v: np.array(v, np.float32)
    test_close(highest_bin(rows([0,2,5],[3,1,5]), 4), [3,2,5])
    test_close(highest_bin(rows([0,0],[8,1],[0,9]), 4), [7,9]) # no bin lies on a score in the middle
    test_eq(highest_bin(rows([0,0],[8,1],[0,9]), 1).tolist(), [8,9])

def test_modes_by_hand():
    def read(p, f=1):
        u = np.log(np.array(p, np.float32))[:,None]
        S,E = column_modes(u, f, np.float32(LOG2E), highest_bin(u, f))
        return float(E[0]/S[0])
    test_close(read([1,5,1,4,4,4,1]), (3*4+4*4+5*4+6)/13, eps=1e-5) # 13 against 7
    test_close(read([9,1,2,1,1]), (0*9+1*1)/10, eps=1e-5) # the lowest bin is the lower one's
    test_close(read([9,1,1,1,2]), (1+2+3)/12, eps=1e-5) # and so is all of the bottom
    test_close(read([4,1,4,1]), 1/5, eps=1e-5) # equal sums: the first
    test_close(read([1,4,1,4]), (4+2)/6, eps=1e-5)
    test_close(read([1,3,3,1,1,3]), (3+6+3+4)/9, eps=1e-5) # a plateau on top cuts nothing
    test_close(read([2,2,2,2]), 1.5, eps=1e-5)
    test_close(read([1,2,4,3,2,2,1]), (2+8+9+8+10+6)/15, eps=1e-5) # one mode: its mean
    def mean(knots, a, b): # of bins a to b-1 of three scores
        q = np.exp(np.interp(range(12), [1.5,5.5,9.5], np.log(knots)))[a:b]
        return (np.arange(a, b)*q).sum()/q.sum()
    test_close(read([5,1,6], 4), mean([5,1,6], 6, 12), eps=1e-5) # bin 6 is above bin 5
    test_close(read([6,1,5], 4), mean([6,1,5], 0, 7), eps=1e-5) # bin 6 is the lowest
    test_close(read([5,1,5], 4), mean([5,1,5], 0, 7), eps=1e-5) # bins 5 and 6 are the bottom

def test_equals_the_definition():
    def modes(bins, tau): # of one pixel
        p = np.exp((bins-bins.max())/tau)
        cuts,fell = [0],False
        for i in range(1, len(p)):
            if bins[i]>bins[i-1] and fell: cuts.append(i)
            if bins[i]!=bins[i-1]: fell = bins[i]<bins[i-1]
        return [(p[a:b].sum(),(np.arange(a, b)*p[a:b]).sum()) for a,b in zip(cuts, cuts[1:]+[len(p)])]
    def plain(bins, tau):
        S,E = max(modes(bins, tau), key=lambda m: m[0]) # the first of equal ones
        return E/S
    rng = np.random.default_rng(0)
    for N,f,h,w,size,tau in ((12,4,4,6,(15,22),1.), (48,1,4,5,(16,20),.5), (48,4,2,4,(7,13),1/3), (192,1,1,1,(1,3),2.)):
        for kind in ('random','grid','steep','one-hot','uniform','extreme'):
            s = dict(
                random=5*rng.normal(size=(N,h,w)), grid=rng.integers(-4, 5, (N,h,w))/2,
                steep=60*(2*rng.random((N,h,w))-1), uniform=np.ones((N,h,w)),
                extreme=1e4*np.sign(rng.normal(size=(N,h,w))))
            s['one-hot'] = 50.*(np.arange(N)[:,None,None]==rng.integers(N, size=(h,w)))
            s = s[kind].astype(np.float32)
            got = np.empty(size, np.float32)
            mode_forward(s, got, f, np.float32(tau), 0, size[0])
            bins = F.interpolate(torch.tensor(s, dtype=torch.double)[None,None], size=(f*N,4*h,4*w), mode='trilinear')[0,0]
            bins = bins[:,:size[0],:size[1]].flatten(1).T.numpy()
            want = np.array([plain(b, tau) for b in bins]).reshape(size)
            test_close(got, want, eps=2e-4)
            if kind=='uniform': test_close(got, np.full(size, (f*N-1)/2), eps=2e-4)
            if kind=='random': assert max(len(modes(b, tau)) for b in bins)>3

def test_one_band_only():
    out = np.full((8,12), -1, np.float32)
    mode_forward(np.zeros((12,2,3), np.float32), out, 4, np.float32(1), 2, 5)
    test_eq((out!=-1).any(1).tolist(), [2<=y<5 for y in range(8)])

def test_a_cell_by_its_dominant_mode():
    s = np.full((12,3,2), -9, np.float32)
    s[2,0,0],s[9,0,0] = 1.,1.01 # two modes, the second a little stronger
    s[4,1,1] = 2. # one mode
    got = np.full((3,2), -1, np.float32)
    cell_modes(s, got, 4, np.float32(.5), 0, 2)
    test_close(got[:2], [[37.5,23.5],[23.5,17.5]], eps=.01) # the middle of scores that are equal, bins around the score
    test_eq(got[2].tolist(), [-1,-1]) # its band only
