# Generated from nbs/64_train.recipes.ipynb; edit the notebook, not this file
from torch import nn
from stereo_kd.core import pick
from stereo_kd.losses.feature import FeatureLoss, MapLoss
from stereo_kd.losses.response import tempered_ce, tempered_kl, tempered_l1, ResponseLoss
from stereo_kd.models.tsnnet import TSNnet
from stereo_kd.train.distill import ramp, DistillCallback, Term
import torch
from fastcore.test import *
from stereo_kd.models.zoo import create_model
from stereo_kd.train.recipes import *

def test_recipes_say_what_they_are():
    net = create_model('dtpnet', max_disp=48)
    test_eq(
        dtp_callback(net, net, weight=2., distance=DISTANCES['kl']).recipe,
        dict(name='dtp', weight=2., distance='tempered_kl', at='sampled', tau=[.5,1.]))
    test_eq([d(torch.zeros(1,4,1), torch.zeros(1,4,1)).item() for d in (DISTANCES['l1'],DISTANCES['kl'])], [0.,0.])
    test_close(DISTANCES['ce'](torch.zeros(1,4,1), torch.zeros(1,4,1)).item(), 1.386294, eps=1e-5) # log 4
    small = create_model('tsnnet_naive', max_disp=48)
    recipe = tsnnet_callback(
        small, small, terms=('volume','coarse'), weight=dict(volume=.1), relative=False).recipe
    test_eq(
        recipe,
        dict(name='tsnnet', weights=dict(volume=.1, coarse=1.), relative=False, tau=.5, adapt='student'))

def test_supervision_is_checked():
    net,other = create_model('dtpnet', max_disp=48),create_model('dtpnet', max_disp=96)
    for recipe in (dtp_callback,tsnnet_callback):
        test_fail(lambda: recipe(net, net, 'labels'), contains="got 'labels'")
        test_fail(lambda: recipe(net, other), contains='same max_disp, got 48 and 96')
        test_eq([recipe(net, net, s).supervised_weight for s in ('teacher','both')], [0.,1.])

def test_each_term_by_its_name():
    net = create_model('tsnnet_naive', max_disp=48)
    terms = {n:make(name=n, weight=1.) for n,make in tsnnet_terms(net, net).items()}
    test_eq({n:t.stage for n,t in terms.items() if t.stage!='aggregation'}, dict(volume='cost_volume', features='features'))
    test_eq([terms['probability'].schedules['tau'](p) for p in (0,1)], [.5,.5])
