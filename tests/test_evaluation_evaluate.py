# Generated from nbs/83_evaluation.evaluate.ipynb; edit the notebook, not this file
import os, sys, time, warnings
import matplotlib.pyplot as plt, numpy as np, torch
from PIL import Image
from fastcore.basics import patch
from fastprogress.fastprogress import progress_bar
from functools import cached_property, partial
from pathlib import Path
from torch import nn
from typing import NamedTuple
from stereo_kd.core import check_output, default_device, denormalize, evaluating, fingerprint, pick, write_rows
from stereo_kd.data.files import IncompleteWarning, PairFiles
from stereo_kd.data.io import read_disparity, read_pixels
from stereo_kd.data.kitti import kitti2012, kitti2015
from stereo_kd.data.loaders import readers
from stereo_kd.data.middlebury import middlebury
from stereo_kd.data.synthetic import SyntheticPairs
from stereo_kd.metrics import Meter, near_jumps
from stereo_kd.models.zoo import load_model, read_card, shipped
from stereo_kd.inference.engines import Auto, run_by
from stereo_kd.inference.holes import fill_holes
from stereo_kd.inference.left_right import check_post, postprocess
from stereo_kd.inference.predict import predict
from stereo_kd.inference.rectify import align_rows
from stereo_kd.inference.sgbm import sgbm, sgbm_settings
from stereo_kd.inference.tiled import Tiled
from stereo_kd.evaluation.benchmarks import benchmark_metrics, benchmarks, evaluated_pixels
from stereo_kd.evaluation.cost import costs
from stereo_kd.evaluation.submit import submissions, write_submission
import contextlib, csv, cv2, io, tempfile, zipfile
from fastcore.test import *
from stereo_kd.core import check_rows
from stereo_kd.data.files import PairFile
from stereo_kd.data.io import write_disparity
from stereo_kd.models.zoo import create_model
import pytest
from stereo_kd.evaluation.evaluate import *

def test_frame_knows_its_truth():
    ds = SyntheticPairs(3, (16,32), occluded=False)
    frame = Frame(ds, 1)
    left,right,disp,valid = ds[1]
    test_eq([frame.name,frame.file], ['1',None])
    for got,want in zip(frame.images, (left,right)): test_eq(got, want[None])
    assert 0<np.isnan(frame.truth()).sum()==(~valid).sum()
    test_eq(frame.truth()[valid], disp[valid].numpy())

def test_estimator_is_a_function_with_an_identity():
    double = Estimator(lambda l,r: 2*l[:,0], 'double', weights='w', engine='hand', precision='fp32', align=True, mode='x')
    test_eq(double.identity, dict(
        network='double', weights='w', engine='hand', precision='fp32', align=True, post='none', mode='x'))
    left = torch.rand(1, 3, 4, 5, dtype=torch.float64)
    disp = double(left, left)
    test_eq((disp.dtype,disp.shape), (np.float32,(4,5)))
    test_close(disp, 2*left[0,0].numpy(), eps=1e-6)
    disp,seconds = double.estimate(Frame([(left[0],left[0])], 0))
    test_close(disp, 2*left[0,0].numpy(), eps=1e-6)
    assert seconds>0

def test_identity_of_networks_and_engines():
    from unittest.mock import patch as mock
    net = create_model('dtpnet', max_disp=48, stem=8, width=16).train()
    who = from_network(net).identity
    test_eq(who, dict(
        network='dtpnet', weights=fingerprint(net), engine='torch', precision='fp32', align=False, post='none'))
    class Runs(nn.Module):
        def __init__(self, net, name):
            super().__init__()
            self.counts_as,self.name = net,name
    engine = Runs(net, 'openvino')
    told = from_network(engine).identity
    test_eq(told, who|dict(engine='openvino')) # the same weights, and their precision
    engine.precision = 'bf16'
    test_eq(from_network(engine).identity, who|dict(engine='openvino', precision='bf16'))
    cards = dict(other=dict(weights='x'), dtpnet_small=dict(weights=who['weights']))
    with mock.dict(network_name.__globals__, shipped=lambda: list(cards), read_card=cards.get):
        test_eq(network_name(net), 'dtpnet_small') # the file that ships
        with torch.no_grad(): next(net.parameters()).add_(1)
        test_eq(network_name(net), 'dtpnet') # no longer
    net.reading = 'mode' # the same weights, read otherwise
    test_eq(from_network(net).identity, who|dict(weights=fingerprint(net), mode='dominant mode'))
    net.reading = 'mean'
    test_eq(from_network(net.bfloat16(), True, 'filter', .5).identity, dict(
        network='dtpnet', weights=fingerprint(net), engine='torch', precision='bf16', align=True, post='filter', scale=.5))

