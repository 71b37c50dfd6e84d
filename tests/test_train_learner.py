# Generated from nbs/63_train.learner.ipynb; edit the notebook, not this file
import fastai.callback.hook
import numpy as np, time, torch
from functools import partial
from pathlib import Path
from fastai.basics import Adam, Callback, CancelFitException, CancelStepException, L, Learner, Recorder
from fastai.callback.fp16 import AMPMode, MixedPrecision
from fastai.callback.schedule import ParamScheduler, combined_cos
from fastai.callback.tracker import TrackerCallback
from fastcore.basics import patch
from torch.nn.modules.batchnorm import _BatchNorm
from stereo_kd.core import write_csv
from stereo_kd.losses.laplacian import LaplacianLoss
from stereo_kd.losses.supervised import SupervisedLoss
from stereo_kd.metrics import final_disparity, pooled_metrics
from stereo_kd.models.base import STAGES, check_network
from stereo_kd.models.layers3d import weights_channels_last
from stereo_kd.train.state import read_state, write_state
import tempfile, warnings
import matplotlib.pyplot as plt
from fastcore.test import *
from stereo_kd.data.loaders import StereoDataLoaders
from stereo_kd.models.base import StereoNet
from stereo_kd.models.cost_volume import correlation_volume
from stereo_kd.testing import score_net
from torch import nn
from unittest import SkipTest
import pytest
from stereo_kd.train.learner import *

def test_a_state_of_something_else_is_refused():
    with tempfile.TemporaryDirectory() as d:
        test_eq(StateCallback(d).epochs_done, 0)
        write_state(d, 1, dict(epoch=1, model={}))
        test_fail(lambda: StateCallback(d), exc=ValueError, contains=f'the state in {d} is not one of a training: it has no callbacks, opt, rows')

def test_networks_with_3d_convolutions_train_in_bf16():
    torch.manual_seed(0)
    class Net(StereoNet):
        def __init__(self):
            super().__init__(48)
            self.conv,self.deep = nn.Conv2d(3, 4, 4, 4),nn.Conv3d(4, 1, 3, padding=1)
        def features(self, image, extras): return [self.conv(image)]
        def cost_volume(self, left, right, extras): return (left[-1]-right[-1])[:,:,None].expand(-1, -1, 12, -1, -1)
        def aggregation(self, volume, left, right, extras, all_outputs): return [self.deep(volume)[:,0]]
    dls = StereoDataLoaders.from_synthetic(4, 1, (32,64), bs=2, max_disp=48, device='cpu')
    net = Net()
    before = net.deep.weight.detach().clone()
    learn = stereo_learner(dls, net, precision='bf16')
    with learn.no_bar(),learn.no_logging(): fit(learn, 1)
    assert not net.deep.weight.equal(before) and net.deep.weight.isfinite().all()
    assert net.deep.weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert net.conv.weight.is_contiguous(memory_format=torch.channels_last)

def test_a_killed_run_ends_the_same():
    class Net(StereoNet):
        def __init__(self):
            super().__init__(48)
            self.conv = nn.Conv2d(3, 8, 4, 4)
            self.score = nn.Sequential(nn.Conv2d(12, 48, 1), nn.BatchNorm2d(48))
        def features(self, image, extras): return [self.conv(image)]
        def cost_volume(self, left, right, extras): return correlation_volume(left[-1], right[-1], 12)
        def aggregation(self, volume, left, right, extras, all_outputs): return [self.score(volume)]
    class Kill(Callback):
        def before_epoch(self):
            if self.epoch==2: raise KeyboardInterrupt
    def run(folder, cbs=()):
        torch.manual_seed(0)
        dls = StereoDataLoaders.from_synthetic(8, 2, (32,64), bs=4, max_disp=48, device='cpu')
        learn = stereo_learner(dls, Net(), precision='fp32', cbs=cbs)
        with learn.no_bar(),learn.no_logging(): rows = fit(learn, 4, folder=folder)
        assert all(r.pop('seconds')>0 for r in rows)
        return learn.model, rows
    with tempfile.TemporaryDirectory() as d:
        whole,rows = run(f'{d}/a')
        test_fail(lambda: run(f'{d}/b', [Kill()]), exc=KeyboardInterrupt)
        resumed,again = run(f'{d}/b')
        test_eq(len(rows), 4)
        test_eq(run(None)[1], rows) # the same numbers where nothing is kept
        test_eq(rows, again)
        for p,q in zip(whole.state_dict().values(), resumed.state_dict().values()): test_eq(p, q)
        test_eq(len(Path(f'{d}/b/history.csv').read_text().splitlines()), 5)
        test_eq(
            sorted(p.name for p in Path(f'{d}/b').iterdir()),
            ['history.csv','state-3.safetensors','state-4.safetensors'])

