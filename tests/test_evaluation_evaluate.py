# Generated from nbs/83_evaluation.evaluate.ipynb; edit the notebook, not this file
import os, warnings
import matplotlib.pyplot as plt
import torch
from functools import partial
from pathlib import Path
from fastprogress.fastprogress import progress_bar
from stereo_kd.evaluation.cost import costs
from stereo_kd.core import denormalize, evaluating, pick
from stereo_kd.data.files import IncompleteWarning
from stereo_kd.data.kitti import kitti2012, kitti2015
from stereo_kd.data.middlebury import middlebury
from stereo_kd.metrics import Meter
from fastcore.test import *
from stereo_kd.data.synthetic import SyntheticPairs
from stereo_kd.models.base import StereoNet, StereoOutput
from stereo_kd.models.zoo import create_model
import time
import numpy as np, torch
from fastcore.script import call_parse
from torch import nn
from stereo_kd.core import pick, write_csv
from stereo_kd.evaluation.benchmarks import benchmarks, evaluated_pixels, benchmark_metrics
from stereo_kd.inference.holes import fill_holes
from stereo_kd.data.files import PairFiles
from stereo_kd.data.io import read_disparity, read_pixels
from stereo_kd.data.loaders import readers
from stereo_kd.models.zoo import load_model
from stereo_kd.inference.predict import predict, DEFAULT_MODEL
from stereo_kd.evaluation.submit import submissions, write_submission
import contextlib, cv2, io, tempfile, warnings, zipfile
from stereo_kd.data.files import PairFile
from stereo_kd.data.io import write_disparity
import pytest
from stereo_kd.evaluation.evaluate import *

def test_rows_tell_errors_and_masks():
    ds = SyntheticPairs(3, (32,64), occluded=False)
    told = iter([ds[i][2] for i in range(3)]*2)
    row = evaluate(lambda l,r: next(told)[None], ds)
    test_eq([row['epe'], row['bad1'], row['mask'], row['n_images']], [0.,0.,'noc',3])
    test_eq(row['n_pixels'], sum(ds[i][3].sum().item() for i in range(3)))
    row = evaluate(lambda l,r: next(told)[None]+2.5, ds)
    test_close([row['epe'], row['bad2'], row['bad3']], [2.5,100.,0.], eps=1e-4)

def test_costs_come_with_their_conditions():
    net = create_model('dtpnet', max_disp=48, stem=8, width=16).train()
    row = evaluate(net, SyntheticPairs(2, (32,64), max_disp=48), size=(32,64), n=2)
    test_eq(row['params_m'], sum(p.numel() for p in net.parameters())/1e6)
    test_eq(costs(net, (32,64), n=0), {k:row[k] for k in ('params_m','macs_g','thop_g','size')})
    pred,disp,valid = next(predictions(net.eval(), SyntheticPairs(1, (32,64), max_disp=48)))
    test_eq([tuple(t.shape) for t in (pred,disp,valid)], [(1,32,64)]*3)
    net.train()
    assert row['ms_median']<=row['ms_p90'] and row['device'] and row['threads']>=1 and row['size']=='32x64' and 0<row['macs_g']<row['thop_g']
    assert net.training # left as it was

@pytest.mark.data
def test_real_pairs_where_there_are_some():
    from stereo_kd.testing import real_data
    from unittest.mock import patch as mock
    test_fail(lambda: real_pairs('KITTI'), contains="unknown set of real pairs 'KITTI'; known:")
    with mock.dict('os.environ', STEREO_KD_REAL=''): test_eq(real_pairs(), {})
    with mock.dict('os.environ', STEREO_KD_REAL='no such folder'): test_eq(real_pairs(), {})
    real_data()
    sets = real_pairs(*REAL)
    test_eq({n: d.mask for n,d in sets.items()}, {n: 'noc' if n.endswith('noc') else 'all' for n in REAL})
    assert all(len(d)>0 for d in sets.values())

def test_compare_draws_each_network():
    import matplotlib.pyplot as plt
    ds = SyntheticPairs(2, (32,64))
    zero = lambda l,r: torch.zeros(1,32,64)
    fig = compare([ds[0],ds[1]], dict(a=zero, b=zero))
    test_eq(len(fig.axes), 4*3+1) # 2 pairs of two rows, 3 columns, and the scale
    truth = ds[0][2]
    test_close(float(fig.axes[4].get_title().split()[-2]), truth.mean().item(), eps=.01)
    plt.close(fig)

def test_scores_of_a_folder_of_files():
    def two_frames(d):
        d = Path(d)
        cv2.imwrite(str(d/'i.png'), np.zeros((6,9), np.uint8))
        for k,v in enumerate((10,20)): write_disparity(d/f'gt{k}.png', np.full((6,9), v, 'float32'))
        est = [np.full((6,9), 12, 'float32'),np.full((6,9), 20, 'float32')]
        est[1][:,3:6] = np.nan
        for k,e in enumerate(est): write_disparity(d/'est'/f'{k:06d}_10.pfm', e)
        return PairFiles(
            [PairFile(d/'i.png', d/'i.png', d/f'gt{k}.png', name=f'{k:06d}_10') for k in range(2)],
            name='kitti2015')
    with tempfile.TemporaryDirectory() as d:
        pairs = two_frames(d)
        whole,rows = score(pairs, from_folder(Path(d)/'est'))
        test_eq(
            [whole[k] for k in ('set','mask','epe','bad1','bad2','n_images','n_nonfinite','kitti2015:d1_all')],
            ['kitti2015','all',1.,50.,0.,2,0,0.])
        test_close(whole['kitti2015:density'], 100*5/6)
        test_eq(
            [(r['name'],r['epe'],round(r['density'], 3)) for r in rows],
            [('000000_10',2.,100.),('000001_10',0.,66.667)])
        write_disparity(Path(d)/'est/000000_10.npy', np.ones((6,9)))
        test_fail(
            lambda: score(pairs, from_folder(Path(d)/'est')), exc=ValueError,
            contains='has 2 estimates of 000000_10')
        test_fail(lambda: score(pairs, from_folder(d)), exc=ValueError, contains='has no estimates of 000000_10')
        test_fail(
            lambda: score(pairs, lambda f: (np.ones((6,8)),0)), exc=ValueError,
            contains='the estimate of 000000_10 is (6, 8), its truth (6, 9)')
        test_fail(
            lambda: score(PairFiles([PairFile(Path(d)/'i.png', Path(d)/'i.png')]), lambda f: (np.ones((6,9)),0)),
            exc=ValueError, contains='has no truth')