def test_estimators_of_all_kinds():
    net = create_model('dtpnet', max_disp=48, stem=8, width=16).train()
    left,right,disp,valid = (v[None] for v in SyntheticPairs(2, (32,64), max_disp=48)[1])
    with evaluating(net): want = net(left, right).disparity[-1][0].numpy()
    test_eq(as_estimator(net)(left, right), want)
    assert net.training # left as it was
    pictures = [denormalize(v).clamp(0, 1) for v in (left,right)]
    for kw in (dict(align=True), dict(post='filter'), dict(post='left_right'), dict(align=True, post='left_right')):
        test_eq(as_estimator(net, **kw)(left, right), predict(net, *pictures, **kw, engine='torch'))
    test_eq(from_network(net, scale=1.5)(left, right), predict(net, *pictures, 1.5, engine='torch'))
    for out in (disp, disp[0], disp.numpy()): test_eq(as_estimator(lambda l,r: out)(left, right), disp[0].numpy())
    test_eq(from_function(lambda l,r: disp, 'oracle').identity['network'], 'oracle')
    given = from_network(net)
    assert as_estimator(given) is given and given.fitted(None) is given
    test_fail(lambda: as_estimator(given, post='filter'), exc=ValueError, contains='align and post are options')
    test_fail(lambda: as_estimator(3), exc=ValueError, contains='an Estimator or a function, got int')
    test_fail(lambda: as_estimator(net, post='both'), exc=ValueError, contains="post must be 'none'")
    test_fail(lambda: from_folder('maps')(left, right), exc=ValueError, contains='maps are known by name only')

def test_sgbm_is_fitted_to_the_set():
    pairs = SyntheticPairs(3, (48,96), max_disp=40)
    left,right,*_ = (v[None] for v in pairs[0])
    views = [np.ascontiguousarray(denormalize(v)[0].clamp(0, 1).permute(1,2,0)) for v in (left,right)]
    fit = from_sgbm('3way').fitted(pairs)
    top = max(d[v].max() for _,_,d,v in (pairs[i] for i in range(3)))
    test_eq(fit.max_disp, int(top)+16)
    test_eq(fit(left, right), sgbm(*views, max_disp=fit.max_disp, mode='3way'))
    both = from_sgbm('3way', 32, align=True, post='filter')
    assert both.fitted(pairs) is both
    test_eq(both(left, right), postprocess(sgbm(views[0], align_rows(*views), 32, mode='3way'), views[0]))
    test_eq(both.identity, dict(
        network='SGBM', weights='', engine='opencv', precision='', align=True, post='filter', mode='3way'))
    test_fail(lambda: from_sgbm()(left, right), exc=ValueError, contains='max_disp of SGBM must be given')
    test_fail(lambda: from_sgbm('fast'), exc=ValueError, contains="unknown mode 'fast' of SGBM; use one of 3way, sgbm, hh")
    test_fail(lambda: from_sgbm(post='left_right'), exc=ValueError, contains="must be 'none' or 'filter'")
    test_fail(lambda: from_sgbm(max_disp=-1), exc=ValueError, contains='max_disp must be 0 or more, got -1')