def test_divergence_is_stopped_or_skipped():
    class Net(StereoNet):
        def __init__(self):
            super().__init__(48)
            self.score,self.bad = nn.Conv2d(3, 12, 4, 4),False
        def features(self, image, extras): return [self.score(image)]
        def cost_volume(self, left, right, extras): return left[-1]-right[-1]
        def aggregation(self, volume, left, right, extras, all_outputs):
            return [volume*float('nan') if self.bad else volume]
    class Break(Callback):
        "Some batches give nan"
        def __init__(self, *when): self.when = when
        def before_batch(self): self.model.bad = self.training and (self.epoch,self.iter) in self.when
    def run(folder, when, **kw):
        torch.manual_seed(0)
        dls = StereoDataLoaders.from_synthetic(8, 2, (32,64), bs=2, max_disp=48, device='cpu')
        learn = stereo_learner(dls, Net(), precision='fp32', seed=5, cbs=Break(*when), **kw)
        try:
            with learn.no_bar(),learn.no_logging(): fit(learn, 3, 1e-2, folder)
        finally: learn.model.bad = False
        return learn
    with tempfile.TemporaryDirectory() as d:
        words = 'diverged: loss nan at epoch 1, batch 2, seed 5, learning rate 0.00'
        test_fail(lambda: run(f'{d}/a', [(1,2)]), exc=Diverged, contains=words)
        test_fail(
            lambda: run(f'{d}/a', [(1,2)]), exc=Diverged,
            contains=f'the state after 1 epochs is kept in {d}/a')
        good = read_state(f'{d}/a')
        test_eq([good['epoch'],not_finite(good['model'])], [1,''])
        test_eq(last_good(d), 'no earlier state was kept')
        test_eq(not_finite(run(f'{d}/b', [(1,2),(2,0)], divergence='skip').model.state_dict()), '')
        again = run(f'{d}/a', []) # the cause is gone: it goes on
        assert not not_finite(again.model.state_dict()) and read_state(f'{d}/a')['epoch']==3
        many = [(e,i) for e in range(3) for i in range(4)]
        test_fail(lambda: run(f'{d}/c', many, divergence='skip'), exc=Diverged, contains='after 10 skipped steps')
    test_fail(lambda: DivergenceCallback('ignore'), exc=ValueError, contains="got 'ignore'")

def test_a_killed_distillation_ends_the_same():
    from stereo_kd.train.distill import DistillCallback, Term
    from stereo_kd.losses.feature import FeatureLoss
    def Net(c): return score_net(StereoNet, correlation_volume, c)
    class Kill(Callback):
        def before_epoch(self):
            if self.epoch==1: raise KeyboardInterrupt
    def run(folder, cbs=()):
        torch.manual_seed(0)
        dls = StereoDataLoaders.from_synthetic(8, 2, (32,64), bs=4, max_disp=48, device='cpu')
        loss = FeatureLoss((8,), (4,))
        learn = stereo_learner(
            dls, Net(4), precision='fp32', cbs=[DistillCallback(Net(8), [Term(loss, 'features')]), *cbs])
        with learn.no_bar(),learn.no_logging(): rows = fit(learn, 3, folder=folder)
        for r in rows: del r['seconds']
        return [*learn.model.parameters(),*loss.parameters()],rows
    with tempfile.TemporaryDirectory() as d:
        whole,rows = run(f'{d}/a')
        test_fail(lambda: run(f'{d}/b', [Kill()]), exc=KeyboardInterrupt)
        resumed,again = run(f'{d}/b')
        test_eq(rows, again)
        assert rows[0]['kd']>0
        for p,q in zip(whole, resumed, strict=True): test_eq(p, q)

