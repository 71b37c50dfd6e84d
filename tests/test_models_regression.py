# Generated from nbs/21_models.regression.ipynb; edit the notebook, not this file
import torch
import torch.nn.functional as F
from functools import partial
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from stereo_kd.core import pick
from stereo_kd.kernels.tail import asks_gradient, backend, fused_cells, fused_convex, fused_mode, fused_tail
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

def test_modes_and_what_is_equal():
    p = torch.tensor([
        [1.,5,1,4,4,4,1], # 13 of 20 against 7
        [9,1,2,1,1,1,1],  # the lowest bin is the lower one's
        [9,1,1,1,2,1,1],  # and so is all of the bottom
        [4,1,4,1,.5,.5,.5],
        [2,2,2,2,2,2,2],
        [1,2,4,3,2,2,1]])
    test_eq(mode_numbers(p)[:3].tolist(), [[0,0,0,1,1,1,1],[0,0,1,1,1,1,1],[0,0,0,0,1,1,1]])
    want = torch.tensor([54/13, 1/10, 6/12, 18.5/6.5, 3, 43/15])
    test_close(dominant_mode(p.log()), want, eps=1e-5)
    test_close(dominant_mode(p[4:].log()), soft_argmax(p[4:].log()), eps=1e-5) # one mode
    even = torch.tensor([[1.,4,.5,4,1]]).log()
    test_close(dominant_mode(even), torch.tensor([(4+1)/5.5]), eps=1e-5) # .5 is the lower one's, which wins by it
    test_close(dominant_mode(torch.tensor([[0.,4,0,4,0]]).log()), torch.tensor([1.]), eps=1e-5) # equal: the lower
    nothing = torch.zeros(2,5,3)
    nothing[1,2,0] = torch.nan
    test_eq(dominant_mode(nothing).isnan().tolist(), [[False]*3,[True,False,False]])
    assert dominant_mode(nothing.bfloat16()).dtype==torch.float32
    test_eq(check_reading('mode'), 'mode')
    test_fail(lambda: check_reading('median'), exc=ValueError, contains="unknown reading 'median'; known: mean, mode")

def test_mode_gradient():
    torch.manual_seed(0)
    s = (2*torch.randn(1,24,6)).double()
    def read(s): # in double precision, for the differences
        number = mode_numbers(s)
        share = torch.zeros_like(s).scatter_add(1, number, s.softmax(1))
        p = torch.where(number==share.argmax(1, keepdim=True), s.softmax(1), 0)
        return (p*torch.arange(24)[None,:,None]).sum(1)/p.sum(1)
    torch.autograd.gradcheck(read, s.requires_grad_(), eps=1e-6)
    x = s.detach().float().requires_grad_()
    g = torch.randn(1,6)
    got, = torch.autograd.grad(dominant_mode(x), x, g)
    want, = torch.autograd.grad(read(s), s, g.double())
    test_close(got.double(), want, eps=1e-5)
    assert (got.abs()<1e-6).sum()>6 and got.abs().max()>.1 # bins of other modes do not count

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
            test_close(plain_tail(2*s, 192, size, 2.), want, eps=1e-3)
            with use('torch'):
                for rows in (1,4,100): test_close(disparity_tail(s, 192, size, rows=rows), want, eps=1e-3)
                test_close(disparity_tail(2*s, 192, size, 2.), want, eps=1e-3)

def test_tail_gradient_is_exact():
    s = torch.randn(1,48,6,5, generator=torch.Generator().manual_seed(1), requires_grad=True)
    g2, = torch.autograd.grad(soft_argmax(upsample_scores(s, 192)).pow(2).mean(), s)
    for name in ('torch',''):
        with use(name): g1, = torch.autograd.grad(disparity_tail(s, 192, rows=2).pow(2).mean(), s)
        test_close(g1/g2.abs().max(), g2/g2.abs().max(), eps=1e-5)

