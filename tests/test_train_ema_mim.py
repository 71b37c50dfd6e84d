# Generated from nbs/59_train.ema_mim.ipynb; edit the notebook, not this file
import torch
from copy import deepcopy
from fastai.basics import Callback
from fastai.callback.training import GradientAccumulation
from fastcore.basics import patch
from torch import nn
from stereo_kd.losses.reconstruction import ReconstructionLoss
from stereo_kd.metrics import add_columns, drop_columns
from stereo_kd.models.vit import random_visible
import matplotlib.pyplot as plt
from fastcore.test import *
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from fastai.basics import Adam, CancelStepException, SGD
from stereo_kd.core import set_seed
from stereo_kd.data.loaders import StereoDataLoaders
from stereo_kd.data.synthetic import SyntheticPairs
from stereo_kd.data.transforms import Augmented, LidarTruth
from stereo_kd.losses.laplacian import LaplacianLoss
from stereo_kd.models.base import get_map
from stereo_kd.models.zoo import create_model
from stereo_kd.train.learner import constant, fit, stereo_learner
import pytest
from stereo_kd.train.ema_mim import *

def test_masks_in_training_only():
    set_seed(0)
    net = create_model('madis', size='tiny', max_disp=48)
    dls = StereoDataLoaders.from_synthetic(4, 2, (30,60), bs=2, max_disp=48)
    calls = []
    net.register_forward_pre_hook(lambda m,args: calls.append((m.training, args[2:])))
    cb = MaskCallback((.4,.25))
    learn = stereo_learner(dls, net, loss=LaplacianLoss(), precision='fp32', cbs=cb)
    with learn.no_bar(),learn.no_logging(): fit(learn, 1, 0.)
    test_eq([t for t,_ in calls], [True,True,False])
    for _,(upto,outputs,given) in calls[:2]: # 30x60 is padded to 4x8 tokens
        test_eq([upto,outputs,[tuple(g['visible'].shape) for g in given]], ['aggregation',None,[(2,20),(2,24)]])
    assert not torch.equal(calls[0][1][2][0]['visible'], calls[1][1][2][0]['visible'])
    test_eq(calls[2][1], ())
    assert .5<cb.means['reconstruction']<4
    test_fail(lambda: MaskCallback((.4,1.)), contains='got (0.4, 1.0)')
    other = stereo_learner(dls, create_model('dtpnet', max_disp=48, stem=8, width=16), cbs=MaskCallback())
    with other.no_bar(),other.no_logging():
        test_fail(lambda: fit(other, 1), contains='a DTPnet has no tokens to mask')

def test_reconstruction_is_added_to_the_gradient_only():
    def run(weight, loss=LaplacianLoss(), others=0, **kw):
        set_seed(0)
        net = create_model('madis', size='tiny', max_disp=48)
        dls = StereoDataLoaders.from_synthetic(2, 2, (32,64), bs=2, max_disp=48)
        cb = MaskCallback(weight=weight, **kw)
        def before_validate(self): torch.rand(others) # somebody else draws random numbers
        learn = stereo_learner(
            dls, net, loss=loss, precision='fp32', cbs=[cb,Callback(before_validate=before_validate)], opt_func=SGD, schedule=constant, wd=0.)
        before = net.reconstruct.weight.detach().clone()
        with learn.no_bar(),learn.no_logging(): fit(learn, 1, .1)
        moved = (net.reconstruct.weight.detach()-before).abs().max().item()
        return learn.recorder.values[0][:2],moved,cb.means
    (a,moved,means),(b,still,nothing) = run(1.),run(0.)
    assert means['reconstruction']>0
    test_eq(a[0], b[0]) # the loss on truth
    assert moved>1e-4
    test_eq([still,nothing], [0.,{}])
    valid = run(0., ReconstructionLoss(), in_valid=True, ratios=(.9,0.))
    test_eq(valid[0], run(0., ReconstructionLoss(), in_valid=True, ratios=(.9,0.), others=5)[0])
    assert .5<valid[0][1]<4 and valid[1]>1e-4

