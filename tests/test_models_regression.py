# Generated from nbs/21_models.regression.ipynb; edit the notebook, not this file
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from stereo_kd.kernels.tail import backend, fused_tail
from fastcore.test import *
from stereo_kd.kernels.tail import use
import matplotlib.pyplot as plt
from stereo_kd.models.regression import *

def test_soft_argmax_between_two_bins():
    s = torch.full((1,192,2,2), -1e4)
    s[:,[40,41]] = torch.tensor([0., 1.]).view(2,1,1)
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

def test_strips_know_their_rows():
    torch.manual_seed(0)
    a,b = torch.randn(2,1,12,7,5)
    m = torch.rand(1,26,19)
    got = map_rows(lambda s,t,m: (s-t).abs().sum(1)*m, [a,b], m, max_disp=48, size=(26,19), rows=2)
    test_close(got, (upsample_scores(a,48,(26,19))-upsample_scores(b,48,(26,19))).abs().sum(1)*m, eps=1e-3)

def test_tail_is_exact():
    g = torch.Generator().manual_seed(0)
    for n,h,w in ((192,9,11),(48,5,6)):
        s = 3*torch.randn(2,n,h,w, generator=g)
        for size in (None,(4*h-3,4*w-1)):
            want = soft_argmax(upsample_scores(s, 192, size))
            test_close(disparity_tail(s, 192, size), want, eps=1e-3)
            test_close(disparity_tail(2*s, 192, size, tau=2.), want, eps=1e-3)
            with use('torch'):
                for rows in (1,4,100): test_close(disparity_tail(s, 192, size, rows=rows), want, eps=1e-3)
                test_close(disparity_tail(2*s, 192, size, 2.), want, eps=1e-3)

def test_tail_gradient_is_exact():
    s = torch.randn(1,48,6,5, generator=torch.Generator().manual_seed(1), requires_grad=True)
    g2, = torch.autograd.grad(soft_argmax(upsample_scores(s, 192)).pow(2).mean(), s)
    for name in ('torch',''):
        with use(name): g1, = torch.autograd.grad(disparity_tail(s, 192, rows=2).pow(2).mean(), s)
        test_close(g1/g2.abs().max(), g2/g2.abs().max(), eps=1e-5)

def test_tail_never_holds_the_volume():
    from torch.utils._python_dispatch import TorchDispatchMode
    class Widest(TorchDispatchMode):
        n = 0
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            if isinstance(out, Tensor): self.n = max(self.n, out.numel())
            return out
    with Widest() as w, use('torch'): disparity_tail(torch.randn(1,48,64,8), rows=4)
    assert w.n <= 192*6*4*32, w.n # four rows and a halo of two, not 64

def test_sampling_equals_enlarging():
    g = torch.Generator().manual_seed(0)
    s = torch.randn(2,12,6,9, generator=g)
    ys,xs = torch.randint(24,(2,50), generator=g),torch.randint(36,(2,50), generator=g)
    ys[:,0],xs[:,0],ys[:,1],xs[:,1] = 0,0,23,35 # the corners too
    full = upsample_scores(s, 48)
    want = torch.stack([full[b,:,ys[b],xs[b]] for b in range(2)])
    test_close(sample_scores(s, ys, xs, 48), want, eps=1e-5)

def test_one_pixel_of_each_cell():
    ys,xs = pick_pixels(torch.zeros(2,1,3,5))
    test_eq((ys//4).view(2,3,5)[0,:,0].tolist(), [0,1,2])
    test_eq((xs//4).view(2,3,5)[1,2].tolist(), [0,1,2,3,4])
    assert len({tuple(pick_pixels(torch.zeros(1,1,3,5))[0].flatten().tolist()) for _ in range(5)})>1
    test_eq(pick_pixels(torch.zeros(1,1,2,2), random=False)[0].tolist(), [[1,1,5,5]])

def test_sampling_is_unbiased():
    torch.manual_seed(0)
    s = torch.randn(2,12,10,12, requires_grad=True)
    d = 40*torch.rand(2,37,46)
    valid = torch.rand(2,37,46)<.8
    fn = lambda s,d: (soft_argmax(s)-d).abs()
    full = pixel_mean(fn, [s], [d], valid, 48, 'full')
    test_close(full, (soft_argmax(upsample_scores(s,48,(37,46)))-d).abs()[valid].mean(), eps=1e-4)
    draws = torch.stack([pixel_mean(fn, [s], [d], valid, 48, 'sampled') for _ in range(300)])
    assert abs(draws.mean()-full)<4*draws.std()/300**.5, (draws.mean(), full)
    with torch.no_grad():
        test_eq(pixel_mean(fn, [s], [d], valid, 48), pixel_mean(fn, [s], [d], valid, 48)) # fixed in validation

def test_pixel_mean_respects_the_mask():
    torch.manual_seed(0)
    s = torch.randn(1,12,4,4, requires_grad=True)
    d = torch.zeros(1,16,16)
    valid = torch.zeros(1,16,16, dtype=torch.bool)
    fn = lambda s,d: (soft_argmax(s)-d).abs()
    for at in ('full','sampled','quarter'):
        zero = pixel_mean(fn, [s], [d], valid, 48, at)
        zero.backward()
        test_eq(zero.item(), 0.)
        assert not s.grad.abs().sum()
    test_fail(lambda: pixel_mean(fn, [s], [d], valid, 48, 'half'), contains="got 'half'")
