# Generated from nbs/69_inference.left_right.ipynb; edit the notebook, not this file
import numpy as np
from torch import Tensor
from stereo_kd.inference.holes import fill_holes
from stereo_kd.inference.weighted_median import weighted_median_filter
import matplotlib.pyplot as plt, pandas as pd, torch
from types import SimpleNamespace
from fastcore.test import *
from stereo_kd.core import denormalize
from stereo_kd.data.synthetic import SyntheticPairs
from stereo_kd.models.zoo import load_model
from stereo_kd.inference.left_right import *

def test_one_row_by_hand():
    x = np.arange(60)
    def row(a, b): return np.where((x>=a)&(x<b), 20., 8.)[None]
    middle,right = row(30, 40),row(10, 20)
    test_eq(np.flatnonzero(~left_right_check(middle, right)).tolist(), [*range(8),*range(18,28)])
    # out of view, but as it should be; hidden behind the box: not touched
    test_eq(fill_border(middle, right), middle.astype(np.float32))
    border,right = row(0, 30),row(0, 10)
    guess = border.copy()
    guess[0,:20] = np.where(x[:20]%2, 3, 45)
    test_eq(left_right_check(guess, right).sum(), 40)
    test_eq(fill_border(guess, right), border.astype(np.float32))
    test_eq(fill_border(guess, right).dtype, np.float32)
    inside = border.copy()
    inside[0,40:50] = 30
    test_eq(left_right_check(inside, right).sum(), 30)
    test_eq(fill_border(inside, right)[0,40:50], inside[0,40:50]) # wrong, but in view
    test_eq(left_right_check(border+.4, right).sum(), 40)
    assert not left_right_check(border+1.1, right).any()
    assert left_right_check(border+1.6, right, tolerance=2)[0,31:].all()
    test_eq(fill_border(np.full((2,9), 20.), np.full((2,9), 20.)), np.full((2,9), 20.)) # nothing to continue from
    test_fail(
        lambda: left_right_check(border, right[:,1:]), exc=ValueError,
        contains='of one size, got (1, 60) and (1, 59)')

def test_check_says_what_is_confirmed():
    flat = np.full((1,6), 2.)
    test_eq(left_right_check(flat, flat).tolist(), [[False,False,True,True,True,True]])
    test_eq(left_right_check(flat, flat+1).tolist(), [[False,False,True,True,True,True]]) # 1 px is within the tolerance
    assert not left_right_check(flat, flat+1.01).any()
    unknown = flat.copy()
    unknown[0,4] = np.nan
    test_eq(left_right_check(flat, unknown)[0].tolist(), [False,False,True,True,True,True]) # nobody matches column 4
    test_eq(left_right_check(flat, np.roll(unknown, -2))[0].tolist(), [False,False,True,True,False,True])

def test_other_side_is_the_mirrored_pair():
    net = lambda a,b: SimpleNamespace(disparity=[None, a[:,0]+10*b[:,1]]) # looks at each pixel alone
    left,right = torch.rand(2, 3, 4, 6),torch.rand(2, 3, 4, 6)
    d,d_right = left_right_disparities(net, left, right)
    test_close(d, left[:,0]+10*right[:,1])
    test_close(d_right, right[:,0]+10*left[:,1])
    test_eq(right_disparity(net, left, right), d_right)

def test_hidden_strip_goes_to_the_wall():
    y,x = np.mgrid[:40,:80]
    box = (y>=8)&(y<32)&(x>=40)&(x<60)
    image = np.where(box, 200, 60).astype(np.uint8)
    truth,right = np.where(box, 20., 8.),np.where((y>=8)&(y<32)&(x>=20)&(x<40), 20., 8.)
    guess = np.where((y>=8)&(y<32)&(x>=28)&(x<60), 20., 8.)
    wrong = lambda d: (abs(d-truth)>1).sum()
    test_eq(wrong(guess), 24*12)
    for post in POST: check_post(post)
    test_fail(lambda: check_post('both'), exc=ValueError, contains="'none', 'filter' or 'left_right', got 'both'")
    assert wrong(postprocess(guess, image))>100
    assert wrong(postprocess(guess, image, right))<50
    assert wrong(postprocess(guess, image, right, doubt=1))>100
    test_eq(postprocess(guess, image), weighted_median_filter(guess, image))
    left_box = np.where(x<30, 20., 8.)
    seen = np.where(x<10, 20., 8.)
    torn = left_box.copy()
    torn[:,:20] = np.where(x[:,:20]%2, 3, 45)
    # the border, as `fill_border` continues it
    filled = postprocess(torn, np.where(x<30, 200, 60).astype(np.uint8), seen)
    test_eq(filled, left_box.astype(np.float32))
