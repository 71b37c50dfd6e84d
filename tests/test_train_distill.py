# Generated from nbs/60_train.distill.ipynb; edit the notebook, not this file
import torch
from fastai.basics import Callback
from fastai.callback.schedule import sched_lin
from fastai.callback.training import GradientAccumulation
from fastcore.basics import patch
from torch import nn, Tensor
from stereo_kd.train.cache import CachedTeacher
from stereo_kd.metrics import add_columns, drop_columns
from stereo_kd.models.base import STAGES, check_network
import tempfile
import matplotlib.pyplot as plt
from fastai.basics import Learner, SGD
from fastai.callback.fp16 import MixedPrecision
from fastcore.test import *
from pathlib import Path
from stereo_kd.testing import line_net, pair_loaders
from stereo_kd.train.distill import *

def test_terms_follow_their_schedules():
    seen = []
    def loss(s, t, disp, valid, tau=0):
        seen.append(tau)
        return torch.tensor(2.)
    t = Term(loss, weight=3., schedules=dict(tau=ramp(.5,1.), weight=ramp(1.,0.)))
    test_eq([t(None, None, None, None, p).item() for p in (0,.5,1)], [6.,3.,0.])
    test_eq(seen, [.5,.75,1.])
    down = step_down((.1,.4), 10.)
    test_close([down(p) for p in (0,.09,.1,.39,.4,1)], [1,1,.1,.1,.01,.01], eps=1e-12) # steps compound
    test_eq(step_down(())(1.), 1)
    test_fail(lambda: Term(loss, stage='logits'), contains="got 'logits'")

def test_it_records_and_does_not_disturb():
    torch.manual_seed(0)
    def run(cbs, lr=0.):
        dls = pair_loaders(3.)
        learn = Learner(
            dls, line_net(1.), loss_func=lambda p,d,v: (p[0].mean()-d.mean()).pow(2), opt_func=SGD, lr=lr,
            cbs=cbs)
        with learn.no_bar(),learn.no_logging(): learn.fit(1)
        return learn
    kd = lambda s,t,d,v: (s[0]-t[0]).pow(2).mean()
    plain = run([])
    cb = DistillCallback(line_net(5.), [Term(kd, name='kd')])
    taught = run([cb])
    test_eq(plain.recorder.values[0][:2], taught.recorder.values[0][:2]) # train and valid loss mean the same
    test_close(cb.means['kd'], 16.)

def test_every_term_is_a_column_of_the_table():
    from fastai.callback.progress import CSVLogger
    rows = []
    terms = [
        Term(lambda s,t,d,v: (s[0]-t[0]).pow(2).mean()),
        Term(lambda s,t,d,v: (s[0]-t[0]).abs().mean(), name='near', weight=.5)]
    cb = DistillCallback(line_net(5.), terms)
    learn = Learner(
        pair_loaders(3.), line_net(1.), loss_func=lambda p,d,v: (p[0].mean()-d.mean()).pow(2), opt_func=SGD, lr=0.,
        cbs=cb, metrics=lambda p,d,v: torch.tensor(7.))
    with learn.no_bar(),tempfile.TemporaryDirectory() as d:
        learn.path,learn.logger = Path(d),rows.append
        with learn.no_logging(): test_eq(len(learn.validate()), 2) # before any training
        learn.fit(1, cbs=CSVLogger())
        header,values = (Path(d)/'history.csv').read_text().splitlines()
    test_eq(header.split(',')[-3:], ['kd','near','time'])
    test_close(rows[-1][-3:-1], [16.,2.], eps=1e-5)
    test_close([float(v) for v in values.split(',')[-3:-1]], [16.,2.], eps=1e-5)
    test_eq(len(learn.metrics), 1) # gone after training: `validate` has none of them
    with learn.no_logging(),learn.no_bar(): test_eq(len(learn.validate()), 2)

