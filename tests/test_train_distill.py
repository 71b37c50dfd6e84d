# Generated from nbs/60_train.distill.ipynb; edit the notebook, not this file
import torch
from fastai.basics import Callback, DataLoader
from fastai.callback.schedule import sched_lin
from fastai.callback.training import GradientAccumulation
from torch import nn, Tensor
from stereo_kd.train.cache import CachedTeacher
from stereo_kd.models.base import STAGES
import matplotlib.pyplot as plt
from fastai.basics import DataLoader, DataLoaders, Learner, SGD
from fastai.callback.fp16 import MixedPrecision
from fastcore.test import *
from stereo_kd.train.distill import *

def test_terms_follow_their_schedules():
    seen = []
    def loss(s, t, valid, tau=0):
        seen.append(tau)
        return torch.tensor(2.)
    t = Term(loss, weight=3., schedules=dict(tau=ramp(.5,1.), weight=ramp(1.,0.)))
    test_eq([t(None, None, None, p).item() for p in (0,.5,1)], [6.,3.,0.])
    test_eq(seen, [.5,.75,1.])
    test_fail(lambda: Term(loss, stage='logits'), contains="got 'logits'")

def test_it_records_and_does_not_disturb():
    from stereo_kd.train.distill import _Line, _Pairs
    torch.manual_seed(0)
    data = [(torch.ones(1),torch.zeros(1),torch.tensor([3.]),torch.tensor([True])) for _ in range(8)]
    def run(cbs, lr=0.):
        dls = DataLoaders(_Pairs(data, bs=2), _Pairs(data, bs=2), device='cpu')
        learn = Learner(
            dls, _Line(1.), loss_func=lambda p,d,v: (p[0].mean()-d.mean()).pow(2), opt_func=SGD, lr=lr,
            cbs=cbs)
        with learn.no_bar(),learn.no_logging(): learn.fit(1)
        return learn
    kd = lambda s,t,v: (s[0]-t[0]).pow(2).mean()
    plain = run([])
    cb = DistillCallback(_Line(5.), [Term(kd, name='kd')])
    taught = run([cb])
    test_eq(plain.recorder.values[0][:2], taught.recorder.values[0][:2]) # train and valid loss mean the same
    test_close(cb.means['kd'], 16.)

def test_it_moves_towards_the_teacher():
    from stereo_kd.train.distill import _Line, _Pairs
    data = [(torch.ones(1),torch.zeros(1),torch.tensor([0.]),torch.tensor([True])) for _ in range(8)]
    kd = lambda s,t,v: (s[0]-t[0]).pow(2).mean()
    def end(weight, w0):
        dls = DataLoaders(_Pairs(data, bs=2), _Pairs(data, bs=2), device='cpu')
        learn = Learner(
            dls, _Line(1.), loss_func=lambda p,d,v: p[0].mean().pow(2), opt_func=SGD, lr=.1,
            cbs=DistillCallback(_Line(5.), [Term(kd, weight=weight)], w0))
        with learn.no_bar(),learn.no_logging(): learn.fit(20, wd=0.)
        return learn.model.weight.item()
    test_close(end(1., 0.), 5., eps=.01)
    test_close(end(0., 1.), 0., eps=.01)
    test_close(end(1., 1.), 2.5, eps=.01)

def test_adapters_learn_beside_the_student():
    from stereo_kd.train.distill import _Line, _Pairs
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.factor = nn.Parameter(torch.ones(()))
        def forward(self, s, t, valid): return (self.factor*s[0].detach()-t[0]).pow(2).mean()
    data = [(torch.ones(1),torch.zeros(1),torch.tensor([2.]),torch.tensor([True])) for _ in range(8)]
    def learner():
        return Learner(
            DataLoaders(_Pairs(data, bs=2), _Pairs(data, bs=2), device='cpu'), _Line(1.),
            loss_func=lambda p,d,v: (p[0].mean()-d.mean()).pow(2), opt_func=SGD, lr=.1)
    learn,loss = learner(),Scaled()
    cb = DistillCallback(_Line(6.), [Term(loss)])
    with learn.no_bar(),learn.no_logging():
        learn.fit(20, cbs=cb, wd=0.)
        learn.fit(5, cbs=cb, wd=0.)
    test_close(learn.model.weight.item(), 2., eps=.01)
    test_close(loss.factor.item(), 3., eps=.05)
    test_eq(list(learn.model.state_dict()), ['weight'])
    test_eq([len(g) for g in learn.opt.param_lists], [2]) # joined once
    test_eq(list(cb.state_dict()), ['0.factor'])
    cb.load_state_dict({'0.factor': torch.tensor(7.)})
    test_eq(loss.factor.item(), 7.)

def test_teacher_is_frozen_and_only_trains_along():
    from stereo_kd.train.distill import _Line, _Pairs
    data = [(torch.ones(1),torch.zeros(1),torch.tensor([0.]),torch.tensor([True])) for _ in range(8)]
    dls = DataLoaders(_Pairs(data, bs=2), _Pairs(data, bs=2), device='cpu')
    teacher = _Line(5.).train()
    cb = DistillCallback(teacher, [Term(lambda s,t,v: (s[0]-t[0]).mean(), 'cost_volume')])
    learn = Learner(dls, _Line(1.), loss_func=lambda p,d,v: p[0].mean(), opt_func=SGD, lr=.1, cbs=cb)
    with learn.no_bar(),learn.no_logging(): learn.fit(2)
    test_eq(teacher.calls, [('cost_volume',False,False)]*8) # 2 epochs of 4 training batches; none in validation
    test_eq(teacher.weight.item(), 5.)
    assert not teacher.weight.requires_grad
    assert cb.order<GradientAccumulation.order<MixedPrecision.order
