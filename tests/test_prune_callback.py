# Generated from nbs/52_prune.callback.ipynb; edit the notebook, not this file
from itertools import islice
from fastai.basics import Callback, Learner
from fastai.callback.core import TrainEvalCallback
from fastcore.basics import patch
from stereo_kd.models.widths import apply_widths, widths
from stereo_kd.prune.loop import prune_step, recalibrate
import torch
import matplotlib.pyplot as plt
from fastai.basics import Adam, OptimWrapper, params
from fastcore.test import *
from functools import partial
from stereo_kd.prune.callback import PruneCallback
from stereo_kd.data.loaders import StereoDataLoaders
from stereo_kd.train.learner import stereo_learner, OrderCallback
from stereo_kd.models.zoo import create_model
from stereo_kd.evaluation.cost import count_params
from stereo_kd.prune.loop import below, silence_channels
from stereo_kd.prune.callback import *

def test_a_step_reaches_the_pruned_weights():
    torch.manual_seed(0)
    dls = StereoDataLoaders.from_synthetic(4, 2, (32,64), bs=2, max_disp=48, device='cpu')
    net = create_model('dtpnet', max_disp=48, stem=16, width=32)
    learn = stereo_learner(
        dls, net, precision='fp32',
        splitter=lambda m: [
            params(m.extract), [p for n,p in m.named_parameters() if not n.startswith('extract')]])
    learn.create_opt()
    learn.opt.set_hyper('lr', [.1,.2])
    learn.opt.set_hyper('wd', .3)
    hypers = [dict(h) for h in learn.opt.hypers]
    prune_step(net, .4)
    def moved():
        for p in net.parameters(): p.grad = torch.ones_like(p)
        before = [p.detach().clone() for p in net.parameters()]
        learn.opt.step()
        return [not p.detach().equal(q) for p,q in zip(net.parameters(), before)]
    assert not all(moved())
    renew_opt(learn)
    assert all(moved())
    test_eq([dict(h) for h in learn.opt.hypers], hypers)
    test_eq([h['lr'] for h in learn.opt.hypers], [.1,.2])
    learn.opt_func = OptimWrapper(params(net), torch.optim.SGD, lr=.1)
    learn.create_opt()
    prune_step(net, .2, round_to=1)
    test_fail(lambda: renew_opt(learn), contains='opt_func is a finished optimiser')

def test_cuts_come_when_due():
    class Probe(Callback):
        "Note the number of parameters at three moments of each epoch"
        def before_fit(self): self.sizes = []
        def note(self): self.sizes.append(sum(p.numel() for p in self.model.parameters()))
        def before_train(self): self.note()
        def before_validate(self): self.note()
        def after_validate(self): self.note()
    make = lambda: create_model('dtpnet', max_disp=48, stem=8, width=16, hidden=24)
    def run(epochs, **kw):
        torch.manual_seed(0)
        dls = StereoDataLoaders.from_synthetic(2, 1, (16,32), bs=2, max_disp=48, device='cpu')
        probe,prune = Probe(),PruneCallback(.2, calibrate=1, round_to=1, **kw)
        learn = stereo_learner(dls, make(), precision='fp32', cbs=[probe,prune])
        with learn.no_bar(),learn.no_logging(): learn.fit(epochs, 1e-3)
        return probe.sizes,prune.rows
    sizes,rows = run(4, steps=2, every=2)
    whole,one,two = (sum(p.numel() for p in make().parameters()),*(r['params'] for r in rows))
    test_eq(sizes, [whole]*3+[one]*6+[two]*3)
    test_eq([(r['step'],r['epoch']) for r in rows], [(1,1),(2,3)])
    assert whole>one>two
    test_eq(
        [
            len(run(2, start=0, **kw)[1])
            for kw in (dict(steps=1), dict(stop=below(count_params, .9*count_params(make()))), {})],
        [1,1,2])

def test_silent_cuts_do_not_disturb():
    def run(prune):
        torch.manual_seed(0)
        net = create_model('dtpnet', max_disp=48, stem=16, width=32)
        silence_channels(net, ratio=.4)
        dls = StereoDataLoaders.from_synthetic(4, 2, (32,64), bs=2, max_disp=48, device='cpu')
        learn = stereo_learner(dls, net, precision='fp32', wd=0., cbs=[prune] if prune else [])
        with learn.no_bar(),learn.no_logging(): learn.fit(2, 0.)
        return net,[list(v) for v in learn.recorder.values]
    prune = PruneCallback(.4, steps=1, calibrate=0)
    (plain,wanted),(net,values) = run(None),run(prune)
    for a,b in zip(wanted, values, strict=True): test_close(a, b, eps=1e-3)
    state = plain.state_dict()
    for k,v in net.state_dict().items():
        if v.shape==state[k].shape: test_close(v, state[k], eps=1e-5)
    assert prune.rows[0]['params']<.6*prune.rows[0]['params_before']