@pytest.mark.data
def test_development_kit_figure_through_files():
    from stereo_kd.testing import real_data
    k = real_data()/'kitti2015/devkit'
    image = next((real_data()/'kitti2015/training/image_2').glob('*.png'))
    with tempfile.TemporaryDirectory() as d:
        write_disparity(Path(d)/'a.pfm', read_disparity(k/'disp_est.png'))
        whole,rows = score(
            PairFiles([PairFile(image, image, k/'disp_gt.png', name='a')], name='kitti2015'),
            from_folder(d))
    test_close(
        [whole['kitti2015:d1_all']/100, whole['kitti2015:d1_est']/100, whole['d1']/100],
        [.136213,.134684,.136213], eps=1e-6)

def test_scores_of_a_network():
    from stereo_kd.core import set_seed
    from stereo_kd.models.zoo import create_model
    set_seed(0)
    net = create_model('dtpnet', max_disp=48, stem=8, width=16)
    with tempfile.TemporaryDirectory() as d, warnings.catch_warnings():
        warnings.simplefilter('ignore')
        d = Path(d)
        for v in ('left','right'):
            (d/v).mkdir()
            cv2.imwrite(str(d/v/'a.png'), np.random.default_rng(0).integers(0, 255, (50,70,3), dtype=np.uint8))
        write_disparity(d/'disp'/'a.pfm', np.full((50,70), 9, 'float32'))
        pairs = open_pairs('folder', d, n=1)
        whole,rows = score(pairs, from_model(net))
        f = pairs.files[0]
        test_close(whole['epe'], np.abs(predict(net, f.left, f.right)-9).mean(), eps=1e-4)
        assert rows[0]['seconds']>0 and 'folder:' not in str(whole)
        test_fail(
            lambda: submit(d/'x.zip', pairs, from_model(net)), exc=ValueError,
            contains="unknown benchmark that takes submissions 'folder'")

def test_command_prints_the_figures():
    with tempfile.TemporaryDirectory() as d:
        k = Path(d)/'kitti2015/training'
        for i in range(2):
            for v in ('image_2','image_3'):
                (k/v).mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(k/v/f'{i:06d}_10.png'), np.zeros((6,9), np.uint8))
            write_disparity(k/'disp_occ_0'/f'{i:06d}_10.png', np.full((6,9), 10+10*i, 'float32'))
            write_disparity(Path(d)/'est'/f'{i:06d}_10.png', np.full((6,9), 14, 'float32'))
        with contextlib.redirect_stdout(io.StringIO()) as out, warnings.catch_warnings():
            warnings.simplefilter('ignore')
            stereo_eval('kitti2015', f'{d}/kitti2015', folder=f'{d}/est', o=f'{d}/rows.csv')
        for say in ('kitti2015, mask all, 2 frames, 108 px', 'epe 5.000 px', 'd1 100.000 %', 'd1_all 100.000'):
            assert say in out.getvalue(), out.getvalue()
        test_eq(
            [l.split(',')[:2] for l in (Path(d)/'rows.csv').read_text().splitlines()],
            [['name','epe'],['000000_10','4.0'],['000001_10','6.0']])
        for kw,say in [
            (dict(dataset='kitti'), "unknown data set 'kitti'"),
            (dict(folder=d, model='dtpnet'), 'not both'), (dict(root=d), 'did you mean')]:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')
                test_fail(
                    lambda: stereo_eval(**dict(dict(dataset='kitti2015', root=f'{d}/kitti2015'), **kw)),
                    exc=SystemExit, contains=say)

def test_command_writes_a_submission():
    with tempfile.TemporaryDirectory() as d, warnings.catch_warnings():
        warnings.simplefilter('ignore')
        for i in range(200):
            for v in ('image_2','image_3'):
                p = Path(d)/'testing'/v/f'{i:06d}_10.png'
                p.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(p), np.zeros((2,3), np.uint8))
            write_disparity(Path(d)/'est'/f'{i:06d}_10.pfm', np.float32([[i+1,np.nan,i+2],[i+1]*3]))
        with contextlib.redirect_stdout(io.StringIO()) as out:
            stereo_eval('kitti2015', d, folder=f'{d}/est', part='testing', submission=f'{d}/s.zip')
        assert 's.zip: 200 frames of kitti2015' in out.getvalue()
        with zipfile.ZipFile(f'{d}/s.zip') as z:
            x = cv2.imdecode(np.frombuffer(z.read('disp_0/000007_10.png'), np.uint8), cv2.IMREAD_UNCHANGED)
        test_eq(x.tolist(), [[8*256,8*256,9*256],[8*256]*3]) # the hole takes the smaller neighbour
        test_fail(
            lambda: stereo_eval('kitti2015', d, folder=f'{d}/est', part='testing', n=3, submission=f'{d}/s.zip'),
            exc=SystemExit, contains='197 of 200 frames are missing')
