# Generated from nbs/68_inference.rectify.ipynb; edit the notebook, not this file
import cv2, numpy as np
from stereo_kd.data.io import to_uint8
import matplotlib.pyplot as plt
from fastcore.test import *
from stereo_kd.data.synthetic import DISAGREEMENTS, SyntheticPairs
from stereo_kd.inference.rectify import *

def test_known_offsets_are_found():
    r = SyntheticPairs(40, (256,512), without=DISAGREEMENTS).render([9,12,30])
    worst = []
    for k in range(3):
        left,right = ((255*r[v][k]).round().byte().permute(1,2,0).numpy() for v in ('left','right'))
        for want in ((0.,0.,0.), (.6,0.,0.), (-1.,.8,.5)):
            moved = align_rows(left, right, -np.array(want))
            got = row_offsets(left, moved)
            corners = np.array([[1,x,y] for x in (0,1) for y in (0,1)])
            worst.append(np.abs(corners@(got-want)).max())
            back = align_rows(left, moved)
            error,before = (np.abs(v.astype(int)-right)[8:-8].mean() for v in (back,moved))
            assert error<.6*before or not any(want)
    assert np.median(worst)<.15 and max(worst)<.6, worst

def test_nothing_to_match_moves_nothing():
    flat = np.full((60,80), 128, np.uint8)
    test_eq(row_offsets(flat, flat), np.zeros(3))
    test_eq(align_rows(flat, flat), flat)
    test_fail(
        lambda: row_offsets(flat, flat[:50]), exc=ValueError,
        contains='left and right must be images of one size, got (60, 80) and (50, 80)')
    test_fail(lambda: row_offsets(flat, flat*1.), exc=ValueError, contains='right must be uint8, or floating')

def test_bytes_and_floating_point_agree():
    r = SyntheticPairs(40, (128,256), without=DISAGREEMENTS).render([9])
    left,right = ((255*r[v][0]).round().byte().permute(1,2,0).numpy() for v in ('left','right'))
    right = align_rows(left, right, (-1.,0.,0.))
    right[:3,:3] = np.uint8([[0],[255],[0]]) # the cubic overshoots here
    floats = np.float32(left/255),np.float32(right/255)
    test_eq(row_offsets(*floats), row_offsets(left, right))
    test_close(row_offsets(left, right, max_offset=.5)[0], 0, eps=.5)
    test_eq(row_offsets(left, right, min_matches=10**6), np.zeros(3))
    moved = align_rows(*floats, (.5,0,0))
    test_eq(moved.dtype, np.float32)
    assert moved.min()>=0 and moved.max()<=1
    test_close(moved, align_rows(left, right, (.5,0,0))/255, eps=.03)
