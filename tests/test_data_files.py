# Generated from nbs/12_data.files.ipynb; edit the notebook, not this file
from typing import NamedTuple
import numpy as np, torch
from stereo_kd.core import check_pair, normalize
from stereo_kd.data.io import read_disparity, read_image, read_pixels
import tempfile
import matplotlib.pyplot as plt
from pathlib import Path
from fastcore.test import *
from stereo_kd.data.io import write_disparity, write_bytes
import cv2
import pytest
from stereo_kd.data.files import *

def test_reads_what_was_written():
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as d:
        d = Path(d); im = rng.integers(0,255,(2,6,9,3),dtype=np.uint8)
        for n,x in zip(('l.png','r.png'), im): cv2.imwrite(str(d/n), x[...,::-1])
        truth = np.full((6,9), 3.5, 'float32'); truth[0] = np.nan; truth[1] = 200; write_disparity(d/'t.png', truth)
        cv2.imwrite(str(d/'m.png'), np.where(np.arange(9)[None]>2, 255, 128).repeat(6,0).astype('uint8'))
        files = [PairFile(d/'l.png', d/'r.png', d/'t.png', visible=d/'m.png')]
        left,right,disp,valid = PairFiles(files, max_disp=192)[0]
        test_close(left, normalize(torch.from_numpy(im[0]).permute(2,0,1)/255), eps=1e-5)
        test_eq([valid[0].any().item(), valid[1].any().item(), valid[2:].all().item()], [False,False,True])
        test_eq(disp[2,3].item(), 3.5); test_eq(disp[~valid].abs().sum().item(), 0.)
        noc = PairFiles(files, 'noc', 192)[0][3]
        test_eq(noc[2].tolist(), [False]*3+[True]*6)
        test_eq([tuple(t.shape) for t in PairFiles(files*2).batch([0,1])], [(2,3,6,9),(2,3,6,9),(2,6,9),(2,6,9)])
        assert not PairFiles([PairFile(d/'l.png', d/'r.png')])[0][3].any()

def test_sizes_that_differ_are_named():
    with tempfile.TemporaryDirectory() as d:
        d = Path(d)
        for n,s in dict(l=(6,9),r=(6,8),t=(5,9)).items(): cv2.imwrite(str(d/f'{n}.png'), np.zeros(s,'uint8'))
        write_disparity(d/'t.png', np.ones((5,9),'float32'))
        test_fail(lambda: PairFiles([PairFile(d/'l.png', d/'r.png')])[0], contains='r.png must have the same shape')
        test_fail(lambda: PairFiles([PairFile(d/'l.png', d/'l.png', d/'t.png')])[0], contains='t.png is (5, 9), its image')
    test_fail(lambda: PairFiles([], 'visible'), contains="'all' or 'noc', got 'visible'")

@pytest.mark.data
def test_truth_explains_the_right_image():
    from stereo_kd.testing import real_data
    root = real_data(); q = root/'middlebury/MiddEval3/trainingQ/Motorcycle'; k = root/'kitti2015/training'; v = root/'middlebury/2001/venus'
    files = [PairFile(q/'im0.png', q/'im1.png', q/'disp0GT.pfm', visible=q/'mask0nocc.png'), PairFile(v/'im2.ppm', v/'im6.ppm', v/'disp2.pgm', 8),
             PairFile(k/'image_2/000001_10.png', k/'image_3/000001_10.png', k/'disp_noc_0/000001_10.png')]
    for left,right,disp,valid in PairFiles(files, 'noc'):
        y,x = valid.nonzero(as_tuple=True); xr = (x-disp[y,x]).round().long(); inside = xr>=0
        err = lambda c: (left[:,y[inside],x[inside]]-right[:,y[inside],c[inside]]).abs().mean()
        assert err(xr)<.6*err(x), (err(xr), err(x))
