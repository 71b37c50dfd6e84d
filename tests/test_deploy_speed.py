# Generated from nbs/87_deploy.speed.ipynb; edit the notebook, not this file
import ctypes, cv2, numpy as np, platform, torch
from contextlib import contextmanager
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from statistics import median
from time import perf_counter
from torch import nn
from stereo_kd.cli import check_threads, parse_size
from stereo_kd.core import check_output, fingerprint, format_table, write_rows
from stereo_kd.data.synthetic import DISAGREEMENTS, SyntheticPairs
from stereo_kd.deploy.engine import Engine, check_engine, sessions
from stereo_kd.evaluation.cost import costs, device_name
from stereo_kd.inference.sgbm import sgbm, sgbm_settings
from stereo_kd.models.zoo import create_model, list_models, load_model, shipped
import csv, tempfile
from fastcore.test import *
from stereo_kd.core import check_rows
from stereo_kd.evaluation.cost import count_params
from stereo_kd.models.zoo import read_card
import pytest
from stereo_kd.deploy.speed import *

@pytest.mark.serial
def test_machine_numbers_are_plausible():
    c = roofline(1)
    assert 1<c['matmul_gmacs']<1e5 and .5<c['copy_gbs']<1e4
    t = in_turn(dict(a=lambda: None, b=lambda: sum(range(100_000))), 3)
    test_eq([len(v) for v in t.values()], [3,3])
    assert min(t['b'])>max(t['a'])
    mib = peak_memory(lambda: np.ones(2**24))
    assert not mib==mib or 100<mib<200, mib
    before = torch.get_num_threads(),cv2.getNumThreads()
    test_fail(lambda: roofline(10**6), exc=ValueError, contains='threads must be 1 to')
    with cpu_threads(1): test_eq((torch.get_num_threads(),cv2.getNumThreads()), (1,1))
    test_eq((torch.get_num_threads(),cv2.getNumThreads()), before)

@pytest.mark.serial
def test_rows_are_complete():
    torch.manual_seed(0)
    net = create_model('dtpnet_lite', max_disp=48)
    before = torch.get_num_threads(),cv2.getNumThreads()
    rows = speed_rows(dict(tiny=net), ('eager','bf16'), ((32,64),(48,64)), (1,2), ('hh',), rounds=1)
    kinds = (('tiny','eager','fp32',None), ('tiny','folded','bf16',None), ('SGBM','opencv','','hh'))
    test_eq(
        [(r['size'],r['threads'],r['network'],r['engine'],r['precision'],r.get('mode')) for r in rows],
        [(s,t,*k) for t in (1,2) for s in ('32x64','48x64') for k in kinds])
    assert all(0<r['ms_median']<=r['ms_p90'] and r['rounds']==1 for r in rows)
    test_eq((torch.get_num_threads(),cv2.getNumThreads()), before)
    check_rows(rows, SPEED_COLUMNS) # one schema, and nothing else
    ours = [r for r in rows if r['network']=='tiny']
    test_eq({r['params_m'] for r in ours}, {sum(p.numel() for p in net.parameters())/1e6})
    test_eq({r['weights'] for r in rows}, {fingerprint(net),''})
    assert all(0<r['utilisation']<1 for r in ours) and all('utilisation' not in r for r in rows if r not in ours)

@pytest.mark.serial
def test_each_row_has_its_own_times():
    calls = []
    runs = [(dict(network=k, macs_g=2.), lambda k=k,n=n: (calls.append(k), sum(range(n)))) for k,n in (
        ('slow',300_000), ('quick',10))]
    slow,quick = timed_rows(runs, 5, dict(matmul_gmacs=100., copy_gbs=9.))
    test_eq(calls, ['slow','quick']*6) # one round before those that count
    test_eq((slow['network'],slow['rounds'],slow['copy_gbs']), ('slow',5,9.))
    assert slow['ms_median']>10*quick['ms_median']
    test_close(slow['utilisation'], 2/(slow['ms_median']/1e3)/100, eps=1e-9)
    left,right = SyntheticPairs(1, (48,64), seed=0).batch([0])[:2]
    (known,call), = sgbm_runs(['3way'], (left,right))
    test_eq((known['network'],known['mode'],known['size'],call().shape), ('SGBM','3way','48x64',(48,64)))
    (known,call), = network_runs(dict(a=create_model('dtpnet_lite', max_disp=48)), ['folded'], (left,right))
    test_eq((known['network'],known['engine'],tuple(call().disparity[-1].shape)), ('a','folded',(1,48,64)))

@pytest.mark.serial
def test_networks_are_timed_by_name():
    with tempfile.TemporaryDirectory() as d:
        bench_networks(['dtpnet_lite_pruned','mobilestereonet2d'], size=['48x64'], rounds=1, threads=[1],
                     sgbm=['3way'], out=f'{d}/rows.csv')
        rows = list(csv.DictReader(open(f'{d}/rows.csv')))
    test_eq([(r['network'],r['mode'],r['engine'],r['size'],r['threads']) for r in rows],
            [('dtpnet_lite_pruned','','folded','48x64','1'), ('mobilestereonet2d','','folded','48x64','1'),
             ('SGBM','3way','opencv','48x64','1')])
    test_eq(rows[0]['weights'], read_card('dtpnet_lite_pruned')['weights']) # the file that was timed
    test_eq(rows[1]['weights'], '') # no file holds the weights of a fresh network
    assert float(rows[0]['params_m'])<.1 and float(rows[2]['ms_median'])>0 and rows[2]['utilisation']==''
    from unittest import mock
    for args,say in (
        (dict(size=['big']),'size must be'), (dict(engine=['folded','tpu']),"unknown engine 'tpu'"),
        (dict(threads=[1,1_000_000]),'threads must be 1 to'), (dict(threads=[0]),'got 0'), (dict(rounds=0),'rounds must be 1 or more'),
        (dict(sgbm=['fast']),"unknown mode 'fast' of SGBM")):
        with mock.patch.dict(speed_rows.__globals__, roofline=lambda *a: 1/0, load_model=lambda *a: 1/0): # nothing is done before
            test_fail(lambda: bench_networks(['dtpnet'], **args), exc=ValueError, contains=say)
    assert versions()['torch'] and 'nobody' not in versions()
    n = count_params(create_model('dtpnet', stem=8, width=16))
    test_eq(count_params(network_by_name('dtpnet:stem=8,width=16')), n)
    assert network_by_name('dtpnet:cost_volume=c2d').form=='c2d' and hasattr(network_by_name('dtpnet_lite'), 'card')
    bad = {'madis:tiny': 'arguments are written madis:NAME=VALUE', 'madis:size=giant': "unknown size 'giant'"}
    for name,say in bad.items():
        test_fail(lambda: network_by_name(name), exc=ValueError, contains=say)
