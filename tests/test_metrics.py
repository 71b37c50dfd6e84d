# Generated from nbs/01_metrics.ipynb; edit the notebook, not this file
import torch
import torch.nn.functional as F
from fastai.learner import Metric
from fastcore.basics import patch
from torch import Tensor
import math
import cv2, numpy as np
import matplotlib.pyplot as plt
from types import SimpleNamespace
from fastai.basics import DataLoaders, Learner
from fastcore.test import *
from torch import nn
import pytest
from stereo_kd.metrics import *

def test_error_of_valid_pixels_only():
    pred  = torch.tensor([[1.,5.,9.],[torch.inf,7.,0.]])
    disp  = torch.tensor([[1.5,2.,torch.nan],[4.,8.,0.]])
    valid = torch.tensor([[True,True,False],[True,True,False]])
    err = disparity_error(pred, disp, valid)
    test_eq(err[:2].tolist()+err[3:].tolist(), [0.5,3.,1.])
    assert err[2].isnan()
    test_eq(err.dtype, torch.float64)
    test_eq(disparity_error(pred.half(), disp, valid)[3].item(), 1.)

def test_wrong_inputs_are_named():
    a,m = torch.zeros(2,4,5),torch.ones(2,4,5, dtype=torch.bool)
    test_fail(lambda: disparity_error(a[:1], a, m), contains='pred (1, 4, 5), disp (2, 4, 5)')
    test_fail(lambda: disparity_error(a, a, m[0]), contains='valid (4, 5)')
    test_fail(lambda: disparity_error(a, a, m.byte()), contains='bool mask, got torch.uint8')
    test_fail(
        lambda: disparity_error(a, a.index_fill(0, torch.tensor(1), torch.nan), m),
        contains='not finite at 20 of 40')

def test_thresholds_are_strict_and_relative():
    disp  = torch.tensor([[50., 50., 50., 100., 50.]])
    pred  = disp+torch.tensor([[1., -2., 3., 4., -4.]])
    valid = torch.ones(1,5, dtype=torch.bool)
    test_eq(epe(pred, disp, valid), 14/5)
    test_eq([m(pred, disp, valid) for m in (bad1,bad2,bad3)], [80.,60.,40.])
    test_eq(d1(pred, disp, valid), 20.)
    test_eq(bad(pred, disp, valid, 3.5), 40.)
    test_eq(bad(pred, disp, valid, 4), 0.)
    test_eq(d1(disp+5, disp, valid), 80.) # 5 px at 100 px are exactly 5 %, not more

def test_mask_nan_and_empty():
    disp,pred = torch.full((1,2,2), 10.),torch.tensor([[[10.,12.],[90.,torch.nan]]])
    seen = torch.tensor([[[True,True],[False,False]]])
    test_eq([epe(pred, disp, seen), bad1(pred, disp, seen), d1(pred, disp, seen)], [1.,50.,0.])
    holed = torch.tensor([[[True,True],[False,True]]]) # the nan is wrong, not absent
    test_close([bad1(pred, disp, holed), bad3(pred, disp, holed), d1(pred, disp, holed)], [200/3,100/3,100/3])
    assert math.isnan(epe(pred, disp, holed))
    assert all(math.isnan(m(pred, disp, torch.zeros_like(seen))) for m in (epe,bad1,bad2,bad3,d1))

def test_agrees_with_a_loop():
    rng = np.random.default_rng(0)
    disp = rng.uniform(0, 180, (3,11,13)).astype('float32')
    pred = (disp+rng.normal(0, 5, disp.shape)).astype('float32')
    valid = rng.random(disp.shape)<0.7
    n,total,above,outliers = 0,0.,[0,0,0],0
    for p,t,v in zip(pred.ravel().tolist(), disp.ravel().tolist(), valid.ravel().tolist()):
        if not v: continue
        e = abs(p-t)
        n += 1
        total += e
        above = [a+(e>k) for a,k in zip(above, (1,2,3))]
        outliers += e>3 and e/t>0.05
    args = torch.from_numpy(pred),torch.from_numpy(disp),torch.from_numpy(valid)
    test_close(
        [epe(*args), *(m(*args) for m in (bad1,bad2,bad3,d1))],
        [total/n, *(100*a/n for a in above), 100*outliers/n], eps=1e-9)
    assert 0<outliers<above[2]

