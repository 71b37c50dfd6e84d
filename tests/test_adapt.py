# Generated from nbs/76_adapt.ipynb; edit the notebook, not this file
import numpy as np, tempfile, torch, warnings
import torch.nn.functional as F
from copy import deepcopy
from fastcore.basics import patch
from pathlib import Path
from torch import nn, Tensor
from typing import NamedTuple
from stereo_kd.cli import DEFAULT_MODEL
from stereo_kd.core import claim, denormalize, evaluating, fingerprint
from stereo_kd.data.files import Sample, stack_items, to_item
from stereo_kd.data.folder import folder as pairs_in
from stereo_kd.data.io import read_disparity, write_disparity
from stereo_kd.data.loaders import check_mix, crop_loaders, every_fifth
from stereo_kd.inference.left_right import left_right_check, left_right_disparities
from stereo_kd.models.zoo import load_model, save_model
from stereo_kd.train.stages import train_stage
from stereo_kd.train.state import describe
import matplotlib.pyplot as plt
from fastcore.test import *
from torchvision.utils import save_image
from types import SimpleNamespace
from unittest import mock
from stereo_kd.data.scenes import ScenePairs
from stereo_kd.data.synthetic import SyntheticPairs
from stereo_kd.data.transforms import exact_scene
from stereo_kd.models.base import StereoOutput
import pytest
from stereo_kd.adapt import *

def test_photometric_error_finds_the_shift():
    torch.manual_seed(0)
    scene = F.interpolate(torch.rand(1,3,10,40), size=(40,160), mode='bicubic').clamp(0, 1)[0]
    left,right = scene[...,:120],scene[...,7:127] # what is at x in the left view is at x-7 in the right one
    errors = {d: photometric_error(left, right, torch.full((40,120), float(d))) for d in (0,5,7,9)}
    test_eq(min(errors, key=errors.get), 7)
    assert errors[7]<1e-3 and errors[0]>errors[9]>.1, errors # rounding of positions is left at 7
    brighter = photometric_error(left, right*.9, torch.full((40,120), 7.))
    assert brighter<.5*errors[5], (brighter, errors)
    half = torch.full((40,120), 7.)
    half[:20] = 5.
    test_close(photometric_error(left, right, half), (errors[5]+errors[7])/2, eps=.2*errors[5])
    assert np.isnan(photometric_error(left, right, torch.full((40,120), 500.)))
    test_close(photometric_error(left, 1-left*0, torch.zeros(40,120), alpha=0.), (1-left).mean().item(), eps=1e-5)

def test_a_constant_agrees_with_itself_but_does_not_match():
    class Constant(nn.Module):
        def __init__(self, disp):
            super().__init__()
            self.disp,self.max_disp = disp,48
        def forward(self, left, right): return StereoOutput([[], [], [], [torch.full_like(left[:,0], self.disp)], {}])
    pairs = SyntheticPairs(2, (64,128), 3, 48)
    net = load_model('dtpnet_lite')
    flat,known = judge_pairs(Constant(0.), pairs),judge_pairs(net, pairs)
    test_eq([flat['confirmed'],flat['n']], [1.,2])
    assert .5<known['confirmed']<1 and known['photometric']<flat['photometric']
    assert not is_better(known, flat) and not is_better(flat, known) and not is_better(known, known)
    assert is_better(known, known|dict(photometric=0.)) and is_better(known, known|dict(confirmed=1.))

def test_a_teacher_is_asked_once_and_believed_where_both_views_agree():
    scenes,asked = [exact_scene(seed=k) for k in range(3)],[]
    class Exact: # pairs whose truth of both views is known
        def __len__(self): return 3
        def __getitem__(self, i): return to_item(scenes[i])
    def near(image, x): return (denormalize(x[0])-image).abs().max()<1e-4
    class Knows(nn.Module): # and a network that tells it
        def forward(self, left, right):
            asked.append(1)
            views = [(s.left,s.disp) for s in scenes]+[(s.right.flip(-1),s.right_disp.flip(-1)) for s in scenes]
            return StereoOutput([[], [], [], [next(d for v,d in views if near(v, left))[None]], {}])
    with tempfile.TemporaryDirectory() as d:
        labelled = PseudoTruth(Exact(), Knows(), d)
        for i,true in enumerate(scenes):
            s = labelled.sample(i)
            both = torch.from_numpy(left_right_check(true.disp.numpy(), true.right_disp.numpy()))
            test_eq(s.valid, both)
            test_close(s.disp, torch.where(both, true.disp, 0), eps=1e-5)
            test_close(s.left, true.left, eps=1e-5)
            assert .5<both.float().mean()<1
        labelled.sample(1)
        test_eq(len(asked), 6)
        left,right,disp,valid = labelled.batch([0,2])
        test_eq([left.shape,disp.shape,valid.dtype], [(2,3,48,96),(2,48,96),torch.bool])
        test_close(left[1], Exact()[2][0], eps=1e-4)
        test_fail(lambda: PseudoTruth(Exact(), Knows(), d, 2.), exc=ValueError, contains='tolerance was 1.0, is now 2.0')
        test_eq(len(list(Path(d).glob('*.pfm'))), 3)
        with tempfile.TemporaryDirectory() as other: # where they are kept is no part of what they are
            test_eq(describe(PseudoTruth(Exact(), Knows(), other)), describe(labelled))
        write_disparity(Path(d)/'000001.pfm', np.ones((3,4)))
        test_fail(lambda: labelled.sample(1), exc=ValueError, contains='000001.pfm is (3, 4), its pair (48, 96)')