def test_zero_copies_and_one_keeps():
    torch.manual_seed(0)
    def nets():
        net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
        other = deepcopy(net)
        for p in other.parameters(): nn.init.normal_(p)
        other.train()(torch.randn(20,3)*5) # moves the statistics
        return net,other
    state = lambda net: {k:v.clone() for k,v in net.state_dict().items()}
    for decay in (0.,1.,.75):
        slow,net = nets()
        a,b = state(slow),state(net)
        ema_update(slow, net, decay)
        for k,v in slow.state_dict().items():
            want = decay*a[k]+(1-decay)*b[k] if v.is_floating_point() else b[k]
            (test_eq if decay in (0.,1.) else partial(test_close, eps=1e-6))(v, want)
        test_eq(slow[1].num_batches_tracked.item(), 1) # a counter is copied
        test_eq([torch.equal(v, b[k]) for k,v in state(net).items()], [True]*9)
    slow,net = nets()
    a = state(slow)
    ema_update(slow, net, 1., parts=('0',)) # the rest is copied at once
    test_eq([torch.equal(v, (a if k[0]=='0' else state(net))[k]) for k,v in slow.state_dict().items()], [True]*9)
    cut = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    test_fail(lambda: ema_update(slow, cut, .5), contains='2.weight of the student has another shape')

@pytest.mark.slow
def test_as_timm_does_it():
    from timm.utils.model_ema import ModelEmaV3
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    theirs,ours = ModelEmaV3(net, decay=.9),deepcopy(net)
    for _ in range(5):
        for p in net.parameters(): nn.init.normal_(p)
        net(torch.randn(8,3))
        theirs.update(net)
        ema_update(ours, net, .9)
    states = (n.state_dict().values() for n in (ours,theirs.module))
    for a,b in zip(*states, strict=True): test_close(a, b, eps=1e-6)

def test_momentum_rises_and_goes_by_length():
    test_close([decay_for(n) for n in (1,5,100,10**4,10**7)], [0.,.8,.99,.9999,.9999], eps=1e-9)
    test_eq([round(momentum(t, .9), 3) for t in (1,10,90,1000)], [.091,.5,.9,.9])
    test_eq([momentum(1, m, 0) for m in (0.,.5,1.)], [0.,.5,1.])
    start = 1. # share of the untrained start that is left in the copy
    for t in range(1, 1001): start *= momentum(t, decay_for(1000))
    assert start<1e-6 and .9999**1000>.9

def test_it_records_and_does_not_disturb():
    def run(cbs, lr=0., density=.3):
        set_seed(0)
        net = create_model('madis', size='tiny', max_disp=48)
        train = Augmented(SyntheticPairs(4, (32,64), 1, 48), [LidarTruth(density)])
        dls = StereoDataLoaders.from_datasets(train, SyntheticPairs(2, (32,64), 0, 48), bs=2)
        learn = stereo_learner(
            dls, net, loss=LaplacianLoss(), precision='fp32', cbs=cbs, opt_func=SGD, schedule=constant, wd=0.)
        with learn.no_bar(),learn.no_logging(): fit(learn, 1, lr)
        return learn
    seen = []
    class Watched(LaplacianLoss):
        def __call__(self, out, pseudo, missing):
            seen.append((pseudo, missing))
            return super().__call__(out, pseudo, missing)
    cb = EMACallback(loss=Watched())
    test_eq(run([]).recorder.values[0][:2], run(cb).recorder.values[0][:2])
    test_eq([len(seen),cb.updates,cb.goal], [2,2,.5]) # not in validation
    assert not seen[0][0].requires_grad and .6<seen[0][1].float().mean()<.8 and cb.means['pseudo']!=0
    test_eq([m for m in cb.teacher.modules() if m.training], [])
    test_eq([p for p in cb.teacher.parameters() if p.requires_grad], [])
    test_eq([p.grad for p in cb.teacher.parameters() if p.grad is not None], [])
    dense = EMACallback(loss=Watched())
    run(dense, density=1.)
    test_eq([len(seen),dense.updates,dense.means['pseudo']], [2,2,0.]) # not asked, yet it follows