def test_it_moves_towards_the_teacher():
    kd = lambda s,t,d,v: (s[0]-t[0]).pow(2).mean()
    def end(weight, w0):
        dls = pair_loaders(0.)
        learn = Learner(
            dls, line_net(1.), loss_func=lambda p,d,v: p[0].mean().pow(2), opt_func=SGD, lr=.1,
            cbs=DistillCallback(line_net(5.), [Term(kd, weight=weight)], w0))
        with learn.no_bar(),learn.no_logging(): learn.fit(20, wd=0.)
        return learn.model.weight.item()
    test_close(end(1., 0.), 5., eps=.01)
    test_close(end(0., 1.), 0., eps=.01)
    test_close(end(1., 1.), 2.5, eps=.01)

def test_adapters_learn_beside_the_student():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.factor = nn.Parameter(torch.ones(()))
        def forward(self, s, t, disp, valid): return (self.factor*s[0].detach()-t[0]).pow(2).mean()
    def learner():
        return Learner(
            pair_loaders(2.), line_net(1.),
            loss_func=lambda p,d,v: (p[0].mean()-d.mean()).pow(2), opt_func=SGD, lr=.1)
    learn,loss = learner(),Scaled()
    cb = DistillCallback(line_net(6.), [Term(loss)])
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
    dls = pair_loaders(0.)
    teacher = line_net(5.).train()
    cb = DistillCallback(teacher, [Term(lambda s,t,d,v: (s[0]-t[0]).mean(), 'cost_volume')])
    learn = Learner(dls, line_net(1.), loss_func=lambda p,d,v: p[0].mean(), opt_func=SGD, lr=.1, cbs=cb)
    with learn.no_bar(),learn.no_logging(): learn.fit(2)
    # 2 epochs of 4 training batches; none in validation
    test_eq(teacher.calls, [('cost_volume',False,False,False)]*8)
    test_eq(teacher.weight.item(), 5.)
    assert not teacher.weight.requires_grad
    assert cb.order<GradientAccumulation.order<MixedPrecision.order

def test_a_teacher_cannot_freeze_its_student():
    from copy import deepcopy
    student = line_net(1.)
    class Copy(nn.Module): # a moving average that was meant to be a copy
        def __init__(self, net):
            super().__init__()
            self.net = net
        def freeze(self): return self.eval().requires_grad_(False)
        def forward(self, *args, **kw): return self.net(*args, **kw)
    def learner(teacher):
        cb = DistillCallback(teacher, [Term(lambda s,t,d,v: (s[0]-t[0]-1).pow(2).mean())], 0.)
        return Learner(
            pair_loaders(), student, loss_func=lambda p,d,v: 0*p[0].mean(), opt_func=SGD, lr=.1, cbs=cb)
    def fit_quietly(learn):
        with learn.no_bar(),learn.no_logging(): learn.fit(1, wd=0.)
    test_fail(lambda: learner(nn.Linear(1, 1)), exc=ValueError, contains='teacher must be a StereoNet, got Linear')
    test_fail(lambda: fit_quietly(learner(Copy(student))), exc=ValueError, contains='share net.weight')
    assert student.weight.requires_grad
    fit_quietly(learner(Copy(deepcopy(student))))
    assert student.weight.requires_grad and student.weight.item()>1.1

def test_a_term_sees_the_truth():
    seen = []
    def loss(s, t, disp, valid):
        seen.append((disp.tolist(), valid.tolist()))
        return (s[0]-t[0]).pow(2).mean()
    cb = DistillCallback(line_net(5.), [Term(loss)])
    learn = Learner(
        pair_loaders(3.), line_net(1.), loss_func=lambda p,d,v: p[0].mean(), opt_func=SGD, lr=0., cbs=cb)
    with learn.no_bar(),learn.no_logging(): learn.fit(1)
    test_eq(seen, [([[3.],[3.]], [[True],[True]])]*4)
    test_fail(
        lambda: DistillCallback(None, [Term(loss), Term(loss)]), exc=ValueError,
        contains='a name of its own, got kd, kd')

def test_the_teacher_is_asked_for_what_terms_need():
    for terms,asked in (([Term(None, 'features')], ('features',False)),
                        ([Term(None, 'features'), Term(None, 'disparity', name='b')], ('disparity',False)),
                        (
                            [Term(None, all_outputs=True), Term(None, 'cost_volume', name='b')],
                            ('aggregation',True))):
        cb = DistillCallback(line_net(5.), terms)
        test_eq((cb.upto,cb.all_outputs), asked)
