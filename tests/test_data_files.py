# Generated from nbs/12_data.files.ipynb; edit the notebook, not this file
import json, warnings
import numpy as np, torch
import stereo_kd
from fastcore.basics import patch
from pathlib import Path
from torch import Tensor
from typing import NamedTuple
from stereo_kd.core import check_pair, normalize, read_text
from stereo_kd.data.io import read_disparity, read_image, read_pixels
import cv2, tempfile
import matplotlib.pyplot as plt
from fastcore.test import *
from stereo_kd.data.io import write_disparity
import pytest
from stereo_kd.data.files import *

def test_packed_files_are_the_same_files():
    files = [PairFile(Path('a/ä.png'), 'b', 'c', 4., name=f'n{i}', ndisp=i) for i in range(3)]
    packed = PackedFiles(files)
    test_eq([packed[i] for i in range(3)], [f._replace(left='a/ä.png') for f in files])
    test_eq([packed[-1].name, [f.ndisp for f in packed], len(PackedFiles([]))], ['n2', [0,1,2], 0])
    test_fail(lambda: packed[3], exc=IndexError, contains='no pair 3 among 3')

def test_hidden_pixels_are_found():
    left = np.full((4,20), 2.)
    left[:,8:12] = 6 # square at 8..11, in the right view at 2..5
    right = np.full((4,20), 2.)
    right[:,2:6] = 6
    want = np.ones(20, bool)
    want[:2] = False
    want[4:8] = False # outside the right image; hidden
    test_eq(seen_twice(left, right), np.tile(want, (4,1)))
    left[0,15] = np.nan
    right[1,15-2] = np.nan
    test_eq([seen_twice(left, right)[i,15] for i in (0,1,2)], [False,False,True])

def test_items_of_two_sizes_make_a_batch():
    def item(h, w):
        return torch.full((3,h,w), float(w)),torch.zeros(3,h,w),torch.full((h,w), 5.),torch.ones(
            h, w, dtype=torch.bool)
    left,right,disp,valid = stack_items([item(4,6),item(3,8)])
    test_eq([tuple(left.shape), tuple(valid.shape), valid.sum((1,2)).tolist()], [(2,3,4,8),(2,4,8),[24,24]])
    test_eq(
        [left[0].unique().tolist(), left[1].unique().tolist(), disp[~valid].unique().tolist()],
        [[6.],[8.],[0.]])

def test_reads_what_was_written():
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as d:
        d = Path(d)
        im = rng.integers(0,255,(2,6,9,3),dtype=np.uint8)
        for n,x in zip(('l.png','r.png'), im): cv2.imwrite(str(d/n), x[...,::-1])
        truth = np.full((6,9), 3.5, 'float32')
        truth[0] = np.nan
        truth[1] = 200
        write_disparity(d/'t.png', truth)
        cv2.imwrite(str(d/'m.png'), np.where(np.arange(9)[None]>2, 255, 128).repeat(6,0).astype('uint8'))
        files = [PairFile(d/'l.png', d/'r.png', d/'t.png', visible=d/'m.png')]
        left,right,disp,valid = PairFiles(files, max_disp=192)[0]
        test_close(left, normalize(torch.from_numpy(im[0]).permute(2,0,1)/255), eps=1e-5)
        test_eq([valid[0].any().item(), valid[1].any().item(), valid[2:].all().item()], [False,False,True])
        test_eq(disp[2,3].item(), 3.5)
        test_eq(disp[~valid].abs().sum().item(), 0.)
        noc = PairFiles(files, 'noc', 192)
        test_eq([noc.mask, noc[0][3][2].tolist()], ['noc<192', [False]*3+[True]*6])
        test_eq([tuple(t.shape) for t in PairFiles(files*2).batch([0,1])], [(2,3,6,9),(2,3,6,9),(2,6,9),(2,6,9)])
        s = PairFiles(files).sample(0)
        test_close(s.left, torch.from_numpy(im[0]).permute(2,0,1)/255, eps=1e-6)
        test_eq(to_item(s)[0], normalize(s.left))
        bare = PairFiles([PairFile(d/'l.png', d/'r.png')])
        assert not bare[0][3].any()

def test_masks_take_the_right_file():
    with tempfile.TemporaryDirectory() as d:
        d = Path(d)
        cv2.imwrite(str(d/'i.png'), np.zeros((4,20), np.uint8))
        for n,v in dict(occ=2, noc=3, right=2, minus=-2).items():
            write_disparity(d/f'{n}.pfm', np.full((4,20), v, 'float32'))
        def value(mask, **kw):
            t = PairFiles([PairFile(d/'i.png', d/'i.png', **kw)], mask)[0]
            return t[2].max().item(),t[3].sum().item()
        kitti = dict(disp=d/'occ.pfm', noc=d/'noc.pfm')
        test_eq([value(m, **kitti) for m in ('all','noc','any')], [(2.,80),(3.,80),(2.,80)])
        test_eq(value('any', noc=d/'noc.pfm'), (3.,80))
        # two columns leave the right image
        test_eq(value('noc', disp=d/'occ.pfm', right_disp=d/'right.pfm'), (2.,72))
        test_eq(value('all', disp=d/'minus.pfm', scale=-1), (2.,80))
        for m,kw,say in [
            ('all', dict(noc=d/'noc.pfm'), 'noc.pfm); use mask='),
            ('noc', dict(disp=d/'occ.pfm'), 'neither a mask'),
            ('all', dict(disp=d/'minus.pfm'), 'minus.pfm has negative disparities (80 of 80')]:
            test_fail(lambda: value(m, **kw), exc=ValueError, contains=say)
        sparse = np.zeros((4,20), 'float32')
        sparse[0] = -2
        write_disparity(d/'sparse.pfm', sparse)
        test_fail(lambda: value('all', disp=d/'sparse.pfm'), exc=ValueError, contains='negative disparities (20 of 20')

