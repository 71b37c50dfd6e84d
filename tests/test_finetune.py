# Generated from nbs/84_finetune.ipynb; edit the notebook, not this file
import math, tempfile, torch, warnings
from copy import deepcopy
from pathlib import Path
from torch import nn
from typing import NamedTuple
from stereo_kd.cli import DEFAULT_MODEL
from stereo_kd.core import pick
from stereo_kd.data.loaders import crop_loaders, every_fifth
from stereo_kd.evaluation.evaluate import evaluate_frames, from_network, open_pairs
from stereo_kd.models.zoo import load_model, save_model
from stereo_kd.train.stages import train_stage
import numpy as np
from contextlib import redirect_stdout
from fastcore.test import *
from io import StringIO
from torchvision.utils import save_image
from unittest import mock
from stereo_kd.core import denormalize, fingerprint
from stereo_kd.data.folder import folder
from stereo_kd.data.io import write_disparity
from stereo_kd.data.synthetic import SyntheticPairs
from stereo_kd.models.zoo import create_model
import pytest
from stereo_kd.finetune import *

def test_features_are_what_features_depend_on():
    for name,first in (('dtpnet_lite','stem'),('tsnnet_naive','extract')):
        net = create_model(name, max_disp=48)
        found = feature_parameters(net)
        assert any(n.startswith(first) for n in found) and not any(n.startswith('hourglass') for n in found), found
        test_eq([p.grad for p in net.parameters()], [None]*len(list(net.parameters())))

@pytest.mark.slow
def test_fine_tuning_pays_or_is_refused():
    torch.manual_seed(0)
    net = load_model('dtpnet_lite_pruned')
    with torch.no_grad(): # a network with something to gain
        for p in net.parameters(): p += .3*p.std()*torch.randn_like(p)*(p.dim()>1)
    mark,pairs,valid = fingerprint(net),SyntheticPairs(4, (64,256), 3),SyntheticPairs(2, (64,256), 4)
    kw = dict(valid=valid, steps=30, size=(64,192), lr=4e-3, mix=0., learner=dict(precision='fp32'))
    with tempfile.TemporaryDirectory() as d:
        got = finetune(net, pairs, d, **kw)
        assert isinstance(got, Tuned) and got.better and got.after['epe']<.98*got.before['epe'], got[1:]
        assert fingerprint(net)==mark and all(p.requires_grad for p in net.parameters())
        test_eq(finetune(net, pairs, d, **kw).after, got.after) # it is there
        held = finetune(net, pairs, d, freeze='features', **kw)
        frozen,(a,b,c) = feature_parameters(net),(n.state_dict() for n in (net,held.net,got.net))
        assert all(torch.equal(a[k], b[k]) and not torch.equal(a[k], c[k]) for k in frozen if a[k].dim()>1)
        assert not all(torch.equal(a[k], b[k]) for k,_ in net.named_parameters())
        def judged_equal(): # an error that does not fall
            with mock.patch.dict(finetune.__globals__, _errors=lambda n,v: dict(epe=1., d1=2.)):
                return finetune(net, pairs, d, **kw)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter('always')
            worse = judged_equal()
        assert worse.net is net and not worse.better
        assert 'no better (EPE 1.00 -> 1.00 px, D1 2.00 -> 2.00 % on 2 pairs held out)' in str(said[-1].message), said
        for bad,words in ((dict(steps=0),'steps must be at least 1'), (dict(freeze='head'),"unknown part to freeze 'head'"),
                          (dict(mix=1.),'mix must be in [0,1)')):
            test_fail(lambda: finetune(net, pairs, d+'/x', **kw|bad), exc=ValueError, contains=words)
        assert not Path(d, 'x').exists()

def test_the_pairs_mixed_in_may_be_given():
    from stereo_kd.adapt import adapt
    class Asked(Exception): "for a pair"
    class Others(SyntheticPairs):
        def batch(self, indices): raise Asked
    net,pairs,others = load_model('dtpnet_lite_pruned'),SyntheticPairs(2, (64,192), 3),Others(2, (64,160))
    for fit in (adapt,finetune):
        with tempfile.TemporaryDirectory() as d:
            test_fail(lambda: fit(net, pairs, d, pairs, steps=1, size=(64,160), mix=.99, others=others), exc=Asked)

@pytest.mark.slow
def test_a_folder_with_truth_is_enough():
    def write_pairs(root, n, size=(64,200)):
        pairs = SyntheticPairs(n, size, 3)
        for i in range(n):
            left,right,disp,_ = pairs[i]
            for name,image in dict(left=left, right=right).items():
                (Path(root)/name).mkdir(exist_ok=True, parents=True)
                save_image(denormalize(image), Path(root)/name/f'{i}.png')
            sparse = np.where(np.arange(size[0])[:,None]%4==0, disp.numpy(), np.nan) # every fourth row
            write_disparity(Path(root)/'disp'/f'{i}.png', sparse)
    with tempfile.TemporaryDirectory() as d:
        write_pairs(d, 3)
        out,run = Path(d)/'tuned.safetensors',Path(d)/'run'
        def call(**kw): return finetune_files(
            d, out, 'dtpnet_lite', steps=2, size=(64,160), run_dir=run, learner=dict(precision='fp32'), **kw)
        with mock.patch.dict(finetune.__globals__, _errors=lambda n,v: dict(epe=1., d1=2.)):
            test_fail(call, exc=ValueError, contains='nothing is written')
        assert not out.exists() and (run/'tuned_whole/model.safetensors').exists()
        errors = iter([dict(epe=2., d1=3.),dict(epe=1., d1=2.)])
        said = StringIO()
        with mock.patch.dict(finetune.__globals__, _errors=lambda n,v: next(errors)), redirect_stdout(said): call()
        assert 'tuned.safetensors: EPE 2.00 -> 1.00 px, D1 3.00 -> 2.00 % on 1 pairs held out' in said.getvalue()
        card = load_model(out).card['meta']
        test_eq([card[k] for k in ('tuned_from','epe_before','epe_after','d1_after')], ['dtpnet_lite',2.,1.,2.])
        test_eq(fingerprint(load_model(out)), fingerprint(load_model(run/'tuned_whole/model.safetensors')))
        test_fail(lambda: finetune_files(d, 'x.pth'), exc=ValueError, contains='x.pth must end in .safetensors')
        test_fail(lambda: finetune_files(d+'/none', out), exc=ValueError, contains='is not a folder')
        def refused(words, **kw): # before any training
            with mock.patch.dict(finetune.__globals__, _train=lambda *a: 1/0): test_fail(call, exc=ValueError, contains=words, **kw)
        (Path(d)/'disp/1.png').unlink()
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter('always')
            test_eq([f.name for f in with_truth(folder(d)).files], ['0','2'])
        assert '1.png has no truth: 1 of 3 pairs are left out' in str(told[-1].message)
        for i in (0,2): write_disparity(Path(d)/f'disp/{i}.pfm', np.zeros((64,200))) # nothing is known
        for i in (0,2): (Path(d)/f'disp/{i}.png').unlink()
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            refused('no pixel of the 1 pairs held out has truth: disparities are positive px')
        for i in (0,2): (Path(d)/f'disp/{i}.pfm').unlink()
        refused('0.png has no truth, nor has another of the 3 pairs')
        test_fail(lambda: call(dataset='kitti'), exc=ValueError, contains="unknown data set 'kitti'")
