# Generated from nbs/03_kernels.jit.ipynb; edit the notebook, not this file
import numba as nb, numpy as np, os, stat, tempfile, torch
import torch.nn.functional as F
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from llvmlite import ir
from numba.extending import intrinsic
from torch import Tensor
import numpy as np, torch
from fastcore.test import *
from stereo_kd.kernels.jit import *

def test_exact_keeps_what_is_not_finite():
    def f(x): return 1/x, x*0
    one,zero = np.float32(1),np.float32(0)
    test_eq(exact(f)(zero), (np.inf,0))
    assert np.isnan(exact(f)(np.float32(np.inf))[1]) and np.isnan(exact(f)(np.float32(np.nan))).all()
    test_eq(exact(f, forceinline=True)(one), (1,0))

def test_without_a_home_it_compiles_all_the_same():
    from unittest import mock
    from numba.core import caching
    from stereo_kd.kernels.jit import rows_around # of the module, not of this notebook
    plain,want = rows_around.py_func,rows_around(5, 20)
    nowhere = [caching.UserProvidedCacheLocator] # the package cannot be written to, and there is no home
    folders = mock.patch.object(caching.CacheImpl, '_locator_classes', nowhere)
    with tempfile.TemporaryDirectory() as d, folders, mock.patch.object(tempfile, 'tempdir', d):
        if hasattr(os, 'getuid'):
            own = own_folder()
            test_eq([os.path.dirname(own), stat.S_IMODE(os.stat(own).st_mode)], [d,0o700])
            test_eq(njit(plain)(5, 20), want)
            kept = [f for _,_,files in os.walk(own) for f in files]
            assert any(f.endswith('.nbi') for f in kept), kept
            again = njit(plain)
            test_eq([again(5, 20), list(again.stats.cache_hits.values())], [want,[1]])
            os.chmod(own, 0o777) # anybody may have put something in
            test_eq(own_folder(), '')
            os.rename(own, f'{d}/mine')
            os.symlink(f'{d}/mine', own)
            test_eq(own_folder(), '')
            fresh = njit(plain)
            test_eq([fresh(5, 20), dict(fresh.stats.cache_hits)], [want,{}])
            with mock.patch.object(os, 'makedirs', side_effect=OSError): test_eq(own_folder(), '')
        test_eq(nb.config.CACHE_DIR, os.environ.get('NUMBA_CACHE_DIR', ''))

def test_powers_of_two():
    from stereo_kd.kernels.jit import _exp2
    x = np.linspace(-125, 0, 20001).astype(np.float32)
    test_close(np.array([_exp2(v) for v in x])/np.exp2(x.astype(float)), np.ones(len(x)), eps=2e-7)
    test_eq([float(_exp2(np.float32(v))) for v in (0,-1,-200)], [1,.5,2.**-126])
    test_eq([float(_exp2(np.float32(v), 100)) for v in (-200,0,20)], [2.**-100,2.**100,2.**120])

def test_a_product_and_a_sum_round_once():
    import numba
    @numba.njit
    def both(a, b, c): return fma(a, b, c),a*b+c
    x = np.float32(1+2**-12)
    once,twice = both(x, x, np.float32(-1-2**-11))
    test_eq(float(once), 2.**-24) # what the product has beyond 24 bits
    test_eq(float(twice), 0.)

def test_rows_and_their_best_bins():
    import torch.nn.functional as F
    rng = np.random.default_rng(0)
    s = rng.normal(size=(3,4,5)).astype(np.float32)
    for D in (3,12):
        v,best = np.empty((D,7), np.float32),np.empty(7, np.float32)
        row_of_bins(s, 6, v, best)
        bins,knots = (
            F.interpolate(torch.tensor(s)[None,None], size=(n,16,5), mode='trilinear')[0,0,:,6]
            for n in (D,3))
        test_close(v[:,1:-1], (bins-knots.amax(0)).numpy(), eps=1e-6)
        test_eq([v[0,0],v[0,6]], [v[0,1],v[0,5]])
        test_eq(best[1:-1].tolist(), [k if D==3 else 4*k+1.5 for k in knots.argmax(0).tolist()])
        assert (v<=0).all() and (v[:,1:-1]!=bins.numpy()).all()
    test_eq([rows_around(y, 4)[:2] for y in (0,1,2,5,15)], [(0,0),(0,0),(0,1),(0,1),(3,3)])
    test_close([rows_around(y, 4)[2] for y in (0,2,5)], [.625,.125,.875])
    row = lambda *v: np.array(v, np.float32)
    new = np.empty((2,3), np.float32)
    take_higher(row(1,5,2), 7, row(1,4,3), row(0,1,2), *new)
    test_eq(new.tolist(), [[1,5,3],[0,7,2]]) # of two that are equal the first stays
    u,best = np.array([[0,2],[3,1]], np.float32),np.empty(2, np.float32)
    from_best(u, 1, best)
    test_eq([u.tolist(),best.tolist()], [[[-3,0],[0,-1]],[1,0]])