def test_two_callbacks_of_a_class_keep_their_states_apart():
    from stereo_kd.train.distill import DistillCallback, Term
    class Scale(nn.Module):
        def __init__(self, value):
            super().__init__()
            self.factor = nn.Parameter(torch.tensor(value))
        def forward(self, s, t, disp, valid):
            return (self.factor*s.features[0][-1]-t.features[0][-1]).pow(2).mean()
    class Net(StereoNet):
        def __init__(self):
            super().__init__(48)
            self.conv = nn.Conv2d(3, 12, 4, 4)
        def features(self, image, extras): return [self.conv(image)]
        def cost_volume(self, left, right, extras): return left[-1]*right[-1]
        def aggregation(self, volume, left, right, extras, all_outputs): return [volume]
    def learner(a, b, names=('a','b')):
        torch.manual_seed(0)
        dls = StereoDataLoaders.from_synthetic(4, 2, (32,64), bs=2, max_disp=48, device='cpu')
        cbs = [DistillCallback(Net(), [Term(s, 'features', name=n)]) for s,n in zip((a,b), names)]
        return stereo_learner(dls, Net(), precision='fp32', cbs=cbs)
    def run(folder, a, b, epochs, **kw):
        learn = learner(a, b, **kw)
        with learn.no_bar(),learn.no_logging(): return fit(learn, epochs, 1e-2, folder, )
    with tempfile.TemporaryDirectory() as d:
        a,b,c,e = (Scale(v) for v in (1.,3.,7.,9.))
        rows = run(d, a, b, 1)
        assert {'a','b'}<=set(rows[0]) and a.factor.item()!=b.factor.item()
        learn = learner(c, e)
        state = StateCallback(d)
        learn.add_cb(state)
        learn.create_opt()
        for cb in learn.cbs:
            if isinstance(cb, DistillCallback): cb._join()
        state.before_fit()
        test_eq([c.factor.item(),e.factor.item()], [a.factor.item(),b.factor.item()])
        test_fail(
            lambda: run(f'{d}/same', a, b, 1, names=('a','a')), exc=ValueError,
            contains='two columns of the history are called a')

def test_frozen_norm_keeps_its_statistics():
    from stereo_kd.models.zoo import create_model
    dls = StereoDataLoaders.from_synthetic(4, 2, (32,64), bs=1, max_disp=48, device='cpu')
    def changed(*cbs):
        "Kinds of tensors that training changes"
        torch.manual_seed(0)
        net = create_model('dtpnet', max_disp=48, stem=8, width=16)
        before = {k:v.clone() for k,v in net.state_dict().items()}
        learn = stereo_learner(dls, net, precision='fp32', cbs=cbs)
        with learn.no_bar(),learn.no_logging(): fit(learn, 1)
        return {k.split('.')[-1] for k,v in net.state_dict().items() if not torch.equal(v, before[k])}
    test_eq(changed(), {'weight','bias','running_mean','running_var','num_batches_tracked'})
    test_eq(changed(FrozenNormCallback()), {'weight','bias'}) # scale and shift are still trained

def test_fastai_watchers_keep_the_lowest():
    from fastai.callback.tracker import EarlyStoppingCallback, SaveModelCallback
    from stereo_kd.train.distill import DistillCallback, Term
    def Net(): return score_net(StereoNet, correlation_volume)
    class Note(Callback):
        "Values and weights of each epoch"
        order = Recorder.order+2
        def before_fit(self): self.seen = []
        def after_epoch(self): self.seen.append((dict(zip(self.recorder.metric_names[1:], self.recorder.values[-1])), self.model.conv.weight.clone()))
    def run(monitor, *more):
        torch.manual_seed(0)
        dls = StereoDataLoaders.from_synthetic(8, 2, (32,64), bs=4, max_disp=48, device='cpu')
        far = Term(lambda s,t,d,v: (s.features[0][-1]-t.features[0][-1]).pow(2).mean(), 'features')
        note = Note()
        with tempfile.TemporaryDirectory() as d:
            learn = stereo_learner(dls, Net(), precision='fp32', path=d, cbs=[DistillCallback(Net(), [far]), note])
            with learn.no_bar(),learn.no_logging(): learn.fit(4, .2, cbs=[SaveModelCallback(monitor), *more])
        values = [v[monitor] for v,_ in note.seen]
        best = values.index(min(values))
        assert learn.model.conv.weight.equal(note.seen[best][1]) and min(values)<max(values)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        for monitor in ('epe','kd','valid_loss'): run(monitor)
    stop = EarlyStoppingCallback('epe', min_delta=.5)
    learn = stereo_learner(StereoDataLoaders.from_synthetic(4, 2, (32,64), bs=2, max_disp=48, device='cpu'), Net(), precision='fp32')
    with learn.no_bar(),learn.no_logging():
        learn.fit(1, 0., cbs=stop)
        learn.fit(1, 0., cbs=stop)
    test_eq([stop.comp is np.less,stop.min_delta], [True,-.5]) # turned once
    assert TrackerCallback.order>AdjustCallback.order>Recorder.order

