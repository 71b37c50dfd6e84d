# Generated from nbs/68_inference.rectify.ipynb; edit the notebook, not this file
import cv2, numpy as np
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
            if any(want):
                assert np.abs(back.astype(int)-right)[8:-8].mean()<.6*np.abs(moved.astype(int)-right)[8:-8].mean()
    assert np.median(worst)<.15 and max(worst)<.6, worst

def test_nothing_to_match_moves_nothing():
    flat = np.full((60,80), 128, np.uint8)
    test_eq(row_offsets(flat, flat), np.zeros(3))
    test_eq(align_rows(flat, flat), flat)
    test_fail(
        lambda: row_offsets(flat, flat[:50]), exc=ValueError,
        contains='one size, got uint8 (60, 80) and uint8 (50, 80)')
    test_fail(lambda: row_offsets(flat/255, flat/255), exc=ValueError, contains='must be uint8 images')