def test_the_copy_follows_the_steps_that_were_taken():
    def run(lr, cb, *cbs):
        set_seed(0)
        net = create_model('madis', size='tiny', max_disp=48)
        start = {k:v.clone() for k,v in net.state_dict().items()}
        train = Augmented(SyntheticPairs(6, (32,64), 1, 48), [LidarTruth(.3)])
        dls = StereoDataLoaders.from_datasets(train, SyntheticPairs(2, (32,64), 0, 48), bs=2)
        learn = stereo_learner(
            dls, net, loss=LaplacianLoss(), precision='fp32', cbs=[cb,*cbs], opt_func=SGD, schedule=constant,
            wd=0.)
        with learn.no_bar(),learn.no_logging(): fit(learn, 1, lr)
        same = lambda state: [torch.equal(state[k], v) for k,v in cb.teacher.state_dict().items()]
        return all(same(net.state_dict())),all(same(start)),same(net.state_dict())
    test_eq(run(1e-3, EMACallback(0.))[:2], (True,False)) # a copy
    test_eq(run(1e-3, EMACallback(1., warmup=0))[:2], (False,True)) # it stays
    test_eq(run(1e-3, EMACallback(.9))[:2], (False,False))
    as_released = run(1e-3, EMACallback(1., warmup=0, parts=['encoder']))
    names = list(create_model('madis', size='tiny').state_dict())
    moved = {n.split('.')[0] for n,same in zip(names, as_released[2]) if same} # as the student's
    assert {'decoder','embed','head'}<=moved
    slow = [same for n,same in zip(names, as_released[2]) if n.startswith('encoder') and n.endswith('weight')]
    test_eq(set(slow), {False})
    class Skip(Callback):
        order = 100
        def before_step(self):
            if self.iter==1: raise CancelStepException
    cb = EMACallback(.5)
    run(1e-3, cb, Skip())
    test_eq(cb.updates, 2)
    wrong = EMACallback(parts=['encodr'])
    test_fail(lambda: run(1e-3, wrong), contains="no part 'encodr'; it has mask_token, encoder, embed")
    test_fail(lambda: EMACallback(1.2), contains='got 1.2')
    test_fail(lambda: EMACallback(parts='encoder'), contains="got 'encoder'")

def test_it_pulls_towards_the_copy_where_truth_is_missing():
    from stereo_kd.models.base import StereoNet
    class Constant(StereoNet):
        answer = 'value'
        def __init__(self, value):
            super().__init__(48)
            self.value = nn.Parameter(torch.tensor(value))
        def features(self, image, extras): return [image]
        def cost_volume(self, left, right, extras): return left[-1]
        def aggregation(self, volume, left, right, extras, all_outputs):
            extras['value'] = self.value+0*volume[:,0]
            return []
        def disparity(self, value, size): return value[:,:size[0],:size[1]]
    def end(said, density, **kw):
        train = Augmented(SyntheticPairs(4, (16,32), 1, 48), [LidarTruth(density)])
        dls = StereoDataLoaders.from_datasets(train, SyntheticPairs(2, (16,32), 0, 48), bs=2)
        def mean(out, disp, valid):
            off = (get_map(out, 'value')-disp).square()
            return torch.where(valid, off, 0).sum()/valid.sum().clamp(min=1)
        cb = EMACallback(1., warmup=0, loss=mean, **kw)
        def before_train(self): nn.init.constant_(cb.teacher.value, said)
        learn = stereo_learner(
            dls, Constant(10.), loss=lambda *a: 0*mean(*a), precision='fp32', opt_func=SGD,
            schedule=constant, wd=0., cbs=[cb,Callback(before_train=before_train)])
        with learn.no_bar(),learn.no_logging(): fit(learn, 5, .2)
        return learn.model.value.item()
    test_close(end(20., .3), 20., eps=.1)
    test_close(end(20., .3, weight=.5), 20-10*.8**10, eps=.01) # ten steps, each of them .2*.5*2 of the way
    test_eq(end(20., 1.), 10.) # dense truth
    test_eq(end(60., .3), 10.) # beyond the disparities that the network searches