def test_predictions_of_a_learner():
    def Net(): return score_net(StereoNet, correlation_volume)
    torch.manual_seed(0)
    dls = StereoDataLoaders.from_synthetic(5, 3, (32,64), bs=2, max_disp=48, device='cpu')
    learn = stereo_learner(dls, Net(), precision='fp32')
    def asked(pairs):
        with torch.no_grad(): return learn.model.eval()(*pairs[:2]).disparity[-1]
    with learn.no_bar():
        pairs = dls.valid.dataset.batch(range(3))
        preds,(disp,valid) = learn.get_preds()
        test_close(preds, asked(pairs), eps=1e-5)
        test_close(disp, pairs[2])
        test_eq(valid.tolist(), pairs[3].tolist())
        preds,_ = learn.get_preds(ds_idx=0) # all five, in their order
        test_close(preds, asked(dls.train.dataset.batch(range(5))), eps=1e-5)
        images,preds,_,decoded = learn.get_preds(with_input=True, with_decoded=True)
        test_close(images[1], pairs[1])
        test_close(decoded, preds)
        one = (pairs[0][1],pairs[1][1])
        for p in learn.predict(one): test_close(p, asked([v[None] for v in one])[0], eps=1e-5)
        test_close(learn.predict(one, with_input=True)[0][1].min(), torch.tensor(0.), eps=.5) # an image again
        before = plt.get_fignums()
        learn.show_results(max_n=2)
        learn.show_results(ds_idx=0, max_n=1)
        test_eq(len(plt.get_fignums())-len(before), 2)
        plt.close('all')
        with learn.no_logging(): test_eq(len(learn.validate()), 6)

def test_an_exported_learner_predicts_the_same():
    from fastai.learner import load_learner
    from stereo_kd.models.zoo import create_model
    torch.manual_seed(0)
    dls = StereoDataLoaders.from_synthetic(4, 2, (32,64), bs=2, max_disp=48, device='cpu')
    net = create_model('dtpnet', max_disp=48, stem=8, width=16)
    pair = [v[0] for v in dls.valid.one_batch()[:2]]
    with tempfile.TemporaryDirectory() as d,warnings.catch_warnings():
        warnings.simplefilter('ignore')
        learn = stereo_learner(dls, net, precision='fp32', path=d)
        with learn.no_bar(),learn.no_logging():
            learn.fit(1, 1e-3)
            learn.export()
            again = load_learner(learn.path/'export.pkl')
            with again.no_bar(): test_close(again.predict(pair)[0], learn.predict(pair)[0])
            test_eq([len(dl.dataset) for dl in again.dls.loaders], [0,0])
            learn.fit(1, 1e-3) # and this one goes on
            learn.save('weights')
            kept = next(net.parameters()).clone()
            learn.fit(1, 1e-2)
            assert not next(net.parameters()).equal(kept)
            learn.load('weights')
    assert next(net.parameters()).equal(kept)

def test_a_rate_is_found_and_layers_are_listed():
    def Net(): return score_net(StereoNet, correlation_volume)
    torch.manual_seed(0)
    dls = StereoDataLoaders.from_synthetic(8, 2, (32,64), bs=2, max_disp=48, device='cpu')
    with tempfile.TemporaryDirectory() as d:
        learn = stereo_learner(dls, Net(), precision='fp32', path=d)
        before = learn.model.conv.weight.clone()
        with learn.no_bar():
            found = learn.lr_find(num_it=20, show_plot=False)
            assert 1e-7<found.valley<10 and learn.model.conv.weight.equal(before)
            class Break(Callback):
                def after_loss(self):
                    if self.train_iter==5: self.learn.loss_grad = self.loss_grad*float('nan')
            with learn.added_cbs(Break()): learn.lr_find(num_it=20, show_plot=False, suggest_funcs=None)
            test_eq(len(learn.recorder.losses)<=6, True) # the search ends there, without an error
            assert learn.model.conv.weight.equal(before)
            text = learn.summary()
    assert 'Conv2d' in text and f'{sum(p.numel() for p in learn.model.parameters())}' in text.replace(',', '')

