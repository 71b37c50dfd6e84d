# Generated from nbs/64_train.recipes.ipynb; edit the notebook, not this file
from fastai.basics import Adam
from functools import partial
from torch import nn
from stereo_kd.core import pick
from stereo_kd.losses.feature import FeatureLoss, MapLoss
from stereo_kd.losses.laplacian import LaplaceResponseLoss, LaplacianLoss
from stereo_kd.losses.reconstruction import ReconstructionLoss
from stereo_kd.losses.response import tempered_kl, tempered_l1, ResponseLoss
from stereo_kd.models.tsnnet import TSNnet
from stereo_kd.train.distill import ramp, DistillCallback, Term
from stereo_kd.train.ema_mim import EMACallback, MaskCallback
from fastcore.test import *
from stereo_kd.models.zoo import create_model
from stereo_kd.train.recipes import *

def test_recipes_say_what_they_are():
    net = create_model('dtpnet', max_disp=48)
    test_eq(
        dtp_callback(net, net, weight=2., distance=tempered_kl).recipe,
        dict(name='dtp', weight=2., distance='tempered_kl', at='sampled', tau=[.5,1.]))
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

def test_a_distribution_teaches_scores():
    import torch
    torch.manual_seed(0)
    teacher = create_model('madis', size='tiny', max_disp=48).freeze()
    student = create_model('dtpnet', max_disp=48, stem=8, width=16)
    callback = dtp_callback(teacher, student, at='quarter')
    test_eq([type(callback.terms[0].loss).__name__,callback.upto], ['LaplaceResponseLoss','aggregation'])
    x,y = torch.randn(2,1,3,32,64)
    out,taught = (n(x, y, 'aggregation') for n in (student,teacher))
    loss = callback.terms[0](out, taught, torch.zeros(1,32,64), torch.zeros(1,32,64, dtype=torch.bool), 0.)
    same = LaplaceResponseLoss(48, at='quarter')(out, taught, None, torch.ones(1,32,64)>0, tau=.5)
    test_eq(loss.item(), same.item())

def test_recipes_for_a_network_that_teaches_itself():
    def kinds(r): return [type(c).__name__ for c in r['cbs']]
    r = madis_recipe()
    test_eq([type(r['loss']).__name__,r['wd'],r['opt_func'].keywords], ['LaplacianLoss',.05,dict(sqr_mom=.95)])
    test_eq([kinds(r),r['cbs'][0].ratios,r['cbs'][1].parts], [['MaskCallback','EMACallback'],(.4,.4),()])
    test_eq([kinds(madis_recipe(0.)),kinds(madis_recipe(ema=''))], [['EMACallback'],['MaskCallback']])
    test_eq(kinds(madis_recipe(0., '')), [])
    one = madis_recipe(.6, 'encoder', .99, 2., 3.)['cbs']
    test_eq([one[0].ratios,one[0].weight], [(.6,.6),2.])
    test_eq([one[1].parts,one[1].decay,one[1].weight], [('encoder',),.99,3.])
    c = completion_recipe()
    mask, = c['cbs']
    test_eq([mask.ratios,mask.weight,mask.in_valid], [(.9,0.),0.,True])
    assert isinstance(c['loss'], ReconstructionLoss)
    test_fail(lambda: madis_recipe(ema='decoder'), contains="unknown slow copy 'decoder'")

def test_each_term_by_its_name():
    net = create_model('tsnnet_naive', max_disp=48)
    terms = {n:make(name=n, weight=1.) for n,make in tsnnet_terms(net, net).items()}
    test_eq({n:t.stage for n,t in terms.items() if t.stage!='aggregation'}, dict(volume='cost_volume', features='features'))
    test_eq([terms['probability'].schedules['tau'](p) for p in (0,1)], [.5,.5])