def test_the_target_is_a_constant():
    def gradient(cb, target=None):
        set_seed(0)
        net = create_model('madis', size='tiny', max_disp=48)
        train = Augmented(SyntheticPairs(2, (32,64), 1, 48), [LidarTruth(.3)])
        dls = StereoDataLoaders.from_datasets(train, SyntheticPairs(2, (32,64), 0, 48), bs=2)
        learn = stereo_learner(
            dls, net, loss=LaplacianLoss(), precision='fp32', cbs=cb, opt_func=SGD, schedule=constant, wd=0.)
        kept = {}
        def before_step(self): kept.update({n:p.grad.clone() for n,p in net.named_parameters() if p.grad is not None})
        with learn.no_bar(),learn.no_logging(): learn.fit(1, 0., cbs=Callback(before_step=before_step))
        return kept
    for parts in ((),('encoder',)):
        known = {}
        class Keep(LaplacianLoss):
            def __call__(self, out, pseudo, missing):
                known.update(pseudo=pseudo.clone(), missing=missing)
                return super().__call__(out, pseudo, missing)
        a = gradient(EMACallback(parts=parts, loss=Keep()))
        fixed = EMACallback(loss=lambda out,*_: LaplacianLoss()(out, known['pseudo'].detach(), known['missing']))
        b = gradient(fixed)
        test_eq(sorted(a), sorted(b))
        for k in a: test_close(a[k], b[k], eps=1e-6)

def test_a_stopped_run_goes_on_with_its_teacher():
    class Stop(Callback):
        def after_epoch(self):
            if self.epoch==0: raise KeyboardInterrupt
        order = 1000
    def run(folder, *cbs):
        set_seed(0)
        net = create_model('madis', size='tiny', max_disp=48)
        train = Augmented(SyntheticPairs(4, (32,64), 1, 48), [LidarTruth(.3)])
        dls = StereoDataLoaders.from_datasets(train, SyntheticPairs(2, (32,64), 0, 48), bs=2)
        ema = EMACallback(parts=['encoder'])
        learn = stereo_learner(dls, net, loss=LaplacianLoss(), precision='fp32', cbs=[MaskCallback(),ema,*cbs])
        with learn.no_bar(),learn.no_logging():
            try: rows = fit(learn, 3, 1e-3, folder)
            except KeyboardInterrupt: return
        rows = [{k:v for k,v in r.items() if k!='seconds'} for r in rows]
        return net.state_dict(),ema.teacher.state_dict(),ema.updates,rows
    with TemporaryDirectory() as d:
        whole = run(Path(d)/'whole')
        run(Path(d)/'stopped', Stop())
        again = run(Path(d)/'stopped')
    for a,b in zip(whole[:2], again[:2]): test_eq([torch.equal(a[k], b[k]) for k in a], [True]*len(a))
    test_eq(whole[2:], again[2:])
    assert {'reconstruction','pseudo'}<=set(whole[3][0])
    test_eq(whole[2], 6)

def test_sparse_truth_for_a_network_of_scores():
    set_seed(0)
    net = create_model('dtpnet', max_disp=48, stem=8, width=16)
    train = Augmented(SyntheticPairs(4, (32,64), 1, 48), [LidarTruth(.05)])
    dls = StereoDataLoaders.from_datasets(train, SyntheticPairs(2, (32,64), 0, 48), bs=2)
    cb = EMACallback(.5)
    learn = stereo_learner(dls, net, precision='fp32', cbs=cb)
    with learn.no_bar(),learn.no_logging(): fit(learn, 2)
    assert 0<cb.means['pseudo']<8 and cb.updates==4
    test_eq(*(n.match[1].num_batches_tracked for n in (cb.teacher,net)))
    assert not torch.equal(cb.teacher.match[1].running_mean, net.match[1].running_mean)
