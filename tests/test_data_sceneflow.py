# Generated from nbs/13_data.sceneflow.ipynb; edit the notebook, not this file
import os, warnings
from pathlib import Path
from stereo_kd.core import pick, read_text
from stereo_kd.data.files import check_tree, IncompleteWarning, PairFile, PairFiles
import tempfile, time
from fastcore.test import *
from stereo_kd.data.files import warp_error
import pytest
from stereo_kd.data.sceneflow import *

@pytest.mark.slow
def test_complete_tree_has_the_published_counts():
    def frames(): # left frames: sequences and lengths as released; names of Monkaa's scenes do not matter
        flying = [
            f'FlyingThings3D/{p}/{"ABC"[k%3]}/{k//3:04d}/left/{i:04d}' for p,
            n in (('TRAIN',2239),('TEST',437)) for k in range(n) for i in range(6,16)]
        driving = [
            f'Driving/{f}mm_focallength/scene_{d}/{v}/left/{i:04d}' for f in (15,35)
            for d in ('forwards','backwards') for v, n in (('fast',300),('slow',800))
            for i in range(1, n+1)]
        return flying+driving+[f'Monkaa/scene{k:02d}/left/{i:04d}' for k in range(24) for i in range(361)]
    base = '/dev/shm' if os.access('/dev/shm', os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=base) as d, warnings.catch_warnings():
        warnings.simplefilter('error')
        made = set()
        for f in frames():
            home,rest = f.split('/', 1)
            for side in ('left','right'):
                for kind,suffix in (('frames_finalpass','.png'),('disparity','.pfm')):
                    path = f'{d}/{home}/{kind}/{rest}{suffix}'.replace('/left/', f'/{side}/')
                    folder = os.path.dirname(path)
                    if folder not in made:
                        os.makedirs(folder)
                        made.add(folder)
                    os.close(os.open(path, os.O_CREAT))
        start = time.perf_counter()
        train,test,flying = sceneflow(d),sceneflow(d, 'test'),sceneflow(d, subset='flyingthings')
        print(f'listed {len(train)+len(test)+len(flying)} pairs in {time.perf_counter()-start:.1f} s')
        test_eq([len(train), len(test), len(flying)], [35454,4370,22390])
        test_eq(len({f.name for f in train.files} & {f.name for f in test.files}), 0)
        (Path(d)/'unused.txt').write_text('TRAIN/A/0004/left/0011.png\n./TRAIN/B/0007/right/0006.pfm\n')
        test_eq(len(sceneflow(d, unused=f'{d}/unused.txt')), 35452)
        (Path(d)/'unused.txt').write_text('TRAIN/Z/0004/left/0011.png\n')
        test_fail(
            lambda: sceneflow(d, unused=f'{d}/unused.txt'), exc=IncompleteWarning,
            contains='names 1 frames, none')

def test_partners_and_wrong_trees():
    def touch(*paths):
        for p in paths:
            Path(p).parent.mkdir(parents=True, exist_ok=True)
            Path(p).touch()
    with tempfile.TemporaryDirectory() as d, warnings.catch_warnings():
        warnings.simplefilter('ignore', IncompleteWarning)
        f = f'{d}/FlyingThings3D'
        a,b = 'TEST/A/0000','TEST/A/0001'
        touch(
            *(f'{f}/frames_cleanpass/{s}/{v}/0006.webp' for s in (a,b) for v in ('left','right')),
            f'{f}/frames_cleanpass/{a}/left/0007.png')
        touch(
            *(f'{f}/disparity/{a}/{v}/0006.pfm' for v in ('left','right')),
            f'{f}/disparity/{b}/left/0006.pfm', f'{f}/disparity/{a}/left/0007.pfm')
        ds = sceneflow(d, 'test', finalpass=False)
        # 0007 has no right view
        test_eq([p.name for p in ds.files], [f'FlyingThings3D/{s}/left/0006' for s in (a,b)])
        test_eq([bool(p.right_disp) for p in ds.files]+[ds.mask], [True,False,'all<192'])
        test_eq([p.scale for p in sceneflow(d, 'test', finalpass=False, sign=-1).files], [-1,-1])
        test_fail(
            lambda: sceneflow(d, 'test', finalpass=True), exc=ValueError,
            contains='FlyingThings3D/frames_finalpass/TEST, complete pairs with truth: 0 of 4370')
        test_eq(sceneflow(d, 'test').files[0].left, ds.files[0].left) # the pass that is there
        test_fail(lambda: sceneflow(f, 'test', finalpass=False), exc=ValueError, contains=f'did you mean {d}?')
        test_fail(lambda: sceneflow(d, finalpass=False), exc=ValueError, contains='Monkaa/frames_cleanpass')
        test_fail(
            lambda: sceneflow(d, 'valid'), exc=ValueError,
            contains="unknown part of SceneFlow 'valid'; known: test, train")
        test_fail(lambda: sceneflow(d, subset='monkaa'), exc=ValueError, contains='known: all, flyingthings')
        test_fail(lambda: sceneflow(d, sign=2), exc=ValueError, contains='sign must be')
        clean = Path(f)/'frames_cleanpass'
        for n in 'xy': (clean/'TEST'/n).symlink_to(clean/'TEST') # links that lead back, each through the other
        test_eq(len(sceneflow(d, 'test', finalpass=False)), 2)
        unused = Path(d)/'unused.txt'
        for text in ('/', '..', '\n.\n'):
            unused.write_text(text)
            with warnings.catch_warnings():
                warnings.simplefilter('error', IncompleteWarning)
                warnings.filterwarnings('ignore', 'SceneFlow, test is incomplete')
                test_fail(lambda: sceneflow(d, 'test', False, unused=unused), exc=IncompleteWarning, contains='unused.txt names')
        unused.write_bytes(b'\xff')
        test_fail(lambda: sceneflow(d, 'test', False, unused=unused), exc=ValueError, contains='unused.txt is not a text file')

@pytest.mark.data
def test_truth_explains_a_real_frame():
    from stereo_kd.testing import real_data
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', IncompleteWarning)
        every,noc = (sceneflow(real_data()/'sceneflow', 'test', finalpass=False, mask=m) for m in ('all','noc'))
    test_eq([len(every), tuple(every[0][0].shape)], [1,(3,540,960)])
    a,b = warp_error(every.sample(0)),warp_error(noc.sample(0))
    assert a['truth']<.4*a['zero'] and b['truth']<.8*a['truth'] and .6*a['n']<b['n']<a['n'], (a, b)
    s = every.sample(0)
    mirrored = s._replace(
        left=s.right.flip(-1), right=s.left.flip(-1), disp=s.right_disp.flip(-1),
        valid=s.right_valid.flip(-1))
    e = warp_error(mirrored)
    assert e['truth']<.4*e['zero'], e # the right view's truth is positive too
