# Generated from nbs/18_data.folder.ipynb; edit the notebook, not this file
import glob, re, warnings
from pathlib import Path
from stereo_kd.data.files import IncompleteWarning, PairFile, PairFiles
import cv2, numpy as np, os, tempfile
from fastcore.test import *
from stereo_kd.data.io import write_disparity
import pytest
from stereo_kd.data.folder import *

def test_layouts_are_found():
    def tree(d, *paths):
        for p in paths:
            f = Path(d)/p
            f.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(f), np.zeros((4,6), np.uint8))
    def names(ds):
        return [
            (f.name,Path(f.left).name,Path(f.right).name,Path(f.disp).name if f.disp else '')
            for f in ds.files]
    for paths,want in [(
        ('left/a.png','right/a.jpg','left/b.png','right/b.png','disp/b.pgm'),
        [('a','a.png','a.jpg',''),('b','b.png','b.png','b.pgm')]),
                       (
                           ('x/im0.png','x/im1.png','y/im0.png','y/im1.png'),
                           [('x','im0.png','im1.png',''),('y','im0.png','im1.png','')]),
                       (
                           ('1_left.png','1_right.png','1_disp.png'),
                           [('1','1_left.png','1_right.png','1_disp.png')]), (
                               ('left.png','right.png'), [('left','left.png','right.png','')])]:
        with tempfile.TemporaryDirectory() as d:
            tree(d, *paths)
            test_eq(names(folder(d)), want)
            test_eq(folder(d, scale=8)[0][0].shape, (3,4,6))

def test_patterns_and_errors():
    with tempfile.TemporaryDirectory() as d:
        d = Path(d)
        [p.mkdir() for p in (d/'cam',)]
        for n in ('l01','l02','l03','r01','r02'): cv2.imwrite(str(d/'cam'/f'{n}.png'), np.zeros((4,6), np.uint8))
        write_disparity(d/'t'/'01.pfm', np.full((4,6), 2.))
        with warnings.catch_warnings(record=True) as w:
            warnings.simplefilter('always')
            ds = folder(d, 'cam/l{}', 'cam/r{}', 't/{}')
        test_eq([f.name for f in ds.files], ['01','02'])
        assert '1 left images have no right one: 03' in str(w[0].message)
        test_eq([ds[0][2].max().item(), ds[1][3].any().item()], [2.,False])
        for f,say in [
            (lambda: folder(d), 'has no pair of images; tried left/{} with right/{}'),
            (lambda: folder(d/'no'), 'is not a folder'),
            (lambda: folder(d, 'cam/l{}', 'cam/r{}', 'u/{}'), "no file of disparities that matches 'u/{}'"),
            (lambda: folder(d, 'cam/l{}'), 'a pattern each'),
            (lambda: folder(d, '{}/{}', 'x'), 'more than one {}'),
            (lambda: folder(d, 'a', 'b'), 'in it: cam, t'),
            (lambda: folder(d, '/{}', 'r{}'), "pattern '/{}' must name files below the folder"),
            (lambda: folder(d, 'l{}', '\0'), "must name files below"), (lambda: folder(d, 'l/', 'r/'), "must name files below"),
            (lambda: folder(d, '**/{}', '[', '*'), 'has no pair of images; tried **/{} with ['),
            (lambda: folder(d, 'x'*300+'{}', 'y{}'), 'has no pair of images; tried xxx')]:
            test_fail(f, exc=ValueError, contains=say)
        for side in ('a[1]','b*'): # letters that mean something to a shell
            (d/side).mkdir()
            cv2.imwrite(str(d/side/'x.png'), np.zeros((4,6), np.uint8))
        test_eq([f.name for f in folder(d, 'a[1]/{}', 'b*/{}').files], ['x'])
        os.mkfifo(d/'b*'/'y.png')
        cv2.imwrite(str(d/'a[1]'/'y.png'), np.zeros((4,6), np.uint8))
        pipe = folder(d, 'a[1]/{}', 'b*/{}')
        test_fail(lambda: pipe[1], exc=ValueError, contains='y.png is a device or a pipe')

@pytest.mark.data
def test_real_camera_pair():
    from stereo_kd.testing import real_data
    ds = folder(real_data()/'own_camera/oakd')
    left,right,disp,valid = ds[0]
    test_eq([len(ds), left.shape==right.shape, valid.any().item()], [1,True,False])
