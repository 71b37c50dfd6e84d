# Generated from nbs/05_kernels.median.ipynb; edit the notebook, not this file
import numpy as np
from stereo_kd.kernels.jit import f4, njit
import matplotlib.pyplot as plt
from fastcore.test import *
from stereo_kd.kernels.median import *

def test_heavy_sample_is_the_median():
    disp = np.float32([[1,9,2,30,4]])
    image,table = np.zeros((1,5,3), np.int32),np.float32([1])
    # `collect` looks at a square; above and below nothing is trusted
    row = lambda a: np.pad(a, [(2,2)]+[(0,0)]*(a.ndim-1))
    def median(trust):
        v,w = np.empty(25, f4),np.empty(25, f4)
        total,agree = collect(
            row(disp), row(image), row(np.float32([trust])), table, 0, 0, np.arange(5), f4(1), v, w)
        return middle(v, w, total),total,agree
    test_eq(median([1,1,1,1,1]), (4.,5.,2.))
    test_eq(median([1,1,1,9,1]), (30.,13.,2.))
    test_eq(median([3,1,1,1,1]), (2.,7.,4.))
    assert differ(row(disp), 0, 0, np.arange(5), f4(29)) and not differ(row(disp), 0, 0, np.arange(5), f4(30))
