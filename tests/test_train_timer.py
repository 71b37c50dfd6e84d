# Generated from nbs/61_train.timer.ipynb; edit the notebook, not this file
import torch
from fastai.basics import Callback
from statistics import median
from time import perf_counter
import matplotlib.pyplot as plt
from time import sleep
from fastai.basics import Learner, SGD
from fastcore.test import *
from torch import nn
from stereo_kd.testing import line_net, pair_loaders
from stereo_kd.train.distill import DistillCallback, Term
import pytest
from stereo_kd.train.timer import *

@pytest.mark.serial
def test_parts_are_told_apart():
    def loss(p, d, v):
        sleep(.01)
        return p[0].mean()
    def run(cbs):
        timer = StepTimer()
        learn = Learner(
            pair_loaders(), line_net(1., .02), loss_func=loss, opt_func=SGD, lr=.1, cbs=[timer,*cbs])
        with learn.no_bar(),learn.no_logging(): learn.fit(2)
        return timer
    alone = run([])
    taught = run([DistillCallback(line_net(5., .02), [Term(lambda s,t,d,v: (s[0]-t[0]).pow(2).mean())])])
    # two epochs of four steps, without the first; none of validation
    test_eq([len(alone.rows),len(taught.rows)], [6,6])
    test_close(sum(taught.shares.values()), 1.)
    assert set(alone.shares)==set(PARTS)
    assert alone.shares['forward']>alone.shares['loss']>alone.shares['distillation']
    assert taught.shares['distillation']>taught.shares['loss']
    assert taught.seconds-alone.seconds>.015 and .03<alone.seconds<.3
    test_fail(lambda: StepTimer().seconds, contains='more than 1 of them')
