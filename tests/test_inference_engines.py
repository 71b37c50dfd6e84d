# Generated from nbs/72_inference.engines.ipynb; edit the notebook, not this file
import math, sys, threading, torch
from contextlib import contextmanager
from copy import deepcopy
from fastcore.basics import patch
from time import perf_counter
from torch import nn
from typing import Callable, NamedTuple
from weakref import WeakKeyDictionary
from stereo_kd.core import check_pair
from stereo_kd.kernels.tail import use
from stereo_kd.models.base import StereoNet
import gc
import matplotlib.pyplot as plt, numpy as np
from fastcore.test import *
from types import SimpleNamespace
from unittest import mock
from stereo_kd.models.zoo import create_model, load_model
from stereo_kd.inference.engines import *

def test_the_rule_buys_when_the_rent_is_paid():
    from stereo_kd.inference import engines
    Way = engines.Way
    fakes = dict(start=Way(None, 0.), cheap=Way(None, 1.), dear=Way(None, 5.), rough=Way(None), absent=Way(None, .5, lambda: False))
    with mock.patch.object(engines, 'ways', fakes):
        c = engines.Choice()
        test_eq(c.next_way(), None)
        c.note(.2)
        test_eq(c.next_way(), None)
        for _ in range(6): c.note(.2)
        test_eq(c.next_way(), None) # 1.4 s are the price and two calls
        c.note(.3)
        test_eq([c.next_way(),c.best], ['cheap',.2])
        c.tried.add('cheap')
        test_eq(c.next_way(), None)
        c.note(1., times=4) # four are certain to come
        test_eq(c.next_way(), 'dear')
        c.tried.add('dear')
        c.note(1e9)
        test_eq(c.next_way(), None) # neither what is rough nor what is absent
        test_eq(engines.list_ways(), ['auto','torch',*fakes])
        test_fail(lambda: engines.check_way('tpu'), exc=ValueError, contains="unknown engine 'tpu'; known: auto, torch, start")
        for name in engines.list_ways(): engines.check_way(name)
    with mock.patch.object(engines, 'ways', {}):
        test_fail(lambda: engines.check_way('tpu'), exc=ValueError, contains='known: auto, torch; import stereo_kd.deploy.auto')

def test_the_fastest_exact_engine_is_taken():
    from stereo_kd.inference import engines
    class Net(StereoNet):
        def __init__(self):
            super().__init__(48)
            self.weight = nn.Parameter(torch.zeros(1))
        def forward(self, left, right): return answer(0, self.weight.item())
    clock = [0.]
    def answer(seconds, value):
        clock[0] += seconds
        return SimpleNamespace(disparity=[torch.full((1,4,6), float(value))])
    def way(price, seconds, value=0., fail=False):
        def make(net, made):
            if fail: raise RuntimeError('no')
            built.append(price)
            return lambda left,right: answer(seconds, value+net.weight.item())
        return engines.Way(make, price)
    def run(n, seconds=1., x=torch.zeros(1,3,4,6)):
        with mock.patch.object(Net, 'forward', lambda self,l,r: answer(seconds, self.weight.item())):
            auto = engines.Auto(net)
            return [(auto(x, x).disparity[-1][0,0,0].item(), auto.name)[1] for _ in range(n)]
    net,built = Net(),[]
    x = torch.zeros(1,3,4,6)
    now = mock.patch.object(engines, 'perf_counter', lambda: clock[0])
    with now, mock.patch.object(engines, 'ways', dict(
        slow=way(2., 3.), wrong=way(3., .01, 1.), broken=way(4., .01, fail=True), good=way(8., .1), best=way(9., .05))):
        names = run(160)
        test_eq(names[:5], ['torch']*5) # 5 s are 2 and three calls
        assert set(names)=={'torch','good','best'} and names[-1]=='best', names
        assert 12<=names.index('good')<=20, names
        test_eq(sorted(built), [2.,3.,8.,9.])
        test_eq(run(3), ['best']*3) # remembered
        test_eq(run(3, x=torch.zeros(1,3,4,8)), ['torch']*3) # another size begins anew,
        with torch.no_grad(): net.weight += 1
        test_eq(run(3), ['torch']*3) # and so do other weights
        net = Net()
        auto = engines.Auto(net, expected=100)
        with mock.patch.object(Net, 'forward', lambda self,l,r: answer(1., 0.)):
            engine = auto.settle(x, x)
        test_eq(engine(x, x).disparity[-1][0,0,0].item(), 0.)
        test_eq([auto.choice(x).name,auto.choice(x).tried], ['best',{'torch','slow','wrong','broken','good','best'}])
    with now, mock.patch.object(engines, 'ways', dict(start=way(0., .5), dear=way(50., .1))):
        net = Net()
        test_eq(run(3), ['start']*3)
    net = Net()
    import weakref
    gone = weakref.ref(net)
    with mock.patch.object(engines, 'ways', {}): engines.Auto(net)(x, x)
    del net
    gc.collect()
    assert gone() is None # nothing that is remembered keeps a network alive

def test_kernels_are_loaded_when_they_pay():
    from stereo_kd.inference import engines
    from stereo_kd.kernels.tail import backend
    import stereo_kd.kernels.jit
    def reads(loaded, pixels, spent=0.):
        c = engines.Choice()
        c.spent = spent
        modules = sys.modules if loaded else {k:v for k,v in sys.modules.items() if k!='stereo_kd.kernels.jit'}
        with mock.patch.object(engines, 'sys', SimpleNamespace(modules=modules)), engines._reading(c, pixels): return backend()
    test_eq([reads(False, 1000),reads(False, 2**20),reads(True, 1000)], ['torch','numba','numba'])
    test_eq([reads(False, 1000, 2.),reads(False, 1000, 3.)], ['torch','numba'])
    net = create_model('dtpnet_lite', max_disp=48).eval()
    x,y = torch.randn(2,1,3,32,64)
    with torch.inference_mode():
        want = net(x, y).disparity[-1]
        with mock.patch.object(engines, 'sys', SimpleNamespace(modules={})): got = engines.Auto(net)(x, y).disparity[-1]
        test_close(got, want, eps=1e-3)
        auto = engines.Auto(net, kernels=True)
        auto(x, y)
        assert not auto.choice(x).cold

def test_engines_by_name_are_made_once():
    from stereo_kd.inference import engines
    made = []
    with mock.patch.object(engines, 'ways', dict(fake=engines.Way(lambda net,before: made.append(net) or 'engine'))):
        net = create_model('dtpnet_lite', max_disp=48)
        test_eq([engines.run_by(net, 'fake'),engines.run_by(net, 'fake'),len(made)], ['engine','engine',1])
        net.reading = 'mode' # another answer, another engine
        test_eq([engines.run_by(net, 'fake'),len(made),made[-1].reading], ['engine',2,'mode'])
        assert made[0] is not net and not made[0].training and net.training
        assert engines.run_by(net, 'torch') is net
        assert isinstance(engines.run_by(net), engines.Auto) and engines.run_by(net).net is net
        test_eq([engines.run_by(net).expected,engines.run_by(net, expected=9).expected], [1,9])
        class Own(StereoNet):
            def forward(self, left, right): return answer
        own = Own()
        assert engines.run_by(own) is own # nobody knows its stages
        other = nn.Conv2d(1, 1, 1)
        assert engines.run_by(other) is other and engines.run_by(other, 'fake') is other
        test_fail(lambda: engines.run_by(net, 'tpu'), exc=ValueError, contains="unknown engine 'tpu'")