def test_estimators_align_the_rows():
    from stereo_kd.core import normalize, set_seed
    from stereo_kd.inference.rectify import row_offsets
    set_seed(0)
    net = create_model('dtpnet', max_disp=48, stem=8, width=16)
    wide = cv2.GaussianBlur(np.random.default_rng(0).random((120,209,3), dtype=np.float32), (0,0), 1.5)
    views = wide[:,:200],align_rows(wide[:,:200], np.ascontiguousarray(wide[:,9:]), (-1.5,0,0))
    assert abs(row_offsets(*views)[0]-1.5)<.3
    pair = [normalize(torch.from_numpy(v.copy()).permute(2,0,1))[None] for v in views]
    pictures = [denormalize(v).clamp(0, 1) for v in pair]
    test_eq(from_network(net, align=True)(*pair), predict(net, *pictures, align=True, engine='torch'))
    moved,matched = from_network(net, align=True)(*pair),from_sgbm('3way', 32, align=True)(*pair)
    test_eq(matched, sgbm(views[0], align_rows(*views), 32, mode='3way'))
    assert abs(moved-from_network(net)(*pair)).max()>.1
    assert abs(matched-9).mean()<.5*abs(from_sgbm('3way', 32)(*pair)-9).mean()

def test_rows_tell_errors_and_masks():
    ds = SyntheticPairs(3, (32,64), occluded=False)
    told = iter([ds[i][2] for i in range(3)]*2)
    row,frames,official = evaluate_frames(from_function(lambda l,r: next(told), 'oracle'), ds)
    test_eq([row[k] for k in ('network','set','mask','n','epe','bad1')], ['oracle','embedded','noc',3,0.,0.])
    test_eq(row['n_pixels'], sum(ds[i][3].sum().item() for i in range(3)))
    test_eq([(f['frame'],f['n'],f['set'],f['mask'],f['density']) for f in frames],
            [(str(i),1,'embedded','noc',100.) for i in range(3)])
    assert not official and all(f['seconds']>0 for f in frames)
    row = evaluate_frames(lambda l,r: next(told)+2.5, ds, set_name='mine').row
    test_close([row['epe'], row['bad2'], row['bad3']], [2.5,100.,0.], eps=1e-4)
    test_eq(row['set'], 'mine')
    nans = evaluate_frames(lambda l,r: np.where(np.arange(64)<9, np.nan, np.ones((32,1))), ds).row
    assert nans['n_nonfinite']>0 and np.isnan(nans['epe']) # holes of a function are not filled: they are wrong

def test_rows_of_a_folder_of_files():
    def two_frames(d):
        d = Path(d)
        cv2.imwrite(str(d/'i.png'), np.zeros((6,9), np.uint8))
        for k,v in enumerate((10,20)): write_disparity(d/f'gt{k}.png', np.full((6,9), v, 'float32'))
        est = [np.full((6,9), 12, 'float32'),np.full((6,9), 20, 'float32')]
        est[1][:,3:6] = np.nan
        for k,e in enumerate(est): write_disparity(d/'est'/f'{k:06d}_10.pfm', e)
        files = [PairFile(d/'i.png', d/'i.png', d/f'gt{k}.png', name=f'{k:06d}_10') for k in range(2)]
        return PairFiles(files, name='kitti2015')
    with tempfile.TemporaryDirectory() as d:
        pairs = two_frames(d)
        row,frames,official = evaluate_frames(from_folder(Path(d)/'est'), pairs)
        test_eq([row[k] for k in ('network','weights','engine','set','mask')], ['est','','files','kitti2015','all'])
        test_eq([row[k] for k in ('epe','bad1','bad2','n','n_nonfinite')], [1.,50.,0.,2,0])
        test_eq(official['d1_all'], 0.)
        test_close(official['density'], 100*5/6)
        test_eq(
            [(f['frame'],f['epe'],round(f['density'], 3)) for f in frames],
            [('000000_10',2.,100.),('000001_10',0.,66.667)])
        test_eq(evaluate_frames(from_folder(Path(d)/'est'), pairs, official=False).official, {})
        write_evaluation(Evaluation(row, frames, official), f'{d}/rows.csv')
        test_eq([(r['frame'],r['epe']) for r in csv.DictReader(open(f'{d}/rows.csv'))],
                [('000000_10','2.0'),('000001_10','0.0'),('','1.0')])
        def says(words, what, pairs=pairs):
            test_fail(lambda: evaluate_frames(what, pairs), exc=ValueError, contains=words)
        write_disparity(Path(d)/'est/000000_10.npy', np.ones((6,9)))
        says('has 2 estimates of 000000_10', from_folder(Path(d)/'est'))
        says('has no estimates of 000000_10', from_folder(d))
        says('the estimate of 000000_10 is (6, 8), its truth (6, 9)', lambda l,r: np.ones((6,8)))
        says('has no truth', lambda l,r: np.ones((6,9)), PairFiles([PairFile(Path(d)/'i.png', Path(d)/'i.png')]))

