# Generated from nbs/72_inference.sanity.ipynb; edit the notebook, not this file
import cv2, numpy as np
from typing import NamedTuple
from stereo_kd.data.io import to_uint8
import matplotlib.pyplot as plt
from fastcore.test import *
from time import perf_counter
from stereo_kd.data.synthetic import SyntheticPairs
from stereo_kd.inference.sanity import *

def test_matches_have_directions_and_px():
    rng = np.random.default_rng(0)
    wide = cv2.normalize(cv2.GaussianBlur(rng.random((300,760)), (0,0), 3), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    left,right = wide[10:290,:700],wide[4:284,30:730] # right[y+6,x-30] = left[y,x]
    m = match_keypoints(left, right)
    assert isinstance(m, Matches) and m.scale==320/700 and len(m.dx)>50 and m.found>=len(m.dx)
    test_close([np.median(v) for v in m[:3]], [30,6,0], eps=.3)
    turned = match_keypoints(left, np.rot90(left).copy())
    test_close(abs(np.median(turned.turn)), 90, eps=2)
    flat = np.full((60,80), 128, np.uint8)
    test_eq([len(match_keypoints(flat, flat).dx),match_keypoints(flat, flat).found], [0,0])

def test_every_fault_is_named():
    r = SyntheticPairs(2, (256,512), seed=0).render([1])
    left,right = ((255*r[v][0]).round().byte().permute(1,2,0).numpy() for v in ('left','right'))
    other = (255*SyntheticPairs(8, (256,512), seed=0).render([7])['right'][0]).byte().permute(1,2,0).numpy()
    turn = lambda v,n: np.rot90(v, n).copy()
    assert find_fault(left, right) is None and find_fault(left/255, right/255) is None
    cases = dict(swapped=[(right,left),(turn(left, 2),turn(right, 2))], rotated=[(turn(left, 1),turn(right, 1)),(left,turn(right, 1))],
                 unrelated=[(left,other)], rows=[(left,np.roll(right, n, 0)) for n in (3,-5,10)])
    for cause,pairs in cases.items():
        for p in pairs: test_eq(Fault(*find_fault(*p)).cause, cause)
    for n in (3,-5,10): test_close(find_fault(left, np.roll(right, n, 0)).amount, n, eps=.7)
    assert 'too low' in find_fault(left, np.roll(right, 3, 0)).text and 'too high' in find_fault(left, np.roll(right, -3, 0)).text
    truth = r['disp'][0].numpy()
    beyond = find_fault(left, right, max_disp=float(np.quantile(truth, .6)))
    test_eq(beyond.cause, 'range')
    test_close(beyond.amount, np.quantile(truth, .99), eps=.15*truth.max())
    assert find_fault(left, right, max_disp=truth.max()+1) is None
    flat = np.full((60,80), 128, np.uint8)
    few = flat+np.uint8(40)*(np.arange(80)>40) # one edge: too little to tell
    assert find_fault(few, np.roll(few, 1, 1)) is None
    black = find_fault(left/255*1023/65535, right/255) # 10 bits in a file of 16
    test_eq(black.cause, 'dark')
    assert black.text.startswith('left is all but black, 1.6 % of white'), black.text
    for pair,cause in (((left,left),'same'), ((left,0*right),'dark'), ((left,np.full_like(right, 90)),'blank'), ((flat,flat),'blank')):
        test_eq(find_fault(*pair).cause, cause)
    assert find_fault(left, (right*.2).astype(np.uint8)) is None # a short exposure is no fault
