# Generated from nbs/15_data.middlebury.ipynb; edit the notebook, not this file
import re
from pathlib import Path
from typing import NamedTuple
from stereo_kd.core import pick
from stereo_kd.data.files import check_tree, PairFile, PairFiles
from stereo_kd.data.io import read_bytes
import os, tempfile, warnings
from fastcore.test import *
from stereo_kd.data.files import warp_error, IncompleteWarning
import pytest
from stereo_kd.data.middlebury import *

def test_calibration_is_read_strictly():
    text = 'cam0=[935.5 0 148; 0 935.5 138; 0 0 1]\ncam1=[935.5 0 198; 0 935.5 138; 0 0 1]\ndoffs=50\nbaseline=160\nwidth=347\nheight=277\nndisp=64\nisint=0\nvmin=16\nvmax=58\n'
    with tempfile.TemporaryDirectory() as d:
        f = Path(d)/'calib.txt'
        f.write_text(text)
        test_eq(read_calib(f), Calib(935.5, 148., 138., 50., .16, 347, 277, 64, 16., 58.))
        f.write_text(text.replace('\n', '\r\n').replace('vmax=58', ''))
        test_eq(read_calib(f)[:9], (935.5, 148., 138., 50., .16, 347, 277, 64, 16.))
        changes = [('ndisp=64','', 'does not say ndisp'), ('doffs=50','doffs=far', "doffs must be a number, got 'far'"), ('width=347','width=34.7', "width must be a number, got '34.7'"), ('cam0=[','cam0=', 'cam0 must be a matrix'),
                   ('0 935.5 138; 0 0 1]\ncam1','0 935.5; 0 0 1]\ncam1', 'cam0 must be a matrix'), ('baseline=160','baseline=-1', 'baseline must be positive'), ('height=277','height=0', 'height must be positive'), ('doffs=50','doffs=nan', 'doffs must be a number'), ('doffs=50','doffs=inf', 'doffs must be a number')]
        for a,b,say in changes:
            f.write_text(text.replace(a, b))
            test_fail(lambda: read_calib(f), exc=ValueError, contains=say)
        for data,say in [
            (b'', 'is empty'), (bytes(range(256))*9, 'is no calibration'),
            (b'a=1\n'*30000, 'is no calibration: it has more than 64 kB')]:
            f.write_bytes(data)
            test_fail(lambda: read_calib(f), exc=ValueError, contains=f'{f} {say}')
    test_fail(
        lambda: read_calib('nowhere/calib.txt'), exc=FileNotFoundError,
        contains='nowhere/calib.txt does not exist')

def test_complete_trees_have_the_published_counts():
    calib = 'cam0=[9 0 1; 0 9 1; 0 0 1]\ncam1=[9 0 1; 0 9 1; 0 0 1]\ndoffs=0\nbaseline=1\nwidth=9\nheight=9\nndisp=48\n'
    def tree(root, n, names):
        for k in range(n):
            f = root/f'scene{k:02d}'
            f.mkdir(parents=True)
            for name in names: (f/name).write_text(calib if name=='calib.txt' else '')
    with tempfile.TemporaryDirectory() as d, warnings.catch_warnings():
        warnings.simplefilter('error')
        d = Path(d)
        for y,n,names in [('2001',6,'im2.ppm im6.ppm disp2.pgm disp6.pgm'), ('2003',2,'im2.png im6.png disp2.png disp6.png'), ('2005',6,'view1.png view5.png disp1.png disp5.png'), ('2006',21,'view1.png view5.png disp1.png disp5.png'),
                          ('2014',23,'im0.png im1.png disp0.pfm disp1.pfm calib.txt'), ('2021',24,'im0.png im1.png disp0.pfm disp1.pfm calib.txt'), ('MiddEval3/trainingH',15,'im0.png im1.png disp0GT.pfm mask0nocc.png calib.txt'), ('MiddEval3/testH',15,'im0.png im1.png calib.txt')]:
                              tree(d/y, n, names.split())
        tree(d/'2005'/'x', 3, ['view1.png','view5.png']) # the scenes of 2005 without truth do not count
        test_eq([len(middlebury(d, y)) for y in ('2001','2003','2005','2006','2014','2021')], [6,2,6,21,23,24])
        test_eq(
            [len(middlebury(d, part=p, resolution='H')) for p in ('training','test')]
            +[len(middlebury(d/'MiddEval3', resolution='H')), len(middlebury(d/'2014', '2014'))],
            [15,15,15,23])
        f = middlebury(d, resolution='H').files[3]
        test_eq(
            [Path(p).name for p in (f.left,f.right,f.disp,f.visible)] +[f.name,f.ndisp,f.right_disp],
            ['im0.png','im1.png','disp0GT.pfm','mask0nocc.png','scene03',48,''])
        test_eq(
            [
                middlebury(d, y, resolution=r).files[0].scale for y,
                r in (('2001',''),('2003',''),('2003','F'),('2006',''),('2006','T'),('2014',''))],
            [8,4,1,2,3,None])
        for f,say in [(
            lambda: middlebury(d), 'trainingQ, complete scenes with truth: 0 of 15'), (
                lambda: middlebury(d, '2002'), "unknown edition of Middlebury '2002'"), (
                    lambda: middlebury(d, '2014', 'test'), '2014 has no test part'),
                      (
                          lambda: middlebury(d, resolution='X'),
                          "unknown resolution of Middlebury v3 'X'"), (lambda: middlebury(d.parent, 'v3'), f'did you mean {d}?'), (lambda: middlebury(d, '2003', resolution='T'), 'known: F, H, Q')]:
                          test_fail(f, exc=ValueError, contains=say)

@pytest.mark.data
def test_truth_explains_real_scenes():
    from stereo_kd.testing import real_data
    root = real_data()/'middlebury'
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', IncompleteWarning)
        for edition,n in (('v3',3),('2001',1),('2003',2),('2005',1)):
            every,noc = (middlebury(root, edition, mask=m) for m in ('all','noc'))
            test_eq(len(every), n)
            for i in range(n):
                a,b = warp_error(every.sample(i)),warp_error(noc.sample(i))
                assert b['truth']<.55*b['zero'] and b['truth']<a['truth'] and .6*a['n']<b['n']<a['n'], (
                    edition, every.files[i].name, a, b)
                for shift in (-2,2):
                    # the factor is right
                    assert warp_error(noc.sample(i), shift)['truth']>1.1*b['truth'], (edition, shift)
    c = read_calib(root/'MiddEval3/trainingQ/ArtL/calib.txt')
    test_eq([c.focal,c.doffs,c.ndisp,c.width], [935.,50.,64,347])