def test_mode_tail_is_exact():
    g = torch.Generator().manual_seed(0)
    for n,h,w in ((192,3,5),(48,5,6)):
        s = 3*torch.randn(2,n,h,w, generator=g)
        for size in (None,(4*h-3,4*w-1)):
            want = dominant_mode(upsample_scores(s, 192, size))
            read = lambda f, **kw: f(2*s, 192, size, 2., reading='mode', **kw)
            test_close(read(disparity_tail), want, eps=1e-3)
            test_close(read(plain_tail), want, eps=1e-3)
            with use('torch'):
                for rows in (1,4): test_close(read(disparity_tail, rows=rows), want, eps=1e-3)
        x = s.clone().requires_grad_()
        g2, = torch.autograd.grad(dominant_mode(upsample_scores(x, 192)).pow(2).mean(), x)
        g1, = torch.autograd.grad(disparity_tail(x, reading='mode').pow(2).mean(), x)
        test_close(g1/g2.abs().max(), g2/g2.abs().max(), eps=1e-5)
    for f in (disparity_tail,plain_tail):
        test_fail(lambda: f(torch.zeros(1,48,2,2), reading='max'), exc=ValueError, contains="unknown reading 'max'")

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

def test_a_pixel_belongs_with_one_of_nine_cells():
    torch.manual_seed(0)
    disp = torch.tensor([[10.,10.,50.],[10.,50.,50.]]).expand(1,1,2,3)
    cells = torch.cat([disp, torch.zeros_like(disp)], 1)
    z = torch.full((1,9,4,4,2,3), -30.)
    z[:,4] = 0 # every pixel with its own cell
    z[:,5,:,3,0,1] = 30. # but column 3 of cell (0,1) with its right neighbour
    up = convex_upsample(cells, z.flatten(1,3))
    want = disp[0].repeat_interleave(4, 1).repeat_interleave(4, 2)
    want[0,:4,7] = 50.
    test_close(up, want, eps=1e-4)
    # two neighbours with equal weights: the sure one counts for more where the temperature is below 1
    scores = torch.full((1,12,1,2), -9.)
    scores[0,2,0,0] = 9. # sure of bins 8 to 11
    scores[0,[8,9],0,1] = torch.tensor([1.,0.])
    even = torch.zeros(1,144,1,2)
    soft,sharp = (convex_tail(scores, even, 48, tau=t)[0,0,3] for t in (1.,.3))
    assert soft>17 and sharp<12, (soft, sharp) # even shares would be 21
    test_close(confidence(scores, 48), torch.zeros(1,1,2), eps=1e-5)

def test_convex_tail_is_the_mean_of_a_mixture():
    torch.manual_seed(0)
    scores,weights = torch.randn(2,12,3,4),torch.randn(2,144,3,4)
    for tau in (1.,.5): # of neighbours and bins together
        logp = neighbours(expand_bins(scores, 48).log_softmax(1)).unflatten(1, (48,9)) # bin, neighbour
        w = weights.unflatten(1, (9,16)).log_softmax(1)
        both = ((logp[:,:,:,None]+w[:,None])/tau).flatten(1,2).softmax(1).unflatten(1, (48,9)).sum(2)
        mean = torch.einsum('bdphw,d->bphw', both, torch.arange(48.))
        test_close(convex_tail(scores, weights, 48, tau=tau), F.pixel_shuffle(mean, 4)[:,0], eps=1e-4)
        cropped = F.pixel_shuffle(mean, 4)[:,0,:11,:14]
        with use('torch'): test_close(convex_tail(scores, weights, 48, (11,14), tau), cropped, eps=1e-4)
        test_close(plain_tail(scores, 48, (11,14), tau, weights), cropped, eps=1e-4)
        cells = soft_cells(scores, 48, tau)
        own = sharpen_weights(weights, neighbours(cells)[:,9:], tau) # read at 1, they give the same
        test_close(convex_upsample(torch.stack([cells[:,0],0*cells[:,1]], 1), own), F.pixel_shuffle(mean, 4)[:,0], eps=1e-4)
        test_eq(disparity_tail(scores, 48, None, tau, weights=weights), convex_tail(scores, weights, 48, tau=tau))

