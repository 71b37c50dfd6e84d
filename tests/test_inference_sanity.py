# Generated from nbs/72_inference.sanity.ipynb; edit the notebook, not this file
import cv2, numpy as np
from typing import NamedTuple
from stereo_kd.data.io import to_uint8
import matplotlib.pyplot as plt
from fastcore.test import *
from time import perf_counter
from stereo_kd.data.scenes import ScenePairs
from stereo_kd.data.synthetic import SyntheticPairs
from stereo_kd.inference.sanity import *

def test_matches_have_directions_and_px():
    rng = np.random.default_rng(0)
    wide = cv2.normalize(cv2.GaussianBlur(rng.random((300,760)), (0,0), 3), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    left,right = wide[10:290,:700],wide[4:284,30:730] # right[y+6,x-30] = left[y,x]
    m = match_keypoints(left, right)
    assert m.scale==320/700 and len(m.dx)>50 and m.found>=len(m.dx)
    test_close([np.median(v) for v in m[:3]], [30,6,0], eps=.3)
    turned = match_keypoints(left, np.rot90(left).copy())
    test_close(abs(np.median(turned.turn)), 90, eps=2)
    flat = np.full((60,80), 128, np.uint8)
    test_eq([len(match_keypoints(flat, flat).dx),match_keypoints(flat, flat).found], [0,0])
