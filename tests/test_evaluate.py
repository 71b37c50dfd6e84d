# Generated from nbs/70_evaluate.ipynb; edit the notebook, not this file
import os, warnings
import matplotlib.pyplot as plt
import torch
from functools import partial
from pathlib import Path
from fastprogress.fastprogress import progress_bar
from stereo_kd.bench import costs
from stereo_kd.core import denormalize, pick
from stereo_kd.data.files import IncompleteWarning
from stereo_kd.data.kitti import kitti2012, kitti2015
from stereo_kd.data.middlebury import middlebury
from stereo_kd.metrics import Meter
from stereo_kd.predict import evaluating
from fastcore.test import *
from stereo_kd.data.synthetic import SyntheticPairs
from stereo_kd.models.base import StereoNet, StereoOutput
from stereo_kd.models.zoo import create_model
import pytest
from stereo_kd.evaluate import *

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
    pred,disp,valid = next(predictions(net.eval(), SyntheticPairs(1, (32,64), max_disp=48))); test_eq([tuple(t.shape) for t in (pred,disp,valid)], [(1,32,64)]*3); net.train()
    assert row['ms_median']<=row['ms_p90'] and row['device'] and row['threads']>=1 and row['size']=='32x64' and 0<row['macs_g']<row['thop_g']
    assert net.training # left as it was

@pytest.mark.data
def test_real_pairs_where_there_are_some():
    from stereo_kd.testing import real_data
    from unittest.mock import patch as mock
    test_fail(lambda: real_pairs('KITTI'), contains="unknown set of real pairs 'KITTI'; known:")
    with mock.dict('os.environ', STEREO_KD_REAL=''): test_eq(real_pairs(), {})
    with mock.dict('os.environ', STEREO_KD_REAL='no such folder'): test_eq(real_pairs(), {})
    real_data(); sets = real_pairs(*REAL)
    test_eq({n: d.mask for n,d in sets.items()}, {n: 'noc' if n.endswith('noc') else 'all' for n in REAL}); assert all(len(d)>0 for d in sets.values())

def test_compare_draws_each_network():
    import matplotlib.pyplot as plt
    ds = SyntheticPairs(2, (32,64)); zero = lambda l,r: torch.zeros(1,32,64)
    fig = compare([ds[0],ds[1]], dict(a=zero, b=zero))
    test_eq(len(fig.axes), 4*3+1) # 2 pairs of two rows, 3 columns, and the scale
    truth = ds[0][2]; test_close(float(fig.axes[4].get_title().split()[-2]), truth.mean().item(), eps=.01); plt.close(fig)