def test_cells_by_their_dominant_mode():
    torch.manual_seed(0)
    s,z = 3*torch.randn(2,12,3,4),torch.randn(2,144,3,4)
    for tau in (1.,.5):
        cells = soft_cells(s, 48, tau, 'mode')
        test_close(cells[:,0], dominant_mode(expand_bins(s, 48)/tau), eps=1e-5)
        test_eq(cells[:,1], soft_cells(s, 48, tau)[:,1])
        want = convex_upsample(cells, z, (11,14), tau)
        test_close(disparity_tail(s, 48, (11,14), tau, weights=z, reading='mode'), want, eps=1e-4)
        test_close(plain_tail(s, 48, (11,14), tau, z, 'mode'), want, eps=1e-4)
        x,y = (s.clone().requires_grad_() for _ in 'xy')
        convex_tail(x, z, 48, None, tau, 'mode').square().mean().backward() # cells by torch, the rest by its kernel
        convex_upsample(soft_cells(y, 48, tau, 'mode'), z, None, tau).square().mean().backward()
        test_close(x.grad, y.grad, eps=1e-4)
    assert (convex_tail(s, z, 48, reading='mode')-convex_tail(s, z, 48)).abs().max()>1
    test_fail(lambda: convex_tail(s, z, 48, reading='max'), exc=ValueError, contains="unknown reading 'max'")

def test_sampling_equals_enlarging():
    g = torch.Generator().manual_seed(0)
    s = torch.randn(2,12,6,9, generator=g)
    ys,xs = torch.randint(24,(2,50), generator=g),torch.randint(36,(2,50), generator=g)
    ys[:,0],xs[:,0],ys[:,1],xs[:,1] = 0,0,23,35 # the corners too
    full = upsample_scores(s, 48)
    want = torch.stack([full[b,:,ys[b],xs[b]] for b in range(2)])
    test_close(sample_scores(s, ys, xs, 48), want, eps=1e-5)

def test_sampled_mixtures():
    torch.manual_seed(0)
    s,z = torch.randn(2,12,3,5, requires_grad=True),torch.randn(2,144,3,5, requires_grad=True)
    ys,xs = torch.randint(12,(2,60)),torch.randint(20,(2,60))
    ys[:,0],xs[:,0],ys[:,1],xs[:,1] = 0,0,11,19 # the corners too
    near = neighbours(expand_bins(s, 48).softmax(1)).unflatten(1, (48,9))
    mix = (near[:,:,:,None]*z.unflatten(1, (9,16)).softmax(1)[:,None]).sum(2) # (2,48,16,3,5)
    full = F.pixel_shuffle(mix.flatten(1,2), 4)
    want = torch.stack([full[b,:,ys[b],xs[b]] for b in range(2)])
    got = sample_scores(s, ys, xs, 48, z)
    test_close(got.exp(), want, eps=1e-6)
    test_close(soft_argmax(got), torch.stack([convex_tail(s, z, 48)[b,ys[b],xs[b]] for b in range(2)]), eps=1e-4)
    g = torch.randn_like(got)
    for a,b in zip(torch.autograd.grad(got, (s,z), g, retain_graph=True), torch.autograd.grad(want.log(), (s,z), g)):
        test_close(a, b, eps=1e-4)

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

def test_learned_upsampling_in_every_mean():
    torch.manual_seed(0)
    s,t = torch.randn(2,12,5,6, requires_grad=True),torch.randn(2,48,5,6)
    z,d = torch.randn(2,144,5,6, requires_grad=True),40*torch.rand(2,18,23)
    valid = torch.rand(2,18,23)<.8
    fn = lambda s,t,d: (soft_argmax(s)-d).abs()+(soft_argmax(t)-d).abs()
    mean = lambda at: pixel_mean(fn, [s,t], [d], valid, 48, at, weights=[z,None])
    # the first is upsampled by its weights, the second bilinearly
    want = ((convex_tail(s, z, 48, (18,23))-d).abs()+(disparity_tail(t, 48, (18,23))-d).abs())[valid].mean()
    test_close(mean('full'), want, eps=1e-4)
    for a,b in zip(torch.autograd.grad(mean('full'), (s,z)), torch.autograd.grad(want, (s,z))): test_close(a, b, eps=1e-5)
    draws = torch.stack([mean('sampled') for _ in range(300)])
    assert abs(draws.mean()-want)<4*draws.std()/300**.5, (draws.mean(), want)
    assert torch.autograd.grad(mean('sampled'), z)[0].abs().sum()>0
