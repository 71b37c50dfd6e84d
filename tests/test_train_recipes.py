# Generated from nbs/64_train.recipes.ipynb; edit the notebook, not this file
from torch import nn
from stereo_kd.core import pick
from stereo_kd.losses.feature import FeatureLoss, MapLoss
from stereo_kd.losses.response import tempered_kl, tempered_l1, ResponseLoss
from stereo_kd.models.tsnnet import TSNnet
from stereo_kd.train.distill import ramp, DistillCallback, Term
from fastcore.test import *
from stereo_kd.models.zoo import create_model
from stereo_kd.train.recipes import *

def test_supervision_is_checked():
    net,other = create_model('dtpnet', max_disp=48),create_model('dtpnet', max_disp=96)
    for recipe in (dtp_callback,tsnnet_callback):
        test_fail(lambda: recipe(net, net, 'labels'), contains="got 'labels'")
        test_fail(lambda: recipe(net, other), contains='same max_disp, got 48 and 96')
        test_eq([recipe(net, net, s).supervised_weight for s in ('teacher','both')], [0.,1.])