def test_four_powers():
    rng = np.random.default_rng(0)
    v = -abs(rng.normal(size=(6,9)).astype(np.float32))*5
    X = np.empty((4,8), np.float32)
    own_maximum(v, X)
    want = np.stack([v[:,:-1]+t*(v[:,1:]-v[:,:-1]) for t in (.125,.375,.625,.875)])
    test_close(X, want.max(1), eps=1e-6)
    for c in range(8):
        test_close(four(v[2,c], v[2,c+1], f4(1), None, 0), 2**want[:,2,c], eps=1e-6)
        test_close(four(v[2,c], v[2,c+1], LOG2E, X, c), np.exp(want[:,2,c]-X[:,c]), eps=1e-6)
    test_eq(four(f4(-1e4), f4(0), f4(1), None, 0)[3]<1e-37, True) # far below: nothing, not nan
    p = v.copy()
    powers(p, f4(1))
    test_close(np.stack(between(p[:,:-1], p[:,1:]))/2**want, np.ones((4,6,8)), eps=5e-6)
    far = np.array([[-1e4,0]], np.float32)
    powers(far, f4(1))
    assert between(far[0,0], far[0,1])[3]<=2.**-126 and np.isfinite(between(far[0,0], far[0,1])).all()

def test_totals_are_those_of_all_bins():
    rng = np.random.default_rng(0)
    for spread in (0,1,20,60): # of the last, the powers of neighbours differ by up to 2**173
        u = (spread*rng.uniform(-1, 1, (12,7))).astype(np.float32)
        best = np.empty(7, np.float32)
        v = np.empty((48,7), np.float32)
        from_best(u, 4, best)
        expand(u, v)
        p = np.exp(np.stack([v[:,:-1]+t*(v[:,1:]-v[:,:-1]).astype(float) for t in (.125,.375,.625,.875)], 1))
        from_ = np.stack([best[:-1]]*2+[best[1:]]*2)
        want = p.sum(0),(p*(np.arange(48)[:,None,None]-from_)).sum(0)
        both = [totals_between(u, best, LOG2E)]
        powers(v, LOG2E)
        both.append(totals(v, best, LOG2E, None))
        for S,E in both:
            test_close(S/want[0], np.ones((4,6)), eps=2e-5)
            test_close(E/S, want[1]/want[0], eps=2e-4)
    test_eq(steepest(np.array([0,3,-2,1], np.float32)[:,None,None]+np.zeros((4,2,5), np.float32), 1), 5)
    stairs = (np.arange(3)[:,None,None]*np.arange(8)[None,:,None]+np.zeros((1,1,5))).astype(np.float32)
    test_eq(steepness(stairs, 12, 16).tolist(), [0,0,2,3,4,0,0,0]) # rows 12 to 15 lie between rows 2 and 4

def test_reading_and_giving_are_transposes():
    rng = np.random.default_rng(0)
    s = rng.normal(size=(3,4,5)).astype(np.float32)
    for D in (3,12):
        for y in (0,6,15):
            u = np.empty((3,7), np.float32)
            v = np.empty((D,7), np.float32)
            g = rng.normal(size=(D,7)).astype(np.float32)
            grad = np.zeros((3,4,5), np.float32)
            read_row(s, y, u)
            expand(u, v) if D==12 else v.__setitem__(slice(None), u)
            want = (v*g).sum()
            give_row(g, y, 4, 0, grad)
            test_close(want, (s*grad).sum(), eps=1e-4)
            assert abs(want)>.1
    lo,hi,to = np.arange(3, dtype=np.float32),np.full(3, 10, np.float32),np.zeros(4, np.float32)
    add_columns(lo, hi, to)
    test_eq(to.tolist(), [0,11,12,10])

