# Generated from nbs/81_evaluation.benchmarks.ipynb; edit the notebook, not this file
import numpy as np
from typing import Callable, NamedTuple
from stereo_kd.core import pick
from stereo_kd.inference.holes import fill_background
import matplotlib.pyplot as plt
from fastcore.test import *
from stereo_kd.data.synthetic import DISAGREEMENTS, SyntheticPairs
from stereo_kd.inference.sgbm import sgbm
import pytest
from stereo_kd.evaluation.benchmarks import *

def test_kitti_rules_by_hand():
    truth = np.float64([[100,100,10,10,np.nan,40]])
    # 4 < 5 % of 100; 6 is not; 3 is not above 3; the hole takes 0 from its neighbour
    est = np.float64([[104,106,13,13.5,0,np.nan]])
    p = evaluated_pixels(est, truth, np.array([[0,1,0,1,1,0]]))
    s = kitti2015_scores(p)
    test_close([s[k] for k in ('d1_all','d1_bg','d1_fg','d1_est','density')], [60.,100/3,100.,50.,80.])
    t = kitti2012_scores(p)
    test_close(
        [t[k] for k in ('above2_all','above3_all','above4_all','above5_all','above3_est','density')],
        [100.,80.,40.,40.,75.,80.])
    test_close([t['avg_est'], t['avg_all']], [(4+6+3+3.5)/4, (4+6+3+3.5+40)/5])
    test_eq(np.isnan(kitti2015_scores(evaluated_pixels(est, truth))['d1_fg']), True)
    test_eq(kitti2015_scores(pool_pixels([p, p]))['d1_all'], s['d1_all'])
    assert isinstance(pool_pixels([p, p]), EvaluatedPixels) and len(pool_pixels([p, p]).truth)==10
    test_fail(lambda: evaluated_pixels(est, truth[:,:3]), exc=ValueError, contains='est (1, 6) and truth (1, 3)')

@pytest.mark.data
def test_development_kits_agree():
    from stereo_kd.data.io import read_disparity
    from stereo_kd.testing import real_data
    a,b = real_data()/'kitti2015/devkit',real_data()/'kitti2012'
    s = kitti2015_scores(evaluated_pixels(read_disparity(a/'disp_est.png'), read_disparity(a/'disp_gt.png')))
    for k,v in dict(d1_all=.136213, d1_est=.134684, density=.998212).items(): test_close(s[k]/100, v, eps=1e-6)
    s = kitti2012_scores(
        evaluated_pixels(
            read_disparity(b/'devkit/disp_est.png'), read_disparity(b/'training/disp_occ/000000_10.png')))
    for k,v in dict(above3_all=.051857, above3_est=.043926, density=.963373).items():
        test_close(s[k]/100, v, eps=1e-6)
    test_close(s['avg_est'], .697177, eps=1e-5)
    # transposed: column by column
    p = evaluated_pixels(
        *(read_disparity(b/f).T for f in ('devkit/disp_est.png','training/disp_occ/000000_10.png')))
    err = np.abs(p.est-p.truth)[np.isfinite(p.est)].astype(np.float32)
    test_close(np.cumsum(err, dtype=np.float32)[-1]/len(err), .697177, eps=1e-6)
    test_close(err.mean(dtype=np.float64), s['avg_est'], eps=1e-7)

def test_middlebury_rules_by_hand():
    truth = np.float64([[10,10,10,10,60,np.nan]])
    est = np.float64([[10.5,12,np.inf,13,90,5]])
    s = middlebury_scores(evaluated_pixels(est, truth, ndisp=64)) # 90 is clipped to 64: an error of 4
    test_eq([s[k] for k in ('bad0.5','bad1','bad2','bad4','invalid','A50')], [80.,80.,60.,20.,20.,2.5])
    test_close([s['avgerr'], s['rms']], [9.5/4, ((.25+4+9+16)/4)**.5])
    test_eq(middlebury_scores(evaluated_pixels(est, truth))['bad4'], 40.) # unclipped
    # below 0 is clipped too
    test_eq(middlebury_scores(evaluated_pixels(np.float64([[-5.]]), np.float64([[.5]]), ndisp=9))['bad1'], 0.)

@pytest.mark.slow
@pytest.mark.data
def test_middlebury_scene_pixel_by_pixel():
    from stereo_kd.data.io import read_disparity, read_pixels
    from stereo_kd.testing import real_data
    scene = real_data()/'middlebury/MiddEval3/trainingQ/ArtL'
    ndisp = 64
    truth,mask = read_disparity(scene/'disp0GT.pfm'),read_pixels(scene/'mask0nocc.png')
    rng = np.random.default_rng(0)
    est = (truth+rng.normal(0, 2, truth.shape)).astype(np.float32)
    est[rng.random(truth.shape)<.05] = np.inf
    est[rng.random(truth.shape)<.02] = 300
    est[np.isnan(est)] = 30 # truth unknown: must not count
    for use_mask in (False,True):
        n = bad = total = valid = 0
        for gt,d,m in zip(truth.ravel().tolist(), est.ravel().tolist(), mask.ravel().tolist(), strict=True):
            if gt!=gt or (use_mask and m!=255): continue
            n += 1
            if d==float('inf'):
                bad += 1
                continue
            e = abs(max(0, min(ndisp, d))-gt)
            bad += e>2
            total += e
            valid += 1
        s = middlebury_scores(
            evaluated_pixels(est, np.where(mask==255, truth, np.nan) if use_mask else truth, ndisp=ndisp))
        test_close(s['bad2'], 100*bad/n, eps=1e-9)
        test_close(s['avgerr'], total/valid, eps=1e-6)
        assert n>50_000 and 20<s['bad2']<60

def test_pooled_or_averaged():
    def image(n, error): return evaluated_pixels(np.full((1,n), 10.+error), np.full((1,n), 10.))
    parts = [image(90, 0), image(10, 20)]
    test_eq(
        [
            benchmark_metrics('kitti2015', parts)['d1_all'],
            benchmark_metrics('middlebury', parts)['bad2'],
            benchmark_metrics('kitti2012', parts)['avg_all']],
        [10.,50.,2.])
    assert all(isinstance(b, Benchmark) and b.main in benchmark_metrics(n, parts) for n,b in benchmarks.items())
    test_fail(
        lambda: benchmark_metrics('kitti', parts), exc=ValueError,
        contains="unknown benchmark 'kitti'; known: eth3d")
    test_fail(lambda: benchmark_metrics('eth3d', []), exc=ValueError, contains='no image to score')
