# Generated from nbs/14_data.kitti.ipynb; edit the notebook, not this file
from pathlib import Path
from stereo_kd.core import pick
from stereo_kd.data.files import check_tree, PairFile, PairFiles
import os, tempfile, warnings
from fastcore.test import *
from stereo_kd.data.files import list_splits, read_split, warp_error, IncompleteWarning
import pytest
from stereo_kd.data.kitti import *

def test_complete_trees_have_the_published_counts():
    def tree(root, folders, numbers):
        for f in folders:
            (root/f).mkdir(parents=True)
            for n in numbers: (root/f/n).touch()
    with tempfile.TemporaryDirectory() as d, warnings.catch_warnings():
        warnings.simplefilter('error')
        a,b = Path(d)/'kitti2015',Path(d)/'kitti2012'
        tree(
            a/'training', 'image_2 image_3 disp_occ_0 disp_noc_0 obj_map'.split(),
            [f'{i:06d}_10.png' for i in range(200)])
        tree(a/'testing', ('image_2','image_3'), [f'{i:06d}_{t}.png' for i in range(200) for t in (10,11)])
        for v in ('image_2','image_3'): (a/'training'/v/'000000_11.png').touch()
        tree(
            b/'training', 'image_0 image_1 colored_0 colored_1 disp_occ disp_noc'.split(),
            [f'{i:06d}_10.png' for i in range(194)])
        tree(b/'testing', ('image_0','image_1'), [f'{i:06d}_10.png' for i in range(195)])
        test_eq(
            [len(kitti2015(a)), len(kitti2015(a, 'testing')), len(kitti2012(b)), len(kitti2012(b, 'testing'))],
            [200,200,194,195])
        f = kitti2015(a).files[7]
        side = lambda p: Path(p).relative_to(a).as_posix()
        test_eq(
            [side(f.left), side(f.right), side(f.disp), side(f.noc), side(f.objects), f.name],
            [f'training/{k}/000007_10.png' for k in 'image_2 image_3 disp_occ_0 disp_noc_0 obj_map'.split()]
            +['000007_10'])
        test_eq(
            [Path(kitti2012(b, color=c).files[0].left).parent.name for c in (True,False)],
            ['colored_0','image_0'])
        test_eq(
            [Path(kitti2012(b, 'testing').files[0].left).parent.name, kitti2012(b, 'testing').files[0].disp],
            ['image_0',''])
        test_eq(
            [len(kitti2015(a, split=f'kitti2015_psmnet_{p}')) for p in ('train','val')]
            +[len(kitti2012(b, split=f'kitti2012_psmnet_{p}')) for p in ('train','val')],
            [160,40,160,34])
        test_eq(
            [len(kitti2015(a, split=f'kitti2015_gwcnet_{p}')) for p in ('train','val')]
            +[len(kitti2012(b, split=f'kitti2012_gwcnet_{p}')) for p in ('train','val')],
            [180,20,180,14])
        test_fail(
            lambda: kitti2015(a, 'test'), exc=ValueError,
            contains="unknown part of KITTI 2015 'test'; known: testing, training")

def test_splits_are_disjoint_and_complete():
    couples = {s[:-len('_train')] for s in list_splits() if s.startswith('kitti') and s.endswith('_train')}
    test_eq(
        couples,
        {'kitti2015_psmnet','kitti2012_psmnet','kitti2015_gwcnet','kitti2012_gwcnet','kitti2015_mobilestereonet'})
    for c in couples:
        train,val = (read_split(f'{c}_{p}') for p in ('train','val'))
        test_eq(sorted(train+val), [f'{i:06d}_10' for i in range(194 if '2012' in c else 200)])

def test_wrong_and_partial_trees():
    def touch(*paths):
        for p in paths:
            p.parent.mkdir(parents=True, exist_ok=True)
            p.touch()
    with tempfile.TemporaryDirectory() as d:
        k = Path(d)/'kitti'
        t = k/'training'
        touch(t/'image_2/000003_10.png')
        test_fail(lambda: kitti2015(k), exc=ValueError, contains='training/image_2 with image_3: 0 of 200')
        touch(t/'image_3/000003_10.png', t/'disp_noc_0/000003_10.png')
        test_fail(lambda: kitti2015(k), exc=ValueError, contains='training/disp_occ_0: 0 of 200')
        test_fail(lambda: kitti2015(d), exc=ValueError, contains=f'did you mean {k}?')
        for mask in ('noc','any'):
            with warnings.catch_warnings(record=True) as w:
                warnings.simplefilter('always')
                ds = kitti2015(k, mask=mask)
            test_eq([len(ds), ds.mask, w[0].category], [1, mask, IncompleteWarning])
            assert '1 of 200' in str(w[0].message)

@pytest.mark.data
def test_truth_explains_real_frames():
    from stereo_kd.testing import real_data
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', IncompleteWarning)
        a,b = kitti2015(real_data()/'kitti2015', mask='any'),kitti2012(real_data()/'kitti2012')
        test_eq([len(a), len(kitti2015(real_data()/'kitti2015', mask='noc')), len(b)], [6,5,1])
    for ds in (a,b):
        for i in range(len(ds)):
            e = warp_error(ds.sample(i))
            assert e['truth']<.5*e['zero'] and e['n']>1e4, (ds.files[i].name, e)
