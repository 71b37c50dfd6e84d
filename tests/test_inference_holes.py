# Generated from nbs/66_inference.holes.ipynb; edit the notebook, not this file
import numpy as np
import matplotlib.pyplot as plt
from fastcore.test import *
from stereo_kd.data.synthetic import SyntheticPairs
from stereo_kd.inference.holes import *

def test_holes_take_the_background():
    n = np.nan
    d = np.float32([[n,n,n,n], [5,n,n,3], [n,9,n,n], [n,n,n,n], [1,np.inf,2,n], [n,n,n,n]])
    test_eq(fill_background(d)[[0,1,2,4,5]].tolist(), [[5,3,3,3],[5,3,3,3],[9]*4,[1,1,2,2],[1,1,2,2]])
    for empty in (fill_background(d)[3], d[0], fill_background(d[:1])): assert np.isnan(empty).all()
    test_fail(lambda: fill_background(np.zeros(3)), exc=ValueError, contains='must be (H,W), got (3,)')

def test_fill_by_hand():
    n = np.nan
    d = np.float32([[n,n,n,n],
                    [n,5,n,3],
                    [n,n,n,n],
                    [2,np.inf,n,n],
                    [n,n,n,n]])
    test_eq(fill_holes(d).tolist(), [[5,5,3,3],
                                     [5,5,3,3],
                                     [2,2,2,2],
                                     [2,2,2,2],
                                     [2,2,2,2]])
    test_eq(fill_holes(d[:,:1])[:,0].tolist(), [2]*5)
    assert np.isnan(fill_holes(d[:1])).all() and np.isnan(d[0,0])
    test_eq(fill_holes(np.float32([[1,2],[3,4]])).tolist(), [[1,2],[3,4]])
    test_fail(lambda: fill_holes(np.zeros((1,2,2))), exc=ValueError, contains='(1, 2, 2)')

def test_fill_agrees_with_loops():
    def near(line, i, step):
        while 0<=(i:=i+step)<len(line):
            if not np.isnan(line[i]): return line[i]
        return np.nan
    def slow_rows(d):
        return np.array(
            [[v if not np.isnan(v) else np.fmin(near(r,i,-1), near(r,i,1)) for i,v in enumerate(r)] for r in d])
    rng = np.random.default_rng(0)
    for known in (.02,.2,.8):
        d = np.where(rng.random((12,17))<known, rng.uniform(1, 99, (12,17)), np.nan).astype(np.float32)
        np.testing.assert_array_equal(fill_holes(d), slow_rows(slow_rows(d).T).T)