def test_jumps_are_known_from_the_truth():
    disp = torch.full((1,1,30), 10.)
    disp[...,14:] = 13.
    valid = torch.ones(1,1,30, dtype=torch.bool)
    test_eq(near_jumps(disp, valid)[0,0].nonzero()[:,0].tolist(), list(range(13-5,14+5+1)))
    test_eq(near_jumps(disp, valid, reach=0)[0,0].nonzero()[:,0].tolist(), [13,14])
    assert not near_jumps(disp, valid, jump=3.1).any()
    valid[...,13] = False # the last pixel in front of the jump was not measured
    disp[...,13] = 99.
    test_eq(near_jumps(disp, valid, reach=0)[0,0].nonzero()[:,0].tolist(), [13])
    valid[...,12:15] = False
    assert not near_jumps(disp, valid).any() # nothing says that there is one

def test_pooled_differs_from_per_image():
    disp  = torch.full((2,3,3), 20.)
    pred  = disp.clone()
    pred[0] += 10
    valid = torch.ones(2,3,3, dtype=torch.bool)
    valid[0] = False
    valid[0,1,1] = True
    meter = Meter()
    meter.add(pred, disp, valid)
    row = meter.result()
    test_eq([row[k] for k in ('epe','bad2','d1')], [1.,10.,10.])
    test_eq([row[k] for k in ('epe_img','bad2_img','d1_img')], [5.,50.,50.])
    test_eq([row[k] for k in ('n','n_pixels','n_empty','n_nonfinite')], [2,10,0,0])
    test_eq(metric_names(), [k for k in row if k!='n' and not k.startswith('n_')])

def test_order_and_batching_do_not_matter():
    rng = torch.Generator().manual_seed(0)
    disp  = 100*torch.rand(5,8,9, generator=rng)
    pred = disp+4*torch.randn(5,8,9, generator=rng)
    valid = torch.rand(5,8,9, generator=rng)<torch.linspace(0.1, 0.9, 5)[:,None,None]
    def run(*batches):
        m = Meter()
        for i in batches: m.add(pred[i], disp[i], valid[i])
        return m.result()
    whole,split,single = run([0,1,2,3,4]),run([4,1],[3],[2,0]),run(0,2,4,1,3)
    for other in (split,single): test_close(list(whole.values()), list(other.values()), eps=1e-9)
    alone = [fn(pred, disp, valid) for fn in (epe,bad1,bad2,bad3,d1)]
    test_close([whole[k] for k in ('epe','bad1','bad2','bad3','d1')], alone, eps=1e-9)
    test_close(whole['d1_img'], sum(d1(pred[i], disp[i], valid[i]) for i in range(5))/5, eps=1e-9)

def test_empty_images_are_left_out_and_counted():
    disp = torch.full((2,2,2), 10.)
    pred = disp+2
    valid = torch.tensor([True,False])[:,None,None].expand(2,2,2)
    meter = Meter()
    meter.add(pred, disp, valid)
    row = meter.result()
    test_eq([row[k] for k in ('epe','epe_img','n','n_empty')], [2.,2.,1,1])
    assert all(math.isnan(Meter().result()[k]) for k in metric_names())
    meter.add(pred*torch.nan, disp, valid)
    row = meter.result()
    test_eq([row[k] for k in ('bad3','d1_img','n_nonfinite')], [50.,50.,4])
    assert math.isnan(row['epe']) and math.isnan(row['epe_img'])
    test_fail(lambda: meter.add(pred, disp[:1], valid), contains='pred (2, 2, 2), disp (1, 2, 2)')

def test_learner_reports_pooled_values():
    class Copy(nn.Module):
        def __init__(self):
            super().__init__()
            self.offset = nn.Parameter(torch.zeros(1))
        def forward(self, left, right): return SimpleNamespace(disparity=[left[:,0]*0, left[:,0]+self.offset])
    rng = torch.Generator().manual_seed(1)
    disp = 60*torch.rand(3,4,6, generator=rng)
    left = (disp+4*torch.randn(3,4,6, generator=rng))[:,None]
    valid = torch.rand(3,4,6, generator=rng)<torch.tensor([0.1,0.3,0.9])[:,None,None]
    dl = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(left, left, disp, valid), batch_size=2)
    dls = DataLoaders(dl, dl, device='cpu')
    dls.n_inp = 2
    learn = Learner(
        dls, Copy(), loss_func=lambda p,d,v: p.disparity[-1].mean(),
        metrics=pooled_metrics(metric_names()))
    test_eq(list(learn.metrics.attrgot('name')), metric_names())
    for offset in (0.,2.):
        nn.init.constant_(learn.model.offset, offset)
        with learn.no_logging(): got = list(learn.validate())[1:]
        meter = Meter()
        meter.add(left[:,0]+offset, disp, valid)
        test_close(got, [meter.result()[k] for k in metric_names()], eps=1e-9)