def test_one_high_knot():
    scores = np.zeros((48,2,3), np.float32)
    scores[5] = 1e4
    out = [np.empty((8,12), np.float32),np.empty((3,8,12), np.float32)]
    for D,want in ((192,21.5),(48,5.)):
        forward(scores, *out, D, f4(1), 0, 8)
        test_close(out[0], np.full((8,12), want), eps=1e-4)
        forward(np.zeros_like(scores), *out, D, f4(1), 0, 8)
        test_close(out[0], np.full((8,12), (D-1)/2), eps=1e-4)
        test_close(out[1][2], np.full((8,12), D), eps=1e-4)
    out[0].fill(-1)
    forward(scores, *out, 48, f4(1), 2, 5)
    test_eq((out[0]!=-1).any(1).tolist(), [2<=y<5 for y in range(8)]) # its band only

def test_gradient_by_differences():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(12,3,5)).astype(np.float32)*2
    g = rng.normal(size=(12,20)).astype(np.float32)
    def loss(s):
        out = [np.empty((12,20), np.float32),np.empty((3,12,20), np.float32)]
        forward(s.astype(np.float32), *out, 48, f4(.7), 0, 12)
        return (out[0].astype(float)*g).sum(),out
    grad = np.zeros_like(scores)
    backward(scores, loss(scores)[1][1], g, grad, 48, f4(.7), 0, 12, 0)
    for i in ((0,0,0),(5,1,2),(11,2,4),(3,2,0)):
        step = np.zeros_like(scores)
        step[i] = .05
        test_close((loss(scores+step)[0]-loss(scores-step)[0])/.1, float(grad[i]), eps=.02)

def test_small_numbers_stay_what_they_are():
    out = [np.empty((8,12), np.float32),np.empty((3,8,12), np.float32)]
    forward(np.zeros((12,2,3), np.float32), *out, 48, f4(1), 0, 8)
    assert np.float32(1e-38)*np.float32(.01)>0

def test_bad_scores_are_found():
    s = torch.randn(2,12,4,5, dtype=torch.float16)
    test_eq(finite(s)[1], None)
    s[1,3,2,0],s[1,4,0,4] = float('nan'),float('-inf')
    clean,bad = finite(s)
    test_eq(bad.nonzero().tolist(), [[1,0,4],[1,2,0]])
    assert clean.dtype==np.float32 and np.isfinite(clean).all()
    test_eq((clean!=s.float().numpy()).sum(), 2)
    test_eq(reach(bad)[1].long().tolist(), [[0,0,0,1,1],[1,1,0,1,1],[1,1,0,0,0],[1,1,0,0,0]])
    test_eq(reach(bad, (15,20))[1,:,0].nonzero()[:,0].tolist(), list(range(6,14)))

def test_bands_cover_and_overlap():
    test_eq(bands(2, 20, 79), [(0,0,8),(0,8,16),(0,16,20),(1,0,8),(1,8,16),(1,16,20)])
    test_eq(bands(1, 20, 60), [(0,0,8),(0,8,16)])
    def count(b, i, j, lo, part): part += b+1
    got = gather(count, (2,1,20,3), 80)
    test_eq(got[1,0,:,0].tolist(), [2.]*7+[4.]*2+[2.]*6+[4.]*2+[2.]*3)
    test_eq(got[0], got[1]/2)
    test_eq(each(lambda a,b: a*b, [(i,2) for i in range(9)]), list(range(0,18,2)))

def test_subnormal_numbers_are_zero_in_our_threads_only():
    threads,small,possible = torch.get_num_threads(),np.float32(1e-38),torch.set_flush_denormal(True)
    torch.set_flush_denormal(False)
    for n in (1,2):
        torch.set_num_threads(n)
        test_eq(each(lambda x: x*np.float32(.01)==0, [(small,)]), [possible])
        assert small*np.float32(.01)>0 # zero there, not here
    torch.set_num_threads(threads)