def test_sizes_that_differ_are_named():
    with tempfile.TemporaryDirectory() as d:
        d = Path(d)
        for n,s in dict(l=(6,9),r=(6,8),t=(5,9)).items(): cv2.imwrite(str(d/f'{n}.png'), np.zeros(s,'uint8'))
        write_disparity(d/'t.png', np.ones((5,9),'float32'))
        test_fail(
            lambda: PairFiles([PairFile(d/'l.png', d/'r.png')])[0],
            contains='r.png must have the same shape')
        test_fail(
            lambda: PairFiles([PairFile(d/'l.png', d/'l.png', d/'t.png')])[0],
            contains='t.png is (5, 9), its image')
        write_disparity(d/'wide.png', np.ones((6,9),'float32'))
        for kw,say in ((dict(visible=d/'t.png'), 't.png is (5, 9), the disparity it belongs to (6, 9)'),
                       (dict(right_disp=d/'t.png'), 't.png must have the same shape')):
            test_fail(lambda: PairFiles([PairFile(d/'l.png', d/'l.png', d/'wide.png', **kw)], 'noc')[0], contains=say)
    test_fail(lambda: PairFiles([], 'visible'), contains="'noc' or 'any', got 'visible'")

def test_splits_choose_by_name():
    ds = PairFiles([PairFile('l', 'r', name=n) for n in 'abcd'], 'noc', 64, 'letters')
    with tempfile.TemporaryDirectory() as d:
        f = Path(d)/'s.txt'
        f.write_text('# of somebody\nd\n\nb\nz\n')
        part = ds.split(str(f))
        test_eq([[p.name for p in part.files], part.mask, part.name], [['b','d'], 'noc<64', 'letters'])
        f.write_text('z')
        test_fail(lambda: ds.split(str(f)), exc=ValueError, contains='none of the 4 pairs of letters')
        f.write_text('# only this\n')
        test_fail(lambda: ds.split(str(f)), exc=ValueError, contains='s.txt; it begins with nothing')
        f.write_bytes(b'\xff\xfeb\0') # UTF-16
        test_fail(lambda: ds.split(str(f)), exc=ValueError, contains='s.txt is not a text file')
        for name,say in ((f'{d}/no.txt','no.txt does not exist'), (d+'/.txt/../../etc',"there is no split")):
            test_fail(lambda: read_split(name), exc=(ValueError,OSError), contains=say)
    test_eq([f.name for f in ds.subset(['c',0]).files], ['c','a'])
    test_fail(
        lambda: read_split('nobody'), exc=ValueError,
        contains="no split 'nobody'; pass a .txt file or one of")

def test_wrong_trees_are_shown():
    tree = 'letters/\n  a/ 2 pictures'
    with tempfile.TemporaryDirectory() as d:
        d = Path(d)/'sets' # its neighbours are looked at, too
        root = d/'letters'
        (root/'a').mkdir(parents=True)
        (root/'b.txt').touch()
        say = lambda where,n,of=2: check_tree(where, 'Letters', tree, {'a/*.png':(n,of)}, 'a')
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            say(root, 2)
            say(root, 7, 0)
        test_warns(lambda: say(root, 1))
        test_fail(lambda: say(root/'z', 0), exc=ValueError, contains='no such folder')
        test_fail(lambda: say(d, 0), exc=ValueError, contains=f"did you mean {root}?")
        test_fail(lambda: say(root/'a', 0), exc=ValueError, contains=f"did you mean {root}?")
        try: say(root, 0)
        except ValueError as e: got = str(e)
        for line in ('does not hold Letters', tree, 'a/*.png: 0 of 2', 'in it: a/, b.txt'):
            assert line in got, (line, got)

def test_warp_error_is_least_at_the_truth():
    g = torch.Generator().manual_seed(0)
    right = torch.rand(3,8,40, generator=g).cumsum(2)/40
    left = torch.cat([right[...,:3], right[...,:-3]], 2)
    left[...,3:] = (right[...,:-3]+right[...,1:-2])/2 # match of x at x-2.5
    s = Sample(left, right, torch.full((8,40), 2.5), torch.arange(40).expand(8,40)>=3)
    e = warp_error(s)
    assert e['truth']<1e-6<.02<e['zero']
    test_eq(e['n'], 8*37)
    assert warp_error(s, .5)['truth']>.005 and warp_error(s, -.5)['truth']>.005

@pytest.mark.data
def test_truth_explains_the_right_image():
    from stereo_kd.testing import real_data
    root = real_data()
    q = root/'middlebury/MiddEval3/trainingQ/Motorcycle'
    k = root/'kitti2015/training'
    v = root/'middlebury/2001/venus'
    files = [PairFile(
        q/'im0.png', q/'im1.png', q/'disp0GT.pfm', visible=q/'mask0nocc.png'), PairFile(
            v/'im2.ppm', v/'im6.ppm', v/'disp2.pgm', 8, right_disp=v/'disp6.pgm'),
             PairFile(k/'image_2/000001_10.png', k/'image_3/000001_10.png', noc=k/'disp_noc_0/000001_10.png')]
    ds = PairFiles(files, 'noc')
    for i in range(3):
        e = warp_error(ds.sample(i))
        assert e['truth']<.6*e['zero'], (i, e)