@pytest.mark.data
def test_development_kit_figure_through_files():
    from stereo_kd.testing import real_data
    k = real_data()/'kitti2015/devkit'
    image = next((real_data()/'kitti2015/training/image_2').glob('*.png'))
    with tempfile.TemporaryDirectory() as d:
        write_disparity(Path(d)/'a.pfm', read_disparity(k/'disp_est.png'))
        pairs = PairFiles([PairFile(image, image, k/'disp_gt.png', name='a')], name='kitti2015')
        row,_,official = evaluate_frames(from_folder(d), pairs)
    test_close([official['d1_all']/100, official['d1_est']/100, row['d1']/100], [.136213,.134684,.136213], eps=1e-6)

def test_row_has_identity_errors_and_costs():
    net = create_model('dtpnet', max_disp=48, stem=8, width=16).train()
    ds = SyntheticPairs(2, (32,64), max_disp=48)
    row = evaluate(net, ds, size=(32,64), rounds=2)
    check_rows([row])
    test_eq([row[k] for k in ('network','weights','engine','precision','align','post','set','mask','n','rounds')],
            ['dtpnet',fingerprint(net),'torch','fp32',False,'none','embedded','all',2,2])
    test_eq(row['params_m'], sum(p.numel() for p in net.parameters())/1e6)
    price = costs(net, (32,64), rounds=0)
    test_eq(price, {k:row[k] for k in ('params_m','macs_g','thop_g','size')})
    assert row['ms_median']<=row['ms_p90'] and row['device'] and row['threads']>=1 and 0<row['macs_g']<row['thop_g']
    assert net.training # left as it was
    other = create_model('dtpnet', max_disp=48, stem=8, width=16)
    assert evaluate(other, ds, rounds=0)['weights']!=row['weights']
    twice = evaluate(net, ds, post='left_right', align=True, size=(32,64))
    test_eq([twice['align'],twice['post'],twice['macs_g']], [True,'left_right',2*price['macs_g']])
    assert 'ms_median' not in twice and twice['epe']!=row['epe']
    errors = []
    for i in range(2):
        left,right,disp,valid = ds[i]
        done = predict(net, *(denormalize(v).clamp(0, 1) for v in (left,right)),
                       align=True, post='left_right', engine='torch')
        errors.append(np.abs(done-disp.numpy())[valid.numpy()])
    test_close(twice['epe'], np.concatenate(errors).mean(), eps=1e-4)
    assert 'ms_median' not in check_rows([twice, evaluate(lambda l,r: torch.ones(32,64), ds)])

def test_rows_of_a_network_in_tiles():
    net = create_model('madis', size='tiny', max_disp=48)
    ds = SyntheticPairs(2, (32,128), max_disp=48)
    row,tiled = (evaluate(n, ds, size=(64,128), rounds=0) for n in (net,Tiled(net, (32,64))))
    check_rows([row])
    check_rows([tiled], ['tile'])
    same = ('network','weights','engine','precision','params_m','size')
    test_eq([tiled[k] for k in same], ['madis',fingerprint(net),'torch','fp32',row['params_m'],'64x128'])
    test_eq([tiled['tile'],'tile' in row,'ms_median' in tiled], ['32x64',False,False])
    part = costs(net, (32,64), rounds=0)['macs_g']
    test_close(tiled['macs_g'], 9*part, eps=1e-6) # three rows of three tiles
    left,right,disp,valid = (v[None] for v in ds[1])
    done = predict(net, *(denormalize(v).clamp(0, 1) for v in (left,right)), tile=(32,64), engine='torch')
    test_close(from_network(Tiled(net, (32,64)))(left, right), done, eps=1e-3)
    assert tiled['epe']!=row['epe']