def test_tensorboard_with_its_defaults():
    try: from fastai.callback.tensorboard import TensorBoardCallback
    except ImportError: raise SkipTest("tensorboard is not installed: pip install 'stereo_kd[tracking]'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from stereo_kd.train.distill import DistillCallback, Term
    def Net(): return score_net(StereoNet, correlation_volume)
    torch.manual_seed(0)
    dls = StereoDataLoaders.from_synthetic(4, 2, (32,64), bs=2, max_disp=48, device='cpu')
    far = Term(lambda s,t,d,v: (s.features[0][-1]-t.features[0][-1]).pow(2).mean(), 'features')
    with tempfile.TemporaryDirectory() as d:
        learn = stereo_learner(dls, Net(), precision='bf16', cbs=DistillCallback(Net(), [far]))
        with learn.no_bar(),learn.no_logging(): learn.fit(2, cbs=TensorBoardCallback(d))
        events = EventAccumulator(d)
        events.Reload()
        test_eq([len(events.Scalars(k)) for k in ('kd','epe','valid_loss')], [2]*3)
        test_close(events.Scalars('kd')[-1].value, learn.recorder.values[-1][-1], eps=1e-5)
        test_eq(len(events.Images('Sample results')), 2)
    plt.close('all')

@pytest.mark.slow
def test_wandb_with_its_defaults():
    try: import wandb
    except ImportError: raise SkipTest("wandb is not installed: pip install 'stereo_kd[tracking]'")
    from contextlib import redirect_stdout
    from fastai.callback.wandb import WandbCallback
    from io import StringIO
    def Net(): return score_net(StereoNet, correlation_volume)
    torch.manual_seed(0)
    dls = StereoDataLoaders.from_synthetic(4, 3, (32,64), bs=2, max_disp=48, device='cpu')
    said = StringIO()
    with tempfile.TemporaryDirectory() as d,redirect_stdout(said):
        run = wandb.init(mode='offline', dir=d, settings=wandb.Settings(silent=True))
        learn = stereo_learner(dls, Net(), precision='fp32')
        with learn.no_bar(),learn.no_logging(): learn.fit(1, cbs=WandbCallback(n_preds=2))
        summary = dict(run.summary)
        run.finish()
    test_close(summary['epe'], learn.recorder.values[-1][2], eps=1e-5)
    test_eq([summary[k]['count'] for k in ('Inputs','Predictions','Ground_Truth')], [2]*3)
    assert 'not able' not in said.getvalue()
    plt.close('all')

def test_callbacks_come_in_their_places():
    from fastai.callback.training import GradientAccumulation
    places = [OrderCallback, StagesCallback, GradientAccumulation, BF16Callback, StateCallback]
    assert [c.order for c in places]==sorted({c.order for c in places})
    assert Recorder.order<StateCallback.order and fast_precision() in ('bf16','fp32')
    dls = StereoDataLoaders.from_synthetic(4, 2, (32,64), bs=2, max_disp=48, device='cpu')
    cbs = {type(c) for c in stereo_learner(dls, StereoNet(48), precision='bf16').cbs}
    assert {OrderCallback,StagesCallback,BF16Callback,ChannelsLastCallback}<=cbs
    test_eq(
        len(stereo_learner(dls, StereoNet(48), precision='fp32', cbs=Callback()).cbs), 1
        +len(stereo_learner(dls, StereoNet(48), precision='fp32').cbs))
    assert BF16Callback not in {type(c) for c in stereo_learner(dls, StereoNet(48), precision='fp32').cbs}

def test_schedules_reach_the_optimiser():
    class Tiny(StereoNet):
        def __init__(self):
            super().__init__(48)
            self.score = nn.Conv2d(3, 48, 4, 4)
        def features(self, image, extras): return [self.score(image)]
        def cost_volume(self, left, right, extras): return left[-1]-right[-1]
        def aggregation(self, volume, left, right, extras, all_outputs): return [volume]
    def rates(schedule, lr=1.):
        learn = stereo_learner(
            StereoDataLoaders.from_synthetic(20, 2, (32,64), bs=2, max_disp=48, device='cpu'), Tiny(),
            precision='fp32', schedule=schedule)
        with learn.no_bar(),learn.no_logging(): fit(learn, 1, lr)
        return [
            round(v, 4) for v in learn.recorder.hps['lr']] if hasattr(
                learn.recorder, 'hps') else learn.recorder.lrs
    test_eq(rates(constant), [1.]*10)
    test_close(rates(partial(step_decay, at=(.35,.75))), [1.]*4+[.1]*4+[.01]*2, eps=1e-6)
    warm = rates(warm_cosine)
    test_close([warm[0],max(warm),warm.index(max(warm))], [0.,1.,1], eps=1e-6)
    assert warm[1:]==sorted(warm[1:], reverse=True) and 0<warm[-1]<.05
    one = rates(one_cycle)
    test_close([one[0],max(one),one.index(max(one))], [.04,1.,1], eps=1e-6)
    assert one[1:]==sorted(one[1:], reverse=True) and one[-1]<.05
    from fastai.optimizer import SGD
    def hypers(**kw):
        learn = stereo_learner(StereoDataLoaders.from_synthetic(2, 2, (32,64), bs=2, device='cpu'), Tiny(), **kw)
        learn.create_opt()
        return learn.opt.hypers[0]
    test_eq([hypers(**kw).get('sqr_mom') for kw in ({}, dict(opt_func=SGD))], [.999,None])

def test_precision_is_checked_and_used():
    dls = StereoDataLoaders.from_synthetic(4, 2, (32,64), bs=2, max_disp=48, device='cpu')
    class Net(StereoNet):
        def __init__(self):
            super().__init__(48)
            self.conv = nn.Conv2d(3, 12, 4, 4)
            self.seen = []
        def features(self, image, extras):
            f = self.conv(image)
            self.seen.append((f.dtype, self.training))
            return [f]
        def cost_volume(self, left, right, extras): return left[-1]*right[-1]
        def aggregation(self, volume, left, right, extras, all_outputs): return [volume]
    for precision,dtype in (('bf16',torch.bfloat16),('fp32',torch.float32)):
        learn = stereo_learner(dls, Net(), precision=precision)
        with learn.no_bar(),learn.no_logging(): fit(learn, 1)
        test_eq({d for d,_ in learn.model.seen}, {dtype})
        assert learn.recorder.values[-1][2]>0 # epe of validation
    test_fail(lambda: stereo_learner(dls, Net(), precision='fp16'), contains="got 'fp16'")
    net = Net()
    test_eq([default_loss(net).l1,stereo_learner(dls, net).loss_func.l1], [.1,.1])
    net.tau = .4
    test_eq(stereo_learner(dls, net).loss_func.l1, 0)

def test_interrupted_training_leaves_a_whole_network():
    from stereo_kd.train.distill import DistillCallback, Term
    dls = StereoDataLoaders.from_synthetic(4, 2, (32,64), bs=2, max_disp=48, device='cpu')
    class Net(StereoNet):
        def __init__(self):
            super().__init__(48)
            self.conv = nn.Conv2d(3, 12, 4, 4)
            self.asked = []
        def features(self, image, extras): return [self.conv(image)]
        def cost_volume(self, left, right, extras): return left[-1]*right[-1]
        def aggregation(self, volume, left, right, extras, all_outputs): return [volume]
        def disparity(self, scores, size):
            self.asked.append(self.training)
            return super().disparity(scores, size)
    class Stop(Callback):
        def after_loss(self): raise KeyboardInterrupt
    def run(loss=None, *cbs):
        learn = stereo_learner(dls, Net(), loss, precision='fp32', cbs=cbs)
        try:
            with learn.no_bar(),learn.no_logging(): fit(learn, 1)
        except KeyboardInterrupt: pass
        return learn.model
    net = run(None, Stop())
    test_eq(len(net.eval()(*torch.randn(2,1,3,32,64)).disparity), 1)
    test_eq(run().asked, [False]) # in validation only
    test_eq(True in run(lambda out, disp, valid: out.disparity[-1].mean()).asked, True)
    term = Term(lambda s,t,d,v: (s.disparity[-1]-t.disparity[-1]).abs().mean(), 'disparity')
    test_eq(True in run(None, DistillCallback(Net(), [term])).asked, True)

def test_a_loss_for_another_answer_is_asked_for():
    class Net(StereoNet): answer = 'head'
    dls = StereoDataLoaders.from_synthetic(4, 2, (32,64), bs=2, max_disp=48, device='cpu')
    test_fail(
        lambda: stereo_learner(dls, Net(48)), exc=ValueError,
        contains="answers with 'head', neither with scores")
    test_fail(lambda: stereo_learner(dls, nn.Conv2d(3, 1, 1)), exc=ValueError, contains='net must be a StereoNet, got Conv2d')
    learn = stereo_learner(dls, Net(48), loss=lambda out,d,v: 0., opt_func=partial(Adam, sqr_mom=.9))
    test_eq(learn.opt_func.keywords, dict(sqr_mom=.9))