def test_plain_tensors_and_unknown_keys():
    metric = pooled_metrics(['bad2'])[0]
    metric.reset()
    yb = torch.full((1,1,4), 10.),torch.tensor([[[True,True,True,False]]])
    learn = SimpleNamespace(
        pred=torch.tensor([[[10.,12.,13.,99.]]], requires_grad=True), yb=yb,
        to_detach=lambda x: x.detach())
    metric.accumulate(learn)
    test_close(metric.value, 100/3)
    test_eq(metric.name, 'bad2')
    test_fail(lambda: pooled_metrics(['D1']), contains="unknown metric 'D1', choose from epe bad1")

def test_means_of_a_callback_are_columns():
    import fastai.callback.progress
    from fastai.basics import Callback
    from stereo_kd.testing import line_net, pair_loaders
    class Extra(Callback):
        run_valid = False
        def before_fit(self): add_columns(self, ['extra'])
        def before_train(self): self.means = dict(extra=10.*self.epoch)
        def after_loss(self): self.means['extra'] += 1
        def after_fit(self): drop_columns(self)
    class Stop(Callback):
        def after_loss(self): raise KeyboardInterrupt
    def learner():
        return Learner(pair_loaders(3.), line_net(1.), loss_func=lambda p,d,v: p[0].mean(), lr=0.)
    def fit(learn, *cbs, epochs=2):
        with learn.no_bar(),learn.no_logging(): learn.fit(epochs, cbs=list(cbs))
        return learn.recorder
    learn = learner()
    table = fit(learn, Extra())
    test_eq(table.metric_names, ['epoch','train_loss','valid_loss','extra','time'])
    n = len(learn.dls.train)
    test_eq([v[2] for v in table.values], [n,10+n])
    test_eq(len(learn.metrics), 0)
    test_fail(lambda: fit(learn, Extra(), Extra()), exc=ValueError, contains='two columns of the history are called extra')
    test_fail(lambda: fit(learn, Extra(), Stop()), exc=KeyboardInterrupt)
    fit(learn, Extra()) # the same cell again, after it was interrupted
    test_eq(len(learn.metrics), 0)
    learn = learner()
    learn.recorder.train_metrics = True
    table = fit(learn, Extra(), epochs=1)
    row = dict(zip(table.metric_names[1:], table.values[0]))
    test_eq(row['train_extra'], n)
    assert row['valid_extra']!=row['valid_extra'] # nan: validation has no such mean
    learn = learner()
    learn.add_cb(Extra())
    with learn.no_logging(),learn.no_bar(): test_eq(len(learn.validate()), 1) # the loss alone: nothing was trained
    column = MeanColumn(Extra(), 'extra')
    test_eq(column.name, 'extra')

@pytest.mark.data
def test_kitti_devkit_figures():
    from stereo_kd.testing import real_data
    def compare(est, truth):
        est,truth = (
            torch.from_numpy(cv2.imread(str(real_data()/f), cv2.IMREAD_UNCHANGED)/256.)
            for f in (est,truth))
        return est,truth,(truth>0)&(est>0)
    test_close(
        d1(*compare('kitti2015/devkit/disp_est.png', 'kitti2015/devkit/disp_gt.png'))/100, .134684,
        eps=1e-6)
    kitti12 = compare('kitti2012/devkit/disp_est.png', 'kitti2012/training/disp_occ/000000_10.png')
    test_close(bad3(*kitti12)/100, .043926, eps=1e-6)
    test_close(epe(*kitti12), .697177, eps=1e-5) # the devkit adds up in float32

def test_sums_of_an_image_and_the_final_map():
    from types import SimpleNamespace
    disp = torch.full((2,2,3), 10.)
    pred = disp+torch.tensor([[0.,1.5,2.5],[3.5,0.,float('nan')]])
    valid = torch.ones(2,2,3, dtype=torch.bool)
    valid[1] = False
    first,second = image_sums(pred, disp, valid).tolist()
    test_eq([first[0],first[1],*first[3:]], [6.,1.,400.,300.,200.,200.])
    test_eq(second[0], 0.)
    test_eq(final_disparity(SimpleNamespace(disparity=[disp,pred])) is pred, True)
    assert final_disparity(pred) is pred
    test_eq(PooledMetric('d1').name, 'd1')
    test_fail(lambda: PooledMetric('mae'), contains="unknown metric 'mae'")
