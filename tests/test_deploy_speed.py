# Generated from nbs/87_deploy.speed.ipynb; edit the notebook, not this file
import ctypes, cv2, numpy as np, platform, torch
from copy import deepcopy
from fastcore.script import Param, call_parse
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from time import perf_counter
from torch import nn
from stereo_kd.evaluation.cost import costs, device_name
from stereo_kd.core import format_table, parse_size, pick, write_csv
from stereo_kd.data.synthetic import DISAGREEMENTS, SyntheticPairs
from stereo_kd.deploy.engine import sessions, Engine
from stereo_kd.models.zoo import create_model, list_models, load_model, shipped
from stereo_kd.prune.loop import prune_step, ratio_for
from stereo_kd.inference.sgbm import sgbm
import csv, tempfile
from fastcore.script import anno_parser
from fastcore.test import *
from stereo_kd.deploy.speed import *

def test_machine_numbers_are_plausible():
    c = roofline(1)
    assert 1<c['matmul_gmacs']<1e5 and .5<c['copy_gbs']<1e4
    t = in_turn(dict(a=lambda: None, b=lambda: sum(range(100_000))), 3)
    test_eq([len(v) for v in t.values()], [3,3])
    assert min(t['b'])>max(t['a'])
    mib = peak_memory(lambda: np.ones(2**24))
    assert not mib==mib or 100<mib<200, mib

def test_rows_are_complete():
    torch.manual_seed(0)
    net = create_model('dtpnet', max_disp=48, stem=8, width=16)
    before = torch.get_num_threads()
    rows = speed_rows(dict(tiny=net), ('eager','folded'), ((32,64),(48,64)), (1,2), ('hh',), n=1)
    test_eq(
        [(r['network'],r['engine'],r['size'],r['threads']) for r in rows],
        [
            (k,e,s,t) for t in (1,2) for s in ('32x64','48x64') for k,
            e in (('tiny','eager'),('tiny','folded'),('sgbm hh','opencv'))])
    assert all(r['ms']>0 and r['ms']<=r['ms_p90'] for r in rows)
    test_eq(torch.get_num_threads(), before)
    test_eq({r['params_m'] for r in rows if r['network']=='tiny'}, {sum(p.numel() for p in net.parameters())/1e6})
    assert all(0<r['utilisation']<1 for r in rows if r['network']=='tiny')

def test_roundings_are_compared():
    torch.manual_seed(0)
    net = create_model('dtpnet', max_disp=48, stem=16, width=32)
    whole = sum(p.numel() for p in net.parameters())
    rows = rounding_rows(net, keep=.6, roundings=(1,8), size=(32,64), steps=2, n=1)
    test_eq([r['round_to'] for r in rows], [0,1,8])
    assert all(abs(r['kept']-.6)<.05 for r in rows[1:]) and all(r['ms']>0 for r in rows)
    test_eq(sum(p.numel() for p in net.parameters()), whole)

def test_command_line():
    p = anno_parser(stereo_bench)
    args = p.parse_args(
        'dtpnet psmnet --size 96x192 48x64 --threads 1 2 --engine eager folded -o rows.csv'.split())
    test_eq(
        [args.names, args.size, args.threads, args.engine, args.n, args.o],
        [['dtpnet','psmnet'],['96x192','48x64'],[1,2],['eager','folded'],7,'rows.csv'])
    with tempfile.TemporaryDirectory() as d:
        stereo_bench(['dtpnet_pruned'], size=['48x64'], n=1, threads=[1], o=f'{d}/rows.csv')
        row, = csv.DictReader(open(f'{d}/rows.csv'))
    test_eq([row['network'], row['engine'], row['size'], row['threads']], ['dtpnet_pruned','folded','48x64','1'])
    assert float(row['params_m'])<.35
    for args,say in (
        (dict(size=['big']),'size must be'),
        (dict(engine=['tpu'], size=['48x64']),"unknown engine 'tpu'")):
        test_fail(lambda: stereo_bench(['dtpnet'], **args), exc=SystemExit, contains=say)
    assert versions()['torch'] and 'nobody' not in versions()
