# Generated from nbs/84_evaluation.paired.ipynb; edit the notebook, not this file
import math
import numpy as np
from typing import NamedTuple
import matplotlib.pyplot as plt
from fastcore.test import *
from stereo_kd.evaluation.paired import *

def test_quantiles_of_the_tables():
    for df,t in {1:12.706, 2:4.303, 4:2.776, 9:2.262, 30:2.042}.items(): test_close(t_quantile(df), t, eps=1e-3)
    test_close(t_quantile(2, .9), 2.920, eps=1e-3)
    test_close(t_quantile(10_000), 1.960, eps=1e-3) # the normal distribution
    test_fail(lambda: t_quantile(0), contains='df must be at least 1')

def test_intervals_by_hand():
    i = interval([-1.,-2.,-3.])
    test_close([i.mean,i.low,i.high], [-2.,-2-4.303/3**.5,-2+4.303/3**.5], eps=1e-3)
    test_eq([i.n,str(i)], [3,'-2.000 (-4.484 to +0.484), 3 seeds'])
    test_eq(interval([-1.]), Interval(1, -1., -float('inf'), float('inf')))
    test_fail(lambda: interval([]), contains='one finite number or more')
    test_fail(lambda: interval([1.,float('nan')]), contains='nan')

def test_seeds_cancel():
    seed = {0:10., 1:4., 2:7., 9:0.} # what a seed does to both
    better = {s:e-.5+.01*s for s,e in seed.items() if s<3}
    i = paired(better, seed)
    test_eq([i.n,verdict(i),verdict(paired(seed, better))], [3,'holds','does not'])
    unpaired = interval(list(better.values())).high-min(interval([4.,7.,10.]))
    assert i.high<0<unpaired # without the pairing nothing could be told
    test_eq([verdict(interval([-1.,-2.,-3.])),verdict(interval([-1.]))], ['cannot be told here']*2)
    test_fail(lambda: paired({0:1.}, {1:1.}), contains='no seed is common to [0] and [1]')
