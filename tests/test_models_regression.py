# Generated from nbs/21_models.regression.ipynb; edit the notebook, not this file
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from fastcore.test import *
import matplotlib.pyplot as plt
from stereo_kd.models.regression import *

def test_soft_argmax_between_two_bins():
    s = torch.full((1,192,2,2), -1e4); s[:,[40,41]] = torch.tensor([0., 1.]).view(2,1,1)
    p = torch.tensor([0.,1.]).softmax(0)[1]
    test_close(soft_argmax(s), torch.full((1,2,2), 40+p.item()), eps=1e-4)
    test_close(soft_argmax(torch.zeros(1,8,3)), torch.full((1,3), 3.5), eps=1e-6)
    assert soft_argmax(torch.zeros(1,8,3).bfloat16()).dtype==torch.float32

def test_separable_equals_trilinear():
    s = torch.randn(2,12,5,7, generator=torch.Generator().manual_seed(0))
    want = F.interpolate(s[:,None], scale_factor=4, mode='trilinear', align_corners=False)[:,0]
    test_close(upsample_scores(s, 48), want, eps=1e-5)
    test_eq(upsample_scores(s, 48, (18,26)), upsample_scores(s, 48)[...,:18,:26])
    test_fail(lambda: expand_bins(s, 50), contains='12 bins cannot be expanded to max_disp=50')

def test_tail_is_exact():
    g = torch.Generator().manual_seed(0)
    for n,h,w in ((192,9,11),(48,5,6)):
        s = 3*torch.randn(2,n,h,w, generator=g)
        for size in (None,(4*h-3,4*w-1)):
            want = soft_argmax(upsample_scores(s, 192, size))
            for rows in (1,4,100): test_close(disparity_tail(s, 192, size, rows), want, eps=1e-3)

def test_tail_gradient_is_exact():
    s = torch.randn(1,48,6,5, generator=torch.Generator().manual_seed(1), requires_grad=True)
    g1, = torch.autograd.grad(disparity_tail(s, 192, rows=2).pow(2).mean(), s)
    g2, = torch.autograd.grad(soft_argmax(upsample_scores(s, 192)).pow(2).mean(), s)
    test_close(g1/g2.abs().max(), g2/g2.abs().max(), eps=1e-5)

def test_tail_never_holds_the_volume():
    from torch.utils._python_dispatch import TorchDispatchMode
    class Widest(TorchDispatchMode):
        n = 0
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            if isinstance(out, Tensor): self.n = max(self.n, out.numel())
            return out
    with Widest() as w: disparity_tail(torch.randn(1,48,64,8), rows=4)
    assert w.n <= 192*6*4*32, w.n # four rows and a halo of two, not 64

def test_sampling_equals_enlarging():
    g = torch.Generator().manual_seed(0)
    s = torch.randn(2,12,6,9, generator=g)
    ys,xs = torch.randint(24,(2,50), generator=g),torch.randint(36,(2,50), generator=g)
    ys[:,0],xs[:,0],ys[:,1],xs[:,1] = 0,0,23,35 # the corners too
    full = upsample_scores(s, 48)
    want = torch.stack([full[b,:,ys[b],xs[b]] for b in range(2)])
    test_close(sample_scores(s, ys, xs, 48), want, eps=1e-5)