def test_one_row_for_each_mask():
    net = create_model('dtpnet', max_disp=48, stem=8, width=16)
    sets = dict(all=SyntheticPairs(2, (32,64), max_disp=48), noc=SyntheticPairs(2, (32,64), max_disp=48, occluded=False))
    rows = evaluate_masks(net, sets, size=(32,64), rounds=1)
    check_rows(rows)
    test_eq([r['mask'] for r in rows], ['all','noc'])
    for r,ds in zip(rows, sets.values()):
        alone = evaluate(net, ds, size=(32,64), rounds=0)
        test_eq({k:r[k] for k in alone}, alone)
    test_eq(rows[0]['ms_median'], rows[1]['ms_median']) # measured once
    assert rows[0]['n_pixels']>rows[1]['n_pixels'] and rows[0]['weights']==rows[1]['weights']
    test_fail(
        lambda: evaluate_masks(net, dict(noc=sets['all'])), exc=ValueError, contains="datasets['noc'] has the mask 'all'")
    limited = PairFiles([], mask='noc', max_disp=192)
    row, = evaluate_masks(lambda l,r: l, dict(noc=limited))
    test_eq(row['mask'], 'noc<192')
    plain = [sets['all'][0]] # a list has no mask: the key is
    test_eq(evaluate_masks(lambda l,r: torch.ones(32,64), dict(noc=plain), rounds=0)[0]['mask'], 'noc')

def test_near_jumps_and_elsewhere_make_up_the_whole():
    ds = SyntheticPairs(3, (32,64), occluded=False)
    off = lambda l,r: torch.full((1,32,64), 20.)
    whole,near,rest = (evaluate(off, d, rounds=0) for d in (ds, NearJumps(ds), NearJumps(ds, False)))
    test_eq([r['mask'] for r in (whole,near,rest)], ['noc','noc near jumps','noc elsewhere'])
    test_eq([r['set'] for r in (near,rest)], ['embedded','embedded'])
    test_eq(near['n_pixels']+rest['n_pixels'], whole['n_pixels'])
    test_close(near['epe']*near['n_pixels']+rest['epe']*rest['n_pixels'], whole['epe']*whole['n_pixels'], eps=1.)
    assert 0<near['n_pixels']<whole['n_pixels']

def test_large_disparities_are_those_above():
    ds = SyntheticPairs(3, (32,64), occluded=False)
    large = LargeDisparities(ds, above=6)
    disp,valid = ds.batch(range(3))[2:]
    near = disp[valid & (disp>6)]
    assert 0<len(near)<valid.sum()
    row = evaluate(lambda l,r: torch.full((1,32,64), 6.), large, rounds=0)
    test_eq([row['set'],row['mask'],row['n_pixels']], ['embedded','noc above 6 px',len(near)])
    test_close(row['epe'], (near-6).mean().item(), eps=1e-3)
    test_eq([a.equal(b) for a,b in zip(large[1], ds[1])], [True,True,True,False])

@pytest.mark.data
def test_real_pairs_where_there_are_some():
    from stereo_kd.testing import real_data
    from unittest.mock import patch as mock
    test_fail(lambda: real_pairs('KITTI'), contains="unknown set of real pairs 'KITTI'; known:")
    with mock.dict('os.environ', STEREO_KD_REAL=''): test_eq(real_pairs(), {})
    with mock.dict('os.environ', STEREO_KD_REAL='no such folder'): test_eq(real_pairs(), {})
    real_data()
    sets = real_pairs(*REAL)
    test_eq(list(sets), list(REAL))
    test_eq({n: d.mask for n,d in sets.items()}, {n: 'noc' if n.endswith('noc') else 'all' for n in REAL})
    assert all(len(d)>0 for d in sets.values())
    for name,said in {'venus': ['venus','all'], 'KITTI 2015 noc': ['KITTI 2015','noc']}.items():
        row = evaluate(lambda l,r: torch.zeros(l.shape[-2:]), sets[name])
        test_eq([row['set'],row['mask'],row['n']], [*said,len(sets[name])])

def test_compare_draws_each_network():
    import matplotlib.pyplot as plt
    ds = SyntheticPairs(2, (32,64))
    zero = lambda l,r: torch.zeros(1,32,64)
    fig = compare([ds[0],ds[1]], dict(a=zero, b=zero))
    test_eq(len(fig.axes), 4*3+1) # 2 pairs of two rows, 3 columns, and the scale
    truth = ds[0][2][ds[0][3]]
    test_close(float(fig.axes[4].get_title().split()[-2]), truth.mean().item(), eps=.01)
    plt.close(fig)

