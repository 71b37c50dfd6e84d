# Generated from nbs/72_inference.sgbm.ipynb; edit the notebook, not this file
import cv2, numpy as np
from stereo_kd.inference.holes import fill_holes
from stereo_kd.data.io import to_uint8
from fastcore.test import *
from IPython.display import Markdown
import matplotlib.pyplot as plt
from stereo_kd.data.io import color_disparity, read_disparity
from stereo_kd.testing import real_data
import pytest
from stereo_kd.inference.sgbm import *

def test_settings():
    test_eq([sgbm_settings(m)['numDisparities'] for m in (1,16,17,64,192)], [16,16,32,64,192])
    test_eq([sgbm_settings(64, n)['numDisparities'] for n in (0,16,17)], [64,48,48])
    test_fail(
        lambda: sgbm_settings(mode='fast'), exc=ValueError,
        contains="unknown mode 'fast' of SGBM; use one of 3way, sgbm, hh")
    test_fail(lambda: sgbm_settings(16, 16), exc=ValueError, contains='0 <= min_disp < max_disp, got 16 and 16')

def test_recovers_known_shift():
    wide = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (60,207,3), dtype=np.uint8), (0,0), 1)
    left,right = wide[:,:200],wide[:,7:] # right[x-7] = left[x]
    for mode in ('3way','sgbm','hh'):
        d = sgbm(left, right, max_disp=40, mode=mode, fill=False)
        known = np.isfinite(d)
        assert known[:,10:].mean()>.95, mode
        assert np.abs(d[:,10:][known[:,10:]]-7).max()<.5, mode
    d = sgbm(left, right, max_disp=40, fill=False, pad=False)
    assert np.isnan(d[:,:48]).all() and np.isfinite(d[:,60:]).mean()>.95 # 40 is rounded up to 48
    test_close(np.median(sgbm(left, right, max_disp=40, min_disp=5)), 7, eps=.1)
    assert np.median(sgbm(left, right, max_disp=40, min_disp=16))>=16 # out of the range: not found

def test_float_grey_and_filled():
    wide = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (40,107,3), dtype=np.uint8), (0,0), 1)
    left,right = wide[:,:100],wide[:,7:]
    want = sgbm(left, right, 16)
    test_eq(sgbm(left/255, np.float32(right)/255, 16), want)
    test_eq(sgbm(np.clip(left/255-.001, 0, 1), right, 16), want) # rounded, not cut
    test_eq(want.dtype, np.float32)
    test_eq(want.shape, (40,100))
    assert np.isfinite(want).all()
    raw = sgbm(left, right, 16, fill=False)
    assert np.isnan(raw).any()
    test_eq(fill_holes(raw), want)
    test_close(np.median(sgbm(left[...,0], right[...,0], 16)), 7, eps=.1)

def test_sgbm_refuses():
    a = np.zeros((20,30,3), np.uint8)
    test_fail(lambda: sgbm(a, a[:,1:]), exc=ValueError, contains='(20, 30, 3) != (20, 29, 3)')
    test_fail(lambda: sgbm(a, a*1.+2), exc=ValueError, contains='right must be uint8, or floating point in [0,1]')
    test_fail(lambda: sgbm(a+np.nan, a), exc=ValueError, contains='left must be uint8')
    test_fail(
        lambda: sgbm(a[None], a), exc=ValueError,
        contains='left must be (H,W) or (H,W,3), got (1, 20, 30, 3)')
    test_fail(lambda: sgbm(a, a, mode='fast'), exc=ValueError, contains='use one of 3way, sgbm, hh')

@pytest.mark.slow
@pytest.mark.data
def test_real_scene():
    m = real_data()/'middlebury'
    for folder,views,gt,scale in (
        ('2003/cones',('im2.png','im6.png'),'disp2.png',4),
        ('2001/venus',('im2.ppm','im6.ppm'),'disp2.pgm',8)):
        left,right = (cv2.imread(str(m/folder/v)) for v in views)
        gt = read_disparity(m/folder/gt, scale)
        bad2 = (np.abs(sgbm(left, right, 64)-gt)>2)[np.isfinite(gt)].mean()
        assert bad2<.15, (folder,bad2)
