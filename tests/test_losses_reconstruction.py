# Generated from nbs/47_losses.reconstruction.ipynb; edit the notebook, not this file
import torch
from torch import Tensor
from stereo_kd.models.vit import hidden_tokens, unpatchify
import matplotlib.pyplot as plt
from fastcore.test import *
from stereo_kd.core import denormalize
from stereo_kd.data.synthetic import DISAGREEMENTS, SyntheticPairs
from stereo_kd.models.base import StereoOutput
from stereo_kd.models.vit import patchify, random_visible
from stereo_kd.models.zoo import create_model
from stereo_kd.losses.reconstruction import *

def test_only_hidden_patches_count():
    torch.manual_seed(0)
    patches = 3+torch.randn(2,6,12)*torch.tensor([.1,1.,10.,1.,1.,0.])[:,None]
    z = normalize_patches(patches)
    test_close(z.mean(-1), torch.zeros(2,6), eps=1e-4)
    test_close(z.std(-1), torch.tensor([1.,1.,1.,1.,1.,0.]).expand(2,6), eps=1e-2) # the last one has no contrast
    test_close(normalize_patches(5*patches+2)[:,:5], z[:,:5], eps=1e-2)
    hidden = torch.tensor([[1,1,0,0,0,0],[0,0,1,0,0,0]]).bool()
    pred = z.clone()
    pred[~hidden] += 100.
    test_close(masked_mse(pred, patches, hidden), 0., eps=1e-8)
    pred[0,0] += 3.
    test_close(masked_mse(pred, patches, hidden), 9/3, eps=1e-4) # one patch of three
    test_close(masked_mse(torch.zeros_like(z), patches, hidden), 11/12, eps=1e-2)
    pred = z.clone().requires_grad_()
    none = masked_mse(pred, patches, torch.zeros_like(hidden))
    none.backward()
    test_eq([none.item(),pred.grad.abs().max().item()], [0.,0.])
    masked_mse(pred+1, patches, hidden).backward()
    test_eq(pred.grad.abs().sum(-1)>0, hidden)

def test_both_views_by_their_names():
    torch.manual_seed(0)
    net,(x,y) = create_model('madis', size='tiny'),torch.randn(2,2,3,32,64)
    def loss(*ratios, upto='cost_volume'):
        given = tuple(dict(visible=random_visible(2, 32, r)) for r in ratios)
        out = net(x, y, upto, given=given)
        return out,given,ReconstructionLoss()(out, None, None)
    out,given,both = loss(.4, .4)
    parts = [masked_mse(out.extras['reconstruction'][k], patchify(im, 8), hidden_tokens(given[k]['visible'], 32))
             for k,im in enumerate((x,y))]
    test_close(both, sum(parts), eps=1e-5)
    both.backward()
    assert net.reconstruct.weight.grad.abs().max()>0 and net.head.first.weight.grad is None
    assert 0<loss(.9, 0.)[2]<4
    test_eq(loss(0., 0.)[2].item(), 0.)
    whole = net(x, y)
    test_fail(lambda: ReconstructionLoss()(whole, None, None), exc=ValueError, contains='was not given the visible')

def test_pictures_show_what_was_asked():
    torch.manual_seed(0)
    x = torch.randn(1,3,16,32)
    patches,visible = patchify(x, 8),random_visible(1, 8, .5)
    hidden = hidden_tokens(visible, 8)
    extras = dict(reconstruction=[normalize_patches(patches),[]], patches=[patches]*2, visible=[visible]*2)
    out = StereoOutput([[],[],[],[],extras])
    test_close(reconstruction_image(out, (16,32), 8), x, eps=1e-4) # a perfect answer
    shown = patchify(reconstruction_image(out, (16,32), 8, given=True), 8)
    test_eq(shown, patches*~hidden[...,None])
    test_eq(patchify(reconstruction_image(out, (16,32), 8, view=1), 8), shown) # nothing was reconstructed