def test_command_prints_and_writes_the_figures():
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
            evaluate_files('kitti2015', f'{d}/kitti2015', folder=f'{d}/est', out=f'{d}/rows.csv')
        for say in ('kitti2015, mask all, 2 frames, 108 px: est', 'epe 5.000 px', 'd1 100.000 %', 'd1_all 100.000'):
            assert say in out.getvalue(), out.getvalue()
        rows = list(csv.DictReader((Path(d)/'rows.csv').open()))
        test_eq(
            [[r[k] for k in ('frame','network','engine','set','mask','n','epe')] for r in rows],
            [[name,'est','files','kitti2015','all',n,epe]
             for name,n,epe in (('000000_10','1','4.0'),('000001_10','1','6.0'),('','2','5.0'))])
        test_eq([r['kitti2015:d1_all'] for r in rows], ['','','100.0'])
        for kw,say in [
            (dict(dataset='kitti'), "unknown data set 'kitti'"), (dict(root=d), 'did you mean'),
            (dict(folder=d, model='dtpnet'), 'not several'), (dict(sgbm='hh', folder=d), 'not several'),
            (dict(folder=d, post='filter'), 'not for --folder'), (dict(sgbm='fast'), "unknown mode 'fast' of SGBM"),
            (dict(sgbm='hh', post='left_right'), "must be 'none' or 'filter'"), (dict(max_disp=9), 'is for --sgbm'),
            (dict(post='both'), "got 'both'"), (dict(sgbm='hh', scale=2), 'are for networks')]:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')
                test_fail(
                    lambda: evaluate_files(**dict(dict(dataset='kitti2015', root=f'{d}/kitti2015', model=None if {'folder','sgbm'} & set(kw) else 'dtpnet'), **kw)),
                    exc=ValueError, contains=say)
        for f in (k/'disp_occ_0').iterdir(): write_disparity(f, np.full((6,9), np.nan, 'float32'))
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            test_fail(lambda: evaluate_files('kitti2015', f'{d}/kitti2015', folder=f'{d}/est'), exc=ValueError,
                      contains='no pixel of 2 frames has truth')

def test_command_rows_of_networks_and_sgbm():
    from stereo_kd.deploy.engine import Engine
    from stereo_kd.inference import engines
    from stereo_kd.core import set_seed
    from unittest.mock import patch as mock
    set_seed(0)
    net = create_model('dtpnet', max_disp=48, stem=8, width=16)
    def shifted(d):
        "A folder with a random texture, shifted by 9 px and moved down by one"
        wide = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (121,209,3), dtype=np.uint8), (0,0), 1)
        for view,image in dict(left=wide[1:,:200], right=wide[:-1,9:]).items():
            (Path(d)/view).mkdir()
            cv2.imwrite(str(Path(d)/view/'a.png'), image)
        write_disparity(Path(d)/'disp'/'a.pfm', np.full((120,200), 9, 'float32'))
        return PairFile(f'{d}/left/a.png', f'{d}/right/a.png')
    asked = []
    def row_of(d, **kw):
        loaded = mock.dict(network_name.__globals__, load_model=lambda name, reading: asked.append(reading) or net)
        with contextlib.redirect_stdout(io.StringIO()) as out, loaded:
            evaluate_files('folder', d, None if 'sgbm' in kw else 'net', out=f'{d}/rows.csv', **kw)
        row = list(csv.DictReader(open(f'{d}/rows.csv')))[-1]
        return row,float(row['epe']),out.getvalue()
    with tempfile.TemporaryDirectory() as d, warnings.catch_warnings():
        warnings.simplefilter('ignore')
        f = shifted(d)
        for kw in (dict(), dict(scale=.5), dict(align=True, post='left_right'), dict(post='filter')):
            row,epe,said = row_of(d, **kw)
            test_close(epe, np.abs(predict(net, f.left, f.right, **kw, engine='torch')-9).mean(), eps=1e-4)
            test_eq([row['network'],row['weights'],row['engine']], ['dtpnet',fingerprint(net),'torch'])
            test_eq([row['align'],row['post']], [str(kw.get('align', False)),kw.get('post', 'none')])
            test_eq(row.get('scale', ''), str(kw['scale']) if 'scale' in kw else '')
            assert fingerprint(net) in said and ('aligned, post left_right' in said)==('align' in kw)
        row_of(d, reading='mode')
        test_eq(asked, 4*[None]+['mode'])
        left,right = (read_pixels(v) for v in (f.left,f.right))
        row,epe,said = row_of(d, sgbm='hh')
        test_close(epe, np.abs(sgbm(left, right, 9+16)-9).mean(), eps=1e-6)
        assert 'SGBM, hh' in said
        worse = epe
        row,epe,said = row_of(d, sgbm='3way', max_disp=64, align=True, post='filter')
        test_close(epe, np.abs(postprocess(sgbm(left, align_rows(left, right), 64, mode='3way'), left)-9).mean(), eps=1e-3)
        test_eq([row[k] for k in ('network','weights','engine','precision','align','post','mode')],
                ['SGBM','','opencv','','True','filter','3way'])
        assert epe<.5*worse # the rows were off
        for engine in ('auto','folded'):
            by = engines.Way(lambda net,made: Engine(net, 'folded'), 0.)
            with mock.object(engines, 'ways', dict(folded=by)): row,epe,said = row_of(d, engine=engine)
            test_close(epe, np.abs(predict(net, f.left, f.right)-9).mean(), eps=1e-3)
            test_eq([row['engine'],row['weights']], ['folded',fingerprint(net)])
        pairs = open_pairs('folder', d, n=1)
        test_fail(
            lambda: submit(f'{d}/x.zip', pairs, net), exc=ValueError,
            contains="unknown benchmark that takes submissions 'folder'")

