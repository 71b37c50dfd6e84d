# Generated from nbs/05_kernels.jit.ipynb; edit the notebook, not this file
import numpy as np
from fastcore.test import *
from stereo_kd.kernels.jit import *

def test_one_high_knot():
    scores = np.zeros((48,2,3), np.float32); scores[5] = 1e4; out = [np.empty((8,12), np.float32),np.empty((3,8,12), np.float32)]
    for D,want in ((192,21.5),(48,5.)):
        forward(scores, *out, D, 0, 8); test_close(out[0], np.full((8,12), want), eps=1e-4)
        forward(np.zeros_like(scores), *out, D, 0, 8); test_close(out[0], np.full((8,12), (D-1)/2), eps=1e-4); test_close(out[1][2], np.full((8,12), D), eps=1e-4)
    out[0].fill(-1); forward(scores, *out, 48, 2, 5); test_eq((out[0]!=-1).any(1).tolist(), [2<=y<5 for y in range(8)]) # its band only

def test_gradient_by_differences():
    rng = np.random.default_rng(0); scores,g = rng.normal(size=(12,3,5)).astype(np.float32)*2,rng.normal(size=(12,20)).astype(np.float32)
    def loss(s): out = [np.empty((12,20), np.float32),np.empty((3,12,20), np.float32)]; forward(s.astype(np.float32), *out, 48, 0, 12); return (out[0].astype(float)*g).sum(),out
    grad = np.zeros_like(scores); backward(scores, loss(scores)[1][1], g, grad, 48, 0, 12, 0)
    for i in ((0,0,0),(5,1,2),(11,2,4),(3,2,0)):
        step = np.zeros_like(scores); step[i] = .05
        test_close((loss(scores+step)[0]-loss(scores-step)[0])/.1, float(grad[i]), eps=.02)

def test_small_numbers_stay_what_they_are():
    out = [np.empty((8,12), np.float32),np.empty((3,8,12), np.float32)]; forward(np.zeros((12,2,3), np.float32), *out, 48, 0, 8)
    assert np.float32(1e-38)*np.float32(.01)>0

def test_bands_cover_and_overlap():
    test_eq(bands(2, 20, 79), [(0,0,8),(0,8,16),(0,16,20),(1,0,8),(1,8,16),(1,16,20)]); test_eq(bands(1, 20, 60), [(0,0,8),(0,8,16)])
    def count(b, i, j, lo, part): part += b+1
    got = gather(count, (2,1,20,3), 80); test_eq(got[1,0,:,0].tolist(), [2.]*7+[4.]*2+[2.]*6+[4.]*2+[2.]*3); test_eq(got[0], got[1]/2)
    test_eq(each(lambda a,b: a*b, [(i,2) for i in range(9)]), list(range(0,18,2)))
