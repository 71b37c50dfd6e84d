# Generated from nbs/16_data.eth3d.ipynb; edit the notebook, not this file
import warnings
from pathlib import Path
from stereo_kd.core import pick
from stereo_kd.data.files import check_tree, IncompleteWarning, PairFile, PairFiles
from stereo_kd.data.middlebury import read_calib
import cv2, numpy as np, os, tempfile
from fastcore.test import *
from stereo_kd.data.io import write_pfm
import pytest
from stereo_kd.data.eth3d import *

def test_complete_trees_have_the_published_counts():
    calib = 'cam0=[9 0 1; 0 9 1; 0 0 1]\ncam1=[9 0 1; 0 9 1; 0 0 1]\ndoffs=0\nbaseline=1\nwidth=9\nheight=9\nndisp=48\n'
    def tree(root, n, names):
        for k in range(n):
            f = root/f's{k:02d}'
            f.mkdir(parents=True)
            for name in names: (f/name).write_text(calib if name=='calib.txt' else '')
    for test_name in ('two_view_test','two_view_testing'):
        with tempfile.TemporaryDirectory() as d, warnings.catch_warnings():
            warnings.simplefilter('error')
            d = Path(d)
            tree(d/'two_view_training', 27, ('im0.png','im1.png','calib.txt'))
            tree(d/'two_view_training_gt', 27, ('disp0GT.pfm','mask0nocc.png'))
            tree(d/test_name, 20, ('im0.png','im1.png','calib.txt'))
            test_eq(
                [len(eth3d(d)), len(eth3d(d, 'test')), eth3d(d).files[4].ndisp, eth3d(d, 'test').files[0].disp],
                [27,20,48,''])
            test_eq(
                [Path(p).relative_to(d).as_posix() for p in (eth3d(d).files[26].disp,eth3d(d).files[26].visible)],
                ['two_view_training_gt/s26/disp0GT.pfm','two_view_training_gt/s26/mask0nocc.png'])
            test_fail(lambda: eth3d(d, 'valid'), exc=ValueError, contains="unknown part of ETH3D 'valid'")
            test_fail(lambda: eth3d(d/'two_view_training'), exc=ValueError, contains=f'did you mean {d}?')

def test_occluded_pixels_do_not_count():
    with tempfile.TemporaryDirectory() as d, warnings.catch_warnings():
        warnings.simplefilter('ignore', IncompleteWarning)
        f = Path(d)/'two_view_training/s'
        f.mkdir(parents=True)
        for v in ('im0','im1'): cv2.imwrite(str(f/f'{v}.png'), np.zeros((2,3), np.uint8))
        cv2.imwrite(str(f/'mask0nocc.png'), np.uint8([[255,128,0],[255,255,128]]))
        write_pfm(f/'disp0GT.pfm', np.float32([[5,5,np.inf],[np.inf,5,5]]))
        test_eq(
            [eth3d(d, mask=m)[0][3].tolist() for m in ('all','noc')],
            [[[True,True,False],[False,True,True]],[[True,False,False],[False,True,False]]])

@pytest.mark.data
def test_a_real_scene_without_truth():
    from stereo_kd.testing import real_data
    with warnings.catch_warnings(record=True) as w:
        warnings.simplefilter('always')
        ds = eth3d(real_data()/'eth3d')
    test_eq([len(ds), ds.files[0].name, ds[0][3].any().item()], [1,'delivery_area_1l',False])
    assert any('0 of 1 training scenes have truth' in str(x.message) for x in w)