@pytest.mark.slow
def test_a_worse_network_is_refused():
    net = load_model('dtpnet_lite')
    class Twenty(type(net)):
        def forward(self, left, right, **kw): return StereoOutput([[], [], [], [torch.full_like(left[:,0], 20.)], {}])
    teacher = load_model('dtpnet_lite')
    teacher.__class__ = Twenty
    pairs,valid = SyntheticPairs(4, (64,192), 3),SyntheticPairs(2, (64,192), 4)
    before = fingerprint(net)
    with tempfile.TemporaryDirectory() as d, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        kw = dict(valid=valid, steps=15, size=(64,160), lr=4e-3, mix=0., learner=dict(precision='fp32'))
        got = adapt(net, pairs, d, teacher=teacher, **kw)
        again = adapt(net, pairs, d, teacher=teacher, **kw) # is there
        assert not got.better and got.net is net and fingerprint(net)==before
        assert got.after['photometric']>got.before['photometric'] and got.after['confirmed']>got.before['confirmed'], got
        test_eq(again[1:], got[1:])
        sentence = [str(w.message) for w in said if 'no better' in str(w.message)]
        assert len(sentence)==2 and 'on 2 pairs held out (confirmed ' in sentence[0], sentence
        other = load_model(Path(d)/'adapted/model.safetensors')
        assert fingerprint(other)!=before

@pytest.mark.slow
def test_an_adaptation_that_pays_is_kept():
    from stereo_kd.testing import project_root
    kept = project_root()/'data/starts' # what there is to gain must not depend on what ships
    net = load_model(kept/'dtpnet_lite_pruned_flat.safetensors')
    torch.manual_seed(0)
    with torch.no_grad(): # a network with something to gain
        for p in net.parameters(): p += .3*p.std()*torch.randn_like(p)*(p.dim()>1)
    before = fingerprint(net)
    with tempfile.TemporaryDirectory() as d:
        got = adapt(
            net, SyntheticPairs(4, (64,256), 3), d, SyntheticPairs(1, (64,256), 4),
            load_model(kept/'dtpnet_lite_flat.safetensors'), 60, (64,192), lr=4e-3, learner=dict(precision='fp32'))
        assert isinstance(got, Adapted) and got.better and got.net is not net and fingerprint(net)==before, got
        assert got.after['photometric']<.9*got.before['photometric'], got
        assert got.after['confirmed']>got.before['confirmed']+.1, got
        test_eq(fingerprint(load_model(Path(d)/'adapted/model.safetensors')), fingerprint(got.net))

def test_requests_are_checked_before_anything_is_done():
    net,pairs = load_model('dtpnet_lite'),SyntheticPairs(2, (64,192), 3)
    with tempfile.TemporaryDirectory() as d:
        for kw,said in ((dict(steps=0),'steps must be at least 1'), (dict(mix=1.),'mix must be in [0,1)'),
                        (dict(teacher=SimpleNamespace(max_disp=48)),'same max_disp, got 48 and 192')):
            test_fail(lambda: adapt(net, pairs, d, pairs, **kw), exc=ValueError, contains=said)
        test_eq(list(Path(d).iterdir()), [])

@pytest.mark.slow
def test_a_folder_of_pairs_is_enough():
    def write_pairs(folder, n, size=(64,200)):
        pairs = SyntheticPairs(n, size, 3)
        for i in range(n):
            for name,image in zip(('left','right'), pairs[i]):
                (Path(folder)/name).mkdir(exist_ok=True, parents=True)
                save_image(denormalize(image), Path(folder)/name/f'{i}.png')
    with tempfile.TemporaryDirectory() as d:
        write_pairs(d, 3)
        out,run = Path(d)/'adapted.safetensors',Path(d)/'run'
        def call(out, steps, **kw): return adapt_files(
            d, out, 'dtpnet_lite', steps=steps, size=(64,160), run_dir=run, learner=dict(precision='fp32'), **kw)
        with mock.patch.dict(adapt.__globals__, is_better=lambda before, after: False):
            test_fail(lambda: call(out, 2), exc=ValueError, contains='nothing is written')
        assert not out.exists() and (run/'adapted/model.safetensors').exists()
        test_eq(len(list((run/'labels').glob('*.pfm'))), 2)
        with mock.patch.dict(adapt.__globals__, is_better=lambda before, after: True): call(out, 2) # goes on
        card = load_model(out).card['meta']
        test_eq([card['adapted_from'],card['labels'],card['n_after']], ['dtpnet_lite','dtpnet_lite',1])
        test_eq(fingerprint(load_model(out)), fingerprint(load_model(run/'adapted/model.safetensors')))
        test_fail(lambda: adapt_files(d, 'x.pth'), exc=ValueError, contains='x.pth must end in .safetensors')
        test_fail(lambda: adapt_files(d+'/none', out), exc=ValueError, contains='is not a folder')