def test_state_after_a_cut():
    torch.manual_seed(0)
    dls = StereoDataLoaders.from_synthetic(8, 2, (32,64), bs=2, max_disp=48, device='cpu')
    net = create_model('dtpnet', max_disp=48, stem=16, width=32)
    class Look(Callback):
        order = PruneCallback.order+1
        def before_train(self):
            if self.epoch==1:
                self.seen = net.mix[0][1].num_batches_tracked.item()
                self.weights = [p.detach().clone() for p in net.parameters()]
    look,prune = Look(),PruneCallback(.3, steps=1, calibrate=3)
    learn = stereo_learner(dls, net, precision='fp32', cbs=[look,prune])
    with learn.no_bar(),learn.no_logging(): learn.fit_one_cycle(2, 1e-3)
    test_eq(look.seen, 3) # batches, and only those of the calibration
    test_eq({id(p) for p in learn.opt.param_lists[0]}, {id(p) for p in net.parameters()})
    assert all(not p.detach().equal(q) for p,q in zip(net.parameters(), look.weights, strict=True) if p.dim()>1)
    assert TrainEvalCallback.order<PruneCallback.order<OrderCallback.order

def test_first_widths_are_remembered():
    torch.manual_seed(0)
    dls = StereoDataLoaders.from_synthetic(2, 2, (32,64), bs=2, max_disp=48, device='cpu')
    make = lambda: create_model('dtpnet', max_disp=48, stem=16, width=32)
    net,prune,wanted = make(),PruneCallback(.2, calibrate=0),make()
    learn = stereo_learner(dls, net, precision='fp32', cbs=[prune])
    test_eq(prune.original, widths(wanted))
    prune_step(net, .2)
    prune_step(wanted, .2, step=2)
    with learn.no_bar(),learn.no_logging():
        learn.fit(3, 0., start_epoch=2) # the first two epochs were done before
    test_eq([(r['step'],r['epoch']) for r in prune.rows], [(2,2)])
    test_eq(widths(net), widths(wanted))

def test_a_stopped_run_goes_on_after_its_cuts():
    import tempfile
    from fastai.basics import CancelFitException
    from pathlib import Path
    from torch import nn
    from stereo_kd.train.distill import DistillCallback, Term
    from stereo_kd.train.learner import fit
    class Stop(Callback):
        def __init__(self, at): self.at = at
        def before_epoch(self):
            if self.epoch==self.at: raise CancelFitException()
    class Scaled(nn.Module): # a term with a weight of its own
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))
        def forward(self, student, teacher, disp, valid):
            return (self.weight*student.aggregation[-1]-teacher.aggregation[-1]).square().mean()
    def run(folder, *cbs):
        torch.manual_seed(0)
        dls = StereoDataLoaders.from_synthetic(4, 2, (32,64), bs=2, max_disp=48, device='cpu')
        teacher,net = (create_model('dtpnet', max_disp=48, stem=16, width=32) for _ in range(2))
        prune,term = PruneCallback(.3, every=2, calibrate=1),Scaled()
        learn = stereo_learner(dls, net, precision='fp32', cbs=[DistillCallback(teacher, [Term(term)]),prune,*cbs])
        with learn.no_bar(),learn.no_logging(): fit(learn, 4, 1e-3, folder)
        return learn.model,prune.rows,term.weight.item()
    with tempfile.TemporaryDirectory() as d:
        through,rows,learned = run(Path(d)/'through')
        for at in (2,3): # after the first cut; right before the second
            cut,first,_ = run(Path(d)/f'stopped{at}', Stop(at))
            again,both,weight = run(Path(d)/f'stopped{at}')
            test_eq([len(r) for r in (first,both)], [1,2])
            test_eq(both, rows)
            test_eq(widths(again), widths(through))
            assert widths(cut)!=widths(again)
            for a,b in zip(again.state_dict().values(), through.state_dict().values(), strict=True): assert a.equal(b)
            test_eq(weight, learned)
    assert learned!=1