def test_frames_of_a_size_are_counted():
    from stereo_kd.evaluation.evaluate import _frames_of_a_size
    with tempfile.TemporaryDirectory() as d:
        def pairs(*sizes):
            for i,(h,w) in enumerate(sizes): cv2.imwrite(f'{d}/{i}.png', np.zeros((h,w), np.uint8))
            return PairFiles([PairFile(f'{d}/{i}.png', f'{d}/{i}.png') for i in range(len(sizes))])
        test_eq([_frames_of_a_size(pairs(*s)) for s in ([(4,6)]*5, [(4,6)]*4+[(6,4)]*2, [(4,6),(5,6),(6,6)])], [5,3,1])

@pytest.mark.slow
@pytest.mark.data
def test_command_reproduces_published_rows():
    import stereo_kd
    from stereo_kd.testing import real_data
    table = Path(stereo_kd.__file__).parent.parent/'data/results/zeroshot.csv'
    published = [r for r in csv.DictReader(table.open()) if r['set']=='KITTI 2012']
    def check(**kw):
        with tempfile.TemporaryDirectory() as d, contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter('ignore')
            evaluate_files('kitti2012', real_data()/'kitti2012', out=f'{d}/rows.csv', **kw)
            got = list(csv.DictReader(open(f'{d}/rows.csv')))[-1]
        same = ('network','weights','engine','precision','align','post','mask')
        found = [r for r in published if all(r[k]==got[k] for k in same) and r['mode']==got.get('mode', '')]
        test_eq(len(found), 1)
        for k in ('epe','bad1','bad2','d1'): test_close(float(found[0][k]), float(got[k]), eps=.006)
    check(sgbm='hh')
    check(sgbm='hh', align=True, post='filter')
    check(model='dtpnet_lite', post='left_right', align=True)

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
            evaluate_files('kitti2015', d, folder=f'{d}/est', where=dict(part='testing'), submission=f'{d}/s.zip')
        assert 's.zip: 200 frames of kitti2015' in out.getvalue()
        with zipfile.ZipFile(f'{d}/s.zip') as z:
            x = cv2.imdecode(np.frombuffer(z.read('disp_0/000007_10.png'), np.uint8), cv2.IMREAD_UNCHANGED)
        test_eq(x.tolist(), [[8*256,8*256,9*256],[8*256]*3]) # the hole takes the smaller neighbour
        test_fail(
            lambda: evaluate_files('kitti2015', d, folder=f'{d}/est', where=dict(part='testing', n=3), submission=f'{d}/s.zip'),
            exc=ValueError, contains='197 of 200 frames are missing')
