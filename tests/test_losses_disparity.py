# Generated from nbs/45_losses.disparity.ipynb; edit the notebook, not this file
import torch
from torch import Tensor
from stereo_kd.losses.supervised import smooth_l1
from stereo_kd.models.base import get_map
import matplotlib.pyplot as plt
from fastcore.test import *
from stereo_kd.models.base import StereoOutput
from stereo_kd.models.regression import soft_argmax
from stereo_kd.losses.response import tempered_ce
from stereo_kd.losses.disparity import *

def test_disparities_by_hand():
    def out(*d): return StereoOutput([[],[],[],[torch.tensor([v]).requires_grad_() for v in d],{}])
    s,t = out([[0.,0.,0.]],[[4.,7.,9.]]),out([[4.,5.,0.]])
    valid = torch.tensor([[[True,True,False]]])
    test_close(DisparityLoss()(s, t, None, valid), 1.5/2, eps=1e-6) # the last of several disparities
    test_close(DisparityLoss(masked=False)(s, t, None, valid), (1.5+8.5)/3, eps=1e-6)
    loss = DisparityLoss()(s, t, None, valid)
    loss.backward()
    test_close(s.disparity[-1].grad, torch.tensor([[[0.,.5,0.]]]), eps=1e-6)
    test_eq([s.disparity[0].grad,t.disparity[0].grad], [None,None])
    test_eq(DisparityLoss()(s, t, None, ~valid&valid).item(), 0.)
    test_fail(lambda: DisparityLoss()(s, out([[1.]]), None, valid), exc=ValueError, contains='student is (1, 1, 3), that of the teacher (1, 1, 1)')
