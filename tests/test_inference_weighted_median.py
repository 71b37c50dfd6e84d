# Generated from nbs/67_inference.weighted_median.ipynb; edit the notebook, not this file
import numpy as np
from stereo_kd.data.io import to_uint8
import time
import cv2, matplotlib.pyplot as plt, pandas as pd, torch
from fastcore.test import *
from stereo_kd.core import denormalize
from stereo_kd.data.synthetic import SyntheticPairs
from stereo_kd.models.zoo import load_model
from stereo_kd.inference.weighted_median import *

def test_as_numpy_says():
    rng = np.random.default_rng(0)
    H,W = 21,27
    def by_numpy(disp, image, confidence, reach, sigma, tolerance, min_support):
        out,grid = disp.copy(),np.array([*(-np.array(reach)), 0, *reach])
        for y in range(H):
            for x in range(W):
                i,j = (g.ravel() for g in np.meshgrid(y+grid, x+grid, indexing='ij'))
                inside = (i>=0)&(i<H)&(j>=0)&(j<W)
                i,j = i[inside],j[inside]
                w = confidence[i,j]*np.exp(-np.abs(image[i,j]/255-image[y,x]/255).mean(-1)/sigma)
                d = disp[i,j]
                if w[abs(d-disp[y,x])<=tolerance].sum()>=min_support*w.sum(): continue
                order = np.argsort(d)
                out[y,x] = d[order][np.searchsorted(np.cumsum(w[order]), w.sum()/2)]
        return out
    disp = (rng.choice([10,20,30,40,50], (H,W))+2*rng.random((H,W))).astype(np.float32)
    confidence = rng.random((H,W))
    for channels in (3,1):
        image = rng.choice(np.uint8([20,35,200]), (H,W,1))+rng.choice(np.uint8([0,9]), (H,W,channels))
        for kw in (
            dict(reach=(3,8), sigma=.05, tolerance=2., min_support=.3),
            dict(reach=(1,2,3), sigma=.2, tolerance=.5, min_support=.4),
            dict(reach=(5,), sigma=.02, tolerance=1., min_support=2.)):
            want = by_numpy(disp, image, confidence, **kw)
            got = weighted_median_filter(disp, image if channels==3 else image[...,0], confidence, **kw)
            assert (want!=disp).mean()>.1
            test_eq(got, want)
            test_close(weighted_median_filter(disp, image/255, confidence, **kw), got)
    test_eq(weighted_median_filter(disp, image, min_support=0), disp)
    test_eq(weighted_median_filter(disp, image, np.zeros_like(disp)), disp)
    test_eq(disp.dtype, np.float32)

def test_box_speckle_and_slope():
    H,W = 60,80
    y,x = np.mgrid[:H,:W]
    box = (y>=20)&(y<44)&(x>=24)&(x<56)
    image = np.where(box, 180, 60)[...,None]+np.random.default_rng(0).integers(0, 8, (H,W,3))
    image = image.astype(np.uint8)
    truth = np.where(box, 40, 12).astype(np.float32)
    ragged = np.where((y>=20)&(y<44)&(x>=24-(y%7)//2)&(x<56+(y%5)//2), 40, 12).astype(np.float32)
    ragged[5:8,60:63] = 90
    assert (ragged!=truth).sum()>50 and (weighted_median_filter(ragged, image)!=truth).sum()<20
    assert (weighted_median_filter(ragged, image)[:16]==12).all()
    slope = (30-.1*x+.3*y).astype(np.float32)
    uneven = np.where((x+2*y)%23<9, 200, 40).astype(np.uint8)
    test_eq(weighted_median_filter(slope, uneven), slope)
    assert abs(weighted_median_filter(slope, uneven, min_support=2)-slope).max()>1

def test_confidence_decides():
    wall = np.full((40,60), 100, np.uint8)
    disp = np.full((40,60), 8, np.float32)
    disp[:,20:44] = 20 # one colour: the image knows nothing
    confidence = np.ones_like(disp)
    confidence[:,20:44] = .01
    fixed = weighted_median_filter(disp, wall, confidence)
    assert (fixed[:,:20]==8).all() and (fixed[:,44:]==8).all()
    test_eq(np.flatnonzero(fixed[20]==20).tolist(), [*range(28,36)]) # as far as confident samples reach
    test_eq(weighted_median_filter(disp, wall), disp)

def test_refuses_bad_maps():
    disp,image = np.zeros((9,12)),np.zeros((9,12,3), np.uint8)
    for kw,words in (
        (dict(image=image[:,1:]), 'got disp (9, 12) for (9, 11, 3)'),
        (dict(confidence=disp[1:]), 'got confidence (8, 12)'),
        (dict(confidence=disp-1), 'confidence must not be negative'),
        (dict(disp=np.where(np.eye(9,12)>0, np.nan, disp)), 'disp has 9 pixels that are nan or inf'),
        (dict(image=image+7.), 'image must be uint8, or floating point in [0,1]'),
        (dict(reach=(8,3)), 'reach must be rising and above 0, got (8, 3)'),
        (dict(reach=(0,3)), 'got (0, 3)'), (dict(reach=()), 'got ()')):
        test_fail(
            lambda: weighted_median_filter(**dict(dict(disp=disp, image=image), **kw)), exc=ValueError,
            contains=words)
